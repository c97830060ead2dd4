"""Waiting for attempts, within a time limit and until the service closes."""

import asyncio
from collections.abc import Sequence

import anyio

from refresher.model import Attempt


async def ended(
    answers: Sequence["asyncio.Future[Attempt]"], closing: asyncio.Event, *, within: float
) -> list[Attempt]:
    """The attempts that end within so many seconds and before `closing` is set, in their order.

    The futures of the others are cancelled, for nobody waits for them any more.
    """
    try:
        with anyio.move_on_after(within):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_at, closing, tasks.cancel_scope)
                if answers:
                    await asyncio.wait(answers)
                tasks.cancel_scope.cancel()
        return [answer.result() for answer in answers if answer.done()]
    finally:
        for answer in answers:
            answer.cancel()


async def _cancel_at(moment: asyncio.Event, scope: anyio.CancelScope) -> None:
    await moment.wait()
    scope.cancel()
