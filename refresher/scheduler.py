"""The scheduler: one task a job in the task group that the lifespan opens."""

import asyncio
from collections.abc import Container, Iterable, Iterator

from anyio import TaskHandle
from anyio.abc import TaskGroup

from refresher.clock import Clock, sleep_until
from refresher.errors import UnknownJob
from refresher.job import Job

HEARTBEAT = 1.0
"""Seconds between two beats, by which one sees from outside that the tasks run."""

_CLOCK_STEP = 2.0


class Scheduler:
    """Runs jobs, each in a task of its own that can end while the rest go on."""

    def __init__(self, tasks: TaskGroup, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._handles: dict[str, TaskHandle[None]] = {}
        self._beat = asyncio.get_running_loop().time()
        tasks.start_soon(self._heart, name="refresher heartbeat")

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def get(self, name: str) -> Job | None:
        """The job of that name, if there is one."""
        return self._jobs.get(name)

    def known(self, name: str) -> Job:
        """The job of that name.

        Raises:
            UnknownJob: there is none.
        """
        job = self._jobs.get(name)
        if job is None:
            raise UnknownJob(name, f"no job is called {name!r}")
        return job

    def start(self, jobs: Iterable[Job], *, resting: Container[str] = ()) -> None:
        """Run these jobs from now on, but for those resting: they are known and do nothing."""
        for job in jobs:
            self._jobs[job.name] = job
            if job.name in resting:
                continue
            name = f"refresher job {job.name}"
            self._handles[job.name] = self._tasks.start_soon(job.run, name=name)

    def stop(self, job: str) -> None:
        """End the job's task, and with it an attempt under way; the job stays known."""
        handle = self._handles.pop(job, None)
        if handle is not None:
            handle.cancel()

    def since_heartbeat(self) -> float:
        """Seconds since the scheduler's tasks last ran."""
        return asyncio.get_running_loop().time() - self._beat

    async def _heart(self) -> None:
        loop = asyncio.get_running_loop()
        offset = self._clock.now() - loop.time()
        while True:
            await sleep_until(self._clock, self._clock.now() + HEARTBEAT)
            self._beat = loop.time()
            # Timers run on the loop's clock, due moments on the wall's. Where somebody has set the
            # wall clock, or the machine has slept, every job looks again at what it waits for.
            drift = self._clock.now() - loop.time() - offset
            if abs(drift) > _CLOCK_STEP:
                offset += drift
                for gate in {job.gate for job in self._jobs.values()}:
                    await gate.look_again()
                for job in list(self._jobs.values()):
                    await job.look_again()
