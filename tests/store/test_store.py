import asyncio

import pytest

from refresher.clock import ShiftedClock
from refresher.errors import StoreUnavailable
from refresher.model import (
    Definition,
)
from refresher.store import decisions
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store
from tests.fakes import FakeClock, settled
from tests.store.fake_backend import FakeStorage
from tests.store.processes import Process, entered, stored


async def test_what_is_published_is_there_for_the_next_process() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        assert await one.publish(b"[1]") == 1
        assert one.unwritten == 0
    other = Process(storage, clock=one.clock)
    async with entered(other):
        assert (other.version(), await other.body()) == (1, b"[1]")


async def test_nothing_is_written_of_a_job_that_asks_for_nothing() -> None:
    storage = FakeStorage()
    async with entered(Process(storage)):
        pass
    assert storage.documents == {}


async def test_of_all_processes_one_is_granted_an_attempt() -> None:
    storage, clock = FakeStorage(), FakeClock()
    processes = [Process(storage, clock) for _ in range(5)]
    async with entered(*processes):
        grants = await asyncio.gather(*(each.begin() for each in processes))
        assert sum(grant is not None for grant in grants) == 1


async def test_each_request_has_a_number_of_its_own() -> None:
    storage, clock = FakeStorage(), FakeClock()
    processes = [Process(storage, clock) for _ in range(3)]
    async with entered(*processes):
        numbers = await asyncio.gather(
            *(each.store.request("a") for each in processes for _ in range(10))
        )
        assert set(numbers) == set(range(1, 31))


async def test_a_decision_is_made_in_the_store_or_not_at_all() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        await one.publish(b"[1]")
        before = one.store.ledger("a")
        one.backend.away = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await one.store.decide("a", lambda known, _: decisions.paused(known))
            assert one.store.ledger("a") == before
        one.backend.away = False
        await one.clock.advance(1.5)
        assert not stored(storage).paused
        assert await one.store.decide("a", lambda known, _: decisions.paused(known))
        assert stored(storage).paused


async def test_a_job_that_another_held_when_the_store_went_away_is_refreshed_all_the_same() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        await clock.advance(1.5)
        assert await other.begin()
        await settled()
        assert await one.begin() is None
        one.backend.away = True
        await clock.advance(1.5)
        assert await one.begin()


async def test_registering_a_job_tells_whether_anything_is_known_of_it() -> None:
    backend, definition = MemoryStore(), Definition("source", "rules")
    for is_known in (False, True):
        async with Store(backend, clock=ShiftedClock(FakeClock())) as store:
            assert store.register("rates", definition) is is_known
            await store.request("rates")
