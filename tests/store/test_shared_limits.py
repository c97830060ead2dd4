import asyncio
from collections import Counter

from refresher.model import (
    Rate,
)
from tests.fakes import START, FakeClock, settled
from tests.store.fake_backend import FakeStorage
from tests.store.processes import Process, entered


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


async def test_a_hold_is_known_to_all_processes_and_their_jobs_are_told() -> None:
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
