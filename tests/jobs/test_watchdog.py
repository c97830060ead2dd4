import asyncio
import logging
import threading
import time
from collections.abc import Sized

import anyio
import anyio.to_thread
import pytest

from refresher.jobs.watchdog import Watchdog

LONG = 0.9
"""Seconds: as long as the watchdog takes to be sure, and some."""


async def block(seconds: float, records: Sized | None) -> None:
    while records is not None and not records:
        time.sleep(0.01)  # noqa: ASYNC251  that is what is being caught
    time.sleep(seconds)  # noqa: ASYNC251


async def watched(task_name: str, seconds: float, *, until: Sized | None = None) -> None:
    """Have a task of that name block the loop while a watchdog looks on, from there being any."""
    with Watchdog():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block, seconds, until, name=task_name)
        await anyio.sleep(0.05)


async def test_it_names_the_job_that_blocks_the_loop_once_and_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await watched("refresher job slow", LONG, until=caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith("refresher job slow has blocked the event loop for more than 0.5 s")
    assert "time.sleep(0.01)" in message
    assert message.count("File ") == 5


async def test_it_says_nothing_of_what_is_no_job(caplog: pytest.LogCaptureFixture) -> None:
    await watched("somebody else's", LONG)
    assert not caplog.records


async def test_it_says_nothing_while_the_loop_turns(caplog: pytest.LogCaptureFixture) -> None:
    await watched("refresher job quick", 0.05)
    assert not caplog.records


async def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    with Watchdog():
        (thread,) = set(threading.enumerate()) - before
        assert thread.daemon
    await anyio.to_thread.run_sync(thread.join, 60)
    assert not thread.is_alive()


def test_its_thread_ends_with_a_loop_that_was_closed_under_it() -> None:
    before = set(threading.enumerate())

    async def start() -> None:
        Watchdog().__enter__()

    asyncio.run(start())
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
