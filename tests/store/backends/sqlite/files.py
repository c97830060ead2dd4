"""Files of SQLite stores, and what the tests ask of them."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite.store import PIECE, SqliteStore

GARBAGE = b"this is no database. " * 2000
LARGE = bytes(3 * PIECE + 5)


def ask(path: Path, question: str) -> object:
    """What the file itself says."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


def five_seconds_pass(path: Path) -> None:
    """Since whatever was put and not kept."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE loose SET since = since - 5.1")
        connection.commit()


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(60):
        while not await is_so():  # noqa: ASYNC110  nothing tells
            await anyio.sleep(0.02)


async def healed(store: SqliteStore) -> str:
    """Which store it is, once a heartbeat finds one."""
    with anyio.fail_after(60):
        while True:
            try:
                return (await store.beat("me")).store
            except StoreUnavailable:
                await anyio.sleep(0.02)


async def all_cleared(store: SqliteStore, path: Path) -> None:
    """Wait until no piece lies there that is of no body."""

    async def cleared() -> bool:
        await store.beat("me")
        left = "SELECT count(*) FROM pieces WHERE pieces NOT IN (SELECT pieces FROM bodies)"
        loose = "SELECT count(*) FROM loose"
        return not await anyio.to_thread.run_sync(ask, path, f"SELECT ({left}) + ({loose})")

    await wait_until(cleared)


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.corrupt-*"))


@contextmanager
def locked(path: Path, *, how: str = "IMMEDIATE") -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
