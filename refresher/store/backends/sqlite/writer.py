"""Writes an SQLite store, and opens its file anew where that has to be."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import FileConnection
from refresher.store.backends.sqlite.location import Location
from refresher.store.backends.sqlite.provisional import Pieces, ProvisionalBodies
from refresher.store.backends.sqlite.transaction import transaction
from refresher.store.protocols import ALIVE, Beat

_REMEMBERED = 60.0
"""Seconds after its last heartbeat at which a process is forgotten."""

_LAST = "SELECT coalesce(max(number), 0) FROM documents"
_NUMBERS = f"SELECT ({_LAST}), (SELECT number FROM documents WHERE key = ?)"  # noqa: S608  ours
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
_ORPHAN = "SELECT pieces FROM loose WHERE holder IS NULL LIMIT 1"
_DELETE_PIECE = """
DELETE FROM pieces WHERE rowid IN (SELECT rowid FROM pieces WHERE pieces = ? LIMIT 1)
"""


class Writer:
    """The one connection of a process that writes, for one thread.

    Every method raises `StoreUnavailable` where that fails; then nothing has been written.
    """

    def __init__(self, location: Location, provisional: ProvisionalBodies, *, holder: str) -> None:
        self._location = location
        self._provisional = provisional
        self._holder = holder
        self._opened: FileConnection | None = None

    def open(self) -> None:
        """Open the file, if that is possible at the moment.

        Raises:
            ServiceError: it is not possible, and that is permanent.
        """
        self._location.resolve()
        with contextlib.suppress(StoreUnavailable):
            self._ensure_open()

    def close(self) -> None:
        """Close the last connection of this process; the last of all removes the side files."""
        # Locked: of two processes that close at once, each might take the other for one that stays.
        with contextlib.suppress(OSError), file.locked(self._location.path):
            self.disconnect()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection."""
        self._location.current = None
        if self._opened:
            self._opened.close()
            self._opened = None

    def write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool,
        keeps: Mapping[str, bytes | Pieces | None],
        drops: Sequence[str],
    ) -> int | None:
        """Replace a document if `after` still is its number, keep and drop bodies, in one step."""
        with self._writing(f"writing {key}") as connection:
            last, current = connection.execute(_NUMBERS, (key,)).fetchone()
            if after != (current or 0):
                return None
            number: int = last + 1
            published = number if publishes else 0
            connection.execute(_WRITE, (number, key, published, document))
            for name, body in keeps.items():
                self._keep(connection, name, body)
            for name in drops:
                connection.execute("DELETE FROM bodies WHERE name = ?", (name,))
        # Here, as the caller may have been cancelled.
        for name in (*keeps, *drops):
            self._provisional.forget(name)
        return number

    def _keep(self, connection: sqlite3.Connection, name: str, body: bytes | Pieces | None) -> None:
        match body:
            case bytes():
                connection.execute(_KEEP, (name, len(body), None, body))
                return
            case Pieces(number, size):
                found = connection.execute("DELETE FROM loose WHERE pieces = ?", (number,))
                if found.rowcount:
                    connection.execute(_KEEP, (name, size, number, None))
                    return
            case None:
                if connection.execute("SELECT 1 FROM bodies WHERE name = ?", (name,)).fetchone():
                    return
        raise self._location.unavailable(f"there is no body {name} to keep; put it once more")

    def write_piece(self, number: int, piece: int, part: memoryview) -> float:
        """Write one piece of a body; returns the seconds for which other processes had to wait."""
        with self._writing("writing a body") as connection:
            began = time.monotonic()
            if piece == 0:
                values = (number, self._holder, time.time())
                connection.execute("INSERT INTO loose VALUES (?, ?, ?)", values)
            elif not connection.execute(
                "SELECT 1 FROM loose WHERE pieces = ? AND holder = ?", (number, self._holder)
            ).fetchone():
                raise self._location.unavailable(
                    "a body was cleared away while it was written, as this process seemed dead"
                )
            connection.execute("INSERT INTO pieces VALUES (?, ?, ?)", (number, piece, part))
        return time.monotonic() - began

    def beat(self, process: str) -> Beat:
        """Say that a process is alive; reopens the file if need be, and marks orphaned pieces."""
        try:
            self._ensure_open()
        except ServiceError as error:
            raise StoreUnavailable(str(error)) from error
        now = time.time()
        with self._writing(f"the heartbeat of {process}") as connection:
            connection.execute(_BEAT, (process, self._holder, now))
            connection.execute("DELETE FROM processes WHERE abs(? - beat) > ?", (now, _REMEMBERED))
            # A beat from the future is one from before the clock was set back.
            alive = dict(
                connection.execute(
                    "SELECT process, holder FROM processes WHERE abs(? - beat) < ?", (now, ALIVE)
                ).fetchall()
            )
            self._mark_orphans(connection, set(alive.values()), now)
            (store,) = connection.execute("SELECT id FROM meta").fetchone()
            (last,) = connection.execute(_LAST).fetchone()
        return Beat(store=store, now=None, alive=frozenset(alive), last=last)

    def _mark_orphans(self, connection: sqlite3.Connection, alive: set[str], now: float) -> None:
        """Mark pieces that no process can keep any more."""
        loose = connection.execute(
            "SELECT pieces, holder, since FROM loose WHERE holder IS NOT NULL"
        ).fetchall()
        for number, holder, since in loose:
            if holder == self._holder:
                is_orphan = not self._provisional.is_claimed(number)
            else:  # a process that has yet to beat for the first time is not dead
                is_orphan = holder not in alive and abs(now - since) > ALIVE
            if is_orphan:
                connection.execute("UPDATE loose SET holder = NULL WHERE pieces = ?", (number,))

    def leave(self, process: str) -> None:
        """Say that a process has ended."""
        with self._writing(f"the leave of {process}") as connection:
            connection.execute("DELETE FROM processes WHERE process = ?", (process,))

    def has_orphans(self) -> bool:
        """Whether there are pieces of no body."""
        if self._opened is None:
            return False
        with self._location.reporting("looking for dropped bodies", disconnect=self.disconnect):
            return self._opened.connection.execute(_ORPHAN).fetchone() is not None

    def delete_orphan(self) -> None:
        """Delete one piece of no body."""
        with self._writing("clearing up") as connection:
            number = connection.execute(_ORPHAN).fetchone()
            if number and not connection.execute(_DELETE_PIECE, number).rowcount:
                connection.execute("DELETE FROM loose WHERE pieces = ?", number)

    @contextlib.contextmanager
    def _writing(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._location.reporting(operation, disconnect=self.disconnect):
            opened = self._opened
            if opened is None or opened.identity == self._location.corrupt:
                raise self._location.unavailable(
                    f"{operation} failed: it is not open; the next heartbeat tries again"
                )
            if opened.identity != file.identity(self._location.path):
                raise self._location.unavailable(
                    f"{operation} failed: the file was deleted or replaced"
                )
            with transaction(opened.connection) as connection:
                yield connection

    def _ensure_open(self) -> None:
        """Use the file that is at the path now: the same, another, or a new one."""
        location = self._location
        with location.reporting("opening it", disconnect=self.disconnect):
            there = file.identity(location.path)
            if self._opened and self._opened.identity == there != location.corrupt:
                return
            file.make_folder(location.path)
            with file.locked(location.path):
                if location.corrupt and location.corrupt == file.identity(location.path):
                    file.set_aside(location.path, "as was found while it was used")
                location.corrupt = None
                if self._opened:
                    file.close_replaced(self._opened, location.path)
                    self._opened = None
                self._opened = file.connect(location.path)
                location.current = self._opened.identity
