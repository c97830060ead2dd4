import asyncio
import logging

import pytest

from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability
from refresher.store.protocols import StoreOperation
from tests.store.fake_backend import FakeStorage


class Watcher:
    """What a link tells, in order."""

    def __init__(self) -> None:
        self.failed: list[StoreOperation] = []
        self.changed: list[bool] = []
        self.availability = Availability(
            FakeStorage().backend(),
            failed=self.failed.append,
            changed=lambda: self.changed.append(self.availability.detached),
        )


async def answer() -> str:
    return "answer"


async def away() -> str:
    raise StoreUnavailable("no route to it")


async def silence() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_an_answer_is_returned() -> None:
    seen = Watcher()
    assert await seen.availability.ask(StoreOperation.READ, answer()) == "answer"
    assert (seen.failed, seen.changed) == ([], [])


async def test_every_failure_is_counted_and_only_the_first_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Watcher()
    with caplog.at_level(logging.INFO, "refresher"):
        for operation in (StoreOperation.WRITE, StoreOperation.READ, StoreOperation.WRITE):
            with pytest.raises(StoreUnavailable, match="no route to it"):
                await seen.availability.ask(operation, away())
        assert seen.availability.detached
        seen.availability.attach()
    assert seen.failed == ["write", "read", "write"]
    assert seen.changed == [True, False]
    assert [record.getMessage() for record in caplog.records] == [
        "no route to it; this process goes on by itself, and tries again each second",
        "the store is there again",
    ]


async def test_a_store_that_is_silent_for_two_seconds_is_away() -> None:
    seen = Watcher()
    with pytest.raises(StoreUnavailable, match="silent for 2 s, asked to write"):
        await seen.availability.ask(StoreOperation.WRITE, silence())
    assert seen.availability.detached
    assert seen.failed == ["write"]


async def test_a_large_body_may_take_longer() -> None:
    seen = Watcher()
    with pytest.raises(StoreUnavailable, match="silent for 3 s"):
        await seen.availability.ask(StoreOperation.WRITE, silence(), size=20_000_000)


async def test_a_cancelled_call_says_nothing_of_the_store() -> None:
    seen = Watcher()
    asking = asyncio.ensure_future(seen.availability.ask(StoreOperation.READ, silence()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not seen.availability.detached


async def test_the_time_limit_of_the_caller_says_nothing_of_the_store() -> None:
    seen = Watcher()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await seen.availability.ask(StoreOperation.READ, silence())
    assert not seen.availability.detached
