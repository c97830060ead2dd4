"""A job: one source, one schedule, one rule set, refreshed for as long as its task runs."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from refresher import freshness, pipeline, quarantine, records
from refresher.clock import Clock, sleep_until
from refresher.errors import (
    NotQuarantined,
    NotRefreshable,
    RefreshFailed,
    RefreshRefused,
    TooSoon,
)
from refresher.gate import Gate
from refresher.model import (
    Attempt,
    Candidate,
    Confirmation,
    Definition,
    Due,
    DueReason,
    Failure,
    NotModified,
    Outcome,
    Payload,
    Quarantine,
    Record,
    Snapshot,
    Stage,
)
from refresher.protocols import Grant, Lease, Observer, QuarantineStore, SnapshotStore, Source
from refresher.representation import Representation
from refresher.requests import Requests
from refresher.schedule import (
    LONGEST_WAIT,
    Retry,
    Schedule,
    due_after_attempt,
    held_until,
    next_due,
)
from refresher.spool import Spooled
from refresher.state import Entry, StateStore
from refresher.tasks import Refined, Refused, Verdict
from refresher.workshop import Workshop

# Seconds before a loop that broke outside an attempt tries again.
_AFTER_CRASH = 1.0


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
    """Seconds for everything after the gate: connecting, redirects, body, decoding, validation."""
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


@dataclass(frozen=True, slots=True)
class World:
    """What all jobs of a service share."""

    states: StateStore
    store: SnapshotStore
    quarantine: QuarantineStore
    lease: Lease
    workshop: Workshop
    clock: Clock
    observer: Observer
    redact: Callable[[str], str]
    """Takes the secrets out of a sentence before anybody can see it."""


class Job:
    """Waits until it is due or asked, makes one attempt, says how it ended; and again.

    The lease numbers the requests and says which of them an attempt answers: those taken before it
    started. The event only wakes. So however many ask while an attempt runs, one more follows it,
    and no answer comes from an attempt that was under way when it was asked for.
    """

    def __init__(self, plan: Plan, source: Source, gate: Gate, world: World) -> None:
        self.plan = plan
        self._source = source
        self.gate = gate
        self.crash: str | None = None
        """What broke the loop last; None once an attempt has ended in order since."""
        self._world = world
        self._clock = world.clock
        self._wake = asyncio.Event()
        self._held_until = 0.0
        self._renewed = False
        """Whether the source has been replaced since the last attempt began."""
        self._requests = Requests(cooldown=plan.cooldown)
        self._running: _Running | None = None
        self._resting = False
        now = self._clock.now()
        due = Due(now, DueReason.STARTUP) if plan.enabled else Due(None, DueReason.DISABLED)
        self._next = due
        """What the schedule says, whatever holds the job up or hurries it."""
        record = Record(job=plan.name, since=now, due=due, enabled=plan.enabled)
        world.states.add(Entry(record, plan.freshness))
        gate.on_hold(self._wake.set)

    @property
    def name(self) -> str:
        """The job's name."""
        return self.plan.name

    @property
    def record(self) -> Record:
        """All that is known of the job."""
        entry = self._world.states.get(self.name)
        assert entry is not None  # noqa: S101  a job's entry lives as long as the job
        return entry.record

    async def run(self) -> None:
        """Refresh for ever; only cancelling ends it."""
        while True:
            try:
                await self._until_due()
                async with self.gate.place() as start:
                    if self._due_now():  # no longer, if the upstream has said 429 to another
                        start()
                        await self._attempt()
            # A task that dies in the lifespan's group does not stop uvicorn, which would go on
            # answering with a dead job. Whatever broke this turn, the job takes the next one.
            except Exception as error:  # noqa: BLE001
                await self._survive(error)

    def refusal(self, *, force: bool) -> RefreshRefused | None:
        """Why a manual refresh cannot be taken now; None where it can."""
        record, now = self.record, self._clock.now()
        for flag, word in ((not record.enabled, "disabled"), (record.paused, "paused")):
            if flag:
                return NotRefreshable(self.name, word, f"{self.name} is {word}")
        if force:
            return None
        for reason, until in (
            ("cooldown", self._requests.welcome_from),
            ("retry_after", self._hold()),
        ):
            if until > now:
                left = until - now
                message = (
                    f"{self.name} cannot be refreshed for another {math.ceil(left)} s: {reason}"
                )
                return TooSoon(self.name, reason, message, retry_after=left)
        return None

    async def request(self, *, force: bool = False) -> int:
        """Ask for an attempt that has yet to start; the number is what `answer_to` takes.

        `force` overrides cooldown and Retry-After.

        Raises:
            RefreshRefused: the job is paused, disabled, under cooldown or under Retry-After.
        """
        refusal = self.refusal(force=force)
        if refusal is not None:
            raise refusal
        number = await self._world.lease.request(self.name)
        self._requests.take(number, force=force, now=self._clock.now())
        self._wake.set()
        return number

    def answer_to(self, number: int) -> "asyncio.Future[Attempt]":
        """The attempt that answers a request, once it is over.

        Cancelling the future cancels nothing but the wish to be told.
        """
        return self._requests.answer_to(number)

    def pause(self) -> None:
        """Stop following the schedule; what is served grows stale like any other."""
        self._update(partial(replace, paused=True))
        self._wake.set()

    def resume(self) -> None:
        """Follow the schedule again; what became due meanwhile is attempted now."""
        self._update(partial(replace, paused=False))
        self._wake.set()

    async def quarantined(self) -> Quarantine:
        """The candidate that the guard refused last.

        Raises:
            NotQuarantined: there is none.
        """
        held = await self._world.quarantine.quarantined(self.name)
        if held is None:
            message = f"no refused candidate of {self.name} is in quarantine"
            raise NotQuarantined(self.name, message)
        return held

    async def accept(self) -> Snapshot:
        """Publish the candidate in quarantine as a new version; no attempt, and none is needed.

        Raises:
            NotQuarantined: there is none, or good data has come meanwhile.
        """
        content = (await self.quarantined()).candidate.content
        ready = await self._world.workshop.prepare(content)
        grant = await self._world.lease.acquire(self.name)
        # Looked at again: an attempt may have confirmed it meanwhile, or brought something else.
        candidate = (await self.quarantined()).candidate
        if candidate.etag != ready.identity_etag:
            message = f"another candidate of {self.name} has come meanwhile; look at that first"
            raise NotQuarantined(self.name, message)
        snapshot = await self._world.store.commit(grant, candidate, at=self._clock.now())
        self._renew(snapshot, ready)
        return snapshot

    async def reject(self) -> None:
        """Drop the candidate in quarantine; the next request asks with what is served.

        Raises:
            NotQuarantined: there is none.
        """
        await self.quarantined()
        await self._world.quarantine.release(self.name)
        self._update(partial(records.quarantined, quarantine=None))

    def rest(self) -> None:
        """Swap nothing in any more, not even what an attempt under way is about to bring."""
        self._resting = True

    def adopt(self, source: Source) -> None:
        """Ask this source from now on, and at once: a secret in the one before has changed."""
        self._source = source
        self._renewed = True
        self._wake.set()

    def look_again(self) -> None:
        """Reconsider when to start: the wall clock has been set.

        Set back by a day, it would leave the job waiting for an instant a day away. From no moment
        is the next start further away than from that of an attempt, or the longest Retry-After.
        """
        now = self._clock.now()
        self.gate.look_again()
        self._held_until = min(self._held_until, now + LONGEST_WAIT)
        self._requests.not_after(now)
        latest = self.plan.due_after(now, now, fresh_for=self.plan.max_interval)
        latest = max(latest, self._held_until)
        if self._next.at is not None and self._next.at > latest:
            self._next = Due(latest, DueReason.SCHEDULE)
        self._wake.set()

    def _hold(self) -> float:
        return max(self._held_until, self.gate.held_until)

    def _due(self) -> Due:
        """When to start, all told: the schedule, who asked, and what the upstream forbade."""
        record = self.record
        if not record.enabled:
            return Due(None, DueReason.DISABLED)
        due = self._next
        if self._requests.pending:
            due = Due(self._clock.now(), DueReason.MANUAL)
            if self._requests.forced:
                return due
        elif record.paused:
            return Due(None, DueReason.PAUSED)
        elif self._renewed:
            due = Due(self._clock.now(), DueReason.DEFINITION)
        hold = self._hold()
        if due.at is not None and due.at < hold:
            own = hold == self._held_until
            return Due(hold, DueReason.RETRY_AFTER if own else DueReason.UPSTREAM_LIMIT)
        return due

    def _due_now(self) -> bool:
        due = self._due()
        return due.at is not None and due.at <= self._clock.now()

    async def _until_due(self) -> None:
        while True:
            self._wake.clear()  # before looking: what comes while we look must wake us
            due = self._due()
            if due != self.record.due:
                self._update(partial(replace, due=due))
            if due.at is None or math.isinf(due.at):
                await self._wake.wait()
                continue
            if due.at <= self._clock.now():
                return
            timer = self._clock.call_at(due.at, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _attempt(self) -> None:
        grant = await self._world.lease.acquire(self.name)
        started = self._clock.now()
        self._running = running = _Running(
            grant, started, quarantine.is_moment(self._next, started)
        )
        self._renewed = False
        self._update(partial(records.started, now=running.started))
        try:
            async with asyncio.timeout(self.plan.timeout) as deadline:
                success = await self._refresh(running)
        except TimeoutError:
            if not deadline.expired():
                raise
            message = f"no complete answer within the timeout of {self.plan.timeout:g} s"
            self._fail(running, RefreshFailed(Stage.TIMEOUT, message, transient=True))
        except RefreshFailed as trouble:
            self._fail(running, trouble)
        else:
            self._succeed(running, success)
        self.crash = None

    async def _refresh(self, running: "_Running") -> "_Success":
        held, served = self.record.quarantine, self.record.snapshot
        asked = held.candidate if held else served
        answer = await self._source.fetch(asked.confirmation.revision if asked else None)
        now = self._clock.now()
        due = self.plan.due_after(running.started, now, answer.fresh_for)
        success = partial(_Success, http_status=answer.http_status, due=due)
        confirmation = Confirmation(
            checked_at=now,
            lifetime=due - now,
            revision=answer.revision,
            definition=self.plan.definition,
        )
        match answer:
            case NotModified():
                if asked is None:
                    message = "the source says that nothing changed, but there is nothing yet"
                    raise RefreshFailed(Stage.STATUS, message, http_status=answer.http_status)
                served = self.record.snapshot  # the candidate, if it was accepted meanwhile
                if held is None or (served is not None and served.etag == asked.etag):
                    await self._confirm(running.grant, confirmation)
                    return success(Outcome.UNCHANGED)
                candidate = replace(held.candidate, confirmation=confirmation)
                await self._refuse(running, candidate, held.reason, answer.http_status)
                return success(Outcome.CHANGED)
            case Payload() | Spooled():
                verdict = await self._compare(answer)
            case _:
                assert_never(answer)
        match verdict:
            case None:
                await self._confirm(running.grant, confirmation)
                return success(Outcome.UNCHANGED)
            case Refused(content, etag, reason):
                candidate = Candidate(content=content, etag=etag, confirmation=confirmation)
                reason = self._world.redact(reason)
                await self._refuse(running, candidate, reason, answer.http_status)
            case Refined(content, ready):
                etag = ready.identity_etag
                candidate = Candidate(content=content, etag=etag, confirmation=confirmation)
                await self._publish(running.grant, candidate, ready)
            case _:
                assert_never(verdict)
        return success(Outcome.CHANGED)

    async def _compare(self, answer: Payload | Spooled) -> Verdict:
        """Refine an answer by comparison with what is served when that is done."""
        try:
            while True:
                served = self.record.snapshot
                verdict = await self._refine(answer, served)
                if served is self.record.snapshot:
                    return verdict
                # What was in quarantine has been accepted meanwhile.
        finally:
            if isinstance(answer, Spooled):
                answer.body.close()

    async def _refuse(
        self, running: "_Running", candidate: Candidate, reason: str, http_status: int | None
    ) -> None:
        """Keep aside what the guard refused, or publish it when it has come often enough.

        Raises:
            RefreshFailed: it is kept aside.
        """
        held = quarantine.after_refusal(
            self.record.quarantine,
            candidate,
            reason,
            started=running.started,
            on_schedule=running.on_schedule,
            next_moment=self.plan.due_after(running.started, candidate.confirmation.checked_at),
        )
        if quarantine.is_accepted(held, self.plan.accept_after):
            ready = await self._world.workshop.prepare(candidate.content)
            await self._publish(running.grant, candidate, ready)
            return
        await self._world.quarantine.set_aside(running.grant, held)
        self._update(partial(records.quarantined, quarantine=held))
        raise RefreshFailed(Stage.GUARD, reason, http_status=http_status)

    async def _refine(self, answer: Payload | Spooled, served: Snapshot | None) -> Verdict:
        try:
            return await self._world.workshop.refine(answer, self.plan.rules, served)
        except RefreshFailed as refusal:
            refusal.http_status = answer.http_status
            raise

    async def _publish(self, grant: Grant, candidate: Candidate, ready: Representation) -> None:
        self._renew(await self._world.store.commit(grant, candidate), ready)

    async def _confirm(self, grant: Grant, confirmation: Confirmation) -> None:
        self._renew(await self._world.store.confirm(grant, confirmation), None)

    def _renew(self, snapshot: Snapshot, ready: Representation | None) -> None:
        """Swap in what the store made current; `ready` where the bytes have changed."""
        if self._resting:
            return
        renewed = partial(
            records.renewed, snapshot=snapshot, policy=self.plan.freshness, now=self._clock.now()
        )
        if ready is None:
            self._update(renewed)
        else:
            self._world.states.swap(self.name, renewed, ready)

    def _succeed(self, running: "_Running", success: "_Success") -> None:
        now = self._clock.now()
        due = max(success.due, self.plan.due_after(running.started, now))
        self._next = Due(due, DueReason.SCHEDULE)
        self._held_until = 0.0
        self._conclude(running, now, success.outcome, success.http_status, None)

    def _fail(self, running: "_Running", trouble: RefreshFailed) -> None:
        now = self._clock.now()
        self._update(partial(records.failed, now=now))
        scheduled = self.plan.due_after(running.started, now)
        self._next = next_due(
            scheduled,
            self.plan.retry,
            self.name,
            ended=now,
            trouble=trouble,
            failures=self.record.consecutive_failures,
        )
        if quarantine.is_missed(running.on_schedule, trouble.failure.stage, self._next, scheduled):
            self._update(records.went_without)
        self._held_until = held_until(trouble, now)
        if trouble.upstream_wide:
            self.gate.hold(self._held_until)
        failure = replace(trouble.failure, message=self._world.redact(trouble.failure.message))
        self._conclude(running, now, failure.stage.outcome, trouble.http_status, failure)

    def _conclude(
        self,
        running: "_Running",
        now: float,
        outcome: Outcome,
        http_status: int | None,
        failure: Failure | None,
    ) -> None:
        before = self.record
        attempt = Attempt(
            job=self.name,
            started_at=running.started,
            duration=now - running.started,
            outcome=outcome,
            version=before.snapshot.version if before.snapshot else None,
            http_status=http_status,
            failure=failure,
        )
        self._running = None
        self._requests.answer(running.grant.answers, attempt)
        self._update(partial(records.concluded, attempt=attempt, due=self._due()))
        self._world.observer.attempted(attempt, before)

    async def _survive(self, error: Exception) -> None:
        self.crash = self._world.redact(_described(error))
        self._world.observer.crashed(self.name, error)
        running, self._running = self._running, None
        if running is not None:
            message = f"the refresh broke: {self.crash}"
            with contextlib.suppress(Exception):  # what broke the attempt may break this as well
                self._fail(running, RefreshFailed(Stage.SOURCE, message, transient=True))
                return
        await sleep_until(self._clock, self._clock.now() + _AFTER_CRASH)

    def _update(self, change: Callable[[Record], Record]) -> None:
        self._world.states.update(self.name, change)


@dataclass(frozen=True, slots=True)
class _Running:
    grant: Grant
    started: float
    on_schedule: bool
    """Whether it answers a scheduled due moment, and not only somebody who asked."""


@dataclass(frozen=True, slots=True)
class _Success:
    outcome: Outcome
    http_status: int | None
    due: float
    """The next scheduled moment, as of the check."""


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  somebody's error, whose __str__ is broken as well
        return type(error).__name__
