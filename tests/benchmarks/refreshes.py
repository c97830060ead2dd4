"""What a small refresh costs beside a bare GET: `python -m tests.benchmarks.refreshes`.

`refresher serve` has more jobs due than one core can refresh, all of one upstream whose
`max_concurrency` is the number in flight: so it is the schedule that asks, through place, lease,
fetch, hash, settlement and swap, and there are always that many under way. Its peers are loops of
as many tasks, each of which gets a URL again as soon as it has it: `httpx.AsyncClient().get` as
people write it; the same with a pool that keeps every connection; and aiohttp's, on which the
service stands. The upstream is a process on the other core that answers at once, with 1 KiB that is
new each time or, where it is asked conditionally, with a 304.

All peers are there at once, on one core, and stand still but for their turns, which are short, so
that what else the machine does falls on all alike. Told are, of each peer's best round, refreshes a
second and CPU time of each, with the spread of all rounds, as ratios of the service on `memory://`
to the peer, and how many connections the upstream has seen of it. The figures go to a JSON file;
`python -m tests.benchmarks.compare` compares two of them. Needs two cores. Linux only.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
import httpx
import uvloop

from tests.benchmarks.figures import Figures, machine, tell

JOBS = 2000
"""Due more often, together, than a core can refresh them while it is a peer's turn."""
_UPSTREAM_CORE, _CORE = "1", "0"
_PATIENCE = 300.0
LOOPS = ("httpx", "httpx, all kept", "aiohttp")
PEERS = ("serve", "serve, sqlite", *LOOPS)
_TURN = 0.3
"""Seconds: short, so that what else the machine does falls on all peers alike."""
_ROWS = json.dumps([{"id": n, "name": f"n{n * 7919 % 1000:03}"} for n in range(35)])
_FIRST = 10**9
_CONFIG = """
[server]
port = 0
[admin]
token = "benchmark"
[store]
url = "{store}"
[defaults]
interval = "4s"
[upstreams.up]
base_url = "http://127.0.0.1:{port}"
max_concurrency = {in_flight}
"""


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of refresh, and how many of them at a time."""

    in_flight: int
    changed: bool

    @property
    def path(self) -> str:
        """Where the upstream has it."""
        return "changed" if self.changed else "unchanged"

    def __str__(self) -> str:
        kind = "200, 1 KiB changed" if self.changed else "304"
        return f"{kind}, {self.in_flight} in flight"


WORKS = tuple(Work(in_flight, changed) for in_flight in (16, 128) for changed in (True, False))


@dataclass(slots=True)
class Seen:
    """What the upstream has seen of a peer."""

    connections: int = 0
    requests: int = 0


def json_of(number: int) -> bytes:
    """A body of 1 KiB."""
    return f'{{"number":{number},"rows":{_ROWS}}}'.ljust(1024).encode()


class Answering(asyncio.Protocol):
    """Answers each request on a connection at once, as cheaply as HTTP/1.1 can be answered."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note a connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._seen.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        *heads, self._held = (self._held + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        self._seen.requests += 1
        number = _FIRST
        if head.startswith(b"GET /changed"):
            number += self._seen.requests
        elif b"\r\nif-none-match:" in head.lower():
            return b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: no-cache\r\n\r\n'
        body = json_of(number)
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
            b'ETag: "%d"\r\nContent-Length: %d\r\n\r\n%b' % (number, len(body), body)
        )


async def serve_upstream() -> None:
    """Listen on a port for each peer, say on which, and then what each has done when asked."""
    loop, seen, ports = asyncio.get_running_loop(), {}, {}
    for peer in PEERS:
        seen[peer] = Seen()
        server = await loop.create_server(
            partial(Answering, seen[peer]), "127.0.0.1", 0, backlog=1024
        )
        ports[peer] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)  # noqa: T201  for the parent
    while peer := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(json.dumps(asdict(seen[peer])), flush=True)  # noqa: T201  as above


async def play_loop(name: str, port: int, work: Work) -> None:
    """Get the same thing again and again, so many at a time."""
    url = f"http://127.0.0.1:{port}/{work.path}"
    headers = {} if work.changed else {"If-None-Match": '"1"'}
    expected = 200 if work.changed else 304

    async def by_httpx(client: httpx.AsyncClient) -> None:
        while True:
            response = await client.get(url, headers=headers)
            assert response.status_code == expected

    async def by_aiohttp(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.get(url, headers=headers) as response:
                await response.read()
                assert response.status == expected

    async with contextlib.AsyncExitStack() as stack:
        loop: Callable[[], Coroutine[None, None, None]]
        match name:
            case "aiohttp":
                connector = aiohttp.TCPConnector(limit=0)
                session = aiohttp.ClientSession(connector=connector)
                loop = partial(by_aiohttp, await stack.enter_async_context(session))
            case "httpx, all kept":
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
                client = httpx.AsyncClient(limits=limits, timeout=_PATIENCE)
                loop = partial(by_httpx, await stack.enter_async_context(client))
            case _:
                client = httpx.AsyncClient(timeout=_PATIENCE)  # it stands still for seconds
                loop = partial(by_httpx, await stack.enter_async_context(client))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for _ in range(work.in_flight):
            tasks.create_task(loop())


class Peer:
    """A process that refreshes whenever it has a turn, and stands still in between."""

    def __init__(self, process: "subprocess.Popen[str]", see: Callable[[], Seen]) -> None:
        self._process = process
        self.see = see

    def stand_still(self) -> None:
        """Do nothing until the next turn."""
        self._process.send_signal(signal.SIGSTOP)

    def take_turn(self, seconds: float) -> tuple[float, float, int]:
        """What it takes of time and of CPU, and does, in so many seconds."""
        began, used, before = time.perf_counter(), self._cpu(), self.see().requests
        self._process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self.stand_still()
        took, spent = time.perf_counter() - began, self._cpu() - used
        if self._process.poll() is not None:
            raise SystemExit(f"process {self._process.pid} has ended")
        return took, spent, self.see().requests - before

    def _cpu(self) -> float:
        # The clock of another process's CPU time, to the nanosecond: clock_getcpuclockid(3).
        return time.clock_gettime(~self._process.pid << 3 | 2)


@contextlib.contextmanager
def running(core: str, *command: str, log: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run one of our programs on a core until the block is over."""
    with contextlib.ExitStack() as stack:
        stderr = None if log is None else stack.enter_context(log.open("w"))
        process = subprocess.Popen(  # noqa: S603  our own words
            ["taskset", "-c", core, sys.executable, "-m", *command],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.communicate()


@contextlib.contextmanager
def serving(store: str, port: int, work: Work) -> Iterator["subprocess.Popen[str]"]:
    """Run the service, and make sure at the end that it did what was asked for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _CONFIG.format(port=port, store=store, in_flight=work.in_flight) + "".join(
            f'[jobs.job-{number}]\nupstream = "up"\nurl = "/{work.path}/{number}"\n'
            for number in range(JOBS)
        )
        (folder / "config.toml").write_text(config)
        serve = ("refresher", "serve", "--config", str(folder / "config.toml"))
        with running(_CORE, *serve, log=folder / "log") as process:
            yield process
            process.send_signal(signal.SIGCONT)
            _require(folder / "log", work)


def _require(log: Path, work: Work) -> None:
    """Fail where what was counted were no refreshes of that kind."""
    found = re.search(r"http://127.0.0.1:(\d+)", log.read_text())
    assert found, log.read_text()
    with urllib.request.urlopen(f"{found[0]}/metrics", timeout=_PATIENCE) as answer:  # noqa: S310  loopback
        metrics = answer.read().decode()
    counts: dict[str, float] = {}
    counted = r'refresher_attempts_total\{.*outcome="(\w+)".*\} (\S+)'
    for outcome, count in re.findall(counted, metrics):
        counts[outcome] = counts.get(outcome, 0.0) + float(count)
    meant = counts["changed" if work.changed else "unchanged"]
    others = sum(counts.values()) - meant - (0 if work.changed else JOBS)  # the first of each
    if others > meant / 20:
        raise SystemExit(f"these are no refreshes of that kind: {counts}")


@contextlib.contextmanager
def playing(name: str, port: int, work: Work) -> Iterator["subprocess.Popen[str]"]:
    """Run a peer."""
    match name:
        case "serve":
            context = serving("memory://", port, work)
        case "serve, sqlite":
            context = serving("sqlite:///refreshes.db", port, work)
        case _:
            role = ["--role", name, "--port", str(port), "--in-flight", str(work.in_flight)]
            changed = ["--changed"] if work.changed else []
            context = running(_CORE, "tests.benchmarks.refreshes", *role, *changed)
    with context as process:
        yield process


@contextlib.contextmanager
def all_peers(work: Work) -> Iterator[dict[str, Peer]]:
    """Start every peer, each with an upstream of its own, and let it get under way."""
    with contextlib.ExitStack() as stack:
        me = "tests.benchmarks.refreshes"
        upstream = stack.enter_context(running(_UPSTREAM_CORE, me, "--role", "upstream"))

        def see(peer: str) -> Seen:
            assert upstream.stdin
            assert upstream.stdout
            upstream.stdin.write(f"{peer}\n")
            upstream.stdin.flush()
            return Seen(**json.loads(upstream.stdout.readline()))

        assert upstream.stdout
        peers = {}
        for name, port in json.loads(upstream.stdout.readline()).items():
            process = stack.enter_context(playing(name, port, work))
            peers[name] = Peer(process, partial(see, name))
        deadline = time.monotonic() + _PATIENCE
        warm = {name: 200 if name in LOOPS else JOBS + 200 for name in peers}
        while cold := [name for name, peer in peers.items() if peer.see().requests < warm[name]]:
            if time.monotonic() > deadline:
                raise SystemExit(f"not under way within {_PATIENCE:.0f} s: {cold}")
            time.sleep(0.1)
        for peer in peers.values():
            peer.stand_still()
        yield peers


def measure(works: Sequence[Work], *, rounds: int, seconds: float) -> list[Figures]:
    """Measure every kind of refresh at every peer, in short turns."""
    told: list[Figures] = []
    for work in works:
        figures = {peer: Figures(str(work), peer) for peer in PEERS}
        with all_peers(work) as peers:
            for _ in range(rounds):
                turns: dict[str, list[tuple[float, float, int]]] = {peer: [] for peer in PEERS}
                for _ in range(round(seconds / _TURN)):
                    for name, peer in peers.items():
                        turns[name].append(peer.take_turn(_TURN))
                for name, taken in turns.items():
                    took, spent, count = (sum(each) for each in zip(*taken, strict=True))
                    if not count:
                        raise SystemExit(f"{name} has done nothing: let its turns take longer")
                    figures[name].per_second.append(count / took)
                    figures[name].cpu_us.append(1e6 * spent / count)
            for name, peer in peers.items():
                figures[name].connections = peer.see().connections
        tell("refreshes", list(figures.values()))
        told += figures.values()
    return told


def main() -> None:
    """Play the role that the command line names; without one, run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each peer in a round")
    parser.add_argument("--only", default="", help="kinds of refresh that have this in their name")
    parser.add_argument("--json", type=Path, default=Path("refreshes.json"))
    parser.add_argument("--role", choices=["upstream", *LOOPS], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--changed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    match given.role:
        case "upstream":
            uvloop.run(serve_upstream())
        case None:
            if len(os.sched_getaffinity(0)) < 2:
                raise SystemExit("this needs two cores")
            works = [work for work in WORKS if given.only in str(work)]
            figures = measure(works, rounds=given.rounds, seconds=given.seconds)
            packages = ("httpx", "aiohttp", "uvloop", "msgspec")
            told = {"machine": machine(*packages), "figures": [asdict(each) for each in figures]}
            given.json.write_text(json.dumps(told, indent=1))
            print(f"\nfigures in {given.json}")  # noqa: T201  a command's output
        case name:
            uvloop.run(play_loop(name, given.port, Work(given.in_flight, given.changed)))


if __name__ == "__main__":
    main()
