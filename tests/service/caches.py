"""Caches whose upstream is in the test's hand."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx

from refresher import Refresher
from refresher.store.backends.memory import MemoryStore
from tests.fakes import FakeClock


class Upstream:
    """What answers in place of the network."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(200, json={"n": len(self.asked)})


def make_cache(
    config: Path | Mapping[str, object],
    upstream: Upstream,
    *,
    clock: FakeClock | None = None,
    store: MemoryStore | None = None,
) -> Refresher:
    transport = httpx.MockTransport(upstream)
    return Refresher(config, transport=transport, clock=clock, store=store)


@asynccontextmanager
async def entered(cache: Refresher) -> AsyncIterator[Refresher]:
    async with cache:
        await anyio.wait_all_tasks_blocked()
        yield cache
