"""A backend that the processes of one test share, and that fails in every way a test may want."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import ClassVar, Self

from refresher.errors import StoreUnavailable
from refresher.store.protocols import Beat, Change


@dataclass
class FakeStorage:
    """What it holds."""

    name: str = "first"
    last: int = 0
    documents: dict[str, Change] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    news: set[asyncio.Event] = field(default_factory=set)

    def backend(self) -> "FakeBackend":
        """The backend that another process has on it."""
        return FakeBackend(self)

    def copy(self) -> "FakeStorage":
        """What it holds now, for `go_back`."""
        return replace(
            self, documents=dict(self.documents), bodies=dict(self.bodies), kept=set(self.kept)
        )

    def go_back(self, then: "FakeStorage") -> None:
        """Lose all changes since."""
        self.last, self.documents = then.last, dict(then.documents)
        self.bodies, self.kept = dict(then.bodies), set(then.kept)

    def empty(self, name: str = "second") -> None:
        """Come back as another one, with nothing in it."""
        self.go_back(FakeStorage())
        self.name = name
        self.alive.clear()

    @property
    def orphans(self) -> set[str]:
        """Bodies that were put, and no write has kept."""
        return set(self.bodies) - self.kept


@dataclass(eq=False)
class FakeBackend:
    """The backend that one process has."""

    persistent: ClassVar[bool] = True
    storage: FakeStorage
    away: bool = False
    """Whether every operation fails."""
    broken: frozenset[str] = frozenset()
    """The operations that fail."""
    silent: frozenset[str] = frozenset()
    """The operations that are never answered, though they are done."""
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Reading bodies waits for it, if there is one."""
    on_write: asyncio.Event | None = None
    """Set when a write begins, if there is one."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self.storage.news.add(self._news)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.storage.news.discard(self._news)

    async def changes(self, since: int) -> list[Change]:
        await self._answer("changes")
        later = (each for each in self.storage.documents.values() if each.number > since)
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
        await self._answer("write")
        storage, before = self.storage, self.storage.documents.get(key)
        if after != (before.number if before else 0):
            return None
        if missing := set(keeps) - set(storage.bodies):
            raise StoreUnavailable(f"no body {missing} to keep")
        storage.last += 1
        published = storage.last if publishes else before.published if before else 0
        storage.documents[key] = Change(
            key=key, number=storage.last, published=published, document=document
        )
        storage.kept |= set(keeps)
        for body in drops:
            storage.bodies.pop(body, None)
        number = storage.last
        for news in storage.news - {self._news}:
            news.set()
        await self._silence("write")
        return number

    async def changed(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        await self._answer("put")
        self.storage.bodies[body] = content

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        await self._answer("get")
        if self.gate is not None:
            await self.gate.wait()
        return {body: self.storage.bodies[body] for body in bodies if body in self.storage.bodies}

    async def beat(self, process: str) -> Beat:
        await self._answer("beat")
        self.storage.alive.add(process)
        return Beat(
            store=self.storage.name,
            now=None,
            alive=frozenset(self.storage.alive),
            last=self.storage.last,
        )

    async def leave(self, process: str) -> None:
        await self._answer("leave")
        self.storage.alive.discard(process)

    async def _answer(self, operation: str) -> None:
        self.asked.append(operation)
        if operation == "write" and self.on_write is not None:
            self.on_write.set()
        await asyncio.sleep(0)
        if self.away or operation in self.broken:
            raise StoreUnavailable(f"it is away, asked to {operation}")

    async def _silence(self, operation: str) -> None:
        if operation in self.silent:
            await asyncio.Event().wait()
