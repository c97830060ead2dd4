"""A job: one source, one schedule, one rule set, refreshed for as long as its task runs."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from refresher import ledger, quarantine, records
from refresher.attempt import Attempting, Fruit, Occasion, Plan
from refresher.clock import Clock, sleep_until
from refresher.errors import (
    GoneVersion,
    NotQuarantined,
    NotRefreshable,
    RefreshFailed,
    RefreshRefused,
    StoreUnavailable,
    TooSoon,
    UnknownVersion,
)
from refresher.freshness import state_of
from refresher.gate import Gate
from refresher.ledger import Confirmed, Ledger, Nothing, Published, SetAside, Settlement, Standing
from refresher.model import (
    Attempt,
    Content,
    Due,
    DueReason,
    Failure,
    Outcome,
    Quarantine,
    Record,
    Snapshot,
    Stage,
    State,
    Version,
)
from refresher.protocols import Grant, Observer, Source
from refresher.representation import Representation
from refresher.requests import Requests
from refresher.schedule import LONGEST_WAIT, held_until, next_due
from refresher.state import Entry, StateStore
from refresher.store import Store
from refresher.workshop import Workshop

logger = logging.getLogger("refresher")

_AFTER_CRASH = 1.0
"""Seconds before a loop that broke outside an attempt tries again."""
_AFTER_REFUSAL = 1.0
"""Seconds before a moment that another process has is looked at again, should no news come."""


@dataclass(frozen=True, slots=True)
class World:
    """What all jobs of a service share."""

    states: StateStore
    store: Store
    workshop: Workshop
    clock: Clock
    observer: Observer
    redact: Callable[[str], str]
    """Takes the secrets out of a sentence before anybody can see it."""


class Job:
    """Waits until it is due or asked, makes one attempt, says how it ended; and again.

    What the attempts of all processes have come to stands in the job's ledger, which the store
    keeps; the event only wakes. Requests are numbered there, and an attempt answers those taken
    before it started. So however many ask while an attempt runs, one more follows it, and no answer
    comes from an attempt that was under way when it was asked for.
    """

    def __init__(self, plan: Plan, source: Source, gate: Gate, world: World) -> None:
        self.name = plan.name
        self.plan = plan
        self.gate = gate
        self.crash: str | None = None
        """What broke the loop last; None once an attempt has ended in order since."""
        self._source = source
        self._world = world
        self._clock = world.clock
        self._attempting = Attempting(
            plan=plan,
            store=world.store,
            workshop=world.workshop,
            redact=world.redact,
            now=world.clock.now,
        )
        self._wake = asyncio.Event()
        self._hurry: Due | None = None
        """Since when and why an attempt is wanted whatever the schedule says."""
        self._started_over = False
        self._refused = False
        """Whether another process was found to have what is due."""
        self._skipped: float | None = None
        """The scheduled moment that another process was found to have."""
        self._requests = Requests()
        self._running: _Running | None = None
        self._resting = False
        self._following = asyncio.Lock()
        now = self._clock.now()
        due = Due(now, DueReason.STARTUP) if plan.enabled else Due(None, DueReason.DISABLED)
        record = Record(job=plan.name, since=now, due=due, enabled=plan.enabled)
        world.states.add(Entry(record, plan.freshness))
        gate.on_hold(self._wake.set)

    @property
    def record(self) -> Record:
        """All that readers may know of the job."""
        return self._world.states.known(self.name).record

    async def enter(self) -> None:
        """Take up what the store knows of the job, all but the bytes."""
        self._world.store.enter(self.name, self.plan.definition)
        await self.look_again()

    @property
    def awaited(self) -> Version | None:
        """The version that is current in the store and yet to be served here."""
        standing, served = self._standing, self.record.snapshot
        if standing.current is None or (served and served.version >= standing.current):
            return None
        return self._ledger.version(standing.current)

    def restore(self, body: bytes, ready: Representation) -> None:
        """Serve the version that was awaited; what is stored is good, and was hashed before."""
        version = self.awaited
        if version is not None:
            self._reflect(version.stored.with_bytes(body), ready)

    async def run(self) -> None:
        """Refresh for ever; only cancelling ends it."""
        while True:
            try:
                await self._until_due()
                async with self.gate.place():
                    if not await self._attempted_now():
                        await self.gate.give_back()
            # A task that dies in the lifespan's group does not stop uvicorn, which would go on
            # answering with a dead job. Whatever broke this turn, the job takes the next one.
            except Exception as error:  # noqa: BLE001
                await self._survive(error)

    async def follow(self) -> None:
        """Take up what other processes have made of the job."""
        try:
            async with self._following:  # as for a body that others wait for already
                await self._read_awaited()
        except StoreUnavailable:
            return  # what is served stays; there is news when the store is back
        # Nobody waits for this one, who could be told instead.
        except Exception as error:  # noqa: BLE001
            self._world.observer.crashed(self.name, error)
        if not self._resting:
            self._reflect()
            self._rouse()

    async def _read_awaited(self) -> None:
        while not self._resting and (version := self.awaited) is not None:
            body = await self._world.store.body(self.name, version.stored)
            content = version.stored.with_bytes(body or b"")
            ready = await self._world.workshop.prepare(content)
            if body is None or ready.identity_etag != version.stored.etag:
                await self._do_without(version)
            elif self.awaited == version:
                self._reflect(content, ready)

    async def _do_without(self, version: Version) -> None:
        """Have a version fetched anew whose bytes are gone, unless it has been replaced."""
        now = self._clock.now()
        lost = await self._world.store.adjust(
            self.name,
            lambda known, key: ledger.bereft(known, key, version.version, now=now),
        )
        if lost is not None:
            message = "the store has no whole body of %s, version %d; it is fetched anew"
            logger.error(message, self.name, version.version)

    def refusal(self, *, force: bool) -> RefreshRefused | None:
        """Why a manual refresh cannot be taken now; None where it can."""
        now = self._clock.now()
        paused = self.record.paused if self._resting else self._ledger.paused
        for flag, word in ((not self.plan.enabled, "disabled"), (paused, "paused")):
            if flag:
                return NotRefreshable(self.name, word, f"{self.name} is {word}")
        if force:
            return None
        welcome_from = self._standing.requested_at + self.plan.cooldown
        for reason, until in (("cooldown", welcome_from), ("retry_after", self._hold())):
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
        number = await self._world.store.request(
            self.name, force=force, cooldown=self.plan.cooldown
        )
        if number is None:  # another process has been quicker, of which there was no notice yet
            raise self.refusal(force=force) or self._overtaken()
        self._rouse()
        return number

    def answer_to(self, number: int) -> "asyncio.Future[Attempt]":
        """The attempt that answers a request, once it is over, in whatever process.

        Cancelling the future cancels nothing but the wish to be told.
        """
        return self._requests.answer_to(number)

    async def pause(self) -> None:
        """Stop following the schedule; what is served grows stale like any other.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        await self._decide(lambda known, _: ledger.paused(known))

    async def resume(self) -> None:
        """Follow the schedule again; what became due meanwhile is attempted now.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        await self._decide(lambda known, _: ledger.resumed(known))

    async def roll_back(self, number: int) -> Snapshot:
        """Serve the content of a kept version again, as a new version, and pause the job.

        Raises:
            UnknownVersion: the job has not come so far.
            GoneVersion: it is kept no longer.
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        _, content = await self.kept(number)
        ready = await self._world.workshop.prepare(content)
        done = await self._decide(
            lambda known, _: ledger.rolled_back(
                known,
                self.plan.definition,
                number,
                discarded=self._discarded(),
                served=self._served,
                now=self._clock.now(),
                history=self._world.store.history,
            ),
            content,
            ready,
        )
        if done is None:
            raise self._gone(number)
        return self._snapshot

    async def kept(self, number: int) -> tuple[Version, Content]:
        """A version that is kept, and its content.

        Raises:
            UnknownVersion: the job has not come so far.
            GoneVersion: it is kept no longer.
            StoreUnavailable: the store does not answer.
        """
        if number > self._ledger.issued:
            await self._world.store.catch_up()
        known = self._ledger
        if number > max(known.issued, self._served):
            message = f"{self.name} has not come to version {number}"
            raise UnknownVersion(self.name, message)
        version = known.version(number)
        body = None if version is None else await self._world.store.body(self.name, version.stored)
        if version is None or body is None:
            raise self._gone(number)
        return version, version.stored.with_bytes(body)

    @property
    def versions(self) -> tuple[Version, ...]:
        """Those that are kept, the newest first."""
        return self._ledger.versions

    def quarantined(self) -> Quarantine:
        """The candidate that the guard refused last.

        Raises:
            NotQuarantined: there is none.
        """
        held = self._standing.quarantine
        if held is None:
            message = f"no refused candidate of {self.name} is in quarantine"
            raise NotQuarantined(self.name, message)
        return held

    async def candidate(self) -> Content:
        """The content in quarantine.

        Raises:
            NotQuarantined: there is none.
            StoreUnavailable: the store does not answer.
        """
        stored = self.quarantined().stored
        body = await self._world.store.body(self.name, stored)
        if body is None:
            raise NotQuarantined(self.name, f"the candidate of {self.name} is gone")
        return stored.with_bytes(body)

    async def accept(self) -> Snapshot:
        """Publish the candidate in quarantine as a new version; no attempt, and none is needed.

        Raises:
            NotQuarantined: there is none, or good data has come meanwhile.
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        content = await self.candidate()
        ready = await self._world.workshop.prepare(content)
        done = await self._decide(
            lambda known, key: ledger.accepted(
                known,
                key,
                ready.identity_etag,
                served=self._served,
                now=self._clock.now(),
                history=self._world.store.history,
            ),
            content,
            ready,
        )
        if done is None:
            message = f"another candidate of {self.name} has come meanwhile; look at that first"
            raise NotQuarantined(self.name, message)
        return self._snapshot

    async def reject(self) -> None:
        """Drop the candidate in quarantine; the next request asks with what is served.

        Raises:
            NotQuarantined: there is none.
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        self.quarantined()
        now = self._clock.now()
        await self._decide(lambda known, key: ledger.rejected(known, key, now=now))

    def rest(self) -> None:
        """Swap nothing in any more, not even what an attempt under way is about to bring."""
        self._resting = True

    def adopt(self, source: Source) -> None:
        """Ask this source from now on, and at once: a secret in the one before has changed."""
        self._source = source
        self._hurry = Due(self._clock.now(), DueReason.DEFINITION)
        self._wake.set()

    async def look_again(self) -> None:
        """Reconsider when to start: the wall clock has been set, or the schedule is another.

        Set back by a day, it would leave the job waiting for an instant a day away. From no moment
        is the next start further away than from that of an attempt, or the longest Retry-After.
        """
        now = self._clock.now()
        await self.gate.look_again()
        held = now + LONGEST_WAIT
        latest = self.plan.due_after(now, now, fresh_for=self.plan.max_interval)
        await self._world.store.adjust(
            self.name, partial(ledger.not_after, latest=latest, held=held, now=now)
        )
        self._reflect()
        self._wake.set()

    @property
    def _ledger(self) -> Ledger:
        return self._world.store.ledger(self.name)

    @property
    def _standing(self) -> Standing:
        return self._world.store.standing(self.name)

    @property
    def _served(self) -> int:
        """The highest version that this process has served."""
        snapshot = self.record.snapshot
        return 0 if snapshot is None else snapshot.version

    @property
    def _snapshot(self) -> Snapshot:
        snapshot = self.record.snapshot
        assert snapshot is not None  # noqa: S101  asked for where one has just been swapped in
        return snapshot

    def _discarded(self) -> Attempt:
        """What those are told whose request a rollback has overtaken."""
        now, since = self._clock.now(), self._standing.running_since
        started = now if since is None else since
        return Attempt(
            job=self.name,
            started_at=started,
            duration=now - started,
            outcome=Outcome.FAILED,
            version=None,
            failure=Failure(Stage.SOURCE, "discarded: the job was rolled back meanwhile"),
        )

    @property
    def _confirmable(self) -> Snapshot | None:
        """What is served, if it is what is current, and made by the present rules."""
        snapshot = self.record.snapshot
        if snapshot is None or self.record.outdated or snapshot.version != self._standing.current:
            return None
        return snapshot

    def _overtaken(self) -> TooSoon:
        message = f"{self.name} has just been asked for by somebody else; ask again"
        return TooSoon(self.name, "cooldown", message, retry_after=1.0)

    def _gone(self, number: int) -> GoneVersion:
        return GoneVersion(self.name, f"version {number} of {self.name} is kept no longer")

    def _hold(self) -> float:
        return max(self._standing.held_until, self.gate.held_until)

    def _due(self) -> Due:
        """When to start, all told: the schedule, who asked, and what the upstream forbade."""
        if not self.plan.enabled:
            return Due(None, DueReason.DISABLED)
        standing = self._standing
        due = standing.due
        if ledger.is_pending(standing):
            due = Due(self._clock.now(), DueReason.MANUAL)
            if ledger.is_forced(standing):
                return due
        elif self._ledger.paused:
            return Due(None, DueReason.PAUSED)
        elif self._hurry is not None:
            due = self._hurry
        hold = self._hold()
        if due.at is not None and due.at < hold:
            own = hold == standing.held_until
            return Due(hold, DueReason.RETRY_AFTER if own else DueReason.UPSTREAM_LIMIT)
        return due

    async def _until_due(self) -> None:
        while True:
            self._wake.clear()  # before looking: what comes while we look must wake us
            self._start_over()
            due = self._due()
            if due != self.record.due:
                self._update(partial(replace, due=due))
            at = due.at
            if at is None or math.isinf(at):
                await self._wake.wait()
                continue
            now = self._clock.now()
            if at <= now and not self._refused:
                return
            timer = self._clock.call_at(at if at > now else now + _AFTER_REFUSAL, self._rouse)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _rouse(self) -> None:
        self._refused = False
        self._wake.set()

    def _start_over(self) -> None:
        """Want an attempt at once if this process starts alone, and has nothing or old data."""
        if self._started_over or not self._world.store.alone:
            return
        self._started_over = True
        record, now = self.record, self._clock.now()
        if record.snapshot is None or now > record.snapshot.checked_at + record.snapshot.lifetime:
            self._hurry = Due(now, DueReason.STARTUP)

    async def _attempted_now(self) -> bool:
        """Make an attempt, unless there is none to be made any more."""
        due, now = self._due(), self._clock.now()
        if due.at is None or due.at > now:
            return False  # the upstream has said 429 to another, or another process was quicker
        hurry, scheduled = self._hurry, self._standing.due
        on_schedule = quarantine.is_moment(scheduled, now)
        hurried_at = None if hurry is None else hurry.at
        grant = await self._world.store.acquire(self.name, hurried_at=hurried_at)
        if grant is not None:
            self._hurry = None
            await self._attempt(grant, on_schedule=on_schedule)
            return True
        self._refused = True
        if hurry is not None and (hurry.reason is DueReason.STARTUP or not self._standing.holder):
            self._hurry = None  # another process makes one that will do, or has made it
        if on_schedule and scheduled.at != self._skipped:
            self._skipped = scheduled.at
            self._world.observer.skipped(self.name)
        return False

    async def _attempt(self, grant: Grant, *, on_schedule: bool) -> None:
        standing = self._standing
        started = self._clock.now() if standing.running_since is None else standing.running_since
        self._running = running = _Running(grant, started, on_schedule)
        if self.awaited is None:
            self._reflect()
        else:
            await self.follow()  # else what is confirmed would not be what is current
        occasion = Occasion(
            started=started,
            on_schedule=on_schedule,
            served=self._confirmable,
            held=standing.quarantine,
        )
        try:
            async with asyncio.timeout(self.plan.timeout) as deadline:
                fruit = await self._attempting.fetch(self._source, occasion)
        except TimeoutError:
            if not deadline.expired():
                raise
            message = f"no complete answer within the timeout of {self.plan.timeout:g} s"
            await self._fail(running, RefreshFailed(Stage.TIMEOUT, message, transient=True))
        except RefreshFailed as trouble:
            await self._fail(running, trouble)
        else:
            await self._succeed(running, fruit)
        await self.gate.share()
        self.crash = None

    async def _succeed(self, running: "_Running", fruit: Fruit) -> None:
        now = self._clock.now()
        due = Due(max(fruit.due, self.plan.due_after(running.started, now)), DueReason.SCHEDULE)
        match fruit.found:
            case SetAside(quarantine=aside):
                trouble = RefreshFailed(Stage.GUARD, aside.reason, http_status=fruit.http_status)
                await self._fail(running, trouble, fruit.found)
            case Published():
                await self._settle(running, fruit.found, Outcome.CHANGED, due, fruit=fruit)
            case Confirmed():
                await self._settle(running, fruit.found, Outcome.UNCHANGED, due, fruit=fruit)

    async def _fail(
        self, running: "_Running", trouble: RefreshFailed, aside: SetAside | None = None
    ) -> None:
        now = self._clock.now()
        scheduled = self.plan.due_after(running.started, now)
        due = next_due(
            scheduled,
            self.plan.retry,
            self.name,
            ended=now,
            trouble=trouble,
            failures=self._standing.consecutive_failures + 1,
        )
        missed = quarantine.is_missed(running.on_schedule, trouble.failure.stage, due, scheduled)
        until = held_until(trouble, now)
        if trouble.upstream_wide:
            self.gate.hold(until)
        failure = replace(trouble.failure, message=self._world.redact(trouble.failure.message))
        await self._settle(
            running,
            aside or Nothing(went_without=missed),
            failure.stage.outcome,
            due,
            held=until,
            http_status=trouble.http_status,
            failure=failure,
        )

    async def _settle(
        self,
        running: "_Running",
        found: Published | Confirmed | SetAside | Nothing,
        outcome: Outcome,
        due: Due,
        *,
        held: float = 0.0,
        http_status: int | None = None,
        failure: Failure | None = None,
        fruit: Fruit | None = None,
    ) -> None:
        """Write down what the attempt comes to, then let readers have it."""
        before, now = self.record, self._clock.now()
        fresh = state_of(before, self.plan.freshness, now) is State.FRESH
        settlement = Settlement(
            found=found,
            attempt=Attempt(
                job=self.name,
                started_at=running.started,
                duration=now - running.started,
                outcome=outcome,
                version=None,
                http_status=http_status if fruit is None else fruit.http_status,
                failure=failure,
            ),
            due=due,
            held_until=held,
            answers=running.grant.answers,
            ended=now,
            fresh_since=before.fresh_since or now if fresh else now,
        )
        after = await self._world.store.settle(running.grant, settlement, served=self._served)
        self._running = None
        if self._resting:
            self._answer()
            return
        if after is None:  # its lease is lost: another process, or a person, has had its way
            await self.follow()
            return
        content, ready = (None, None) if fruit is None else (fruit.content, fruit.ready)
        self._reflect(content, ready)
        attempt = after.standings[ledger.key_of(self.plan.definition)].last_attempt
        if attempt is not None:
            self._world.observer.attempted(attempt, before)

    def _reflect(self, content: Content | None = None, ready: Representation | None = None) -> None:
        """Let readers see what the ledger says; `content` is of a version yet to be served."""
        standing = self._standing
        reflected = partial(
            records.reflected,
            ledger=self._ledger,
            standing=standing,
            definition=self.plan.definition,
            due=self._due(),
        )
        version = self.awaited
        if (
            version is None
            or content is None
            or ready is None
            or standing.confirmation is None
            or ready.identity_etag != version.stored.etag  # replaced again already
        ):
            self._update(reflected)
        else:
            snapshot = records.snapshot_of(
                self.name,
                version,
                standing.confirmation,
                content,
                change=self._world.store.published(self.name),
            )
            self._world.states.swap(self.name, partial(reflected, snapshot=snapshot), ready)
        if self.awaited is None:
            self._answer()

    def _answer(self) -> None:
        """Tell those who asked how the last attempt ended."""
        standing = self._standing
        if standing.last_attempt is not None:
            self._requests.answer(standing.answered, standing.last_attempt)

    async def _decide(
        self,
        decision: Callable[[Ledger, str], Ledger | None],
        content: Content | None = None,
        ready: Representation | None = None,
    ) -> Ledger | None:
        done = await self._world.store.decide(self.name, decision)
        if done is not None and not self._resting:
            self._reflect(content, ready)
        self._wake.set()
        return done

    async def _survive(self, error: Exception) -> None:
        self.crash = self._world.redact(_described(error))
        self._world.observer.crashed(self.name, error)
        running, self._running = self._running, None
        if running is not None:
            message = f"the refresh broke: {self.crash}"
            with contextlib.suppress(Exception):  # what broke the attempt may break this as well
                trouble = RefreshFailed(Stage.SOURCE, message, transient=True)
                await self._fail(running, trouble)
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


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  somebody's error, whose __str__ is broken as well
        return type(error).__name__
