from refresher.store.retention import Retention
from tests.fakes import settled
from tests.store.members import Member, entered, stored
from tests.store.shared import Place


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
