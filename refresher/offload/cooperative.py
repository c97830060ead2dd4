"""Long work on the event loop, done without holding up whoever reads meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

_TURN = 0.001
"""Seconds. In a thread the work would hold the interpreter for five times as long at a stretch."""


async def cooperatively(items: Iterable[T]) -> AsyncIterator[T]:
    """The items one by one; as soon as a turn is over, all else that is ready has one first."""
    over = time.perf_counter() + _TURN
    for item in items:
        yield item
        if time.perf_counter() >= over:
            await asyncio.sleep(0)
            over = time.perf_counter() + _TURN
