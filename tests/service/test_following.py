"""What other processes and earlier runs have fetched, without a service."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import anyio
import pytest

from refresher.jobs.job import Job
from refresher.jobs.scheduler import Scheduler
from refresher.model import Stored
from refresher.service.following import follow_others, restore
from refresher.store.store import Store
from tests.fakes import payload, settled
from tests.jobs.builder import Scene, running
from tests.store.fake_backend import FakeStorage


async def stored(storage: FakeStorage, *names: str) -> None:
    """Have an earlier run fetch something for each job."""
    scene = Scene(backend=storage.backend())
    jobs = [scene.job(payload(f'"{name}"'.encode()), name=name)[0] for name in names]
    async with scene.store, running(*jobs):
        pass


async def registered(scene: Scene, *names: str) -> list[Job]:
    jobs = [scene.job(name=name)[0] for name in names]
    for job in jobs:
        assert await job.register()
    return jobs


async def test_what_is_stored_is_served_before_any_attempt() -> None:
    await stored(storage := FakeStorage(), "one", "two")
    scene = Scene(backend=storage.backend())
    async with scene.store:
        jobs = await registered(scene, "one", "two")
        assert [job.awaited is not None for job in jobs] == [True, True]
        await restore(jobs, scene.store)
        assert (scene.body("one"), scene.body("two")) == (b'"one"', b'"two"')


async def test_bodies_are_read_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    await stored(storage := FakeStorage(), "one", "two", "three")
    monkeypatch.setattr("refresher.service.following._RESTORE_BATCH", 8)
    scene = Scene(backend=(backend := storage.backend()))
    async with scene.store:
        jobs = await registered(scene, "one", "two", "three")
        await restore(jobs, scene.store)
        assert backend.asked.count("get") == 2
        assert all(scene.body(job.name) for job in jobs)


async def test_a_body_that_the_store_has_lost_is_to_be_fetched_anew() -> None:
    await stored(storage := FakeStorage(), "one")
    storage.bodies.clear()
    scene = Scene(backend=storage.backend())
    async with scene.store:
        (job,) = await registered(scene, "one")
        await restore([job], scene.store)
        assert (scene.body("one"), job.awaited, job.standing.current) == (None, None, None)


async def test_a_store_that_does_not_answer_leaves_the_jobs_as_they_are() -> None:
    await stored(storage := FakeStorage(), "one")
    scene = Scene(backend=(backend := storage.backend()))
    async with scene.store:
        (job,) = await registered(scene, "one")
        backend.broken = frozenset({"get"})
        await restore([job], scene.store)
        assert scene.body("one") is None
        assert job.awaited is not None


@dataclass
class Follower:
    """A job whose body takes until `arrived` to be read."""

    name: str
    awaited: Stored | str | None = "a version"
    arrived: anyio.Event = field(default_factory=anyio.Event)
    follows: int = 0

    async def follow(self) -> None:
        self.follows += 1
        if self.awaited is not None:
            await self.arrived.wait()
            self.awaited = None


@dataclass
class Notices:
    """A store that tells of what a test puts in."""

    queue: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)

    async def news(self) -> list[str]:
        return await self.queue.get()


async def test_many_notices_of_a_large_body_do_not_hold_up_a_small_one() -> None:
    jobs = {name: Follower(name) for name in ("large", "small")}
    notices = Notices()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow_others, cast("Scheduler", jobs), cast("Store", notices))
        for _ in range(20):
            notices.queue.put_nowait(["large", "unknown"])
        notices.queue.put_nowait(["small"])
        await settled()
        assert {name: job.follows for name, job in jobs.items()} == {"large": 1, "small": 1}
        jobs["large"].arrived.set()
        await settled()
        notices.queue.put_nowait(["large"])
        await settled()
        assert jobs["large"].follows == 2
        tasks.cancel_scope.cancel()


async def test_no_more_than_eight_bodies_are_read_at_once_and_notices_without_one_do_not_wait() -> (
    None
):
    jobs = {name: Follower(name) for name in "abcdefghij"}
    jobs["paused"] = Follower("paused", awaited=None)
    notices = Notices()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow_others, cast("Scheduler", jobs), cast("Store", notices))
        notices.queue.put_nowait(list(jobs))
        await settled()
        assert sum(job.follows for job in jobs.values() if job.awaited) == 8
        assert jobs["paused"].follows == 1
        for job in jobs.values():
            job.arrived.set()
        await settled()
        assert all(job.follows == 1 for job in jobs.values())
        tasks.cancel_scope.cancel()
