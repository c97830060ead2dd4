import asyncio
import logging

import pytest

from refresher.clock import ShiftedClock
from refresher.errors import StoreUnavailable
from refresher.store import decisions
from refresher.store.availability import StoreSilent
from refresher.store.protocols import Beat
from refresher.store.store import Store
from tests.fakes import FakeClock, settled
from tests.store.fake_backend import FakeBackend, FakeStorage
from tests.store.processes import DEFINITION, KEY, Process, current_body, entered, stored


async def test_what_one_process_publishes_is_news_to_the_others() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        await one.publish(b"[1]")
        await settled()
        assert await other.news() == ["a"]
        assert (other.version(), await other.body()) == (1, b"[1]")


async def test_a_notice_that_gets_lost_is_made_up_for_by_the_next_beat() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        storage.news.clear()
        await one.publish(b"[1]")
        assert other.version() is None
        await clock.advance(1.5)
        assert other.version() == 1


async def test_an_outage_is_logged_at_its_edges_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = FakeStorage()
    one = Process(storage)
    with caplog.at_level(logging.INFO, "refresher"):
        async with entered(one):
            await one.publish(b"[1]")
            one.backend.away = True
            for n in range(2, 5):
                assert await one.publish(b"[%d]" % n) == n
            await one.clock.advance(5)
            assert one.detached == [True]
            assert one.errors["write"] == 1
            assert one.errors["beat"] >= 5
            one.backend.away = False
            await one.clock.advance(1.5)
            assert one.detached == [True, False]
            assert current_body(storage) == b"[4]"
    assert len(caplog.records) == 2


async def test_provisional_versions_are_committed_above_all_numbers_seen() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        await one.publish(b"[1]")
        await settled()
        one.backend.away = other.backend.away = True
        for n in range(3):
            await one.publish(b'["one", %d]' % n)
        assert await other.publish(b'["other"]') == 2
        one.backend.away = other.backend.away = False
        await clock.advance(3)
        assert one.version() == other.version() == stored(storage).standings[KEY].current
        assert (one.version() or 0) > 4
        assert await one.body() == await other.body() == b'["other"]'
        bodies = {storage.bodies[each.stored.body] for each in stored(storage).versions}
        assert bodies <= {b"[1]", b'["one", 2]', b'["other"]'}
        assert one.unwritten == other.unwritten == 0
        assert storage.orphans == set()


async def test_a_store_that_comes_back_empty_is_filled() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    async with entered(one, other):
        for n in range(3):
            await one.publish(b"[%d]" % n)
        await settled()
        await one.store.decide("b", lambda known, _: decisions.paused(known))
        await settled()
        other.served["a"] = b"[2]"
        storage.empty()
        await clock.advance(3)
        known = stored(storage)
        assert [each.version for each in known.versions] == [3]
        assert known.counts.changed == 3
        assert stored(storage, "b").paused
        assert current_body(storage) == b"[2]"
        assert one.version() == other.version() == 3
        assert await one.publish(b"[3]") == 4
    async with entered(third := Process(storage, clock)):
        assert await third.body() == b"[3]"


async def test_changes_that_the_store_has_lost_are_written_again() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one = Process(storage, clock)
    async with entered(one):
        await one.publish(b"[1]")
        await clock.advance(1.5)
        then = storage.copy()
        await one.publish(b"[2]")
        await one.publish(b"[3]")
        await clock.advance(1.5)
        storage.go_back(then)
        await clock.advance(2)
        assert [each.version for each in stored(storage).versions] == [3, 1]
        assert current_body(storage) == b"[3]"
        assert await one.publish(b"[4]") == 4


async def test_a_body_is_never_stored_under_the_name_of_another() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, behind = Process(storage, clock), Process(storage, clock)
    async with entered(one, behind):
        await one.publish(b"[1]")
        await settled()
        behind.served["a"] = b"[1]"
        behind.backend.broken = frozenset({"get"})
        await one.publish(b"[2]")
        await settled()
        assert behind.version() == 2
        one.backend.away = True
        storage.empty()
        await clock.advance(2)
        assert current_body(storage) is None
        due = behind.standing().due.at
        assert due is not None
        assert due <= clock.now()
        one.backend.away = False
        await clock.advance(2)
        assert current_body(storage) == b"[2]"
        assert one.version() == stored(storage).standings[KEY].current


async def test_beats_that_are_answered_late_are_not_taken_for_a_store_that_went_back() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)

    class Slow:
        """Looks at what it has, and then takes its time to say so."""

        def __init__(self) -> None:
            self.answered = asyncio.Event()

        async def beat(self, process: str) -> Beat:
            beat = await storage.backend().beat(process)
            await self.answered.wait()
            return beat

    async with entered(one, other):
        slow = Slow()
        prompt, one.backend.beat = one.backend.beat, slow.beat  # type: ignore[method-assign]
        await clock.advance(1.2)
        await other.publish(b"[1]")
        await settled()
        assert one.version() == 1
        slow.answered.set()
        await settled()
        assert one.detached == []
        one.backend.beat = prompt  # type: ignore[method-assign]


async def test_an_attempt_under_way_is_not_lost_over_a_merge() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        await one.publish(b"[1]")
        grant = await one.begin()
        assert grant is not None
        one.backend.away = True
        await one.clock.advance(2)
        one.backend.away = False
        await one.clock.advance(2)
        assert one.detached == [True, False]
        assert await one.end(grant, one.published(b"[2]"))
        assert current_body(storage) == b"[2]"


async def test_an_attempt_begun_while_detached_is_settled_in_the_store_that_is_back() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        one.backend.away = True
        grant = await one.begin()
        assert grant is not None
        found = one.published(b"[1]")
        one.backend.away = False
        await one.clock.advance(2)
        assert not one.store.detached
        assert await one.end(grant, found)
        assert current_body(storage) == b"[1]"
        assert one.unwritten == 0


async def test_a_settlement_that_succeeds_without_an_answer_makes_no_version_twice() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        await one.publish(b"[1]")
        grant = await one.begin()
        assert grant is not None
        one.backend.silent = frozenset({"write"})
        assert await one.end(grant, one.published(b"[2]"))
        assert one.store.detached
        assert (stored(storage).issued, one.version()) == (2, 2)
        one.backend.silent = frozenset()
        await one.clock.advance(2)
        assert [each.version for each in stored(storage).versions] == [2, 1]
        assert one.version() == 2
        assert stored(storage).standings[KEY].holder is None
        assert one.unwritten == 0


async def published_before() -> tuple[FakeStorage, Process]:
    """A store with a version of `a`, and a process that is yet to enter it."""
    storage = FakeStorage()
    first = Process(storage)
    async with entered(first):
        await first.publish(b"[1]")
    return storage, Process(storage, first.clock)


async def test_a_store_that_is_away_at_the_start_is_joined_when_it_is_there() -> None:
    _, late = await published_before()
    late.backend.away = True
    async with entered(late):
        assert late.store.detached
        assert late.version() is None
        late.backend.away = False
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")


async def test_a_store_that_cannot_be_written_at_the_start_is_read_all_the_same() -> None:
    _, late = await published_before()
    late.backend.broken = frozenset({"beat", "write", "put"})
    async with entered(late):
        assert late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")
        assert await late.publish(b"[2]") == 2
        late.backend.broken = frozenset()
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (3, b"[2]")


async def test_what_was_read_then_is_written_to_a_store_that_has_lost_it_meanwhile() -> None:
    storage, late = await published_before()
    late.backend.broken = frozenset({"beat"})
    async with entered(late):
        late.served["a"] = b"[1]"
        storage.empty()
        late.backend.broken = frozenset()
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")


async def test_a_store_that_is_silent_at_the_start_is_waited_for_once() -> None:
    class Silent(FakeBackend):
        """Has kept somebody waiting."""

        async def beat(self, process: str) -> Beat:
            await super().beat(process)
            raise StoreSilent("the store has been silent")

    backend = Silent(FakeStorage())
    async with Store(backend, clock=ShiftedClock(FakeClock())) as store:
        assert store.detached
        assert backend.asked == ["beat"]


async def test_whatever_a_store_raises_the_process_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeBackend):
        """Breaks in a way that nobody foresaw."""

        healthy = True

        async def beat(self, process: str) -> Beat:
            if not self.healthy:
                raise ZeroDivisionError("nobody foresaw this")
            return await super().beat(process)

    storage, clock = FakeStorage(), FakeClock()
    backend = Broken(storage)
    store = Store(backend, clock=ShiftedClock(clock))
    store.register("a", DEFINITION)
    async with store:
        backend.healthy = False
        await clock.advance(3)
        assert store.detached
        assert await store.acquire("a")
        backend.healthy = True
        await clock.advance(2)
        assert not store.detached
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


async def test_a_store_that_cannot_be_listened_to_is_asked_once_in_a_while() -> None:
    class Deaf(FakeBackend):
        """Hears of no change, and says so."""

        heard = 0

        async def changed(self) -> None:
            self.heard += 1
            if self.heard > 1000:
                await super().changed()
            raise StoreUnavailable("it cannot be listened to")

    clock = FakeClock()
    async with Store(deaf := Deaf(FakeStorage()), clock=ShiftedClock(clock)):
        await clock.advance(3)
        assert 1 < deaf.heard < 10
