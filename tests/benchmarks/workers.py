"""What a second worker gives readers: `python -m tests.benchmarks.workers`.

`refresher serve` with one worker and with two, and beside them a bare ASGI function under uvicorn
with as many, are read by `wrk` in turns; all have the same two cores, so that two workers share
theirs with what asks them. Told is therefore, besides the reads a second that were seen, what two
cores of the workers' own would give, from what was measured in the same rounds: by the CPU time
that a read takes of all workers together, and by the part of it that the busiest had, which is full
first. (One worker leaves `wrk` a core to itself: there it is the same.)

The figures go to a JSON file that `python -m tests.benchmarks.compare` can compare with another.
Needs wrk and two cores. Linux only.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.figures import Figures, cpu_of, machine, tell
from tests.benchmarks.reads import (
    READS,
    SERVER_CORE,
    Peer,
    Read,
    free_port,
    load,
    note_answers,
    prepare,
    serve,
    started,
    under_uvicorn,
)

_CORES = "0,1"
_CONNECTIONS = 64
"""Enough to be shared out evenly by whoever accepts first."""
_WORKERS = (1, 2)
_READ = ("200, 1 KiB", "200, 10 KiB", "304, 10 KiB")
_GOAL = 1.6


@dataclass
class Crew:
    """A peer with so many workers, and what was measured of it, a figure a round."""

    peer: Peer
    workers: int
    figures: Figures
    client_us: list[float] = field(default_factory=list)
    """Microseconds of CPU that `wrk` took for a read."""
    busiest: list[float] = field(default_factory=list)
    """The part of the workers' CPU time that the busiest had."""

    def take_turn(self, read: Read, seconds: int) -> None:
        """Be read for that long."""
        fields = self.peer.fields_for(read)
        before, asking = self._cpu_of_each(), _cpu_of_children()
        per_second, cpu_us = load(
            self.peer, read, fields, seconds, connections=_CONNECTIONS, cores=_CORES
        )
        after, asked = self._cpu_of_each(), _cpu_of_children()
        spent = [after[pid] - before.get(pid, 0.0) for pid in after]
        self.figures.per_second.append(per_second)
        self.figures.cpu_us.append(cpu_us)
        self.client_us.append(1e6 * (asked - asking) / (per_second * seconds))
        self.busiest.append(max(spent) / sum(spent))

    @property
    def on_cores_of_its_own(self) -> float:
        """Reads a second as soon as the busiest worker has a core to itself and no time left."""
        return statistics.median(
            1e6 / (cpu_us * share)
            for cpu_us, share in zip(self.figures.cpu_us, self.busiest, strict=True)
        )

    @property
    def seen(self) -> float:
        """Reads a second, as they were."""
        return statistics.median(self.figures.per_second)

    def _cpu_of_each(self) -> dict[int, float]:
        """Seconds of CPU by worker: the children, where there are several."""
        children = Path(f"/proc/{self.peer.pid}/task/{self.peer.pid}/children").read_text("ascii")
        pids = map(int, children.split()) if self.workers > 1 else [self.peer.pid]
        return {pid: cpu_of(pid) for pid in pids}


def _cpu_of_children() -> float:
    """Seconds of CPU of children that have ended: of `wrk`, while the peers run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def all_peers(folder: Path) -> Iterator[dict[tuple[str, int], Peer]]:
    """The service and the bare function, each with one worker and with two."""
    with contextlib.ExitStack() as stack:
        peers: dict[tuple[str, int], Peer] = {}
        for workers in _WORKERS:
            port = free_port()
            peers["serve", workers] = stack.enter_context(
                started(
                    f"serve{workers}",
                    serve(folder, port, workers),
                    port,
                    folder,
                    lambda read: f"/data/{read.job}",
                    cores=_CORES if workers > 1 else SERVER_CORE,
                )
            )
            if workers == 1:
                note_answers(peers["serve", 1], folder)
            port = free_port()
            peers["bare", workers] = stack.enter_context(
                started(
                    f"bare{workers}",
                    under_uvicorn("bare", port, workers),
                    port,
                    folder,
                    lambda read: read.path,
                    cores=_CORES if workers > 1 else SERVER_CORE,
                )
            )
        yield peers


def measure(rounds: int, seconds: int) -> list[Crew]:
    """Measure every kind of read at every peer, in turns."""
    told: list[Crew] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        with all_peers(folder) as peers:
            for read in (read for read in READS if read.name in _READ):
                crews = [
                    Crew(peer, workers, Figures(f"{read.name}, workers: {workers}", kind))
                    for (kind, workers), peer in peers.items()
                ]
                for turn in range(rounds):
                    for crew in crews[turn % len(crews) :] + crews[: turn % len(crews)]:
                        crew.take_turn(read, seconds)
                for workers in _WORKERS:
                    tell("reads", [each.figures for each in crews if each.workers == workers])
                tell_of_two(read, crews)
                told += crews
    return told


def tell_of_two(read: Read, crews: list[Crew]) -> None:
    """Print what two workers give, of what one does."""
    lines = [""]
    for kind in ("serve", "bare"):
        one, two = (each for each in crews if each.figures.peer == kind)
        seen, own = two.seen / one.seen, two.on_cores_of_its_own / one.on_cores_of_its_own
        verdict = f" (goal {_GOAL}) {'ok' if own >= _GOAL else 'MISSED'}" if kind == "serve" else ""
        lines.append(
            f"{read.name}: {kind} with two workers to one: {seen:.2f} beside wrk, which took "
            f"{statistics.median(two.client_us):.1f} µs a read; "
            f"on two cores of its own {own:.2f}{verdict}"
        )
    print("\n".join(lines), flush=True)  # noqa: T201  a command's output


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="of each peer in a round")
    parser.add_argument("--json", type=Path, default=Path("workers.json"))
    given = parser.parse_args()
    if not shutil.which("wrk") or len(os.sched_getaffinity(0)) < len(_CORES.split(",")):
        raise SystemExit("this needs wrk (apt-get install wrk) and two cores")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending the peers
    crews = measure(given.rounds, given.seconds)
    told = {
        "machine": machine("uvicorn", "uvloop", "httptools"),
        "figures": [
            {**asdict(each.figures), "client_us": each.client_us, "busiest": each.busiest}
            for each in crews
        ],
    }
    given.json.write_text(json.dumps(told, indent=1))
    print(f"\nfigures in {given.json}")  # noqa: T201  as above


if __name__ == "__main__":
    main()
