"""Figures of peers that did the same work in turns: taken, told, and where."""

import os
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """What was measured of one kind of work at one peer, a figure a round."""

    work: str
    peer: str
    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    connections: int | None = None
    """How many it has made, where they were counted."""

    @property
    def best(self) -> tuple[float, float]:
        """Throughput and CPU where other work on the machine disturbed least."""
        return max(self.per_second), min(self.cpu_us)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process and its children have had."""
    return sum(_cpu(each) for each in (pid, *_children(pid)))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text("ascii").split()):
            found += [child, *_children(child)]
    return found


def tell(unit: str, figures: list[Figures]) -> None:
    """Print the figures of one kind of work; ratios are of `serve` to the peer."""
    ours = next(each for each in figures if each.peer == "serve")
    columns = (
        f"{unit + '/s':>11} {'spread':>7} {'ratio':>7}   {'CPU µs':>7} {'spread':>7} {'ratio':>6}"
    )
    lines = ["", f"{ours.work:34} {columns}"]
    for each in figures:
        rate, cpu = each.best
        lines.append(
            f"  {each.peer:32} {rate:11.0f} {1 - min(each.per_second) / rate:7.0%} "
            f"{ours.best[0] / rate:7.2f}   "
            f"{cpu:7.1f} {max(each.cpu_us) / cpu - 1:7.0%} {ours.best[1] / cpu:6.2f}"
            + ("" if each.connections is None else f"   {each.connections} connections")
        )
    print("\n".join(lines), flush=True)  # noqa: T201  a command's output


def machine(*packages: str) -> dict[str, str]:
    """Where the figures were taken, and with which versions of these packages."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
