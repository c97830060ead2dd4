"""Waiting for what a running cache comes to know, without looking again and again."""

import asyncio
from collections.abc import Callable

import anyio

from refresher import Refresher
from refresher.model import Record


def record(cache: Refresher, job: str = "a") -> Record:
    entry = cache.service.states.get(job)
    assert entry is not None
    return entry.record


async def until(cache: Refresher, holds: Callable[[], bool]) -> None:
    """Wait until it holds, looking whenever something has become known of a job."""
    known = asyncio.Event()
    cache.service.states.listen(lambda *_: known.set())
    with anyio.fail_after(60):
        while not holds():
            known.clear()
            await known.wait()


async def until_attempted(cache: Refresher) -> None:
    """Wait until every job has been attempted."""
    states = cache.service.states
    await until(cache, lambda: all(each.record.last_attempt is not None for each in states))
