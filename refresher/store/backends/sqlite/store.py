"""The SQLite backend: which of its threads does what, and where a body waits to be kept."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from refresher.errors import StoreUnavailable
from refresher.offload.threads import SerialThread
from refresher.store.backends.sqlite.location import Location
from refresher.store.backends.sqlite.provisional import Pieces, ProvisionalBodies
from refresher.store.backends.sqlite.reader import Reader
from refresher.store.backends.sqlite.writer import Writer
from refresher.store.protocols import Beat, Change

T = TypeVar("T")

PIECE = 1024 * 1024
"""Bytes of a body up to which it is written in one transaction; larger ones are cut into these."""
_MOST_IN_MEMORY = 16 * PIECE
"""Bytes of small bodies that are held in memory until a document keeps them."""
_READ_AT_ONCE = 16 * PIECE
"""Bytes that are read in one call of the reading thread; then other calls have their turn."""


class SqliteStore:
    """Implements `Backend` in a file, which any number of processes of one machine may open.

    One thread writes, one reads and one watches for what others wrote, each on a connection of its
    own. A body that fits into one transaction is held in memory until a document keeps it; a larger
    one is written piece by piece, so that other processes can write in between. A body is kept by
    the process that put it. If the file is deleted, replaced or corrupt, only `beat` moves on to
    another one, and says so: the numbers of one store mean nothing in the next.
    """

    persistent = True

    def __init__(self, path: Path) -> None:
        self._location = Location(path.absolute())
        self._provisional = ProvisionalBodies()
        self._writer = Writer(self._location, self._provisional, holder=secrets.token_hex(8))
        self._reader = Reader(self._location)
        self._is_cleaning = False

    async def __aenter__(self) -> Self:
        """Open the file, if it can be opened at the moment."""
        self._news = asyncio.Event()
        self._ended = threading.Event()
        self._writing = SerialThread("refresher store writer")
        self._reading = SerialThread("refresher store reader")
        self._watching = SerialThread("refresher store watcher")
        try:
            await self._writing.run(self._writer.open)
        except BaseException:
            await self._close()
            raise
        wake = partial(_wake, asyncio.get_running_loop(), self._news)
        self._watching.call_soon(partial(Reader(self._location).watch, self._ended, wake))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; once the last process has, it has no -wal and -shm files beside it."""
        await self._close()

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number, by number."""
        return await self._reading.run(partial(self._reader.changes, since))

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
        """Replace a document if `after` still is its number, keep and drop bodies, in one step."""
        write = partial(
            self._writer.write,
            key,
            document,
            after=after,
            publishes=publishes,
            keeps={name: self._provisional.get(name) for name in keeps},
            drops=drops,
        )
        return await self._writing.run(partial(self._then_clean_up, write))

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call."""
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        """Write a body, provisionally; a small one is held in memory."""
        if len(content) > PIECE:
            self._provisional.put(body, await self._write_pieces(content))
            return
        while (waiting := self._provisional.in_memory()) and (
            sum(map(len, waiting.values())) + len(content) > _MOST_IN_MEMORY
        ):
            await self._move_to_file(*next(iter(waiting.items())))
        self._provisional.put(body, content)

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there, whole."""
        found: dict[str, bytes] = {}
        names = list(dict.fromkeys(bodies))
        while names:
            read = partial(self._reader.bodies, names, at_most=_READ_AT_ONCE)
            kept = await self._reading.run(read)
            for name, body in kept.items():
                match self._provisional.get(name) if body is None else body:
                    case bytes(content):
                        found[name] = content
                    case Pieces() as pieces if (
                        whole := await self._read_pieces(pieces)
                    ) is not None:
                        found[name] = whole
            del names[: len(kept)]
        return found

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; reopens the file if need be, and cleans up after others."""
        return await self._writing.run(
            partial(self._then_clean_up, partial(self._writer.beat, process))
        )

    async def leave(self, process: str) -> None:
        """Say that a process has ended."""
        await self._writing.run(partial(self._writer.leave, process))

    async def _close(self) -> None:
        self._ended.set()
        self._reading.call_soon(self._reader.disconnect)
        self._watching.close()
        self._reading.close()

        def last() -> None:  # SQLite removes the side files with the last connection
            self._watching.join()
            self._reading.join()
            self._writer.close()

        self._writing.call_soon(last)
        await self._writing.close()

    async def _move_to_file(self, name: str, content: bytes) -> None:
        """Write a body from memory to the file."""
        pieces = await self._write_pieces(content)
        if self._provisional.get(name) is content:
            self._provisional.put(name, pieces)
        else:  # it was kept or replaced in the meantime
            self._provisional.release(pieces.number)

    async def _write_pieces(self, content: bytes) -> Pieces:
        """Write a body in pieces, each in a transaction of its own."""
        pieces = Pieces(secrets.randbits(63), len(content))
        self._provisional.claim(pieces.number)
        view = memoryview(content)
        try:
            for piece, start in enumerate(range(0, len(content), PIECE)):
                part = view[start : start + PIECE]
                took = await self._writing.run(
                    partial(self._writer.write_piece, pieces.number, piece, part)
                )
                # SQLite does not queue writers: those that wait try again now and then.
                await asyncio.sleep(took)
        except BaseException:
            self._provisional.release(pieces.number)  # the next beat deletes them
            raise
        return pieces

    async def _read_pieces(self, body: Pieces) -> bytes | None:
        buffer = BytesIO()
        step = _READ_AT_ONCE // PIECE
        for first in range(0, -(-body.size // PIECE), step):
            some = range(first, first + step)
            await self._reading.run(partial(self._reader.append, buffer, body.number, some))
        # Dropped while it was read, it is not whole.
        return buffer.getvalue() if buffer.tell() == body.size else None

    def _then_clean_up(self, call: Callable[[], T]) -> T:
        """Call it in the writing thread, and have pieces deleted that are orphaned after it."""
        result = call()
        self._schedule_cleanup()
        return result

    def _schedule_cleanup(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # the next beat tries again
            if not self._is_cleaning and self._writer.has_orphans():
                self._is_cleaning = True
                self._writing.call_soon(self._clean_up)  # behind all that waits to be written

    def _clean_up(self) -> None:
        self._is_cleaning = False
        with contextlib.suppress(StoreUnavailable):
            self._writer.delete_orphan()
            self._schedule_cleanup()


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(news.set)
