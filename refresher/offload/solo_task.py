"""An async call in a task of its own, which can be left behind: the loop's twin of `SoloThread`."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import anyio

from refresher.offload.threads import still_hangs

T = TypeVar("T")

_CLEANING_UP = 0.2
"""Seconds in which a cancelled call may clean up after itself before it is left behind."""


class SoloTask(Generic[T]):
    """Runs a coroutine of somebody's who may do as he pleases with his task.

    A coroutine that is simply awaited shares its caller's task: what it cancels is the caller, and
    a cancellation that it swallows never reaches him. One that runs on after it was cancelled is
    abandoned, and while it still does, no other is started.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._started_at = 0.0

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the call, which must not raise: its task would raise some things into the loop.

        Cancelling the wait cancels the call, and abandons it where that does not end it.

        Raises:
            RefreshFailed: an abandoned call of an earlier attempt has not returned yet.
        """
        if self._task is not None:
            raise still_hangs(self._started_at)
        self._started_at = time.monotonic()
        current = asyncio.current_task()
        # No task group: that would wait for what it cannot end. The name tells the watchdog whose
        # code it is that blocks the loop.
        name = None if current is None else current.get_name()
        self._task = task = asyncio.get_running_loop().create_task(call(), name=name)
        task.add_done_callback(self._over)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            with anyio.move_on_after(_CLEANING_UP, shield=True):
                await asyncio.wait([task])
            raise
        return task.result()

    def _over(self, _: "asyncio.Task[T]") -> None:
        self._task = None
