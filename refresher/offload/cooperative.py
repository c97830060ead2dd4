"""Long work on the event loop, in slices of time between which other tasks run."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

_SLICE = 0.001
"""Seconds. A thread would hold the interpreter lock five times as long (sys.getswitchinterval)."""


async def cooperatively(items: Iterable[T]) -> AsyncIterator[T]:
    """The items one by one; after each slice of time, all tasks that are ready run first."""
    over = time.perf_counter() + _SLICE
    for item in items:
        yield item
        if time.perf_counter() >= over:
            await asyncio.sleep(0)
            over = time.perf_counter() + _SLICE
