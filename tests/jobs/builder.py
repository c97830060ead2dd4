"""One builder for the unit under test: a job in a small world, with the time in the test's hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from refresher import freshness
from refresher.clock import ShiftedClock
from refresher.errors import RefreshFailed
from refresher.jobs.environment import Environment
from refresher.jobs.job import Job
from refresher.jobs.plan import Plan
from refresher.jobs.schedule import Interval, Retry
from refresher.model import Definition, Rate, Record, Stage
from refresher.offload.pool import WorkerPool
from refresher.pipeline import Rules
from refresher.state import Entry, StateStore
from refresher.store.backends.memory import MemoryStore
from refresher.store.protocols import Backend
from refresher.store.store import Store
from refresher.upstream.limiter import Limiter
from refresher.values import Values
from tests.fakes import Answer, FakeClock, FakeObserver, FakeSource, payload

SECRET = "s3cr3t-t0k3n"
EVERY_100_S = Interval(100.0)
NO_RULES = Rules()


def plan_of(name: str = "rates", **facts: object) -> Plan:
    """A plan of a hundred seconds, but for these fields of it."""
    timeout = facts.get("timeout", 10.0)
    return replace(
        Plan(
            name=name,
            schedule=EVERY_100_S,
            retry=Retry(backoff=1.0, backoff_max=300.0),
            rules=NO_RULES,
            definition=Definition("source", "rules"),
            freshness=freshness.Policy(timeout=timeout),  # type: ignore[arg-type]
            timeout=10.0,
        ),
        **facts,  # type: ignore[arg-type]
    )


@dataclass
class Scene:
    """A job and all that it meets."""

    clock: FakeClock = field(default_factory=FakeClock)
    states: StateStore = field(default_factory=StateStore)
    backend: Backend = field(default_factory=MemoryStore)
    observer: FakeObserver = field(default_factory=FakeObserver)
    pool: WorkerPool = field(default_factory=WorkerPool)
    values: Values = field(default_factory=Values)
    seed: str = ""

    def __post_init__(self) -> None:
        self.store = Store(self.backend, clock=ShiftedClock(self.clock))
        self.store.presence.is_first = True

    def limiter(self, *, max_concurrency: int = 4, rate: Rate | None = None) -> Limiter:
        return Limiter(
            "up",
            max_concurrency=max_concurrency,
            rate=rate,
            clock=self.clock,
            limits=self.store.limits,
        )

    @property
    def environment(self) -> Environment:
        return Environment(
            states=self.states,
            store=self.store,
            pool=self.pool,
            values=self.values,
            clock=self.clock,
            observer=self.observer,
            seed=lambda: self.seed,
            redact=lambda text: text.replace(SECRET, "***"),
        )

    def job(
        self,
        *answers: Answer,
        limiter: Limiter | None = None,
        name: str = "rates",
        **facts: object,
    ) -> tuple[Job, FakeSource]:
        source = FakeSource(list(answers) or [payload()], self.clock)
        plan = plan_of(name, **facts)
        self.store.register(name, plan.definition)
        return Job(plan, source, limiter or self.limiter(), self.environment), source

    def entry(self, name: str = "rates") -> Entry:
        entry = self.states.get(name)
        assert entry is not None
        return entry

    def record(self, name: str = "rates") -> Record:
        return self.entry(name).record

    def body(self, name: str = "rates") -> bytes | None:
        snapshot = self.record(name).snapshot
        return snapshot.content.body if snapshot else None


@asynccontextmanager
async def running(*jobs: Job) -> AsyncIterator[None]:
    """Run jobs until the test has seen enough."""
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            await job.register()
            tasks.start_soon(job.run, name=job.name)
        await anyio.wait_all_tasks_blocked()
        yield
        tasks.cancel_scope.cancel()


def down(**facts: object) -> RefreshFailed:
    """An upstream that cannot be reached."""
    return RefreshFailed(Stage.CONNECT, "refused", transient=True, **facts)  # type: ignore[arg-type]
