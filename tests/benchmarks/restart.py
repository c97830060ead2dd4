"""What it costs to serve again: entering a service with stored snapshots, against reading them.

    python -m tests.benchmarks.restart

Each round enters a service whose 1,000 jobs have a snapshot of 100 KiB each in an SQLite file, up
to the moment at which the first request can be answered; reads the same rows with nothing but
sqlite3; and enters one that has nothing stored, for making a thousand jobs is not reading.
"""

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from refresher import Refresher
from refresher.store.backends.sqlite.store import SqliteStore
from tests.watching import until

_JOBS = 1_000
_SIZE = 100 * 1024
_ROUNDS = 9


async def _fill(config: dict[str, object], path: Path) -> None:
    text = os.urandom(_SIZE // 2).hex()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=text))
    async with Refresher(config, store=SqliteStore(path), transport=transport) as cache:
        states = cache.service.states
        await until(cache, lambda: all(entry.record.snapshot for entry in states))


async def _enter(config: dict[str, object], path: Path) -> float:
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500)

    transport = httpx.MockTransport(refuse)
    cache = Refresher(config, store=SqliteStore(path), transport=transport)
    began = time.perf_counter()
    async with cache:
        took = time.perf_counter() - began
        served = sum(entry.record.snapshot is not None for entry in cache.service.states)
        assert (served, asked) == (_JOBS, [])
    return took


async def _enter_empty(config: dict[str, object]) -> float:
    began = time.perf_counter()
    async with Refresher(config):
        return time.perf_counter() - began


def _read_bare(path: Path) -> float:
    began = time.perf_counter()
    connection = sqlite3.connect(path)
    bodies = dict(connection.execute("SELECT name, content FROM bodies"))
    documents = connection.execute("SELECT document FROM documents").fetchall()
    took = time.perf_counter() - began
    connection.close()
    assert len(bodies) == _JOBS <= len(documents)
    return took


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _told(name: str, seconds: list[float]) -> str:
    low, *_, high = statistics.quantiles(seconds, n=4)
    middle = statistics.median(seconds)
    return f"{name:34} {middle * 1e3:7.0f} ms   ({low * 1e3:.0f} to {high * 1e3:.0f})"


async def main() -> None:
    """Print the figures of a run."""
    jobs = {f"job-{n}": {"url": f"http://up/{n}", "interval": "1h"} for n in range(_JOBS)}
    config: dict[str, object] = {"jobs": jobs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "refresher.db"
        await _fill(config, path)
        entering, bare, empty = [], [], []
        for _ in range(_ROUNDS):
            entering.append(await _enter(config, path))
            bare.append(_read_bare(path))
            empty.append(await _enter_empty(config))
    _say(_told("bare sqlite3, the same rows", bare))
    _say(_told("entry, snapshots in SQLite", entering))
    _say(_told("entry, nothing stored", empty))
    restoring = statistics.median(entering) - statistics.median(empty)
    _say(f"entry to bare: {statistics.median(entering) / statistics.median(bare):.2f}")
    _say(f"restoring alone to bare: {restoring / statistics.median(bare):.2f}")


if __name__ == "__main__":
    asyncio.run(main())
