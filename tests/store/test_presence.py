from refresher.clock import ShiftedClock
from refresher.model import (
    Due,
    DueReason,
)
from refresher.store.protocols import Beat
from refresher.store.store import Store
from tests.fakes import START, FakeClock, settled
from tests.store.fake_backend import FakeBackend, FakeStorage
from tests.store.processes import DEFINITION, Process, current_body, entered


async def test_the_lease_of_a_process_that_died_is_free_and_the_jobs_are_told() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        await clock.advance(15)
        late = await one.begin()
        assert late is not None
        await clock.advance(2)
        await other.news()
        assert await other.begin() is None
        one.backend.away = True
        storage.alive.discard(one.store.presence.process)
        await clock.advance(1.5)
        assert "a" in await other.news()
        grant = await other.begin()
        assert grant is not None
        one.backend.away = False
        await clock.advance(1.5)
        assert await one.end(late, one.published(b"[late]")) is None
        assert await other.end(grant, other.published(b"[1]"))
        assert current_body(storage) == b"[1]"
        assert one.unwritten == 0


async def test_a_process_that_began_since_the_last_beat_is_not_taken_for_dead() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one = Process(storage, clock)
    async with entered(one):
        other = Process(storage, clock)
        await clock.advance(0.5)
        async with entered(other):
            assert await other.begin()
            await settled()
            assert await one.begin() is None


async def test_the_first_process_knows_that_it_is_the_first_and_the_next_that_it_is_not() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        assert (one.store.presence.is_first, other.store.presence.is_first) == (True, False)


async def test_of_those_that_start_after_one_that_was_killed_one_is_the_first() -> None:
    storage, clock = FakeStorage(), FakeClock()
    storage.alive.add("killed")
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        assert (one.store.presence.is_first, other.store.presence.is_first) == (False, False)
        storage.alive.discard("killed")
        await clock.advance(2)
        assert (one.store.presence.is_first, other.store.presence.is_first) == (True, False)
        assert await one.news() == ["a", "b"]


async def test_processes_go_by_the_time_of_their_store() -> None:
    class Clocked(FakeBackend):
        """Has a clock of its own."""

        async def beat(self, process: str) -> Beat:
            beat = await super().beat(process)
            return Beat(store=beat.store, now=START + 60, alive=beat.alive, last=beat.last)

    storage, clock = FakeStorage(), FakeClock()
    shifted = ShiftedClock(clock)
    store = Store(Clocked(storage), clock=shifted)
    store.register("a", DEFINITION)
    async with store:
        assert shifted.now() == START + 60
        assert store.standing("a").due == Due(START + 60, DueReason.STARTUP)
        assert store.presence.is_first


async def test_the_leases_of_a_process_that_ends_are_free_at_once() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one = Process(storage, clock)
    async with entered(one):
        assert await one.begin()
    assert storage.alive == set()
    async with entered(other := Process(storage, clock)):
        await clock.advance(1.5)
        assert await other.begin()
