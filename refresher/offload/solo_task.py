"""An async call in a task that can be abandoned: what `SoloThread` is to a blocking call."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import anyio

from refresher.offload.threads import still_hangs

T = TypeVar("T")

_CLEANUP = 0.2
"""Seconds in which a cancelled call may clean up after itself before it is left behind."""


class SoloTask(Generic[T]):
    """Runs a user's coroutine in a task of its own, so that it cannot harm its caller's.

    A coroutine that is simply awaited shares its caller's task: if it cancels its task, it cancels
    the caller, and a cancellation that it swallows never reaches the caller. A coroutine that goes
    on after it was cancelled is abandoned; until it has ended, no other is started.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._started_at = 0.0

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the call, which must return its errors: SystemExit would leave a task for the loop.

        Cancelling the wait cancels the call, and abandons it where that does not end it.

        Raises:
            RefreshFailed: an abandoned call of an earlier attempt has not returned yet.
        """
        if self._task is not None:
            raise still_hangs(self._started_at)
        self._started_at = time.monotonic()
        current = asyncio.current_task()
        # No task group: that would wait for what it cannot end. By the name the watchdog tells
        # whose code blocks the loop.
        name = None if current is None else current.get_name()
        self._task = task = asyncio.get_running_loop().create_task(call(), name=name)
        task.add_done_callback(self._over)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            with anyio.move_on_after(_CLEANUP, shield=True):
                await asyncio.wait([task])
            raise
        return task.result()

    def _over(self, _: "asyncio.Task[T]") -> None:
        self._task = None
