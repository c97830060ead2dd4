"""Serving what other processes and earlier runs have fetched."""

from collections.abc import Iterable

import anyio

from refresher.errors import StoreUnavailable
from refresher.jobs.job import Job
from refresher.jobs.scheduler import Scheduler
from refresher.offload.cooperative import cooperatively
from refresher.pipeline import representation
from refresher.store.store import Store

_RESTORE_BATCH = 64 * 1024 * 1024
"""Bytes of bodies that are read from the store at a time."""

_MAX_CONCURRENT_READS = 8
"""Jobs of which the bodies that other processes have fetched are read at a time."""


async def restore(jobs: Iterable[Job], store: Store) -> None:
    """Serve what is stored, before anything else is done."""
    awaited = [(job, version) for job in jobs if (version := job.awaited) is not None]
    while awaited:
        part, size = [], 0
        while awaited and size < _RESTORE_BATCH:
            part.append(awaited.pop())
            size += part[-1][1].stored.size
        try:
            bodies = await store.bodies([version.stored for _, version in part])
        except StoreUnavailable:
            return  # there is news of these jobs when it is back
        for job, version in part:
            body = bodies.get(version.stored.body)
            if body is not None:
                job.restore(body, representation.restored(body, version.stored))
            else:
                await job.follow()


async def follow_others(jobs: Scheduler, store: Store) -> None:
    """Serve what other processes fetch, for ever; a large body holds up no small one.

    One task a job at a time: many notices of a large one must not take the places of the small.
    """
    places = anyio.Semaphore(_MAX_CONCURRENT_READS)
    following: set[str] = set()
    async with anyio.create_task_group() as tasks:
        while True:
            async for name in cooperatively(await store.news()):
                job = jobs.get(name)
                if job is None or name in following:
                    continue  # the task that follows it looks again before it ends
                if job.awaited is None:
                    await job.follow()  # without reading a body
                else:
                    following.add(name)
                    tasks.start_soon(_follow, job, places, following)


async def _follow(job: Job, places: anyio.Semaphore, following: set[str]) -> None:
    try:
        async with places:
            await job.follow()
    finally:
        following.discard(job.name)
