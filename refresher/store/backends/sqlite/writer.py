"""What is written to an SQLite store, and how it comes by its file."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import Line
from refresher.store.backends.sqlite.place import Place
from refresher.store.backends.sqlite.stage import Pieces, Stage
from refresher.store.backends.sqlite.transaction import transaction
from refresher.store.protocols import Beat

_ALIVE = 5.0
"""Seconds after its last beat for which a process counts as alive."""
_REMEMBERED = 60.0
"""Seconds after which nothing is known any more of a process that stopped beating."""

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
_LITTER = "SELECT pieces FROM loose WHERE holder IS NULL LIMIT 1"
_CLEAR = """
DELETE FROM pieces WHERE rowid IN (SELECT rowid FROM pieces WHERE pieces = ? LIMIT 1)
"""


class Writer:
    """The one connection of a process that writes, for one thread.

    Every method raises `StoreUnavailable` where that fails; then nothing has been written.
    """

    def __init__(self, place: Place, stage: Stage, *, holder: str) -> None:
        self._place = place
        self._stage = stage
        self._holder = holder
        self._line: Line | None = None

    def enter(self) -> None:
        """Open the file, where that is possible by now.

        Raises:
            ServiceError: it never will be, as things are.
        """
        self._place.settle()
        with contextlib.suppress(StoreUnavailable):
            self._heal()

    def exit(self) -> None:
        """Close the connection as the last of this process."""
        # Of two processes that leave at once, each might take the other for one that stays.
        with contextlib.suppress(OSError), file.alone(self._place.path):
            self.leave()
        self.leave()

    def leave(self) -> None:
        """Close the connection."""
        self._place.current = None
        if self._line:
            self._line.close()
            self._line = None

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
        """Replace a document if `after` is its number still, and settle bodies, in one step."""
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
        # Here and not with the caller, who may have gone.
        for name in (*keeps, *drops):
            self._stage.forget(name)
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
        raise self._place.unavailable(f"there is no body {name} to keep; put it once more")

    def lay(self, number: int, piece: int, part: memoryview) -> float:
        """Write one piece of a body; returns the seconds for which others had to wait."""
        with self._writing("writing a body") as connection:
            began = time.monotonic()
            if piece == 0:
                values = (number, self._holder, time.time())
                connection.execute("INSERT INTO loose VALUES (?, ?, ?)", values)
            elif not connection.execute(
                "SELECT 1 FROM loose WHERE pieces = ? AND holder = ?", (number, self._holder)
            ).fetchone():
                raise self._place.unavailable(
                    "a body was cleared away while it was written, as this process seemed dead"
                )
            connection.execute("INSERT INTO pieces VALUES (?, ?, ?)", (number, piece, part))
        return time.monotonic() - began

    def beat(self, process: str) -> Beat:
        """Say that a process is alive, open the file anew where need be, find what nobody needs."""
        try:
            self._heal()
        except ServiceError as error:
            raise StoreUnavailable(str(error)) from error
        now = time.time()
        with self._writing(f"the heartbeat of {process}") as connection:
            connection.execute(_BEAT, (process, self._holder, now))
            connection.execute("DELETE FROM processes WHERE abs(? - beat) > ?", (now, _REMEMBERED))
            # A beat from the future is one from before the clock was set back.
            alive = dict(
                connection.execute(
                    "SELECT process, holder FROM processes WHERE abs(? - beat) < ?", (now, _ALIVE)
                ).fetchall()
            )
            self._let_go(connection, set(alive.values()), now)
            (store,) = connection.execute("SELECT id FROM meta").fetchone()
            (last,) = connection.execute(_LAST).fetchone()
        return Beat(store=store, now=None, alive=frozenset(alive), last=last)

    def _let_go(self, connection: sqlite3.Connection, alive: set[str], now: float) -> None:
        """Mark the pieces that nobody will keep any more."""
        loose = connection.execute(
            "SELECT pieces, holder, since FROM loose WHERE holder IS NOT NULL"
        ).fetchall()
        for number, holder, since in loose:
            if holder == self._holder:
                lost = not self._stage.holds(number)
            else:  # one that has yet to beat for the first time is not dead
                lost = holder not in alive and abs(now - since) > _ALIVE
            if lost:
                connection.execute("UPDATE loose SET holder = NULL WHERE pieces = ?", (number,))

    def quit(self, process: str) -> None:
        """Say that a process has ended."""
        with self._writing(f"the leave of {process}") as connection:
            connection.execute("DELETE FROM processes WHERE process = ?", (process,))

    def is_littered(self) -> bool:
        """Whether there are pieces that nobody needs."""
        if self._line is None:
            return False
        with self._place.told("looking for dropped bodies", leave=self.leave):
            return self._line.connection.execute(_LITTER).fetchone() is not None

    def clear_one(self) -> None:
        """Delete a piece that nobody needs."""
        with self._writing("clearing up") as connection:
            number = connection.execute(_LITTER).fetchone()
            if number and not connection.execute(_CLEAR, number).rowcount:
                connection.execute("DELETE FROM loose WHERE pieces = ?", number)

    @contextlib.contextmanager
    def _writing(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._place.told(operation, leave=self.leave):
            line = self._line
            if line is None or line.identity == self._place.corrupt:
                raise self._place.unavailable(
                    f"{operation} failed: it is not open; the next heartbeat tries again"
                )
            if line.identity != file.identity(self._place.path):
                raise self._place.unavailable(
                    f"{operation} failed: the file was deleted or replaced"
                )
            with transaction(line.connection) as connection:
                yield connection

    def _heal(self) -> None:
        """Be at the file that lies there: the same, another, or a new one."""
        place = self._place
        with place.told("opening it", leave=self.leave):
            there = file.identity(place.path)
            if self._line and self._line.identity == there != place.corrupt:
                return
            file.make_usable(place.path)
            with file.alone(place.path):
                if place.corrupt and place.corrupt == file.identity(place.path):
                    file.set_aside(place.path, "as was found while it was used")
                place.corrupt = None
                if self._line:
                    file.leave_behind(self._line, place.path)
                    self._line = None
                self._line = file.opened(place.path)
                place.current = self._line.identity
