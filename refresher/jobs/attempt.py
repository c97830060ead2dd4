"""One attempt: what a source's answer comes to, before anybody else knows of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from refresher import freshness, pipeline
from refresher.errors import RefreshFailed, StoreUnavailable
from refresher.jobs import quarantine
from refresher.jobs.schedule import Retry, Schedule, due_after_attempt
from refresher.model import (
    Changed,
    Confirmation,
    Content,
    Definition,
    Quarantine,
    Quarantined,
    Snapshot,
    Stage,
    Stored,
    Unchanged,
)
from refresher.offload.pool import WorkerPool
from refresher.offload.tasks import RefusedByGuard, SameAsServed, Verdict
from refresher.payload import NotModified, Payload, Spooled
from refresher.pipeline.representation import Representation, Servable
from refresher.protocols import Source
from refresher.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job is to do; two plans are equal when the job need not notice a change."""

    name: str
    schedule: Schedule
    retry: Retry
    rules: pipeline.Rules
    definition: Definition
    freshness: freshness.Policy
    timeout: float
    """Seconds for everything once the limiter has given a place: from connecting to validation."""
    cooldown: float = 0.0
    accept_after: int | None = None
    """At how many scheduled due moments in a row refused content comes until it is taken."""
    enabled: bool = True
    max_interval: float = 0.0
    """Seconds up to which the source's own word on freshness stretches the interval."""

    def due_after(self, started: float, now: float, fresh_for: float | None = None) -> float:
        """The scheduled moment that follows an attempt of which the source said `fresh_for`."""
        stretch = min(fresh_for or 0.0, self.max_interval)
        return due_after_attempt(
            self.schedule, self.name, started=started, now=now, fresh_until=now + stretch
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What an attempt starts from."""

    started: float
    on_schedule: bool
    """Whether it answers a scheduled due moment, and not only somebody who asked."""
    served: Snapshot | None
    held: Quarantine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fruit:
    """What comes of an attempt that was answered."""

    result: Changed | Unchanged | Quarantined
    due: float
    """The next scheduled moment, as of the check."""
    http_status: int | None
    content: Content | None = field(default=None, repr=False)
    """What is published, whole, and ready to be sent."""
    ready: Representation | None = field(default=None, repr=False)


Answer: TypeAlias = Payload | Spooled | NotModified


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempting:
    """What all attempts of a job have in common; `now` tells the time."""

    plan: Plan
    store: Store
    pool: WorkerPool
    redact: Callable[[str], str]
    now: Callable[[], float]

    async def fetch(self, source: Source, occasion: Occasion) -> Fruit:
        """Ask the source, and make of its answer what a store can keep.

        Raises:
            RefreshFailed: there was no complete answer, or its content was refused.
        """
        asked = occasion.held or occasion.served
        answer = await source.fetch(asked.confirmation.revision if asked else None)
        checked_at = self.now()
        due = self.plan.due_after(occasion.started, checked_at, answer.fresh_for)
        confirmation = Confirmation(
            checked_at=checked_at,
            lifetime=due - checked_at,
            revision=answer.revision,
            definition=self.plan.definition,
        )
        match answer:
            case NotModified():
                return await self._not_modified(answer, occasion, confirmation, due)
            case Payload() | Spooled():
                verdict = await self._refined(answer, occasion.served)
            case _:
                assert_never(answer)
        match verdict:
            case SameAsServed():
                result = Unchanged(confirmation=confirmation)
                return Fruit(result=result, due=due, http_status=answer.http_status)
            case Servable(content, ready):
                stored = self.store.stage(self.plan.name, content, ready.identity_etag)
                return Fruit(
                    result=Changed(stored=stored, confirmation=confirmation),
                    due=due,
                    http_status=answer.http_status,
                    content=content,
                    ready=ready,
                )
            case RefusedByGuard(content, etag, reason):
                held = occasion.held
                known = held is not None and held.stored.etag == etag
                stored = (
                    held.stored
                    if held and known
                    else self.store.stage(self.plan.name, content, etag)
                )
                aside = self._aside(occasion, stored, confirmation, self.redact(reason))
                return await self._kept_aside(aside, due, answer.http_status, content)
            case _:
                assert_never(verdict)

    async def _not_modified(
        self, answer: NotModified, occasion: Occasion, confirmation: Confirmation, due: float
    ) -> Fruit:
        if occasion.held is not None:
            held = occasion.held
            aside = self._aside(occasion, held.stored, confirmation, held.reason)
            return await self._kept_aside(aside, due, answer.http_status)
        if occasion.served is None:
            message = "the source says that nothing changed, but there is nothing yet"
            raise RefreshFailed(Stage.STATUS, message, http_status=answer.http_status)
        result = Unchanged(confirmation=confirmation)
        return Fruit(result=result, due=due, http_status=answer.http_status)

    def _aside(
        self, occasion: Occasion, stored: Stored, confirmation: Confirmation, reason: str
    ) -> Quarantine:
        return quarantine.after_refusal(
            occasion.held,
            stored,
            confirmation,
            reason,
            started=occasion.started,
            on_schedule=occasion.on_schedule,
            next_moment=self.plan.due_after(occasion.started, confirmation.checked_at),
        )

    async def _kept_aside(
        self,
        aside: Quarantine,
        due: float,
        http_status: int | None,
        content: Content | None = None,
    ) -> Fruit:
        """The candidate in quarantine, or published when it has come often enough."""
        if not quarantine.is_accepted(aside, self.plan.accept_after):
            return Fruit(result=Quarantined(quarantine=aside), due=due, http_status=http_status)
        if content is None:
            content = await self._candidate(aside.stored, http_status)
        return Fruit(
            result=Changed(stored=aside.stored, confirmation=aside.confirmation),
            due=due,
            http_status=http_status,
            content=content,
            ready=await self.pool.prepare(content),
        )

    async def _candidate(self, stored: Stored, http_status: int | None) -> Content:
        """What was set aside before, and is as it was."""
        try:
            body = await self.store.body(self.plan.name, stored)
        except StoreUnavailable as error:
            message = f"the candidate that has come often enough cannot be read: {error}"
            raise RefreshFailed(
                Stage.SOURCE, message, transient=True, http_status=http_status
            ) from error
        if body is None:
            message = "the store has lost the candidate that has come often enough to be taken"
            raise RefreshFailed(Stage.SOURCE, message, http_status=http_status)
        return stored.with_bytes(body)

    async def _refined(self, answer: Payload | Spooled, served: Snapshot | None) -> Verdict:
        try:
            return await self.pool.refine(answer, self.plan.rules, served)
        except RefreshFailed as refusal:
            refusal.http_status = answer.http_status
            raise
        finally:
            if isinstance(answer, Spooled):
                answer.body.close()
