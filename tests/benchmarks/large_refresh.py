"""What a large refresh costs whoever reads meanwhile: `python -m tests.benchmarks.large_refresh`.

A service, its upstream and its readers run as processes of their own on the loopback interface. The
readers ask for a small snapshot at a steady rate, and the time of each answer counts from when its
request was due, so that no stall hides the requests behind it. While they do, a large JSON job with
`select` and `schema` is refreshed several times. Told are, as ratios to an idle service of the same
run: p99 and max of the readers, and the growth of the service's peak memory in bodies. Linux only.
"""

import argparse
import asyncio
import contextlib
import gc
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RATE = 1000
CONNECTIONS = 8
IDLE_SECONDS = 5.0
REFRESHES = 4
TOKEN = "benchmark"
MB = 1_000_000

_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["id", "name", "price"],
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string"},
            "price": {"type": "number", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    },
}

_CONFIG = """
[server]
port = 0

[admin]
token = "{token}"

[defaults]
interval = "1h"
timeout = "2m"

[jobs.small]
file = "small.json"

[jobs.large]
url = "{upstream}"
max_bytes = "{most}B"
select = "items"
schema = "schema.json"
"""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds that answers took, sorted."""

    seconds: list[float]

    def at(self, share: float) -> float:
        """The quantile in milliseconds."""
        return 1000 * self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def __str__(self) -> str:
        return f"p50 {self.at(0.5):6.2f}  p99 {self.at(0.99):7.2f}  max {self.at(1):7.2f} ms"


def body_of(size: int, mark: int) -> bytes:
    """A catalogue of about `size` bytes; another mark makes another one."""
    rows: list[bytes] = []
    written = 0
    while written < size:
        number = len(rows)
        row = {
            "id": number,
            "name": f"article number {number} of {mark}",
            "price": (number * 7919 % 100_000) / 100,
            "tags": ["a", "bb", "ccc"],
            "text": "what one says of such an article, in a few words " * 2,
        }
        rows.append(json.dumps(row).encode())
        written += len(rows[-1]) + 1
    return b'{"items":[' + b",".join(rows) + b"]}"


async def serve_upstream(size: int, *, gzipped: bool) -> None:
    """Answer with a small body first, then with large ones, never the same twice in a row."""
    bodies = [body_of(size, mark) for mark in range(2)]
    small = body_of(1, 0)
    coding = b""
    if gzipped:
        bodies, small = [gzip.compress(body, 6) for body in bodies], gzip.compress(small)
        coding = b"Content-Encoding: gzip\r\n"
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                body = bodies[asked % 2] if asked else small
                asked += 1
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"%sContent-Length: %d\r\n\r\n" % (coding, len(body))
                )
                writer.write(body)
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  for the parent
    await server.serve_forever()


async def read_steadily(port: int) -> None:
    """Read at a steady rate until standard input ends; print when each was due and what it took."""
    samples: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    await loop.connect_read_pipe(lambda: _Ended(ended), sys.stdin)
    began = loop.time() + 0.1
    offset = time.time() - loop.time()
    request = b"GET /data/small HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def read(lane: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = began + lane / RATE
        while not ended.is_set():
            await asyncio.sleep(due - loop.time())
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert length
            await reader.readexactly(int(length[1]))
            samples.append((due + offset, loop.time() - due))
            due += CONNECTIONS / RATE
        writer.close()

    gc.disable()
    async with asyncio.TaskGroup() as tasks:
        for lane in range(CONNECTIONS):
            tasks.create_task(read(lane))
    json.dump(samples, sys.stdout)


class _Ended(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def eof_received(self) -> None:
        self._ended.set()


@contextlib.contextmanager
def running(*arguments: str, **options: object) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that ends with the block."""
    process = subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


class Service:
    """The service under load, seen from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._status = Path(f"/proc/{process.pid}/status")
        self._clear = Path(f"/proc/{process.pid}/clear_refs")
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise RuntimeError("the service did not start")

    def memory(self, key: str) -> int:
        """Bytes, of `VmRSS` now or `VmHWM` since `forget_peak`."""
        found = re.search(rf"{key}:\s+(\d+) kB", self._status.read_text())
        assert found
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Count `VmHWM` from now on."""
        self._clear.write_text("5")

    def refresh_large(self) -> tuple[float, float]:
        """Refresh the large job; from when to when it took."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/admin/refresh",
            data=json.dumps({"jobs": ["large"], "wait": "60s"}).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        began = time.time()
        with urllib.request.urlopen(request, timeout=90) as response:  # noqa: S310  loopback
            (result,) = json.load(response)["results"]
        if result["outcome"] != "changed":
            raise RuntimeError(f"the refresh went wrong: {result}")
        return began, time.time()


def measure(size: int, *, gzipped: bool) -> list[dict[str, object]]:
    """Run everything and tell the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        me = ("-m", "tests.benchmarks.large_refresh")
        role = [*me, "--role", "upstream", "--megabytes", str(size // MB)]
        upstream = stack.enter_context(running(*role, *(["--gzip"] if gzipped else [])))
        assert upstream.stdout
        url = f"http://127.0.0.1:{int(upstream.stdout.readline())}/"
        (folder / "small.json").write_text(json.dumps({"names": ["x" * 20] * 40}))
        (folder / "schema.json").write_text(json.dumps(_SCHEMA))
        (folder / "config.toml").write_text(
            _CONFIG.format(token=TOKEN, upstream=url, most=size + MB)
        )
        config = str(folder / "config.toml")
        serve = ["-m", "refresher", "serve", "--config", config]
        service = Service(
            stack.enter_context(running(*serve, stderr=subprocess.PIPE, env=_environment()))
        )
        with running(*me, "--role", "readers", "--port", str(service.port)) as readers:
            time.sleep(1)
            idle = (time.time(), time.time() + IDLE_SECONDS)
            time.sleep(IDLE_SECONDS)
            before = service.memory("VmRSS")
            service.forget_peak()
            busy = [service.refresh_large() for _ in range(REFRESHES)]
            peak = service.memory("VmHWM")
            assert readers.stdin
            assert readers.stdout
            readers.stdin.close()
            samples = json.load(readers.stdout)
            readers.stdin = None
        return tell(samples, idle, busy, size=size, growth=peak - before)


def _environment() -> dict[str, str]:
    return {**os.environ, "REFRESHER_STATE_DIR": ""}


def tell(
    samples: list[tuple[float, float]],
    idle: tuple[float, float],
    busy: list[tuple[float, float]],
    *,
    size: int,
    growth: int,
) -> list[dict[str, object]]:
    """Print the figures of a run, and what they are to each other; the ratios are the answer."""

    def during(*spans: tuple[float, float]) -> Latencies:
        return Latencies(
            sorted(took for due, took in samples if any(start <= due < end for start, end in spans))
        )

    calm, loaded = during(idle), during(*busy)
    slower = loaded.at(0.99) / calm.at(0.99)
    took = sum(end - start for start, end in busy) / len(busy)
    ratio = loaded.at(1) / calm.at(1)
    lines = (
        f"{size / MB:.0f} MB of JSON, select and schema, {len(busy)} refreshes of {took:.1f} s",
        f"readers, idle:     {calm}   ({len(calm.seconds)} reads)",
        f"readers, refresh:  {loaded}   ({len(loaded.seconds)} reads)",
        f"ratio to idle:     p99 {slower:5.1f}  max {ratio:5.1f}",
        f"peak memory:       +{growth / MB:.0f} MB, {growth / size:.2f} bodies (old and new: two)",
    )
    print("\n".join(lines))  # noqa: T201  a command's output
    work = f"{size / MB:.0f} MB refresh"
    return [
        {"name": f"{work}: p99 of readers to idle", "value": slower, "unit": ""},
        {"name": f"{work}: max of readers to idle", "value": ratio, "unit": ""},
        {"name": f"{work}: peak memory", "value": growth / size, "unit": "bodies"},
        {"name": f"{work}: time", "value": took, "unit": "s"},
    ]


def main() -> None:
    """Play the role that the command line names; without one, run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["upstream", "readers"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--gzip", action="store_true", help="let the upstream compress")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    given = parser.parse_args()
    size = given.megabytes * MB
    match given.role:
        case "upstream":
            asyncio.run(serve_upstream(size, gzipped=given.gzip))
        case "readers":
            asyncio.run(read_steadily(given.port))
        case _:
            values = measure(size, gzipped=given.gzip)
            if given.json is not None:
                given.json.write_text(json.dumps(values, indent=2))


if __name__ == "__main__":
    main()
