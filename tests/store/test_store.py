import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from refresher.clock import ShiftedClock
from refresher.errors import StoreUnavailable
from refresher.model import (
    Attempt,
    Changed,
    Confirmation,
    Content,
    Definition,
    Due,
    DueReason,
    Format,
    Quarantine,
    Quarantined,
    Rate,
    Result,
)
from refresher.pipeline.representation import etag_of
from refresher.protocols import Grant
from refresher.store import ledger
from refresher.store.availability import StoreSilent
from refresher.store.backends.memory import MemoryStore
from refresher.store.ledger import (
    Ledger,
    Settlement,
    Standing,
)
from refresher.store.protocols import Beat
from refresher.store.store import Retention, Store
from tests.fakes import START, FakeClock, settled
from tests.store.ledgers import FAILED
from tests.store.shared import Handle, Place

DEFINITION = Definition("source", "rules")
KEY = ledger.key_of(DEFINITION)
JSON = "application/json"


@dataclass
class Member:
    """A process over a place: its store, and what it serves."""

    place: Place
    clock: FakeClock = field(default_factory=FakeClock)
    retention: Retention = field(default_factory=Retention)
    definition: Definition = DEFINITION
    jobs: tuple[str, ...] = ("a", "b")

    def __post_init__(self) -> None:
        self.handle: Handle = self.place.handle()
        self.served: dict[str, bytes] = {}
        self.errors: Counter[str] = Counter()
        self.turns: list[bool] = []
        self.store = Store(
            self.handle,
            clock=ShiftedClock(self.clock),
            retention=self.retention,
            served=self._served,
            failed=lambda operation: self.errors.update([str(operation)]),
            turned=lambda: self.turns.append(self.store.detached),
        )
        for job in self.jobs:
            self.store.register(job, self.definition)

    def _served(self, job: str, etag: str) -> bytes | None:
        body = self.served.get(job)
        return body if body is not None and etag_of(body, JSON) == etag else None

    async def begin(self, job: str = "a") -> Grant | None:
        return await self.store.acquire(job, due_now_since=self.clock.now())

    def confirmation(self) -> Confirmation:
        return Confirmation(
            checked_at=self.clock.now(), lifetime=100.0, revision="r", definition=self.definition
        )

    def content(self, body: bytes) -> Content:
        return Content(body=body, content_type=JSON, format=Format.JSON, items=1)

    def published(self, body: bytes, job: str = "a") -> Changed:
        stored = self.store.stage(job, self.content(body), etag_of(body, JSON))
        return Changed(stored=stored, confirmation=self.confirmation())

    def aside(self, body: bytes, job: str = "a") -> Quarantined:
        now = self.clock.now()
        quarantine = Quarantine(
            stored=self.store.stage(job, self.content(body), etag_of(body, JSON)),
            confirmation=self.confirmation(),
            reason="small",
            at=now,
            seen=1,
            next_moment=now,
        )
        return Quarantined(quarantine=quarantine)

    async def end(self, grant: Grant, result: Result) -> Ledger | None:
        now = self.clock.now()
        settlement = Settlement(
            result=result,
            attempt=Attempt(
                job=grant.job, started_at=now, duration=0.0, outcome=result.outcome, version=None
            ),
            due=Due(now + 100, DueReason.SCHEDULE),
            held_until=0.0,
            answers=grant.answers,
            ended=now,
            fresh_since=now,
        )
        return await self.store.settle(grant, settlement, served=self.version(grant.job) or 0)

    async def publish(self, body: bytes, job: str = "a") -> int:
        """A whole attempt; the version that is served after it."""
        await self.clock.advance(0.25)
        grant = await self.begin(job)
        assert grant is not None
        assert await self.end(grant, self.published(body, job)) is not None
        self.served[job] = body
        version = self.version(job)
        assert version is not None
        return version

    def standing(self, job: str = "a") -> Standing:
        return self.store.standing(job)

    def version(self, job: str = "a") -> int | None:
        return self.standing(job).current

    async def body(self, job: str = "a") -> bytes | None:
        current = self.store.ledger(job).version(self.version(job))
        return None if current is None else await self.store.body(job, current.stored)

    async def news(self) -> list[str]:
        """The jobs of which there is news, in any order."""
        with anyio.fail_after(60):
            return sorted(await self.store.news())

    @property
    def unwritten(self) -> int:
        """Bodies that are held in memory for the store."""
        return len(self.store._staged) + len(self.store._unsaved)  # noqa: SLF001  a leak shows nowhere else


@asynccontextmanager
async def entered(*members: Member) -> AsyncIterator[None]:
    """Keep the stores of these processes entered."""
    if not members:
        yield
        return
    async with members[0].store, entered(*members[1:]):
        await settled()
        yield


def stored(place: Place, job: str = "a") -> Ledger:
    return ledger.decoded(place.documents[f"job/{job}"].document)


def current_body(place: Place, job: str = "a") -> bytes | None:
    """What a process that starts now would serve."""
    known = stored(place, job)
    version = known.version(known.standings[KEY].current)
    return None if version is None else place.bodies.get(version.stored.body)


async def test_what_is_published_is_there_for_the_next_process() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        assert await one.publish(b"[1]") == 1
        assert one.unwritten == 0
    other = Member(place, clock=one.clock)
    async with entered(other):
        assert (other.version(), await other.body()) == (1, b"[1]")


async def test_nothing_is_written_of_a_job_that_asks_for_nothing() -> None:
    place = Place()
    async with entered(Member(place)):
        pass
    assert place.documents == {}


async def test_what_one_process_publishes_is_news_to_the_others() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        await one.publish(b"[1]")
        await settled()
        assert await other.news() == ["a"]
        assert (other.version(), await other.body()) == (1, b"[1]")


async def test_a_notice_that_gets_lost_is_made_up_for_by_the_next_beat() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        place.news.clear()
        await one.publish(b"[1]")
        assert other.version() is None
        await clock.advance(1.5)
        assert other.version() == 1


async def test_of_all_processes_one_is_granted_an_attempt() -> None:
    place, clock = Place(), FakeClock()
    members = [Member(place, clock) for _ in range(5)]
    async with entered(*members):
        grants = await asyncio.gather(*(each.begin() for each in members))
        assert sum(grant is not None for grant in grants) == 1


async def test_each_request_has_a_number_of_its_own() -> None:
    place, clock = Place(), FakeClock()
    members = [Member(place, clock) for _ in range(3)]
    async with entered(*members):
        numbers = await asyncio.gather(
            *(each.store.request("a") for each in members for _ in range(10))
        )
        assert set(numbers) == set(range(1, 31))


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
        place.alive.discard(one.store.process)
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
        assert (one.store.alone, other.store.alone) == (True, False)


async def test_of_those_that_start_after_one_that_was_killed_the_first_is_alone() -> None:
    place, clock = Place(), FakeClock()
    place.alive.add("killed")
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        assert (one.store.alone, other.store.alone) == (False, False)
        place.alive.discard("killed")
        await clock.advance(2)
        assert (one.store.alone, other.store.alone) == (True, False)
        assert await one.news() == ["a", "b"]


async def test_a_store_that_fails_is_told_at_the_edges_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = Place()
    one = Member(place)
    with caplog.at_level(logging.INFO, "refresher"):
        async with entered(one):
            await one.publish(b"[1]")
            one.handle.away = True
            for n in range(2, 5):
                assert await one.publish(b"[%d]" % n) == n
            await one.clock.advance(5)
            assert one.turns == [True]
            assert one.errors["write"] == 1
            assert one.errors["beat"] >= 5
            one.handle.away = False
            await one.clock.advance(1.5)
            assert one.turns == [True, False]
            assert current_body(place) == b"[4]"
    assert len(caplog.records) == 2


async def test_provisional_versions_are_committed_above_all_numbers_seen() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        await one.publish(b"[1]")
        await settled()
        one.handle.away = other.handle.away = True
        for n in range(3):
            await one.publish(b'["one", %d]' % n)
        assert await other.publish(b'["other"]') == 2
        one.handle.away = other.handle.away = False
        await clock.advance(3)
        assert one.version() == other.version() == stored(place).standings[KEY].current
        assert (one.version() or 0) > 4
        assert await one.body() == await other.body() == b'["other"]'
        bodies = {place.bodies[each.stored.body] for each in stored(place).versions}
        assert bodies <= {b"[1]", b'["one", 2]', b'["other"]'}
        assert one.unwritten == other.unwritten == 0
        assert place.orphans == set()


async def test_a_store_that_comes_back_empty_is_filled() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        for n in range(3):
            await one.publish(b"[%d]" % n)
        await settled()
        await one.store.decide("b", lambda known, _: ledger.paused(known))
        await settled()
        other.served["a"] = b"[2]"
        place.empty()
        await clock.advance(3)
        known = stored(place)
        assert [each.version for each in known.versions] == [3]
        assert known.counts.changed == 3
        assert stored(place, "b").paused
        assert current_body(place) == b"[2]"
        assert one.version() == other.version() == 3
        assert await one.publish(b"[3]") == 4
    async with entered(third := Member(place, clock)):
        assert await third.body() == b"[3]"


async def test_a_store_that_lost_its_last_changes_is_told_them_again() -> None:
    place, clock = Place(), FakeClock()
    one = Member(place, clock)
    async with entered(one):
        await one.publish(b"[1]")
        await clock.advance(1.5)
        then = place.copy()
        await one.publish(b"[2]")
        await one.publish(b"[3]")
        await clock.advance(1.5)
        place.go_back(then)
        await clock.advance(2)
        assert [each.version for each in stored(place).versions] == [3, 1]
        assert current_body(place) == b"[3]"
        assert await one.publish(b"[4]") == 4


async def test_a_body_is_never_stored_under_the_name_of_another() -> None:
    place, clock = Place(), FakeClock()
    one, behind = Member(place, clock), Member(place, clock)
    async with entered(one, behind):
        await one.publish(b"[1]")
        await settled()
        behind.served["a"] = b"[1]"
        behind.handle.broken = frozenset({"get"})
        await one.publish(b"[2]")
        await settled()
        assert behind.version() == 2
        one.handle.away = True
        place.empty()
        await clock.advance(2)
        assert current_body(place) is None
        due = behind.standing().due.at
        assert due is not None
        assert due <= clock.now()
        one.handle.away = False
        await clock.advance(2)
        assert current_body(place) == b"[2]"
        assert one.version() == stored(place).standings[KEY].current


async def test_beats_that_are_answered_late_are_not_taken_for_a_store_that_went_back() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)

    class Slow:
        """Looks at what it has, and then takes its time to say so."""

        def __init__(self) -> None:
            self.answered = asyncio.Event()

        async def beat(self, process: str) -> Beat:
            beat = await place.handle().beat(process)
            await self.answered.wait()
            return beat

    async with entered(one, other):
        slow = Slow()
        prompt, one.handle.beat = one.handle.beat, slow.beat  # type: ignore[method-assign]
        await clock.advance(1.2)
        await other.publish(b"[1]")
        await settled()
        assert one.version() == 1
        slow.answered.set()
        await settled()
        assert one.turns == []
        one.handle.beat = prompt  # type: ignore[method-assign]


async def test_a_decision_is_made_in_the_store_or_not_at_all() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        await one.publish(b"[1]")
        before = one.store.ledger("a")
        one.handle.away = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await one.store.decide("a", lambda known, _: ledger.paused(known))
            assert one.store.ledger("a") == before
        one.handle.away = False
        await one.clock.advance(1.5)
        assert not stored(place).paused
        assert await one.store.decide("a", lambda known, _: ledger.paused(known))
        assert stored(place).paused


async def test_an_attempt_under_way_is_not_lost_over_a_reunion() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        await one.publish(b"[1]")
        grant = await one.begin()
        assert grant is not None
        one.handle.away = True
        await one.clock.advance(2)
        one.handle.away = False
        await one.clock.advance(2)
        assert one.turns == [True, False]
        assert await one.end(grant, one.published(b"[2]"))
        assert current_body(place) == b"[2]"


async def test_an_attempt_begun_alone_is_settled_in_the_store_that_is_back() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        one.handle.away = True
        grant = await one.begin()
        assert grant is not None
        found = one.published(b"[1]")
        one.handle.away = False
        await one.clock.advance(2)
        assert not one.store.detached
        assert await one.end(grant, found)
        assert current_body(place) == b"[1]"
        assert one.unwritten == 0


async def test_a_job_that_another_held_when_the_store_went_away_is_refreshed_all_the_same() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    async with entered(one, other):
        await clock.advance(1.5)
        assert await other.begin()
        await settled()
        assert await one.begin() is None
        one.handle.away = True
        await clock.advance(1.5)
        assert await one.begin()


async def test_a_settlement_that_comes_through_unheard_makes_no_version_twice() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        await one.publish(b"[1]")
        grant = await one.begin()
        assert grant is not None
        one.handle.silent = frozenset({"write"})
        assert await one.end(grant, one.published(b"[2]"))
        assert one.store.detached
        assert (stored(place).issued, one.version()) == (2, 2)
        one.handle.silent = frozenset()
        await one.clock.advance(2)
        assert [each.version for each in stored(place).versions] == [2, 1]
        assert one.version() == 2
        assert stored(place).standings[KEY].holder is None
        assert one.unwritten == 0


async def test_nothing_stays_in_memory_of_attempts_that_come_to_nothing() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        await one.publish(b"[1]")
        grant = await one.begin()
        assert grant is not None
        one.published(b"[2]")  # and then its deadline is over
        assert await one.end(grant, FAILED)
        assert one.unwritten == 0
        grant = await one.begin()
        assert grant is not None
        ending = asyncio.ensure_future(one.end(grant, one.published(b"[3]")))
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.wait([ending])
        assert one.unwritten == 0


async def test_alone_only_what_is_current_or_in_quarantine_stays_in_memory() -> None:
    place = Place()
    one = Member(place)
    async with entered(one):
        one.handle.away = True
        for n in range(5):
            await one.publish(b"[%d]" % n)
        grant = await one.begin()
        assert grant is not None
        assert await one.end(grant, one.aside(b"[]"))
        (bodies,) = one.store._unsaved.values()  # noqa: SLF001
        assert sorted(bodies.values()) == [b"[4]", b"[]"]
        assert await one.body() == b"[4]"
        held = one.standing().quarantine
        assert held is not None
        assert await one.store.body("a", held.stored) == b"[]"
        one.handle.away = False
        await one.clock.advance(2)
        assert one.unwritten == 0
        assert current_body(place) == b"[4]"


async def test_history_is_cut_over_all_jobs_the_oldest_first_and_never_what_is_current() -> None:
    place = Place()
    one = Member(place, retention=Retention(versions=10, bytes=100))
    async with entered(one):
        await one.publish(b"x" * 30, "b")
        for n in range(6):
            await one.publish(b"%d" % n * 20, "a")
        await settled()
        assert [each.version for each in stored(place, "b").versions] == [1]
        assert [each.version for each in stored(place, "a").versions] == [6, 5, 4]
        assert sum(map(len, place.bodies.values())) == 90


async def test_current_versions_that_are_too_large_together_are_kept_and_not_written_again() -> (
    None
):
    place = Place()
    one = Member(place, retention=Retention(versions=10, bytes=100))
    async with entered(one):
        for n in range(3):
            for job in ("a", "b"):
                await one.publish(b"%d" % n * 80, job)
        await settled()
        for job in ("a", "b"):
            assert [each.version for each in stored(place, job).versions] == [3]
        writes = one.handle.asked.count("write")
        await one.publish(b"2" * 80, "a")  # equal bytes
        await settled()
        assert one.handle.asked.count("write") == writes + 2, "begun and settled, no more"


async def test_bodies_that_history_lets_go_of_are_gone_from_the_store() -> None:
    place = Place()
    one = Member(place, retention=Retention(versions=3))
    async with entered(one):
        for n in range(20):
            await one.publish(b"[%d]" % n)
    assert sorted(place.bodies.values()) == [b"[17]", b"[18]", b"[19]"]


async def test_a_rate_holds_for_all_processes_together() -> None:
    place, clock = Place(), FakeClock()
    members = [Member(place, clock) for _ in range(3)]
    rate = Rate(4, 60.0)
    async with entered(*members):
        waits = await asyncio.gather(
            *(each.store.reserve("up", rate) for each in members for _ in range(3))
        )
        assert Counter(waits) == {None: 4, START + 60: 5}
        await members[0].store.give_back("up")
        await settled()
        assert await members[1].store.reserve("up", rate) is None


async def test_a_hold_is_known_to_all_processes_and_their_jobs_are_told() -> None:
    place, clock = Place(), FakeClock()
    one, other = Member(place, clock), Member(place, clock)
    woken: list[str] = []
    other.store.on_hold("up", lambda: woken.append("up"))
    other.store.on_hold("another", lambda: woken.append("another"))
    async with entered(one, other):
        await one.store.hold("up", START + 50)
        await settled()
        assert woken == ["up"]
        assert other.store.held_until("up") == START + 50
        other.handle.away = True
        await clock.advance(1.5)
        await other.store.hold("up", START + 70)
        other.handle.away = False
        await clock.advance(2)
        assert one.store.held_until("up") == START + 70


async def published_before() -> tuple[Place, Member]:
    """A store with a version of `a`, and a process that is yet to enter it."""
    place = Place()
    first = Member(place)
    async with entered(first):
        await first.publish(b"[1]")
    return place, Member(place, first.clock)


async def test_a_store_that_is_away_at_the_start_is_joined_when_it_is_there() -> None:
    _, late = await published_before()
    late.handle.away = True
    async with entered(late):
        assert late.store.detached
        assert late.version() is None
        late.handle.away = False
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")


async def test_a_store_that_cannot_be_written_at_the_start_is_read_all_the_same() -> None:
    _, late = await published_before()
    late.handle.broken = frozenset({"beat", "write", "put"})
    async with entered(late):
        assert late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")
        assert await late.publish(b"[2]") == 2
        late.handle.broken = frozenset()
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (3, b"[2]")


async def test_what_was_read_then_is_told_a_store_that_has_lost_it_meanwhile() -> None:
    place, late = await published_before()
    late.handle.broken = frozenset({"beat"})
    async with entered(late):
        late.served["a"] = b"[1]"
        place.empty()
        late.handle.broken = frozenset()
        await late.clock.advance(2)
        assert not late.store.detached
        assert (late.version(), await late.body()) == (1, b"[1]")


async def test_a_store_that_is_silent_at_the_start_is_waited_for_once() -> None:
    class Silent(Handle):
        """Has kept somebody waiting."""

        async def beat(self, process: str) -> Beat:
            await super().beat(process)
            raise StoreSilent("the store has been silent")

    handle = Silent(Place())
    async with Store(handle, clock=ShiftedClock(FakeClock())) as store:
        assert store.detached
        assert handle.asked == ["beat"]


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
        assert store.alone


async def test_whatever_a_store_raises_the_process_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Handle):
        """Breaks in a way that nobody foresaw."""

        healthy = True

        async def beat(self, process: str) -> Beat:
            if not self.healthy:
                raise ZeroDivisionError("nobody foresaw this")
            return await super().beat(process)

    place, clock = Place(), FakeClock()
    handle = Broken(place)
    store = Store(handle, clock=ShiftedClock(clock))
    store.register("a", DEFINITION)
    async with store:
        handle.healthy = False
        await clock.advance(3)
        assert store.detached
        assert await store.acquire("a")
        handle.healthy = True
        await clock.advance(2)
        assert not store.detached
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


async def test_a_store_that_cannot_be_listened_to_is_asked_once_in_a_while() -> None:
    class Deaf(Handle):
        """Hears of no change, and says so."""

        heard = 0

        async def changed(self) -> None:
            self.heard += 1
            if self.heard > 1000:
                await super().changed()
            raise StoreUnavailable("it cannot be listened to")

    clock = FakeClock()
    async with Store(deaf := Deaf(Place()), clock=ShiftedClock(clock)):
        await clock.advance(3)
        assert 1 < deaf.heard < 10


async def test_whoever_ends_is_waited_for_by_nobody() -> None:
    place, clock = Place(), FakeClock()
    one = Member(place, clock)
    async with entered(one):
        assert await one.begin()
    assert place.alive == set()
    async with entered(other := Member(place, clock)):
        await clock.advance(1.5)
        assert await other.begin()


async def test_entering_a_job_tells_whether_anything_is_known_of_it() -> None:
    backend, definition = MemoryStore(), Definition("source", "rules")
    for is_known in (False, True):
        async with Store(backend, clock=ShiftedClock(FakeClock())) as store:
            assert store.register("rates", definition) is is_known
            await store.request("rates")
