"""Reads an SQLite store; no read waits for a write (WAL)."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import FileConnection
from refresher.store.backends.sqlite.location import Location
from refresher.store.backends.sqlite.provisional import Pieces
from refresher.store.protocols import Change

_POLL_INTERVAL = 0.1
"""Seconds between two checks for what other processes wrote; a check costs 4 µs."""


class Reader:
    """A connection for one thread, to the file that the writing thread uses.

    Every method raises `StoreUnavailable` where there is no file, or it cannot be read.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._opened: FileConnection | None = None

    def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number, by number."""
        with self.reading("reading documents") as connection:
            rows = connection.execute(
                "SELECT key, number, published, document FROM documents "
                "WHERE number > ? ORDER BY number",
                (since,),
            )
            return [
                Change(key=key, number=number, published=published, document=document)
                for key, number, published, document in rows
            ]

    def bodies(self, names: Sequence[str], *, at_most: int) -> dict[str, bytes | Pieces | None]:
        """The first of them, until they exceed `at_most` bytes; None: no document keeps it."""
        found: dict[str, bytes | Pieces | None] = {}
        with self.reading("reading bodies") as connection:
            for name in names:
                row = connection.execute(
                    "SELECT size, pieces, content FROM bodies WHERE name = ?", (name,)
                ).fetchone()
                size, pieces, content = row or (0, None, None)
                found[name] = content if pieces is None else Pieces(pieces, size)
                at_most -= size
                if at_most < 0:
                    break
        return found

    def append(self, buffer: BytesIO, number: int, pieces: range) -> None:
        """Append these pieces of a body to the buffer, as far as they are there."""
        with self.reading("reading a body") as connection:
            rows = connection.execute(
                "SELECT content FROM pieces WHERE pieces = ? AND piece >= ? AND piece < ? "
                "ORDER BY piece",
                (number, pieces.start, pieces.stop),
            )
            buffer.writelines(content for (content,) in rows)

    def watch(self, ended: threading.Event, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a document has been written by any process, until `ended`."""
        before: sqlite3.Connection | None = None
        seen = (0, 0)
        while not ended.wait(_POLL_INTERVAL):
            with contextlib.suppress(StoreUnavailable), self.reading("following") as connection:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if connection is before and version == seen[0]:
                    continue
                # Heartbeats and bodies are written, too, and are no news.
                last: int = connection.execute("SELECT max(number) FROM documents").fetchone()[0]
                if connection is not before or last != seen[1]:
                    wake()  # on a new connection, what was written before may be news
                before, seen = connection, (version, last)
        self.disconnect()

    @contextlib.contextmanager
    def reading(self, operation: str) -> Iterator[sqlite3.Connection]:
        """The connection to the file in use."""
        with self._location.reporting(operation, disconnect=self.disconnect):
            opened = self._opened
            if opened is None or opened.identity != self._location.current:
                opened = self._reconnect()
            yield opened.connection

    def disconnect(self) -> None:
        """Close the connection."""
        if self._opened:
            self._opened.close()
            self._opened = None

    def _reconnect(self) -> FileConnection:
        self.disconnect()
        current = self._location.current
        if current is None:
            raise self._location.unavailable("it is not open; the next heartbeat tries again")
        self._opened = file.connect_to(self._location.path, current)
        return self._opened
