"""Processes that share a store, for the tests of what they know of each other."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from refresher.clock import ShiftedClock
from refresher.model import (
    Attempt,
    Changed,
    Confirmation,
    Content,
    Definition,
    Due,
    DueReason,
    Format,
    Quarantine,
    Quarantined,
    Result,
)
from refresher.pipeline.representation import etag_of
from refresher.protocols import Grant
from refresher.store import ledger
from refresher.store.ledger import (
    Ledger,
    Settlement,
    Standing,
)
from refresher.store.retention import Retention
from refresher.store.store import Store
from tests.fakes import FakeClock, settled
from tests.store.fake_backend import FakeBackend, FakeStorage

DEFINITION = Definition("source", "rules")
KEY = ledger.key_of(DEFINITION)
JSON = "application/json"


@dataclass
class Process:
    """A process: its store, and what it serves."""

    storage: FakeStorage
    clock: FakeClock = field(default_factory=FakeClock)
    retention: Retention = field(default_factory=Retention)
    definition: Definition = DEFINITION
    jobs: tuple[str, ...] = ("a", "b")

    def __post_init__(self) -> None:
        self.backend: FakeBackend = self.storage.backend()
        self.served: dict[str, bytes] = {}
        self.errors: Counter[str] = Counter()
        self.detached: list[bool] = []
        self.store = Store(
            self.backend,
            clock=ShiftedClock(self.clock),
            retention=self.retention,
            served_body=self._served_body,
            failed=lambda operation: self.errors.update([str(operation)]),
            availability_changed=lambda: self.detached.append(self.store.detached),
        )
        for job in self.jobs:
            self.store.register(job, self.definition)

    def _served_body(self, job: str, etag: str) -> bytes | None:
        body = self.served.get(job)
        return body if body is not None and etag_of(body, JSON) == etag else None

    async def begin(self, job: str = "a") -> Grant | None:
        return await self.store.acquire(job, due_now_since=self.clock.now())

    def confirmation(self) -> Confirmation:
        return Confirmation(
            checked_at=self.clock.now(), lifetime=100.0, revision="r", definition=self.definition
        )

    def content(self, body: bytes) -> Content:
        return Content(body=body, content_type=JSON, format=Format.JSON, items=1)

    def published(self, body: bytes, job: str = "a") -> Changed:
        stored = self.store.stage(job, self.content(body), etag_of(body, JSON))
        return Changed(stored=stored, confirmation=self.confirmation())

    def aside(self, body: bytes, job: str = "a") -> Quarantined:
        now = self.clock.now()
        quarantine = Quarantine(
            stored=self.store.stage(job, self.content(body), etag_of(body, JSON)),
            confirmation=self.confirmation(),
            reason="small",
            at=now,
            seen=1,
            next_moment=now,
        )
        return Quarantined(quarantine=quarantine)

    async def end(self, grant: Grant, result: Result) -> Ledger | None:
        now = self.clock.now()
        settlement = Settlement(
            result=result,
            attempt=Attempt(
                job=grant.job, started_at=now, duration=0.0, outcome=result.outcome, version=None
            ),
            due=Due(now + 100, DueReason.SCHEDULE),
            held_until=0.0,
            answers=grant.answers,
            ended=now,
            fresh_since=now,
        )
        return await self.store.settle(grant, settlement, served=self.version(grant.job) or 0)

    async def publish(self, body: bytes, job: str = "a") -> int:
        """A whole attempt; the version that is served after it."""
        await self.clock.advance(0.25)
        grant = await self.begin(job)
        assert grant is not None
        assert await self.end(grant, self.published(body, job)) is not None
        self.served[job] = body
        version = self.version(job)
        assert version is not None
        return version

    def standing(self, job: str = "a") -> Standing:
        return self.store.standing(job)

    def version(self, job: str = "a") -> int | None:
        return self.standing(job).current

    async def body(self, job: str = "a") -> bytes | None:
        current = self.store.ledger(job).version(self.version(job))
        return None if current is None else await self.store.body(job, current.stored)

    async def news(self) -> list[str]:
        """The jobs of which there is news, in any order."""
        with anyio.fail_after(60):
            return sorted(await self.store.news())

    @property
    def unwritten(self) -> int:
        """Bodies that are held in memory for the store."""
        pending = self.store._pending  # noqa: SLF001  a leak shows nowhere else
        return sum(len(pending.of(job)) for job in self.jobs)


@asynccontextmanager
async def entered(*processes: Process) -> AsyncIterator[None]:
    """Keep the stores of these processes entered."""
    if not processes:
        yield
        return
    async with processes[0].store, entered(*processes[1:]):
        await settled()
        yield


def stored(storage: FakeStorage, job: str = "a") -> Ledger:
    return ledger.decoded(storage.documents[f"job/{job}"].document)


def current_body(storage: FakeStorage, job: str = "a") -> bytes | None:
    """What a process that starts now would serve."""
    known = stored(storage, job)
    version = known.version(known.standings[KEY].current)
    return None if version is None else storage.bodies.get(version.stored.body)
