import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from refresher.service.own_task import OwnTask


class Context:
    """A context manager that notes what becomes of it, with a task group as the service has."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.opening = self.closing = anyio.sleep
        self.tasks: set[asyncio.Task[object] | None] = set()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.tasks.add(asyncio.current_task())
        async with anyio.create_task_group() as self.group:
            self.group.start_soon(anyio.sleep_forever)
            try:
                await self.opening(0)
                self.log.append("open")
                yield
            finally:
                self.tasks.add(asyncio.current_task())
                try:
                    await self.closing(0)
                finally:
                    self.log.append("closed")
                    self.group.cancel_scope.cancel()


@pytest.fixture
def context() -> Context:
    return Context()


def owned(context: Context) -> OwnTask:
    return OwnTask(context(), name="context")


async def elsewhere(call: Callable[[], Awaitable[None]]) -> None:
    await asyncio.create_task(_awaited(call))


async def _awaited(call: Callable[[], Awaitable[None]]) -> None:
    await call()


async def forever(_: float) -> None:
    await anyio.sleep_forever()


async def test_it_is_entered_and_left_by_one_task_whichever_ask(context: Context) -> None:
    own = owned(context)
    await elsewhere(own.enter)
    assert context.log == ["open"]
    await elsewhere(own.leave)
    assert context.log == ["open", "closed"]
    assert len(context.tasks) == 1
    assert asyncio.current_task() not in context.tasks


async def test_an_error_of_entering_is_raised_as_it_is() -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError
        yield

    tasks = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await OwnTask(failing(), name="failing").enter()
    assert asyncio.all_tasks() == tasks


async def test_an_error_of_leaving_is_raised_as_it_is() -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        yield
        raise ZeroDivisionError

    own = OwnTask(failing(), name="failing")
    await own.enter()
    with pytest.raises(ZeroDivisionError):
        await own.leave()


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_who_is_cancelled_while_entering_leaves_nothing_behind(
    context: Context, how: str
) -> None:
    context.opening = forever  # type: ignore[assignment]  # it takes fewer arguments
    own, tasks = owned(context), asyncio.all_tasks()
    await _cancelled(own.enter, how)
    assert context.log == ["closed"]
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_who_is_cancelled_while_leaving_does_not_hang(context: Context, how: str) -> None:
    context.closing = forever  # type: ignore[assignment]  # it takes fewer arguments
    own, tasks = owned(context), asyncio.all_tasks()
    await own.enter()
    await _cancelled(own.leave, how)
    assert context.log == ["open", "closed"]
    assert asyncio.all_tasks() == tasks


async def test_what_is_shielded_from_cancelling_is_waited_for(context: Context) -> None:
    closing, flushed = anyio.Event(), anyio.Event()

    async def flush(_: float) -> None:
        with anyio.CancelScope(shield=True):
            closing.set()
            await flushed.wait()
        context.log.append("flushed")

    context.closing = flush  # type: ignore[assignment]  # it takes fewer arguments
    own = owned(context)
    await own.enter()
    leaving = asyncio.create_task(own.leave())
    await closing.wait()
    for _ in range(2):
        leaving.cancel()
        await anyio.wait_all_tasks_blocked()
    assert not leaving.done()
    flushed.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert context.log == ["open", "flushed", "closed"]


async def _cancelled(call: Callable[[], Awaitable[None]], how: str) -> None:
    """Call it, and cancel that once it waits."""
    with anyio.fail_after(60):
        if how == "scope":
            with anyio.move_on_after(0.01) as scope:
                await call()
            assert scope.cancelled_caught
            return
        task = asyncio.create_task(_awaited(call))
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_breaks_in_between_is_logged_at_once_and_raised_when_it_is_left(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    own = owned(context)
    await own.enter()
    with caplog.at_level(logging.ERROR, "refresher"):
        context.group.start_soon(broken)
        with anyio.fail_after(60):
            while "context has broken" not in caplog.text:
                await anyio.lowlevel.checkpoint()
    with pytest.raises(ExceptionGroup):
        await own.leave()


async def test_leaving_after_the_task_was_cancelled_by_somebody_is_no_error(
    context: Context,
) -> None:
    own = owned(context)
    await own.enter()
    for task in context.tasks:
        assert task is not None
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    await own.leave()
    assert context.log == ["open", "closed"]
