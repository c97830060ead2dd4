import anyio

from refresher.clock import ShiftedClock
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.model import Rate
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store
from refresher.upstream.limiter import Limiter
from tests.fakes import START, FakeClock, payload
from tests.jobs.builder import Scene, down, running


class Users:
    """Tasks that come for a place, note when they got it, and keep it as long as they are told."""

    def __init__(self, clock: FakeClock, limiter: Limiter, *, leaving: bool = True) -> None:
        self.clock = clock
        self.limiter = limiter
        self.starts: list[float] = []
        self.leave = anyio.Event()
        if leaving:
            self.leave.set()

    async def come(self) -> None:
        async with self.limiter.place():
            self.starts.append(self.clock.now() - START)
            await self.leave.wait()

    async def come_for_nothing(self) -> None:
        async with self.limiter.place():
            await self.limiter.give_back()


def make_limiter(
    clock: FakeClock, *, max_concurrency: int = 100, rate: Rate | None = None
) -> Limiter:
    store = Store(MemoryStore(), clock=ShiftedClock(clock))
    return Limiter(
        "up", max_concurrency=max_concurrency, rate=rate, clock=clock, limits=store.limits
    )


async def test_no_more_pass_at_once_than_there_are_places() -> None:
    clock = FakeClock()
    users = Users(clock, make_limiter(clock, max_concurrency=4), leaving=False)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(users.come)
        await anyio.wait_all_tasks_blocked()
        assert len(users.starts) == 4
        users.leave.set()
    assert len(users.starts) == 10


async def test_in_no_window_are_there_more_starts_than_the_rate_allows() -> None:
    clock = FakeClock()
    users = Users(clock, make_limiter(clock, rate=Rate(3, 60.0)))
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(users.come)
        await clock.advance(50)
        for _ in range(6):
            tasks.start_soon(users.come)
        await clock.advance(200)
    assert users.starts == [0, 0, 50, 60, 60, 110, 120, 120]


async def test_who_has_nothing_to_start_takes_nothing_from_the_rate() -> None:
    clock = FakeClock()
    users = Users(clock, make_limiter(clock, rate=Rate(1, 60.0)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.come)
        for _ in range(20):
            tasks.start_soon(users.come_for_nothing)
        tasks.start_soon(users.come)
        await clock.advance(60)
    assert users.starts == [0, 60]


async def test_one_more_request_of_an_attempt_takes_a_token_if_there_is_one_in_time() -> None:
    clock = FakeClock()
    limiter = make_limiter(clock, rate=Rate(1, 60.0))
    users = Users(clock, limiter)
    assert await limiter.admit_another(0)
    assert not await limiter.admit_another(59)
    admitted: list[float] = []

    async def come() -> None:
        assert await limiter.admit_another(60)
        admitted.append(clock.now() - START)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come)
        await clock.advance(60)
        tasks.start_soon(users.come)
        await clock.advance(60)
    assert (admitted, users.starts) == ([60], [120])


async def test_no_more_request_of_an_attempt_is_admitted_while_the_upstream_is_held() -> None:
    clock = FakeClock()
    limiter = make_limiter(clock)
    assert await limiter.admit_another(0)
    limiter.hold(START + 10)
    assert not await limiter.admit_another(100)
    await clock.advance(10)
    assert await limiter.admit_another(0)


async def test_a_cancelled_wait_does_not_block_those_behind_it() -> None:
    clock = FakeClock()
    users = Users(clock, make_limiter(clock, max_concurrency=1, rate=Rate(1, 60.0)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.come)
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(users.come)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        tasks.start_soon(users.come)
        await clock.advance(60)
    assert users.starts == [0, 60]


async def test_a_hold_is_only_ever_prolonged_and_every_job_is_woken() -> None:
    limiter, seen = make_limiter(FakeClock()), []
    limiter.on_hold(lambda: seen.append(limiter.held_until))
    limiter.hold(START + 10)
    limiter.hold(START + 5)
    limiter.hold(START + 20)
    assert seen == [START + 10, START + 20]


async def test_a_clock_that_is_set_back_leaves_nothing_in_a_distant_future() -> None:
    clock = FakeClock()
    users = Users(clock, limiter := make_limiter(clock, rate=Rate(1, 60.0)))
    await users.come()
    limiter.hold(START + 100)
    await clock.advance(-86_400)
    await limiter.look_again()
    assert limiter.held_until == START - 86_400 + LONGEST_WAIT
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.come)
        await clock.advance(61)
    assert users.starts[-1] == -86_400 + 60


async def test_who_waits_for_a_place_while_another_meets_a_429_makes_no_attempt() -> None:
    scene = Scene()
    limiter = scene.limiter(max_concurrency=1, rate=Rate(2, 60.0))
    limited, first = scene.job(
        down(retry_after=500.0, upstream_wide=True), payload(), name="limited", limiter=limiter
    )
    waiting, asked = scene.job(name="waiting", limiter=limiter)
    first.hold = anyio.Event()
    async with running(limited, waiting):
        first.hold.set()
        await scene.clock.advance(499)
        assert asked.asked_at == []
        await scene.clock.advance(2)
        assert len(asked.asked_at) == 1
