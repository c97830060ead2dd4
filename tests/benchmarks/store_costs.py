"""What the SQLite store costs beside plain SQL: `python -m tests.benchmarks.store_costs`.

Told are ratios of one run: a save (a body put, and the write of a 3 KB document that keeps it and
drops the one before) to a bare upsert of the same body; the load of 1,000 snapshots of 100 KiB
through `changes` and `get` to reading the same rows of the same file bare; both sides take turns,
and the bare one has the same pragmas and a thread of the same kind. Then how long a notice takes
from one process to another, and what a small write waits while a large body is put or deleted.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from refresher.offload.threads import SerialThread
from refresher.store.backends.sqlite.store import SqliteStore

KIB = 1024
SIZES = {"1 KiB": KIB, "100 KiB": 100 * KIB, "1 MiB": KIB * KIB, "10 MiB": 10 * KIB * KIB}
DOCUMENT = 3000
SNAPSHOTS = 1000
SNAPSHOT = 100 * KIB
NOTICES = 100
_MARK = "notice"
_BARE = """
INSERT INTO bare (name, content) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET content = excluded.content
"""


class Bare:
    """Rows of a table, in a thread, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = SerialThread("bare")

    async def open(self) -> None:
        """Make the table."""
        await self._thread.run(self._open)

    async def close(self) -> None:
        """End the thread and the connection."""
        await self._thread.run(self._connection.close)
        await self._thread.close()

    async def upsert(self, name: str, content: bytes) -> None:
        """Write a row."""
        await self._thread.run(lambda: self._connection.execute(_BARE, (name, content)))

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "PRAGMA secure_delete = OFF",
            "PRAGMA journal_size_limit = 4194304",
            "CREATE TABLE bare (name TEXT PRIMARY KEY, content BLOB)",
        ):
            self._connection.execute(statement)


class Saves:
    """A job that comes to new versions, of which the last is kept."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._document = os.urandom(DOCUMENT)
        self._number = 0
        self._body = ""

    async def save(self, content: bytes) -> None:
        """Put a body and make it the job's."""
        body = f"body {self._number}"
        await self._store.put(body, content)
        number = await self._store.write(
            "job/saved",
            self._document,
            after=self._number,
            publishes=True,
            keeps=[body],
            drops=[self._body] if self._body else [],
        )
        assert number
        self._number, self._body = number, body


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds that it took."""
    began = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - began)


def tell(*parts: object) -> None:
    """Print a line."""
    print(*parts, flush=True)  # noqa: T201  a command's output


def ratio(ours: list[float], bare: list[float]) -> str:
    """Both medians and their ratio, with the quartiles of the ratios of neighbours."""
    each = statistics.quantiles((a / b for a, b in zip(ours, bare, strict=True)), n=4)
    mine, plain = statistics.median(ours), statistics.median(bare)
    return (
        f"{mine:8.3f} ms to {plain:8.3f} ms: {mine / plain:5.2f}"
        f"   (quartiles {each[0]:.2f} to {each[2]:.2f})"
    )


async def compare_saves(folder: Path) -> None:
    """One save to one bare upsert, for each size of a body."""
    bare = Bare(folder / "bare.db")
    await bare.open()
    async with SqliteStore(folder / "saves.db") as store:
        saves = Saves(store)
        for name, size in SIZES.items():
            ours, plain = [], []
            for _ in range(1000 if size <= 100 * KIB else 100):
                content = os.urandom(size)
                ours.append(await timed(partial(saves.save, content)))
                plain.append(await timed(partial(bare.upsert, "saved", content)))
                if size > KIB * KIB:
                    await asyncio.sleep(0.02)  # what was dropped is cleared away behind
            tell(f"save of {name:>7}: ", ratio(ours[10:], plain[10:]))
    await bare.close()


async def compare_loads(folder: Path) -> None:
    """All documents and bodies to all bare rows."""
    names = [f"body {n}" for n in range(SNAPSHOTS)]
    path = folder / "rows.db"
    async with SqliteStore(path) as store:
        for name in names:
            await store.put(name, os.urandom(SNAPSHOT))
            assert await store.write(f"job/{name}", bytes(DOCUMENT), after=0, keeps=[name])
    ours, plain = [], []

    async def load() -> None:
        async with SqliteStore(path) as store:
            changes = await store.changes(0)
            bodies = await store.get([change.key.removeprefix("job/") for change in changes])
            assert len(bodies) == SNAPSHOTS

    def read_rows() -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            documents = connection.execute("SELECT * FROM documents ORDER BY number").fetchall()
            bodies = connection.execute("SELECT name, content FROM bodies").fetchall()
            assert len(documents) == len(bodies) == SNAPSHOTS

    for _ in range(15):
        ours.append(await timed(load))
        plain.append(await timed(partial(asyncio.to_thread, read_rows)))
    tell(f"load of {SNAPSHOTS} bodies of 100 KiB:", ratio(ours, plain), "opening included")


async def play_follower(path: Path) -> None:
    """Say when each document was heard of."""
    async with SqliteStore(path) as store:
        last = 0
        while True:
            for change in await store.changes(last):
                last = change.number
                tell(_MARK, time.time() - float(change.document))
            await store.changed()


async def play_putter(path: Path) -> None:
    """Put large bodies until killed."""
    async with SqliteStore(path) as store:
        content = bytes(512 * KIB * KIB)
        tell(_MARK)
        while True:
            await timed(partial(store.put, "large", content))


def start(role: str, path: Path) -> "subprocess.Popen[str]":
    """Another process on the same store."""
    command = [sys.executable, "-m", "tests.benchmarks.store_costs", "--role", role, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own words


def heard(process: "subprocess.Popen[str]") -> str:
    """What stands behind the next mark."""
    assert process.stdout
    return process.stdout.readline().removeprefix(_MARK)


async def measure_notices(folder: Path) -> None:
    """From a write to its reader in another process."""
    path = folder / "notices.db"
    async with SqliteStore(path) as store:
        number = await store.write("job/a", b"%f" % time.time(), after=0) or 0
        follower = start("follower", path)
        try:
            heard(follower)
            took = []
            for _ in range(NOTICES):
                await asyncio.sleep(0.02 + secrets.randbelow(100) / 1000)
                number = await store.write("job/a", b"%f" % time.time(), after=number) or 0
                took.append(1000 * float(await asyncio.to_thread(heard, follower)))
        finally:
            follower.kill()
            follower.communicate()
    cuts = statistics.quantiles(took, n=100)
    tell(f"notice to another process: median {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")


async def measure_writes_beside_a_put(folder: Path) -> None:
    """What a small write takes while another process, or this one, puts 512 MiB."""
    path = folder / "beside.db"
    async with SqliteStore(path) as store:
        number = 0

        async def write() -> None:
            nonlocal number
            number = await store.write("job/a", bytes(DOCUMENT), after=number) or 0

        async def write_for(seconds: float) -> str:
            took, until = [], time.monotonic() + seconds
            while time.monotonic() < until:
                took.append(await timed(write))
                await asyncio.sleep(0.005)
            cuts = statistics.quantiles(took, n=100)
            return f"median {cuts[49]:.2f}, p99 {cuts[98]:.1f}, max {max(took):.1f} ms"

        tell("small write alone:                     ", await write_for(3))
        putter = start("putter", path)
        try:
            await asyncio.to_thread(heard, putter)
            tell("while another process puts 512 MiB:    ", await write_for(5))
        finally:
            putter.kill()
            putter.communicate()
        put = asyncio.ensure_future(timed(partial(store.put, "large", bytes(512 * KIB * KIB))))
        tell("while this process puts 512 MiB:       ", await write_for(3))
        tell(f"that put took {await put:.0f} ms")
        number = await store.write("job/a", b"", after=number, keeps=["large"]) or 0
        tell(f"reading it takes {await timed(partial(store.get, ['large'])):.0f} ms")
        number = await store.write("job/a", b"", after=number, drops=["large"]) or 0
        tell("while its pieces are deleted:          ", await write_for(1))


async def measure() -> None:
    """Run everything and tell the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await compare_saves(folder)
        await compare_loads(folder)
        await measure_notices(folder)
        await measure_writes_beside_a_put(folder)


def main() -> None:
    """Play the role that the command line names; without one, run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["follower", "putter"])
    parser.add_argument("path", nargs="?", type=Path)
    given = parser.parse_args()
    match given.role:
        case "follower":
            asyncio.run(play_follower(given.path))
        case "putter":
            asyncio.run(play_putter(given.path))
        case _:
            asyncio.run(measure())


if __name__ == "__main__":
    main()
