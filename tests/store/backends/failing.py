"""A store that is away whenever a test says so."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from refresher.errors import StoreUnavailable
from refresher.store.backends.memory import MemoryStore
from refresher.store.protocols import Backend, Beat, Change


class FailingStore:
    """Another store, as long as it is not `away`; then every question to it fails at once."""

    persistent = True

    def __init__(self, inner: Backend | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.away = False

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def changes(self, since: int) -> list[Change]:
        self._answer()
        return await self.inner.changes(since)

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
        self._answer()
        return await self.inner.write(
            key, document, after=after, publishes=publishes, keeps=keeps, drops=drops
        )

    async def changed(self) -> None:
        await self.inner.changed()

    async def put(self, body: str, content: bytes) -> None:
        self._answer()
        await self.inner.put(body, content)

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        self._answer()
        return await self.inner.get(bodies)

    async def beat(self, process: str) -> Beat:
        self._answer()
        return await self.inner.beat(process)

    async def leave(self, process: str) -> None:
        self._answer()
        await self.inner.leave(process)

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("no route to the store at s3cr3t:6379")
