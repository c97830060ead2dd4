"""A job: one source, one schedule, one rule set, refreshed for as long as its task runs."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from refresher.clock import sleep_until
from refresher.errors import (
    NotRefreshable,
    RefreshFailed,
    RefreshRefused,
    StoreUnavailable,
    TooSoon,
)
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.freshness import state_of
from refresher.jobs import quarantine
from refresher.jobs.attempt import Attempting, Fruit, Occasion, Plan
from refresher.jobs.projection import Reflection, World
from refresher.jobs.schedule import held_until, next_due
from refresher.jobs.waiters import Requests
from refresher.model import (
    Attempt,
    Changed,
    Content,
    Due,
    DueReason,
    Failed,
    Quarantined,
    Record,
    Result,
    Stage,
    State,
    Unchanged,
    Version,
)
from refresher.pipeline.representation import Representation
from refresher.protocols import Grant, Source
from refresher.state import Entry
from refresher.store import ledger
from refresher.store.ledger import (
    Ledger,
    Settlement,
    Standing,
)
from refresher.upstream.limiter import Limiter

logger = logging.getLogger("refresher")

_AFTER_CRASH = 1.0
"""Seconds before a loop that broke outside an attempt tries again."""
_AFTER_REFUSAL = 1.0
"""Seconds before a moment that another process has is looked at again, should no news come."""


class Job:
    """Waits until it is due or asked, makes one attempt, says how it ended; and again.

    What the attempts of all processes have come to stands in the job's ledger, which the store
    keeps; the event only wakes. Requests are numbered there, and an attempt answers those taken
    before it started. So however many ask while an attempt runs, one more follows it, and no answer
    comes from an attempt that was under way when it was asked for.
    """

    def __init__(self, plan: Plan, source: Source, limiter: Limiter, world: World) -> None:
        self.name = plan.name
        self.plan = plan
        self.limiter = limiter
        self.crash: str | None = None
        """What broke the loop last; None once an attempt has ended in order since."""
        self._source = source
        self.world = world
        self.reflection = Reflection(plan.name, plan.definition, world)
        self._clock = world.clock
        self._attempting = Attempting(
            plan=plan,
            store=world.store,
            pool=world.pool,
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
        limiter.on_hold(self._wake.set)

    @property
    def record(self) -> Record:
        """All that readers may know of the job."""
        return self.reflection.record

    async def enter(self) -> bool:
        """Take up what the store knows of the job, all but the bytes; False: it knows nothing."""
        is_known = self.world.store.register(self.name, self.plan.definition)
        if is_known:
            now, history = self._clock.now(), self.world.store.history
            republished = partial(ledger.republished, now=now, history=history)
            await self.world.store.adjust(self.name, republished)
            await self.look_again()
        return is_known

    @property
    def versions(self) -> tuple[Version, ...]:
        """Those that are kept, the newest first."""
        return self.reflection.ledger.versions

    @property
    def awaited(self) -> Version | None:
        """The version that is current in the store and yet to be served here."""
        return self.reflection.awaited

    def restore(self, body: bytes, ready: Representation) -> None:
        """Serve the version that was awaited; what is stored is good, and was hashed before."""
        version = self.awaited
        if version is not None:
            self._show(version.stored.with_bytes(body), ready)

    async def run(self) -> None:
        """Refresh for ever; only cancelling ends it."""
        while True:
            try:
                await self._until_due()
                async with self.limiter.place():
                    if not await self._attempted_now():
                        await self.limiter.give_back()
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
            self.world.observer.crashed(self.name, error)
        if not self._resting:
            self._show()
            self._rouse()

    async def _read_awaited(self) -> None:
        while not self._resting and (version := self.awaited) is not None:
            read = await self.reflection.read(version)
            if read is not None and self.awaited == version:
                self._show(*read)
            elif read is None and await self.reflection.do_without(version):
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
        until, reason = max((welcome_from, "cooldown"), (self._hold(), "retry_after"))
        if until <= now:
            return None
        left = until - now
        message = f"{self.name} cannot be refreshed for another {math.ceil(left)} s: {reason}"
        return TooSoon(self.name, reason, message, retry_after=left)

    async def request(self, *, force: bool = False) -> int:
        """Ask for an attempt that has yet to start; the number is what `answer_to` takes.

        `force` overrides cooldown and Retry-After.

        Raises:
            RefreshRefused: the job is paused, disabled, under cooldown or under Retry-After.
        """
        refusal = self.refusal(force=force)
        if refusal is not None:
            raise refusal
        number = await self.world.store.request(self.name, force=force, cooldown=self.plan.cooldown)
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
        await self.decide(lambda known, _: ledger.paused(known))

    async def resume(self) -> None:
        """Follow the schedule again; what became due meanwhile is attempted now.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        await self.decide(lambda known, _: ledger.resumed(known))

    async def decide(
        self,
        decision: Callable[[Ledger, str], Ledger | None],
        content: Content | None = None,
        ready: Representation | None = None,
    ) -> Ledger | None:
        """Change the ledger as a person has decided; None where `decision` finds it too late.

        `content` is of the version that the decision makes current, where it makes one.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        done = await self.world.store.decide(self.name, decision)
        if done is not None and not self._resting:
            self._show(content, ready)
        self._wake.set()
        return done

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
        held = now + LONGEST_WAIT
        latest = self.plan.due_after(now, now, fresh_for=self.plan.max_interval)
        await self.world.store.adjust(
            self.name, partial(ledger.not_after, latest=latest, held=held, now=now)
        )
        self._show()
        self._wake.set()

    @property
    def _ledger(self) -> Ledger:
        return self.reflection.ledger

    @property
    def _standing(self) -> Standing:
        return self.reflection.standing

    def _overtaken(self) -> TooSoon:
        message = f"{self.name} has just been asked for by somebody else; ask again"
        return TooSoon(self.name, "cooldown", message, retry_after=1.0)

    def _hold(self) -> float:
        return max(self._standing.held_until, self.limiter.held_until)

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
                self.reflection.update(partial(replace, due=due))
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
        if self._started_over or not self.world.store.presence.is_first:
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
        due_now_since = None if hurry is None else hurry.at
        grant = await self.world.store.acquire(self.name, due_now_since=due_now_since)
        if grant is not None:
            self._hurry = None
            await self._attempt(grant, on_schedule=on_schedule)
            return True
        self._refused = True
        if hurry is not None and (hurry.reason is DueReason.STARTUP or not self._standing.holder):
            self._hurry = None  # another process makes one that will do, or has made it
        if on_schedule and scheduled.at != self._skipped:
            self._skipped = scheduled.at
            self.world.observer.skipped(self.name)
        return False

    async def _attempt(self, grant: Grant, *, on_schedule: bool) -> None:
        standing = self._standing
        started = self._clock.now() if standing.running_since is None else standing.running_since
        self._running = running = _Running(grant, started, on_schedule)
        if self.awaited is None:
            self._show()
        else:
            await self.follow()  # else what is confirmed would not be what is current
        occasion = Occasion(
            started=started,
            on_schedule=on_schedule,
            served=self.reflection.confirmable,
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
        await self.limiter.share()
        self.crash = None

    async def _succeed(self, running: "_Running", fruit: Fruit) -> None:
        now = self._clock.now()
        due = Due(max(fruit.due, self.plan.due_after(running.started, now)), DueReason.SCHEDULE)
        match fruit.result:
            case Quarantined() as result:
                trouble = RefreshFailed(
                    Stage.GUARD, result.quarantine.reason, http_status=fruit.http_status
                )
                await self._fail(running, trouble, result)
            case Changed() | Unchanged() as result:
                await self._settle(running, result, due, fruit=fruit)

    async def _fail(
        self, running: "_Running", trouble: RefreshFailed, aside: Quarantined | None = None
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
            self.limiter.hold(until)
        failure = replace(trouble.failure, message=self.world.redact(trouble.failure.message))
        await self._settle(
            running,
            aside or Failed(failure=failure, missed=missed),
            due,
            held=until,
            http_status=trouble.http_status,
        )

    async def _settle(
        self,
        running: "_Running",
        result: Result,
        due: Due,
        *,
        held: float = 0.0,
        http_status: int | None = None,
        fruit: Fruit | None = None,
    ) -> None:
        """Write down what the attempt comes to, then let readers have it."""
        before, now = self.record, self._clock.now()
        fresh = state_of(before, self.plan.freshness, now) is State.FRESH
        settlement = Settlement(
            result=result,
            attempt=Attempt(
                job=self.name,
                started_at=running.started,
                duration=now - running.started,
                outcome=result.outcome,
                version=None,
                http_status=http_status if fruit is None else fruit.http_status,
                failure=result.failure,
            ),
            due=due,
            held_until=held,
            answers=running.grant.answers,
            ended=now,
            fresh_since=before.fresh_since or now if fresh else now,
        )
        after = await self.world.store.settle(
            running.grant, settlement, served=self.reflection.served
        )
        self._running = None
        if self._resting:
            self._answer()
            return
        if after is None:  # its lease is lost: another process, or a person, has had its way
            await self.follow()
            return
        content, ready = (None, None) if fruit is None else (fruit.content, fruit.ready)
        self._show(content, ready)
        attempt = after.standings[ledger.key_of(self.plan.definition)].last_attempt
        if attempt is not None:
            self.world.observer.attempted(attempt, before)

    def _show(self, content: Content | None = None, ready: Representation | None = None) -> None:
        if self._resting:  # what is frozen is all that readers see
            return
        self.reflection.show(self._due(), content, ready)
        if self.awaited is None:
            self._answer()

    def _answer(self) -> None:
        """Tell those who asked how the last attempt ended."""
        standing = self._standing
        if standing.last_attempt is not None:
            self._requests.answer(standing.answered, standing.last_attempt)

    async def _survive(self, error: Exception) -> None:
        self.crash = self.world.redact(_described(error))
        self.world.observer.crashed(self.name, error)
        running, self._running = self._running, None
        if running is not None:
            message = f"the refresh broke: {self.crash}"
            with contextlib.suppress(Exception):  # what broke the attempt may break this as well
                trouble = RefreshFailed(Stage.SOURCE, message, transient=True)
                await self._fail(running, trouble)
                return
        await sleep_until(self._clock, self._clock.now() + _AFTER_CRASH)


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
