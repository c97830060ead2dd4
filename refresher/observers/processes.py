"""The usual process metrics, summed over all processes of an instance."""

import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from refresher.observers.exposition import head


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process uses."""

    parent: int
    cpu: float
    """Seconds, those of its children included that have ended and been waited for."""
    started_at: float
    virtual: int
    resident: int
    open_files: int
    most_files: float


def usage_of(pid: int) -> Usage | None:
    """What a process uses now; None where it has ended, or where this is not Linux."""
    if not psutil.LINUX:
        return None  # macOS has no limit of files, and no time of children
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            open_files, most_files = 0, 0.0
            with suppress(psutil.Error):  # a zombie has neither, another user's are not shown
                open_files = process.num_fds()
                limit, _ = process.rlimit(psutil.RLIMIT_NOFILE)
                most_files = math.inf if limit == psutil.RLIM_INFINITY else float(limit)
            return Usage(
                parent=process.ppid(),
                cpu=cpu.user + cpu.system + cpu.children_user + cpu.children_system,
                started_at=process.create_time(),
                virtual=memory.vms,
                resident=memory.rss,
                open_files=open_files,
                most_files=most_files,
            )
    except psutil.Error:
        return None


def usages(workers: Iterable[int]) -> list[Usage]:
    """What every process of this instance uses: the workers and the supervisor.

    `workers` are the processes that have a row in the counters; without any, this process is the
    only one.
    """
    parent = os.getppid()
    found = [each for pid in workers if (each := usage_of(pid)) is not None]
    # The id of a worker that died may be that of another process by now.
    siblings = [each for each in found if each.parent == parent]
    first = usage_of(parent if siblings else os.getpid())
    return siblings if first is None else [first, *siblings]


def process_lines(used: list[Usage]) -> Iterator[str]:
    """The lines of the process metrics, and of `python_info`."""
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
        # The time of a process is added to that of the parent that waits for it: no sum ever falls.
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
