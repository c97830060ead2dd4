"""The store in memory, for the services of one process; nothing outlives it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from types import TracebackType
from typing import ClassVar, Self
from uuid import uuid4

from refresher.errors import StoreUnavailable
from refresher.store.protocols import ALIVE, Beat, Change


@dataclass
class MemoryStore:
    """Implements `Backend` in dicts.

    Several services of a process may share one, in one event loop.
    """

    persistent: ClassVar[bool] = False
    _id: str = field(default_factory=lambda: uuid4().hex)
    _last: int = 0
    _documents: dict[str, Change] = field(default_factory=dict)
    """In the order in which they were written last."""
    _bodies: dict[str, bytes] = field(default_factory=dict)
    _beats: dict[str, float] = field(default_factory=dict)
    _entered: int = 0

    async def __aenter__(self) -> Self:
        if not self._entered:
            self._news = asyncio.Event()
        self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered -= 1

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number."""
        newest_first = reversed(self._documents.values())
        return list(takewhile(lambda change: change.number > since, newest_first))[::-1]

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
        """Replace a document, if `after` is still the number of its last write."""
        before = self._documents.get(key)
        if after != (before.number if before else 0):
            return None
        if gone := [body for body in keeps if body not in self._bodies]:
            raise StoreUnavailable(f"the store has no body {gone[0]} to keep; put it once more")
        self._last += 1
        published = self._last if publishes else before.published if before else 0
        self._documents.pop(key, None)
        self._documents[key] = Change(
            key=key, number=self._last, published=published, document=document
        )
        for body in drops:
            self._bodies.pop(body, None)
        if self._entered > 1:
            self._news.set()
        return self._last

    async def changed(self) -> None:
        """Wait until a document is written; a single service is not notified of its own writes."""
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        """Keep a body."""
        self._bodies[body] = content

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there."""
        return {body: self._bodies[body] for body in bodies if body in self._bodies}

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive."""
        now = time.monotonic()
        self._beats[process] = now
        self._beats = {each: at for each, at in self._beats.items() if at > now - ALIVE}
        return Beat(store=self._id, now=None, alive=frozenset(self._beats), last=self._last)

    async def leave(self, process: str) -> None:
        """Say that a process has ended."""
        self._beats.pop(process, None)
