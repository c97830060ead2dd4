"""The scheduler: one task a job, inside the task group that the lifespan opens."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence

from anyio.abc import TaskGroup

from refresher.clock import Clock, sleep_until
from refresher.errors import UnknownJob
from refresher.jobs.job import Job
from refresher.offload.cooperative import cooperatively

HEARTBEAT = 1.0
"""Seconds between two beats, by which one sees from outside that the tasks run."""

_CLOCK_STEP = 2.0
"""Seconds by which the wall clock must differ from the loop's to count as set."""


class Scheduler:
    """Runs jobs, each in a task of its own that can end while the others go on."""

    def __init__(self, tasks: TaskGroup, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()
        self._beat = asyncio.get_running_loop().time()
        tasks.start_soon(self._heartbeat, name="refresher heartbeat")

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

    def start(self, jobs: Sequence[Job], *, frozen: Collection[str] = ()) -> None:
        """Run these jobs from now on; the frozen ones among them are known, and do nothing."""
        self._jobs.update((job.name, job) for job in jobs)
        self._stopped.update(frozen)
        self._tasks.start_soon(self._run, jobs, name="refresher jobs")

    def stop(self, job: str) -> None:
        """End the job's task, and with it an attempt under way; the job stays known."""
        self._stopped.add(job)
        task = self._running.pop(job, None)
        if task is not None:
            task.cancel()

    def since_heartbeat(self) -> float:
        """Seconds since the scheduler's tasks last ran."""
        return asyncio.get_running_loop().time() - self._beat

    async def _run(self, jobs: Iterable[Job]) -> None:
        # A group of asyncio's own in one of anyio's, for a task there takes 3 KiB more. It ends, is
        # cancelled and fails with its tasks all the same.
        async with asyncio.TaskGroup() as tasks:
            async for job in cooperatively(jobs):  # ten thousand take a second
                if job.name not in self._stopped:
                    name = f"refresher job {job.name}"
                    self._running[job.name] = tasks.create_task(job.run(), name=name)

    async def _heartbeat(self) -> None:
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
                for limiter in {job.limiter for job in self._jobs.values()}:
                    await limiter.look_again()
                async for job in cooperatively(list(self._jobs.values())):
                    await job.look_again()
