import asyncio

from refresher.store.pending import PendingBodies
from tests.store.fake_backend import FakeStorage
from tests.store.ledgers import FAILED
from tests.store.processes import Process, current_body, entered


def test_a_staged_body_is_there_until_its_attempt_is_over() -> None:
    pending = PendingBodies()
    one, two = pending.stage("a", b"1"), pending.stage("a", b"2")
    assert pending.of("a") == {one: b"1", two: b"2"}
    assert pending.of("b") == {}
    pending.keep_only("a")
    assert pending.of("a") == {}


def test_bodies_kept_while_detached_stay_until_they_are_written() -> None:
    pending = PendingBodies()
    one, two = pending.stage("a", b"1"), pending.stage("a", b"2")
    pending.keep_only("a", {one, "another"})
    three = pending.stage("a", b"3")
    assert pending.of("a") == {one: b"1", three: b"3"}
    pending.clear()
    assert pending.of("a") == {three: b"3"}, "its attempt is still under way"
    assert two not in pending.of("a")


async def test_nothing_stays_in_memory_of_attempts_without_effect() -> None:
    storage = FakeStorage()
    one = Process(storage)
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


async def test_while_detached_only_what_is_current_or_in_quarantine_stays_in_memory() -> None:
    storage = FakeStorage()
    one = Process(storage)
    async with entered(one):
        one.backend.away = True
        for n in range(5):
            await one.publish(b"[%d]" % n)
        grant = await one.begin()
        assert grant is not None
        assert await one.end(grant, one.aside(b"[]"))
        bodies = one.store._pending.of("a")  # noqa: SLF001  what is held shows nowhere else
        assert sorted(bodies.values()) == [b"[4]", b"[]"]
        assert await one.body() == b"[4]"
        held = one.standing().quarantine
        assert held is not None
        assert await one.store.body("a", held.stored) == b"[]"
        one.backend.away = False
        await one.clock.advance(2)
        assert one.unwritten == 0
        assert current_body(storage) == b"[4]"
