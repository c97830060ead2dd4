"""The store of a single process: all in dicts, and nothing outlives it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import uuid4

from refresher.protocols import Beat, Change


@dataclass
class MemoryStore:
    """Documents and bodies in dicts; implements `Backend`. Kept by whoever keeps the object."""

    _id: str = field(default_factory=lambda: uuid4().hex)
    _last: int = 0
    _documents: dict[str, Change] = field(default_factory=dict)
    _bodies: dict[str, bytes] = field(default_factory=dict)
    _processes: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number."""
        later = (change for change in self._documents.values() if change.number > since)
        return sorted(later, key=lambda change: change.number)

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
        """Replace a document, if nobody has done so since."""
        del keeps  # what is put stays: there is nobody else whose death could leave it behind
        before = self._documents.get(key)
        if after != (before.number if before else 0):
            return None
        self._last += 1
        published = self._last if publishes else before.published if before else 0
        self._documents[key] = Change(
            key=key, number=self._last, published=published, document=document
        )
        for body in drops:
            self._bodies.pop(body, None)
        return self._last

    async def changed(self) -> None:
        """Wait for ever: the only process there is knows what it has written."""
        await asyncio.Event().wait()

    async def put(self, body: str, content: bytes) -> None:
        """Keep a body."""
        self._bodies[body] = content

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there."""
        return {body: self._bodies[body] for body in bodies if body in self._bodies}

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive."""
        self._processes.add(process)
        return Beat(store=self._id, now=None, alive=frozenset(self._processes), last=self._last)

    async def leave(self, process: str) -> None:
        """Say that a process has ended."""
        self._processes.discard(process)
