"""The store in one SQLite file, for the processes of one machine."""

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
from refresher.offload.threads import Lane
from refresher.store.backends.sqlite.place import Place
from refresher.store.backends.sqlite.reader import Reader
from refresher.store.backends.sqlite.stage import Pieces, Stage
from refresher.store.backends.sqlite.writer import Writer
from refresher.store.protocols import Beat, Change

T = TypeVar("T")

PIECE = 1024 * 1024
"""Bytes of a body up to which it is written in one transaction; larger ones are cut into these."""
_STAGE = 16 * PIECE
"""Bytes of small bodies that wait in memory for the write that keeps them."""
_READ_AT_ONCE = 16 * PIECE
"""Bytes that are read in a row; then others have their turn."""


class SqliteStore:
    """A `Backend` in a file: all of one machine's processes that open it share what is in it.

    One thread writes, one reads and one looks for what others wrote, each on a connection of its
    own. A body that fits into one transaction waits in memory for the write that keeps it; a larger
    one is written piece by piece, with room for others between. A body is kept by the process that
    put it. Whatever happens to the file, only `beat` moves on to another one, as it tells: the
    numbers of one store mean nothing in the next.
    """

    persistent = True

    def __init__(self, path: Path) -> None:
        self._place = Place(path.absolute())
        self._stage = Stage()
        self._writer = Writer(self._place, self._stage, holder=secrets.token_hex(8))
        self._reader = Reader(self._place)
        self._tidying = False

    async def __aenter__(self) -> Self:
        """Open the file, where it can be opened by now."""
        self._news = asyncio.Event()
        self._ended = threading.Event()
        self._writing = Lane("refresher store writer")
        self._reading = Lane("refresher store reader")
        self._watching = Lane("refresher store watcher")
        try:
            await self._writing.run(self._writer.enter)
        except BaseException:
            await self._leave()
            raise
        wake = partial(_wake, asyncio.get_running_loop(), self._news)
        self._watching.post(partial(Reader(self._place).watch, self._ended, wake))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all; of the last process to do so only the file itself is left."""
        await self._leave()

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
        """Replace a document if `after` is its number still, and settle bodies, in one step."""
        write = partial(
            self._writer.write,
            key,
            document,
            after=after,
            publishes=publishes,
            keeps={name: self._stage.get(name) for name in keeps},
            drops=drops,
        )
        return await self._writing.run(partial(self._tidily, write))

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call."""
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        """Write a body, provisionally; a small one waits in memory."""
        if len(content) > PIECE:
            self._stage.put(body, await self._lay_down(content))
            return
        while (waiting := self._stage.in_memory()) and (
            sum(map(len, waiting.values())) + len(content) > _STAGE
        ):
            await self._move(*next(iter(waiting.items())))
        self._stage.put(body, content)

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there, whole."""
        found: dict[str, bytes] = {}
        names = list(dict.fromkeys(bodies))
        while names:
            read = partial(self._reader.bodies, names, at_most=_READ_AT_ONCE)
            kept = await self._reading.run(read)
            for name, body in kept.items():
                match self._stage.get(name) if body is None else body:
                    case bytes(content):
                        found[name] = content
                    case Pieces() as pieces if (whole := await self._whole(pieces)) is not None:
                        found[name] = whole
            del names[: len(kept)]
        return found

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; open the file anew where need be, clear up after others."""
        return await self._writing.run(partial(self._tidily, partial(self._writer.beat, process)))

    async def leave(self, process: str) -> None:
        """Say that a process has ended."""
        await self._writing.run(partial(self._writer.quit, process))

    async def _leave(self) -> None:
        self._ended.set()
        self._reading.post(self._reader.leave)
        self._watching.close()
        self._reading.close()

        def last() -> None:  # as SQLite tidies up with the last connection to a file
            self._watching.join()
            self._reading.join()
            self._writer.exit()

        self._writing.post(last)
        await self._writing.close()

    async def _move(self, name: str, content: bytes) -> None:
        """Take a body out of memory that nobody came to keep."""
        pieces = await self._lay_down(content)
        if self._stage.get(name) is content:
            self._stage.put(name, pieces)
        else:  # it was kept in the meantime
            self._stage.let_go(pieces.number)

    async def _lay_down(self, content: bytes) -> Pieces:
        """Write a body in pieces, each in a transaction of its own."""
        pieces = Pieces(secrets.randbits(63), len(content))
        self._stage.hold(pieces.number)
        view = memoryview(content)
        try:
            for piece, start in enumerate(range(0, len(content), PIECE)):
                part = view[start : start + PIECE]
                took = await self._writing.run(
                    partial(self._writer.lay, pieces.number, piece, part)
                )
                # SQLite has no queue: other processes that wait look for a gap now and then.
                await asyncio.sleep(took)
        except BaseException:
            self._stage.let_go(pieces.number)  # the next beat clears them away
            raise
        return pieces

    async def _whole(self, body: Pieces) -> bytes | None:
        buffer = BytesIO()
        step = _READ_AT_ONCE // PIECE
        for first in range(0, -(-body.size // PIECE), step):
            some = range(first, first + step)
            await self._reading.run(partial(self._reader.append, buffer, body.number, some))
        # Dropped while it was read, it is not whole.
        return buffer.getvalue() if buffer.tell() == body.size else None

    def _tidily(self, call: Callable[[], T]) -> T:
        """Call it, and see to it that what nobody needs any more is deleted."""
        outcome = call()
        self._tidy_on()
        return outcome

    def _tidy_on(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # the next beat tries again
            if not self._tidying and self._writer.is_littered():
                self._tidying = True
                self._writing.post(self._tidy)  # behind whatever else waits to be written

    def _tidy(self) -> None:
        self._tidying = False
        with contextlib.suppress(StoreUnavailable):
            self._writer.clear_one()
            self._tidy_on()


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
        loop.call_soon_threadsafe(news.set)
