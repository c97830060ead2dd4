from refresher.store.retention import Retention
from tests.fakes import settled
from tests.store.fake_backend import FakeStorage
from tests.store.processes import Process, current_body, entered, stored


async def test_history_is_cut_over_all_jobs_the_oldest_first_and_never_what_is_current() -> None:
    storage = FakeStorage()
    one = Process(storage, retention=Retention(versions=10, bytes=100))
    async with entered(one):
        await one.publish(b"x" * 30, "b")
        for n in range(6):
            await one.publish(b"%d" % n * 20, "a")
        await settled()
        assert [each.version for each in stored(storage, "b").versions] == [1]
        assert [each.version for each in stored(storage, "a").versions] == [6, 5, 4]
        assert sum(map(len, storage.bodies.values())) == 90


async def test_current_versions_that_are_too_large_together_are_kept_and_not_written_again() -> (
    None
):
    storage = FakeStorage()
    one = Process(storage, retention=Retention(versions=10, bytes=100))
    async with entered(one):
        for n in range(3):
            for job in ("a", "b"):
                await one.publish(b"%d" % n * 80, job)
        await settled()
        for job in ("a", "b"):
            assert [each.version for each in stored(storage, job).versions] == [3]
        writes = one.backend.asked.count("write")
        await one.publish(b"2" * 80, "a")  # equal bytes
        await settled()
        assert one.backend.asked.count("write") == writes + 2, "begun and settled, no more"


async def test_the_bodies_of_versions_beyond_the_history_are_deleted() -> None:
    storage = FakeStorage()
    one = Process(storage, retention=Retention(versions=3))
    async with entered(one):
        for n in range(20):
            await one.publish(b"[%d]" % n)
    assert sorted(storage.bodies.values()) == [b"[17]", b"[18]", b"[19]"]


async def test_history_that_cannot_be_cut_during_an_outage_is_cut_by_the_next_change() -> None:
    storage = FakeStorage()
    one = Process(storage, retention=Retention(versions=10, bytes=100))
    async with entered(one):
        for n in range(5):
            await one.publish(b"%d" % n * 20)
        one.backend.away = True
        await one.publish(b"5" * 20)
        await settled()
        assert [each.version for each in stored(storage).versions] == [5, 4, 3, 2, 1]
        one.backend.away = False
        await one.clock.advance(2)
        await one.publish(b"6" * 20)
        await settled()
        assert len(stored(storage).versions) == 4
        assert current_body(storage) == b"6" * 20
