from refresher.clock import ShiftedClock
from refresher.model import (
    Due,
    DueReason,
)
from refresher.store.protocols import Beat
from refresher.store.store import Store
from tests.fakes import START, FakeClock, settled
from tests.store.members import DEFINITION, Member, current_body, entered
from tests.store.shared import Handle, Place


async def test_the_lease_of_a_process_that_died_is_free_and_the_jobs_are_told() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        await clock.advance(15)
        late = await one.begin()
        assert late is not None
        await clock.advance(2)
        await other.news()
        assert await other.begin() is None
        one.handle.away = True
        place.alive.discard(one.store.presence.process)
        await clock.advance(1.5)
        assert "a" in await other.news()
        grant = await other.begin()
        assert grant is not None
        one.handle.away = False
        await clock.advance(1.5)
        assert await one.end(late, one.published(b"[late]")) is None
        assert await other.end(grant, other.published(b"[1]"))
        assert current_body(place) == b"[1]"
        assert one.unwritten == 0


async def test_a_process_that_began_since_the_last_beat_is_not_taken_for_dead() -> None:
    place, clock = Place(), FakeClock()
    one = Member(place, clock)
    async with entered(one):
        other = Member(place, clock)
        await clock.advance(0.5)
        async with entered(other):
            assert await other.begin()
            await settled()
            assert await one.begin() is None


async def test_the_first_process_knows_that_it_is_alone_and_the_next_that_it_is_not() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        assert (one.store.presence.is_first, other.store.presence.is_first) == (True, False)


async def test_of_those_that_start_after_one_that_was_killed_the_first_is_alone() -> None:
    place, clock = Place(), FakeClock()
    place.alive.add("killed")
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        assert (one.store.presence.is_first, other.store.presence.is_first) == (False, False)
        place.alive.discard("killed")
        await clock.advance(2)
        assert (one.store.presence.is_first, other.store.presence.is_first) == (True, False)
        assert await one.news() == ["a", "b"]


async def test_processes_go_by_the_time_of_their_store() -> None:
    class Clocked(Handle):
        """Has a clock of its own."""

        async def beat(self, process: str) -> Beat:
            beat = await super().beat(process)
            return Beat(store=beat.store, now=START + 60, alive=beat.alive, last=beat.last)

    place, clock = Place(), FakeClock()
    shifted = ShiftedClock(clock)
    store = Store(Clocked(place), clock=shifted)
    store.register("a", DEFINITION)
    async with store:
        assert shifted.now() == START + 60
        assert store.standing("a").due == Due(START + 60, DueReason.STARTUP)
        assert store.presence.is_first


async def test_whoever_ends_is_waited_for_by_nobody() -> None:
    place, clock = Place(), FakeClock()
    one = Member(place, clock)
    async with entered(one):
        assert await one.begin()
    assert place.alive == set()
    async with entered(other := Member(place, clock)):
        await clock.advance(1.5)
        assert await other.begin()
