import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from refresher.fields.retry_after import LONGEST_WAIT
from refresher.jobs.job import Job
from refresher.jobs.schedule import Cron, Interval, due_from
from refresher.jobs.scheduler import HEARTBEAT, Scheduler
from refresher.payload import NotModified
from tests.fakes import START, FakeClock, FakeTimer, payload, payloads
from tests.jobs.builder import Scene, down, running

DAY = 86_400.0


class Fatal(BaseException):
    """Nothing that a job's loop is there for."""


class FatalSource:
    """Ends the task that asks it."""

    async def fetch(self, since: str | None) -> NotModified:
        raise Fatal(since)


# Read here, as the configuration does before a loop runs.
due_from(EVERY_SECOND_MINUTE := Cron("*/2 * * * *"), "any", START)


class WallClock(FakeClock):
    """A clock that somebody sets, which moves no timer: those run on the loop's."""

    _set_by = 0.0

    def now(self) -> float:
        return super().now() + self._set_by

    def call_at(self, instant: float, callback: Callable[[], object]) -> FakeTimer:
        return super().call_at(instant - self._set_by, callback)

    async def step(self, seconds: float) -> None:
        """Set the clock, and let the heart beat until it must have been noticed."""
        self._set_by += seconds
        await self.advance(HEARTBEAT + 0.1)


@asynccontextmanager
async def scheduling(
    scene: Scene, *jobs: Job, frozen: tuple[str, ...] = ()
) -> AsyncIterator[Scheduler]:
    async with anyio.create_task_group() as tasks:
        scheduler = Scheduler(tasks, scene.clock)
        scheduler.start(jobs, frozen=frozen)
        await anyio.wait_all_tasks_blocked()
        yield scheduler
        tasks.cancel_scope.cancel()


async def test_each_job_runs_and_is_found_by_its_name() -> None:
    scene = Scene()
    a, asked_a = scene.job(name="a")
    b, asked_b = scene.job(name="b")
    async with scheduling(scene, a, b) as scheduler:
        assert scheduler.get("a") is a
        assert scheduler.get("c") is None
        assert list(scheduler) == [a, b]
        assert (len(asked_a.asked_at), len(asked_b.asked_at)) == (1, 1)


async def test_a_job_that_is_stopped_before_its_turn_never_runs() -> None:
    scene = Scene()
    a, asked_a = scene.job(name="a")
    b, asked_b = scene.job(name="b")
    async with anyio.create_task_group() as tasks:
        scheduler = Scheduler(tasks, scene.clock)
        scheduler.start([a, b])
        scheduler.stop("a")
        await anyio.wait_all_tasks_blocked()
        assert (len(asked_a.asked_at), len(asked_b.asked_at)) == (0, 1)
        tasks.cancel_scope.cancel()


async def test_others_have_their_turns_while_thousands_are_started() -> None:
    scene = Scene()
    jobs = [scene.job(name=f"job-{number}") for number in range(3000)]
    async with anyio.create_task_group() as tasks:
        Scheduler(tasks, scene.clock).start([job for job, _ in jobs])
        turns = set[int]()
        while not jobs[-1][1].asked_at:
            turns.add(sum(bool(source.asked_at) for _, source in jobs))
            await asyncio.sleep(0)
        tasks.cancel_scope.cancel()
    assert len(turns) > 3


async def test_what_no_job_can_survive_ends_them_all_and_is_told() -> None:
    scene = Scene()
    a, _ = scene.job(name="a")
    b, _ = scene.job(name="b")
    b.replace_source(FatalSource())
    with pytest.raises(BaseExceptionGroup) as raised:
        async with scheduling(scene, a, b):
            await anyio.sleep_forever()
    assert raised.group_contains(Fatal)


async def test_a_stopped_job_stays_known_and_the_others_go_on() -> None:
    scene = Scene()
    a, asked_a = scene.job(name="a", schedule=Interval(2.0))
    b, asked_b = scene.job(name="b", schedule=Interval(2.0))
    async with scheduling(scene, a, b) as scheduler:
        scheduler.stop("a")
        await scene.clock.advance(9)
        assert scheduler.get("a") is a
        assert len(asked_a.asked_at) == 1
        assert len(asked_b.asked_at) >= 3


async def test_a_frozen_job_does_nothing() -> None:
    scene = Scene()
    job, asked = scene.job(name="a")
    async with scheduling(scene, job, frozen=("a",)) as scheduler:
        await scene.clock.advance(9)
        assert scheduler.get("a") is job
        assert asked.asked_at == []


async def test_the_heart_beats() -> None:
    scene = Scene()
    async with scheduling(scene) as scheduler:
        await anyio.sleep(0.02)
        assert scheduler.since_heartbeat() > 0
        began = anyio.current_time()
        await scene.clock.advance(HEARTBEAT)
        assert scheduler.since_heartbeat() < anyio.current_time() - began


@pytest.mark.parametrize("schedule", [Interval(100.0), EVERY_SECOND_MINUTE])
async def test_a_clock_set_back_by_a_day_does_not_make_a_job_wait_for_a_day(
    schedule: Interval | Cron,
) -> None:
    scene = Scene(clock=(clock := WallClock()))
    job, asked = scene.job(*payloads(50), schedule=schedule)
    async with scheduling(scene, job):
        await clock.step(-DAY)
        for _ in range(4):
            await clock.step(120)
    assert len(asked.asked_at) >= 4


async def test_a_clock_set_back_leaves_no_retry_after_of_a_day() -> None:
    scene = Scene(clock=(clock := WallClock()))
    job, asked = scene.job(down(retry_after=30.0, upstream_wide=True), payload())
    async with scheduling(scene, job):
        await clock.step(-DAY)
        await clock.step(LONGEST_WAIT)
    assert len(asked.asked_at) == 2


async def test_a_clock_set_back_leaves_no_cooldown_of_a_day() -> None:
    scene = Scene(clock=(clock := WallClock()))
    job, _ = scene.job(cooldown=60.0)
    async with scheduling(scene, job):
        await job.request()
        await clock.step(-DAY)
        await clock.step(60)
        await job.request()


async def test_a_clock_set_forward_wakes_who_is_due_by_it() -> None:
    scene = Scene(clock=(clock := WallClock()))
    job, asked = scene.job(*payloads(50), schedule=Interval(10 * DAY))
    async with scheduling(scene, job):
        await clock.step(20 * DAY)
    assert len(asked.asked_at) == 2


async def test_looking_again_moves_no_due_moment() -> None:
    scene = Scene()
    job, asked = scene.job(*payloads(50), schedule=(schedule := Interval(100.0, 20.0)))
    async with running(job):
        for _ in range(30):
            await scene.clock.advance(13)
            await job.look_again()
    expected = [due_from(schedule, job.name, START + 50)]
    while len(expected) < len(asked.asked_at) - 1:
        expected.append(due_from(schedule, job.name, expected[-1] + 50))
    assert asked.asked_at[1:] == pytest.approx(expected)
    assert len(expected) >= 3
