"""A store that processes of one test share, and that goes wrong in every way a test may want."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import ClassVar, Self

from refresher.errors import StoreUnavailable
from refresher.store.protocols import Beat, Change


@dataclass
class Place:
    """What the store holds, wherever it is."""

    name: str = "first"
    last: int = 0
    documents: dict[str, Change] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    news: set[asyncio.Event] = field(default_factory=set)

    def handle(self) -> "Handle":
        """The store as another process has it."""
        return Handle(self)

    def copy(self) -> "Place":
        """What it holds now, to go back to."""
        return replace(
            self, documents=dict(self.documents), bodies=dict(self.bodies), kept=set(self.kept)
        )

    def go_back(self, then: "Place") -> None:
        """Lose all that has happened since."""
        self.last, self.documents = then.last, dict(then.documents)
        self.bodies, self.kept = dict(then.bodies), set(then.kept)

    def empty(self, name: str = "second") -> None:
        """Come back as another one, with nothing in it."""
        self.go_back(Place())
        self.name = name
        self.alive.clear()

    @property
    def orphans(self) -> set[str]:
        """Bodies that were put, and no write has kept."""
        return set(self.bodies) - self.kept


@dataclass(eq=False)
class Handle:
    """One process's way to the store."""

    persistent: ClassVar[bool] = True
    place: Place
    away: bool = False
    """Whether it answers nothing but that it is away."""
    broken: frozenset[str] = frozenset()
    """Operations that alone fail so."""
    silent: frozenset[str] = frozenset()
    """Operations that are never answered, though they are done."""
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """What reading bodies waits for, once it is there."""
    on_write: asyncio.Event | None = None
    """Is set when a write begins, once it is there."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self.place.news.add(self._news)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.place.news.discard(self._news)

    async def changes(self, since: int) -> list[Change]:
        await self._answer("changes")
        later = (each for each in self.place.documents.values() if each.number > since)
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
        place, before = self.place, self.place.documents.get(key)
        if after != (before.number if before else 0):
            return None
        if missing := set(keeps) - set(place.bodies):
            raise StoreUnavailable(f"no body {missing} to keep")
        place.last += 1
        published = place.last if publishes else before.published if before else 0
        place.documents[key] = Change(
            key=key, number=place.last, published=published, document=document
        )
        place.kept |= set(keeps)
        for body in drops:
            place.bodies.pop(body, None)
        number = place.last
        for news in place.news - {self._news}:
            news.set()
        await self._silence("write")
        return number

    async def changed(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def put(self, body: str, content: bytes) -> None:
        await self._answer("put")
        self.place.bodies[body] = content

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        await self._answer("get")
        if self.gate is not None:
            await self.gate.wait()
        return {body: self.place.bodies[body] for body in bodies if body in self.place.bodies}

    async def beat(self, process: str) -> Beat:
        await self._answer("beat")
        self.place.alive.add(process)
        return Beat(
            store=self.place.name,
            now=None,
            alive=frozenset(self.place.alive),
            last=self.place.last,
        )

    async def leave(self, process: str) -> None:
        await self._answer("leave")
        self.place.alive.discard(process)

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
