"""What is read of an SQLite store; nothing here waits for who writes."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import Line
from refresher.store.backends.sqlite.place import Place
from refresher.store.backends.sqlite.stage import Pieces
from refresher.store.protocols import Change

_LOOK = 0.1
"""Seconds between two looks for what other processes wrote; a look costs 4 µs."""


class Reader:
    """A connection for one thread, which goes where the writing thread went.

    Every method raises `StoreUnavailable` where there is no file, or it does not answer.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._line: Line | None = None

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
        """The first of them, until `at_most` bytes are there; None: it is not kept."""
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
        """Read pieces of a body, as far as they are there."""
        with self.reading("reading a body") as connection:
            rows = connection.execute(
                "SELECT content FROM pieces WHERE pieces = ? AND piece >= ? AND piece < ? "
                "ORDER BY piece",
                (number, pieces.start, pieces.stop),
            )
            buffer.writelines(content for (content,) in rows)

    def watch(self, ended: threading.Event, wake: Callable[[], None]) -> None:
        """Look for documents that anybody wrote, until `ended`; `wake` whoever waits for one."""
        before: sqlite3.Connection | None = None
        seen = (0, 0)
        while not ended.wait(_LOOK):
            with contextlib.suppress(StoreUnavailable), self.reading("following") as connection:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if connection is before and version == seen[0]:
                    continue
                # Heartbeats and bodies are written, too, and nobody waits for these.
                last: int = connection.execute("SELECT max(number) FROM documents").fetchone()[0]
                if connection is not before or last != seen[1]:
                    wake()  # on a new connection, whatever was written until now may be news
                before, seen = connection, (version, last)
        self.leave()

    @contextlib.contextmanager
    def reading(self, operation: str) -> Iterator[sqlite3.Connection]:
        """The connection to the file that the store is at."""
        with self._place.told(operation, leave=self.leave):
            line = self._line
            if line is None or line.identity != self._place.current:
                line = self._follow()
            yield line.connection

    def leave(self) -> None:
        """Close the connection."""
        if self._line:
            self._line.close()
            self._line = None

    def _follow(self) -> Line:
        self.leave()
        current = self._place.current
        if current is None:
            raise self._place.unavailable("it is not open; the next heartbeat tries again")
        self._line = file.joined(self._place.path, current)
        return self._line
