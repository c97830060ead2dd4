"""What ten thousand jobs cost one process: `python -m tests.benchmarks.ten_thousand`.

A service, its upstream and its readers run as processes of their own on the loopback interface. The
service is started three times: with one job, with ten thousand that are due once a second all
together, and with ten thousand that are due every 10 s to 1 h. Told are, with the goal of each: the
time from the start of the process to its first answer, memory for each idle job, CPU while one job
a second is refreshed, how late requests come at the upstream after they were due, and the p99 of
readers while `/jobs` and `/metrics` are scraped each second. Linux only.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from refresher.jobs.schedule import Interval, due_from
from tests.benchmarks.large_refresh import Latencies, Service, running

JOBS = 10_000
TOKEN = "benchmark"
SECONDS = 20.0
"""That each thing is watched for."""
_CALM = 10_000
"""Seconds: the interval at which ten thousand jobs are due once a second."""
_JITTER = 0.05
_START = """
[server]
port = 0
[admin]
token = "{token}"
[defaults]
format = "json"
[upstreams.up]
base_url = "http://127.0.0.1:{port}"
max_concurrency = 64
[jobs.small]
file = "small.json"
interval = "1h"
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, and what it should be at most."""

    name: str
    value: float
    goal: float
    unit: str

    def __str__(self) -> str:
        verdict = "ok" if self.value <= self.goal else "MISSED"
        return f"{self.name:<44} {self.value:9.2f} {self.unit:<4} (goal {self.goal:g}) {verdict}"


def interval_of(number: int, *, calm: bool) -> int:
    """Seconds between two due moments of a job."""
    return _CALM if calm else 10 + number * 3590 // JOBS


def configuration(port: int, count: int, *, calm: bool) -> str:
    """A service with so many jobs beside the one that is read."""
    jobs = (
        f'[jobs.job-{number}]\nupstream = "up"\nurl = "/{number}"\n'
        f'interval = "{interval_of(number, calm=calm)}s"\n'
        for number in range(count)
    )
    return _START.format(token=TOKEN, port=port) + "".join(jobs)


async def serve_upstream() -> None:
    """Answer each job with a few bytes that never change, and tell who asked when."""
    arrivals: list[tuple[int, float]] = []

    def answer_to(target: str, *, conditional: bool) -> tuple[bytes, bytes]:
        match target.strip("/"):
            case "count":
                return b"200 OK", str(len(arrivals)).encode()
            case "arrivals":
                return b"200 OK", json.dumps(arrivals).encode()
            case number:
                arrivals.append((int(number), time.time()))
                status = b"304 Not Modified" if conditional else b"200 OK"
                return status, b"" if conditional else b"[%b]" % number.encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                conditional = b"if-none-match" in head.lower()
                status, body = answer_to(head.split(b" ")[1].decode(), conditional=conditional)
                length = b"" if conditional else b"Content-Length: %d\r\n" % len(body)
                fields = b'Content-Type: application/json\r\nETag: "1"\r\n' + length
                writer.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, fields, body))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  for the parent
    await server.serve_forever()


def fetched(port: int, path: str) -> bytes:
    """What is at a path of a local server."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        body: bytes = response.read()
        return body


@dataclass(frozen=True, slots=True)
class Started:
    """A service that serves, its first round of refreshes over."""

    port: int
    pid: int
    seconds: float
    """From the start of its process to its first answer."""
    memory: int
    """Bytes, after the first round."""

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(upstream: int, count: int, *, calm: bool) -> Iterator[Started]:
    """A service with so many jobs and nothing stored yet, which ends with the block."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "small.json").write_text(json.dumps({"names": ["x" * 20] * 40}))
        config = folder / "config.toml"
        config.write_text(configuration(upstream, count, calm=calm))
        asked = int(fetched(upstream, "/count"))
        began = time.perf_counter()
        serve = ["-m", "refresher", "serve", "--config", str(config)]
        process = stack.enter_context(running(*serve, stderr=subprocess.PIPE))
        service = Service(process)
        log, process.stderr = process.stderr, None
        assert log
        threading.Thread(target=log.read, daemon=True).start()  # a full pipe would stop the service
        fetched(service.port, "/readyz")
        seconds = time.perf_counter() - began
        while int(fetched(upstream, "/count")) < asked + count:
            time.sleep(0.2)
        time.sleep(2)
        yield Started(service.port, process.pid, seconds, service.memory("VmRSS"))


def lateness(upstream: int, since: float) -> Latencies:
    """How long after it was due each request came that was due after `since`."""
    found = []
    for number, at in json.loads(fetched(upstream, "/arrivals")):
        seconds = interval_of(number, calm=False)
        schedule = Interval(seconds, seconds * _JITTER)
        due = due_from(schedule, f"job-{number}", since)
        while due <= at:
            late, due = at - due, due_from(schedule, f"job-{number}", due + seconds * _JITTER)
            if due > at:
                found.append(late)
    return Latencies(sorted(found))


def read_while_scraped(port: int) -> Latencies:
    """What readers at a steady rate see while a scraper asks each second for all there is."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(1):
            fetched(port, "/jobs")
            fetched(port, "/metrics")

    role = ["-m", "tests.benchmarks.large_refresh", "--role", "readers", "--port", str(port)]
    with running(*role) as readers:
        scraper = threading.Thread(target=scrape)
        scraper.start()
        time.sleep(SECONDS)
        over.set()
        scraper.join()
        assert readers.stdin
        assert readers.stdout
        readers.stdin.close()
        samples = json.load(readers.stdout)
        readers.stdin = None
    return Latencies(sorted(took for _, took in samples))


def measure() -> list[Figure]:
    """Run everything."""
    role = ["-m", "tests.benchmarks.ten_thousand", "--role", "upstream"]
    with running(*role) as process:
        assert process.stdout
        upstream = int(process.stdout.readline())
        with started(upstream, 0, calm=True) as service:
            empty, alone = service.memory, service.seconds
        with started(upstream, JOBS, calm=True) as service:
            memory, seconds = service.memory, service.seconds
            before = service.cpu()
            time.sleep(SECONDS)
            cpu = 100 * (service.cpu() - before) / SECONDS
        with started(upstream, JOBS, calm=False) as service:
            since = time.time()
            time.sleep(SECONDS)
            late = lateness(upstream, since)
            seen = read_while_scraped(service.port)
    return [
        Figure(f"start ({alone:.1f} s with one job)", seconds, 3, "s"),
        Figure("memory of an idle job", (memory - empty) / JOBS / 1024, 12, "KiB"),
        Figure("CPU at one refresh a second", cpu, 3, "%"),
        Figure(f"lateness, p99 of {len(late.seconds)}", late.at(0.99), 100, "ms"),
        Figure(f"readers while scraped, p99 of {len(seen.seconds)}", seen.at(0.99), 10, "ms"),
    ]


def main() -> None:
    """Play the role that the command line names; without one, run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["upstream"])
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    given = parser.parse_args()
    if given.role == "upstream":
        asyncio.run(serve_upstream())
        return
    figures = measure()
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2))
    sys.stdout.write("".join(f"{figure}\n" for figure in figures))


if __name__ == "__main__":
    main()
