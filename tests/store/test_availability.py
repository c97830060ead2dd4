import asyncio
import logging

import pytest

from refresher.errors import StoreUnavailable
from refresher.store.availability import Link
from refresher.store.protocols import StoreOperation
from tests.store.shared import Place


class Watcher:
    """What a link tells, in order."""

    def __init__(self) -> None:
        self.failed: list[StoreOperation] = []
        self.turned: list[bool] = []
        self.link = Link(
            Place().handle(),
            failed=self.failed.append,
            turned=lambda: self.turned.append(self.link.detached),
        )


async def answer() -> str:
    return "answer"


async def away() -> str:
    raise StoreUnavailable("no route to it")


async def silence() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_an_answer_is_handed_on() -> None:
    seen = Watcher()
    assert await seen.link.ask(StoreOperation.READ, answer()) == "answer"
    assert (seen.failed, seen.turned) == ([], [])


async def test_every_failure_is_counted_and_the_edge_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Watcher()
    with caplog.at_level(logging.INFO, "refresher"):
        for operation in (StoreOperation.WRITE, StoreOperation.READ, StoreOperation.WRITE):
            with pytest.raises(StoreUnavailable, match="no route to it"):
                await seen.link.ask(operation, away())
        assert seen.link.detached
        seen.link.attach()
    assert seen.failed == ["write", "read", "write"]
    assert seen.turned == [True, False]
    assert [record.getMessage() for record in caplog.records] == [
        "no route to it; this process goes on by itself, and tries again each second",
        "the store is there again",
    ]


async def test_a_store_that_is_silent_for_two_seconds_is_away() -> None:
    seen = Watcher()
    with pytest.raises(StoreUnavailable, match="silent for 2 s, asked to write"):
        await seen.link.ask(StoreOperation.WRITE, silence())
    assert seen.link.detached
    assert seen.failed == ["write"]


async def test_a_large_body_has_longer() -> None:
    seen = Watcher()
    with pytest.raises(StoreUnavailable, match="silent for 3 s"):
        await seen.link.ask(StoreOperation.WRITE, silence(), carrying=20_000_000)


async def test_cancelling_a_question_says_nothing_of_the_store() -> None:
    seen = Watcher()
    asking = asyncio.ensure_future(seen.link.ask(StoreOperation.READ, silence()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not seen.link.detached


async def test_the_patience_of_whoever_asks_is_his_own() -> None:
    seen = Watcher()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await seen.link.ask(StoreOperation.READ, silence())
    assert not seen.link.detached
