"""A context manager that is entered and left by a task of its own, whichever tasks ask for it."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager

import anyio

logger = logging.getLogger("refresher")


class OwnTask:
    """Enters a context manager and leaves it in one task, which lives in between.

    Only the task that entered a cancel scope may leave it. A fixture of pytest-asyncio and the
    cells of a notebook are entered by one task and left by another.

    Errors of entering and leaving are raised as they are. Cancelling either cancels the context
    manager, and waits until it has cleaned up.
    """

    def __init__(self, context: AbstractAsyncContextManager[object], *, name: str) -> None:
        self._context = context
        self._name = name
        self._scope = anyio.CancelScope()
        self._entered = asyncio.Event()
        self._leave = asyncio.Event()

    async def enter(self) -> None:
        """Start the task, and return once the context manager is entered."""
        self._task = asyncio.create_task(self._run(), name=self._name)
        self._task.add_done_callback(self._over)
        try:
            await self._entered.wait()
        except asyncio.CancelledError:
            self._scope.cancel()
            await self._end()
            raise
        if self._task.done():
            self._task.result()

    async def leave(self) -> None:
        """Have the context manager left, and return once the task is over."""
        self._leave.set()
        await self._end()
        if not self._task.cancelled():
            self._task.result()

    async def _run(self) -> None:
        with self._scope:
            async with self._context:
                self._entered.set()
                await self._leave.wait()

    async def _end(self) -> None:
        """Wait for the end of the task; to cancel the wait is to cancel the task."""
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                # Shielded once it has been cancelled: a scope of anyio's would do it in every turn
                # of the loop, for as long as the task takes to clean up.
                with anyio.CancelScope(shield=cancelled is not None):
                    await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                self._scope.cancel()
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _over(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self._entered.is_set() and not self._leave.is_set():
            logger.error("%s has broken, and does no more", self._name, exc_info=error)
        self._entered.set()  # who waits for that is told the error
