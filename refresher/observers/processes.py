"""The usual process metrics, of all processes of an instance as if they were one."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from refresher.observers.exposition import head

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process uses, as Linux tells it."""

    parent: int
    cpu: float
    """Seconds, those of its children included that have ended and been waited for."""
    started_at: float
    virtual: int
    resident: int
    open_files: int
    most_files: float


def usage_of(pid: int) -> Usage | None:
    """What a process uses now; None where it is gone, or where this is no Linux."""
    folder = _PROC / str(pid)
    try:
        # The second field is the program's name in parentheses, and may have any of them in it.
        fields = (folder / "stat").read_text("latin-1").rpartition(")")[2].split()
        booted_at = _number_after("btime", _PROC / "stat")
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage(
        parent=int(fields[1]),
        cpu=sum(map(int, fields[11:15])) / ticks,
        started_at=booted_at + int(fields[19]) / ticks,
        virtual=int(fields[20]),
        resident=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        open_files=_count(folder / "fd"),
        most_files=_number_after("Max open files", folder / "limits"),
    )


def usages(workers: Iterable[int]) -> list[Usage]:
    """What every process of this instance uses: its workers and whoever started them.

    `workers` are the processes that have a row in the counters; without any, this process is all
    there is.
    """
    parent = os.getppid()
    found = [each for pid in workers if (each := usage_of(pid)) is not None]
    # The number of one that died may be somebody else's by now.
    siblings = [each for each in found if each.parent == parent]
    first = usage_of(parent if siblings else os.getpid())
    return siblings if first is None else [first, *siblings]


def process_lines(used: list[Usage]) -> Iterator[str]:
    """The process families, and which Python runs; only that where nothing else is known."""
    if used:
        for name, kind, help_text, of_all in _FAMILIES:
            yield from head(name, kind, help_text)
            yield f"{name} {of_all(used)}"
    major, minor, patch = platform.python_version_tuple()
    yield from head("python_info", "gauge", "Python platform information")
    yield (
        f'python_info{{implementation="{platform.python_implementation()}",major="{major}",'
        f'minor="{minor}",patchlevel="{patch}",version="{platform.python_version()}"}} 1'
    )


def _count(folder: Path) -> int:
    with suppress(OSError):  # it ended meanwhile
        return len(os.listdir(folder))  # noqa: PTH208  they are counted, and nothing else
    return 0


def _number_after(words: str, file: Path) -> float:
    """The number that follows at the beginning of a line; infinite where that is `unlimited`."""
    with suppress(OSError):
        for line in file.read_text("ascii").splitlines():
            if line.startswith(words):
                return float(line.removeprefix(words).split()[0].replace("unlimited", "inf"))
    return 0.0


_FAMILIES: tuple[tuple[str, str, str, Callable[[list[Usage]], float]], ...] = (
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes.",
        lambda used: sum(each.virtual for each in used),
    ),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        lambda used: sum(each.resident for each in used),
    ),
    (
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        lambda used: min(each.started_at for each in used),
    ),
    (
        # Whoever waits for the end of a process takes over its time: the sum never falls.
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        lambda used: sum(each.cpu for each in used),
    ),
    (
        "process_open_fds",
        "gauge",
        "Number of open file descriptors.",
        lambda used: sum(each.open_files for each in used),
    ),
    (
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        lambda used: sum(each.most_files for each in used),
    ),
)
