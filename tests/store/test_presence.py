from refresher.clock import ShiftedClock
from refresher.model import Due, DueReason
from refresher.store.availability import Availability
from refresher.store.presence import Presence
from refresher.store.protocols import Beat
from refresher.store.store import Store
from tests.fakes import START, FakeClock, settled
from tests.store.fake_backend import FakeBackend, FakeStorage
from tests.store.processes import DEFINITION, Process, current_body, entered


class Member:
    """A presence on a backend, without a store around it."""

    def __init__(self, storage: FakeStorage, clock: FakeClock) -> None:
        self.backend = storage.backend()
        self.availability = Availability(self.backend)
        self.presence = Presence(self.availability, clock=ShiftedClock(clock))
        self.name = self.presence.process


async def test_a_heartbeat_tells_which_processes_have_died_since_the_one_before() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Member(storage, clock), Member(storage, clock)
    await other.presence.beat()
    assert (await one.presence.beat()).died == frozenset()
    assert one.presence.alive(None, since=None) == {one.name, other.name}
    storage.alive.discard(other.name)
    assert (await one.presence.beat()).died == {other.name}
    assert (await one.presence.beat()).died == frozenset()
    assert one.presence.alive(None, since=None) == {one.name}


async def test_a_holder_counts_as_alive_if_its_lease_is_newer_than_the_last_heartbeat() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one = Member(storage, clock)
    await one.presence.beat()
    assert "new" in one.presence.alive("new", since=clock.now())
    assert "old" not in one.presence.alive("old", since=clock.now() - 10)
    assert "old" not in one.presence.alive("old", since=None)


async def test_a_detached_process_knows_of_no_other_and_is_alive_under_another_name() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Member(storage, clock), Member(storage, clock)
    await other.presence.beat()
    await one.presence.beat()
    one.availability.detach("no route")
    assert one.presence.alive(other.name, since=clock.now()) == {one.name}
    storage.alive.discard(one.name)
    await one.presence.beat()
    assert one.name not in storage.alive
    assert len(storage.alive) == 2
    await other.presence.beat()
    assert one.name not in other.presence.alive(None, since=None)
    await one.presence.attach()
    assert one.name in storage.alive
    await one.presence.leave()
    assert storage.alive == {other.name}


async def test_leaving_a_store_that_is_away_raises_nothing() -> None:
    one = Member(FakeStorage(), FakeClock())
    one.backend.away = True
    await one.presence.leave()


async def test_a_process_is_newly_first_once() -> None:
    one = Member(FakeStorage(), FakeClock())
    assert [(await one.presence.beat()).is_newly_first for _ in range(3)] == [True, False, False]
    assert one.presence.is_first


async def test_long_after_its_start_a_process_does_not_turn_out_to_be_the_first() -> None:
    storage, clock = FakeStorage(), FakeClock()
    storage.alive.add("earlier")
    one = Member(storage, clock)
    await one.presence.beat()
    await clock.advance(11)
    storage.alive.discard("earlier")
    assert not (await one.presence.beat()).is_newly_first
    assert not one.presence.is_first


async def test_the_lease_of_a_process_that_died_is_free_and_that_is_news() -> None:
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
