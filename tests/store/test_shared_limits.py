import asyncio
from collections import Counter

from refresher.model import Rate
from refresher.store.availability import Availability
from refresher.store.shared_limits import SharedLimits
from tests.fakes import START, FakeClock, settled
from tests.store.fake_backend import FakeStorage
from tests.store.processes import Process, entered


def limits_on(storage: FakeStorage, clock: FakeClock, *, away: bool = False) -> SharedLimits:
    """Limits without a store around them."""
    backend = storage.backend()
    backend.away = away

    async def catch_up() -> None:
        for change in await backend.changes(0):
            limits.upstreams.take(change)

    limits = SharedLimits(Availability(backend), clock=clock, catch_up=catch_up)
    return limits


async def test_a_rate_is_counted_over_processes_that_have_no_notice_of_each_other() -> None:
    storage, clock, rate = FakeStorage(), FakeClock(), Rate(2, 60.0)
    one, other = limits_on(storage, clock), limits_on(storage, clock)
    assert await one.reserve("up", rate) is None
    assert await other.reserve("up", rate) is None
    assert await one.reserve("up", rate) == START + 60
    await other.give_back("up")
    assert await one.reserve("up", rate) == START + 60, "by what it knows"
    await one.hold("up", START + 1)
    assert await one.reserve("up", rate) is None


async def test_without_its_store_a_process_keeps_to_the_rate_by_itself() -> None:
    limits, rate = limits_on(FakeStorage(), FakeClock(), away=True), Rate(1, 60.0)
    assert await limits.reserve("up", rate) is None
    assert await limits.reserve("up", rate) == START + 60


async def test_only_a_hold_that_is_moved_out_wakes() -> None:
    limits = limits_on(FakeStorage(), clock := FakeClock())
    woken: list[float] = []
    limits.on_hold("up", lambda: woken.append(limits.held_until("up")))
    for seconds in (50, 20, 70):
        await limits.hold("up", START + seconds)
    await limits.not_after("up", latest=clock.now() + 10)
    assert woken == [START + 50, START + 70]
    assert limits.held_until("up") == START + 10


async def test_a_rate_holds_for_all_processes_together() -> None:
    storage, clock = FakeStorage(), FakeClock()
    processes = [Process(storage, clock) for _ in range(3)]
    rate = Rate(4, 60.0)
    async with entered(*processes):
        waits = await asyncio.gather(
            *(each.store.limits.reserve("up", rate) for each in processes for _ in range(3))
        )
        assert Counter(waits) == {None: 4, START + 60: 5}
        await processes[0].store.limits.give_back("up")
        await settled()
        assert await processes[1].store.limits.reserve("up", rate) is None


async def test_a_hold_is_known_to_all_processes_and_wakes_their_jobs() -> None:
    storage, clock = FakeStorage(), FakeClock()
    one, other = Process(storage, clock), Process(storage, clock)
    woken: list[str] = []
    other.store.limits.on_hold("up", lambda: woken.append("up"))
    other.store.limits.on_hold("another", lambda: woken.append("another"))
    async with entered(one, other):
        await one.store.limits.hold("up", START + 50)
        await settled()
        assert woken == ["up"]
        assert other.store.limits.held_until("up") == START + 50
        other.backend.away = True
        await clock.advance(1.5)
        await other.store.limits.hold("up", START + 70)
        other.backend.away = False
        await clock.advance(2)
        assert one.store.limits.held_until("up") == START + 70
