"""The store in one SQLite file, for the processes of one machine."""

import asyncio
import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from refresher.errors import ServiceError, StoreUnavailable
from refresher.protocols import Beat, Change
from refresher.stores import sqlite_file
from refresher.stores.sqlite_file import Identity, Line
from refresher.threads import Lane

PIECE = 1024 * 1024
"""Bytes of a body up to which it is written in one transaction; larger ones are cut into these."""
_STAGE = 16 * PIECE
"""Bytes of small bodies that wait in memory for the write that keeps them."""
_READ_AT_ONCE = 16
"""Bodies, or pieces of one, that are read in a row; then others have their turn."""
_LOOK = 0.1
"""Seconds between two looks for what other processes wrote; a look costs 4 µs."""
_ALIVE = 5.0
"""Seconds after its last beat for which a process counts as alive."""
_REMEMBERED = 60.0
"""Seconds after which nothing is known any more of a process that stopped beating."""

_LAST = "SELECT coalesce(max(number), 0) FROM documents"
_WRITE = """
INSERT INTO documents (number, key, published, document) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    number = excluded.number,
    published = max(published, excluded.published),
    document = excluded.document
"""
_KEEP = "INSERT OR REPLACE INTO bodies (name, size, pieces, content) VALUES (?, ?, ?, ?)"
_BEAT = """
INSERT INTO processes (process, holder, beat) VALUES (?, ?, ?)
ON CONFLICT (process) DO UPDATE SET holder = excluded.holder, beat = excluded.beat
"""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A body that lies in pieces under a number of its own."""

    number: int
    size: int


class SqliteStore:
    """A `Backend` in a file: all of one machine's processes that open it share what is in it.

    One thread writes, one reads and one looks for what others wrote, each on a connection of its
    own. A body that fits into one transaction waits in memory for the write that keeps it; a larger
    one is written piece by piece, with room for others between. A body is kept by the process that
    put it. Whatever happens to the file, the writing thread alone moves on to another one, and only
    in `beat`, which tells: the numbers of one store mean nothing in the next.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._holder = secrets.token_hex(8)
        self._staged: dict[str, bytes | _Pieces] = {}
        self._held: set[int] = set()
        """The pieces that this process has put, or is putting, and may keep."""
        self._writer: Line | None = None
        self._reader: Line | None = None
        self._current: Identity | None = None
        """The file that all threads should be at; None: none, until the next beat."""
        self._corrupt: Identity | None = None
        self._clearing = False

    async def __aenter__(self) -> Self:
        self._news = asyncio.Event()
        self._writing = Lane("refresher store writer")
        self._reading = Lane("refresher store reader")
        self._watching = Lane("refresher store watcher")
        self._leaving = threading.Event()
        try:
            await self._writing.run(self._enter)
        except BaseException:
            await self._close()
            raise
        loop = asyncio.get_running_loop()
        self._watching.post(partial(self._watch, partial(_wake, loop, self._news)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number, by number."""
        return await self._reading.run(partial(self._changes, since))

    async def write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool = False,
        keeps: Sequence[str] = (),
        drops: Sequence[str] = (),
    ) -> int | None:
        """Replace a document if `after` is its number still, and settle bodies, in one step."""
        return await self._writing.run(
            partial(
                self._write,
                key,
                document,
                after=after,
                publishes=publishes,
                keeps={body: self._staged.get(body) for body in keeps},
                drops=drops,
            )
        )

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call."""
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        """Write a body, provisionally; a small one stays in memory until it is kept."""
        if len(content) > PIECE:
            self._staged[body] = await self._lay_down(content)
            return
        while self._waiting_bytes() + len(content) > _STAGE:
            await self._lay_down_the_oldest()
        self._staged[body] = content

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there, whole."""
        found: dict[str, bytes] = {}
        for start in range(0, len(bodies), _READ_AT_ONCE):
            some = bodies[start : start + _READ_AT_ONCE]
            for name, body in (await self._reading.run(partial(self._rows, some))).items():
                whole = await self._assembled(body) if isinstance(body, _Pieces) else body
                if whole is not None:
                    found[name] = whole
        return found

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; open the file anew where need be, and clear up after others.

        What is dropped, or was put by a process that died, goes piece by piece from now on.
        """
        return await self._writing.run(partial(self._beat, process))

    async def leave(self, process: str) -> None:
        """Say that a process has ended."""
        await self._writing.run(partial(self._leave, process))

    # What follows runs in the loop.

    async def _close(self) -> None:
        self._leaving.set()
        await self._watching.close()
        self._reading.post(self._leave_reader)
        await self._reading.close()
        self._writing.post(self._leave_writer)  # last: whoever closes last tidies up the file
        await self._writing.close()

    def _waiting_bytes(self) -> int:
        return sum(len(body) for body in list(self._staged.values()) if isinstance(body, bytes))

    async def _lay_down_the_oldest(self) -> None:
        """Bodies that nobody came to keep must not fill the memory."""
        name, content = next(
            (name, body) for name, body in list(self._staged.items()) if isinstance(body, bytes)
        )
        pieces = await self._lay_down(content)
        if self._staged.get(name) is content:
            self._staged[name] = pieces
        else:  # it was kept in the meantime
            self._held.discard(pieces.number)

    async def _lay_down(self, content: bytes) -> _Pieces:
        """Write a body in pieces, each in a transaction of its own."""
        body = _Pieces(secrets.randbits(63), len(content))
        self._held.add(body.number)
        view = memoryview(content)
        try:
            for piece, start in enumerate(range(0, len(content), PIECE)):
                part = view[start : start + PIECE]
                took = await self._writing.run(partial(self._lay, body.number, piece, part))
                # SQLite has no queue of writers: others wait for a gap by looking for one.
                await asyncio.sleep(took)
        except BaseException:
            self._held.discard(body.number)  # the next beat clears it away
            raise
        return body

    async def _assembled(self, body: _Pieces) -> bytes | None:
        buffer = BytesIO()
        for first in range(0, -(-body.size // PIECE), _READ_AT_ONCE):
            await self._reading.run(partial(self._append, buffer, body.number, first))
        # Dropped while it was read, it is not whole.
        return buffer.getvalue() if buffer.tell() == body.size else None

    # What follows runs in the writing thread.

    def _enter(self) -> None:
        with contextlib.suppress(StoreUnavailable), self._told("opening it"):
            self._heal()

    def _heal(self) -> None:
        """Be at the file that lies there: the same, another, or a new one."""
        there = sqlite_file.identity(self._path)
        if self._writer and self._writer.identity == there != self._corrupt:
            return
        self._current = None
        sqlite_file.make_usable(self._path)
        with sqlite_file.alone(self._path):
            there = sqlite_file.identity(self._path)
            if there is not None and there == self._corrupt:
                sqlite_file.set_aside(self._path, "found out while it was used")
            self._leave_writer()
            self._writer = sqlite_file.opened(self._path)
        self._corrupt = None
        self._current = self._writer.identity

    def _leave_writer(self) -> None:
        self._current = None
        if self._writer:
            self._writer.close()
            self._writer = None

    @contextlib.contextmanager
    def _transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._told(operation, self._leave_writer):
            line = self._writer
            if line is None or line.identity == self._corrupt:
                raise StoreUnavailable(f"store: {self._path} is not open; {operation} failed")
            if line.identity != sqlite_file.identity(self._path):
                raise StoreUnavailable(
                    f"store: {self._path} was deleted or replaced; {operation} failed"
                )
            with sqlite_file.transaction(line.connection) as connection:
                yield connection

    def _write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool,
        keeps: Mapping[str, bytes | _Pieces | None],
        drops: Sequence[str],
    ) -> int | None:
        with self._transaction(f"writing {key}") as connection:
            (last,) = connection.execute(_LAST).fetchone()
            before = connection.execute("SELECT number FROM documents WHERE key = ?", (key,))
            if (before.fetchone() or (0,))[0] != after:
                return None
            number: int = last + 1
            published = number if publishes else 0
            connection.execute(_WRITE, (number, key, published, document))
            for name, body in keeps.items():
                self._keep(connection, name, body)
            for name in drops:
                connection.execute("DELETE FROM bodies WHERE name = ?", (name,))
        for name in (*keeps, *drops):
            body = self._staged.pop(name, None)
            if isinstance(body, _Pieces):
                self._held.discard(body.number)
        if drops:
            self._clear_away()
        return number

    def _keep(
        self, connection: sqlite3.Connection, name: str, body: bytes | _Pieces | None
    ) -> None:
        match body:
            case bytes():
                connection.execute(_KEEP, (name, len(body), None, body))
                return
            case _Pieces(number, size):
                found = connection.execute("DELETE FROM loose WHERE pieces = ?", (number,))
                if found.rowcount:
                    connection.execute(_KEEP, (name, size, number, None))
                    return
            case None:
                if connection.execute("SELECT 1 FROM bodies WHERE name = ?", (name,)).fetchone():
                    return
        raise StoreUnavailable(f"store: {self._path} has no body {name} to keep; put it once more")

    def _lay(self, number: int, piece: int, part: memoryview) -> float:
        """Write one piece; returns the seconds for which others had to wait."""
        began = time.monotonic()
        with self._transaction("writing a body") as connection:
            if not piece:
                values = (number, self._holder, time.time())
                connection.execute("INSERT INTO loose VALUES (?, ?, ?)", values)
            elif not connection.execute(
                "SELECT 1 FROM loose WHERE pieces = ? AND holder = ?", (number, self._holder)
            ).fetchone():
                raise StoreUnavailable(
                    f"store: {self._path} lost a body while it was written, "
                    "as this process seemed to be dead"
                )
            connection.execute("INSERT INTO pieces VALUES (?, ?, ?)", (number, piece, part))
        return time.monotonic() - began

    def _beat(self, process: str) -> Beat:
        try:
            with self._told("opening it", self._leave_writer):
                self._heal()
        except ServiceError as error:
            raise StoreUnavailable(str(error)) from error
        now = time.time()
        with self._transaction(f"the heartbeat of {process}") as connection:
            connection.execute(_BEAT, (process, self._holder, now))
            connection.execute("DELETE FROM processes WHERE abs(? - beat) > ?", (now, _REMEMBERED))
            # A beat from the future is from before the clock was set back: nobody lives on it.
            alive = dict(
                connection.execute(
                    "SELECT process, holder FROM processes WHERE abs(? - beat) < ?", (now, _ALIVE)
                )
            )
            self._let_go(connection, set(alive.values()), now)
            (store,) = connection.execute("SELECT id FROM meta").fetchone()
            (last,) = connection.execute(_LAST).fetchone()
        self._clear_away()
        return Beat(store=store, now=None, alive=frozenset(alive), last=last)

    def _let_go(self, connection: sqlite3.Connection, alive: set[str], now: float) -> None:
        """Have those pieces cleared away that nobody will keep any more."""
        loose = connection.execute(
            "SELECT pieces, holder, since FROM loose WHERE holder IS NOT NULL"
        ).fetchall()
        for number, holder, since in loose:
            if holder == self._holder:
                lost = number not in self._held
            else:  # it may have begun to put before its first beat
                lost = holder not in alive and abs(now - since) > _ALIVE
            if lost:
                connection.execute("UPDATE loose SET holder = NULL WHERE pieces = ?", (number,))

    def _leave(self, process: str) -> None:
        with self._transaction(f"the leave of {process}") as connection:
            connection.execute("DELETE FROM processes WHERE process = ?", (process,))

    def _clear_away(self) -> None:
        """Delete a piece that nobody needs, and come back for the next after whatever waits."""
        if not self._clearing:
            self._clearing = True
            self._writing.post(self._clear_on)

    def _clear_on(self) -> None:
        self._clearing = False
        # What fails is tried again after the next beat.
        with contextlib.suppress(StoreUnavailable), self._told("clearing up", self._leave_writer):
            if (
                self._writer is None
                or not self._writer.connection.execute(
                    "SELECT 1 FROM loose WHERE holder IS NULL LIMIT 1"
                ).fetchone()
            ):
                return
            with self._transaction("clearing up") as connection:
                found = connection.execute("SELECT pieces FROM loose WHERE holder IS NULL LIMIT 1")
                number = found.fetchone()
                if number is None:
                    return
                gone = connection.execute(
                    "DELETE FROM pieces WHERE rowid IN "
                    "(SELECT rowid FROM pieces WHERE pieces = ? LIMIT 1)",
                    number,
                )
                if not gone.rowcount:
                    connection.execute("DELETE FROM loose WHERE pieces = ?", number)
            self._clear_away()

    # What follows runs in the reading thread.

    def _changes(self, since: int) -> list[Change]:
        with self._reads("reading documents") as connection:
            rows = connection.execute(
                "SELECT key, number, published, document FROM documents "
                "WHERE number > ? ORDER BY number",
                (since,),
            )
            return [
                Change(key=key, number=number, published=published, document=document)
                for key, number, published, document in rows
            ]

    def _rows(self, bodies: Sequence[str]) -> dict[str, bytes | _Pieces]:
        found: dict[str, bytes | _Pieces] = {}
        with self._reads("reading bodies") as connection:
            for name in bodies:
                row = connection.execute(
                    "SELECT size, pieces, content FROM bodies WHERE name = ?", (name,)
                ).fetchone()
                body = self._staged.get(name)
                if row is not None:
                    size, pieces, content = row
                    body = content if pieces is None else _Pieces(pieces, size)
                if body is not None:
                    found[name] = body
        return found

    def _append(self, buffer: BytesIO, number: int, first: int) -> None:
        with self._reads("reading a body") as connection:
            rows = connection.execute(
                "SELECT content FROM pieces WHERE pieces = ? AND piece BETWEEN ? AND ? "
                "ORDER BY piece",
                (number, first, first + _READ_AT_ONCE - 1),
            )
            buffer.writelines(content for (content,) in rows)

    @contextlib.contextmanager
    def _reads(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._told(operation, self._leave_reader):
            line, self._reader = self._reader, None
            self._reader = line = self._at_current(line)
            yield line.connection

    def _leave_reader(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None

    # What follows runs in the watching thread.

    def _watch(self, wake: Callable[[], None]) -> None:
        line: Line | None = None
        seen: tuple[int, int] | None = None
        while not self._leaving.wait(_LOOK):
            before, line = line, None
            with contextlib.suppress(StoreUnavailable), self._told("looking for changes"):
                line = self._at_current(before)
                if line is not before:
                    seen = None  # whatever was written until now may be news
                (version,) = line.connection.execute("PRAGMA data_version").fetchone()
                if seen is None or seen[0] != version:
                    # Heartbeats and bodies are written, too, and nobody waits for these.
                    (last,) = line.connection.execute(_LAST).fetchone()
                    if seen is None or seen[1] != last:
                        wake()
                    seen = version, last
                continue
            if before:
                before.close()
        if line:
            line.close()

    # What follows runs in any of them.

    def _at_current(self, line: Line | None) -> Line:
        """A connection to the file that the writing thread is at."""
        current = self._current
        if line and line.identity == current:
            return line
        if line:
            line.close()
        if current is None:
            raise StoreUnavailable(f"store: {self._path} is not open")
        return sqlite_file.joined(self._path, current)

    @contextlib.contextmanager
    def _told(self, operation: str, abandon: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Say what failed in our own words; `abandon` a connection that is not to be trusted."""
        try:
            yield
        except sqlite3.Error as error:
            if sqlite_file.is_corrupt(error):
                self._corrupt = self._current  # set aside with the next beat
            elif not sqlite_file.is_passing(error):
                abandon()
            raise StoreUnavailable(f"store: {self._path}: {operation} failed: {error}") from error
        except OSError as error:
            why = error.strerror or error
            raise StoreUnavailable(f"store: {self._path}: {operation} failed: {why}") from error


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
        loop.call_soon_threadsafe(news.set)
