"""A job: one source, one schedule, one rule set, refreshed for as long as its task runs."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from refresher.clock import sleep_until
from refresher.errors import RefreshFailed, RefreshRefused, StoreUnavailable, TooSoon
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.jobs import due
from refresher.jobs.attempt import Answered, attempt
from refresher.jobs.context import Context, Lease
from refresher.jobs.environment import Environment
from refresher.jobs.plan import Plan
from refresher.jobs.projection import Projection
from refresher.jobs.settlement import settlement
from refresher.jobs.waiters import Waiters
from refresher.model import (
    Attempt,
    Content,
    Due,
    DueReason,
    Record,
    Snapshot,
    Stage,
    Stored,
    Version,
)
from refresher.pipeline.representation import Representation, Servable
from refresher.protocols import Source
from refresher.state import Entry
from refresher.store import ledger
from refresher.store.ledger import Ledger, Standing
from refresher.upstream.limiter import Limiter

logger = logging.getLogger("refresher")

_AFTER_CRASH = 1.0
"""Seconds before a loop that broke outside an attempt tries again."""


class Publication(Protocol):
    """A decision that makes a version current, as `decisions.accepted` is one."""

    def __call__(
        self, ledger: Ledger, key: str, etag: str, /, *, served: int, now: float, history: int
    ) -> Ledger | None:
        """The ledger after it; None where it has come too late."""
        ...


class Job:
    """Waits until it is due or asked, makes one attempt, says how it ended; and again.

    What the attempts of all processes have come to stands in the job's ledger, which the store
    keeps; the event only wakes. Requests are numbered there, and an attempt answers those taken
    before it started. So however many ask while an attempt runs, one more follows it, and no answer
    comes from an attempt that was under way when it was asked for.
    """

    def __init__(
        self, plan: Plan, source: Source, limiter: Limiter, environment: Environment
    ) -> None:
        self.name = plan.name
        self.plan = plan
        self.limiter = limiter
        self.crash: str | None = None
        """What broke the loop last; None once an attempt has ended in order since."""
        self._source = source
        self._environment = environment
        self._store = environment.store
        self._clock = environment.clock
        self._projection = Projection(plan.name, plan.definition, environment)
        self._wake = asyncio.Event()
        self._due_now: Due | None = None
        """Since when and why an attempt is wanted whatever the schedule says."""
        self._is_started = False
        """Whether what was old or missing when the process started has been looked for."""
        self._taken = False
        """Whether another process was found to have what is due."""
        self._skipped: float | None = None
        """The scheduled moment that another process was found to have."""
        self._waiters = Waiters()
        self._lease: Lease | None = None
        """Of the attempt under way."""
        self._frozen = False
        self._following = asyncio.Lock()
        now = self._clock.now()
        first = Due(now, DueReason.STARTUP) if plan.enabled else Due(None, DueReason.DISABLED)
        record = Record(job=plan.name, since=now, due=first, enabled=plan.enabled)
        environment.states.add(Entry(record, plan.freshness))
        limiter.on_hold(self._wake.set)

    @property
    def record(self) -> Record:
        """All that readers may know of the job."""
        return self._projection.record

    @property
    def ledger(self) -> Ledger:
        """What all processes have made of the job, as far as this one has heard."""
        return self._store.ledger(self.name)

    @property
    def standing(self) -> Standing:
        """How the job stands under the definition that it has here."""
        return self._store.standing(self.name)

    @property
    def served(self) -> int:
        """The highest version that this process has served; 0 before the first."""
        return self._projection.served

    @property
    def awaited(self) -> Version | None:
        """The version that is current in the store and yet to be served here."""
        return self._projection.awaited

    async def register(self) -> bool:
        """Take up what the store knows of the job, all but the bytes; False: it knows nothing."""
        is_known = self._store.register(self.name, self.plan.definition)
        if is_known:
            now, history = self._clock.now(), self._store.history
            republished = partial(ledger.republished, now=now, history=history)
            await self._store.adjust(self.name, republished)
            await self.look_again()
        return is_known

    def restore(self, body: bytes, representation: Representation) -> None:
        """Serve the version that was awaited; what is stored is good, and was hashed before."""
        version = self.awaited
        if version is not None:
            self._show(Servable(version.stored.with_bytes(body), representation))

    async def run(self) -> None:
        """Refresh for ever; only cancelling ends it."""
        while True:
            try:
                self._wake.clear()  # before looking: what comes from here on must wake us
                at = self._next_look()
                if at <= self._clock.now():
                    await self._refresh()
                else:
                    await self._wait(at)
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
        # There is no caller whom the error would reach.
        except Exception as error:  # noqa: BLE001
            self._environment.observer.crashed(self.name, error)
        if not self._frozen:
            self._show()
            self._look_afresh()

    def refusal(self, *, force: bool) -> RefreshRefused | None:
        """Why a manual refresh cannot be taken now; None where it can."""
        paused = self.record.paused if self._frozen else self.ledger.paused
        if force:
            return due.refusal_if_forced(self.plan, paused=paused)
        return due.refusal(
            self.standing,
            self.plan,
            paused=paused,
            upstream_held_until=self.limiter.held_until,
            now=self._clock.now(),
        )

    async def request(self, *, force: bool = False) -> int:
        """Ask for an attempt that has yet to start; the number is what `answer_to` takes.

        `force` overrides cooldown and Retry-After.

        Raises:
            RefreshRefused: the job is paused, disabled, under cooldown or under Retry-After.
        """
        refusal = self.refusal(force=force)
        if refusal is not None:
            raise refusal
        number = await self._store.request(self.name, force=force, cooldown=self.plan.cooldown)
        if number is None:  # another process has been quicker, of which there was no notice yet
            raise self.refusal(force=force) or self._overtaken()
        self._look_afresh()
        return number

    def answer_to(self, number: int) -> "asyncio.Future[Attempt]":
        """The attempt that answers a request, once it is over, in whatever process.

        Cancelling the future cancels no attempt.
        """
        return self._waiters.answer_to(number)

    async def decide(
        self,
        decision: Callable[[Ledger, str, float], Ledger | None],
        servable: Servable | None = None,
    ) -> Ledger | None:
        """Change the ledger as a person has decided; None where `decision` comes too late.

        `decision` takes the ledger, the key of the job's definition and the time. `servable` is of
        the version that it makes current, where it makes one.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        done = await self._store.decide(
            self.name, lambda known, key: decision(known, key, self._clock.now())
        )
        if done is not None and not self._frozen:
            self._show(servable)
        self._wake.set()
        return done

    async def publish(self, content: Content, decision: Publication) -> Snapshot | None:
        """Serve content that the store has as a new version; None where it has come too late.

        Raises:
            StoreUnavailable: the store cannot be told, and nothing has changed.
        """
        representation = await self._environment.pool.prepare(content)
        done = await self.decide(
            lambda known, key, now: decision(
                known,
                key,
                representation.identity_etag,
                served=self.served,
                now=now,
                history=self._store.history,
            ),
            Servable(content, representation),
        )
        return None if done is None else self.record.snapshot

    async def content(self, stored: Stored) -> Content | None:
        """The content that the store keeps under that description; None where it is gone.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return await self._projection.content(stored)

    async def catch_up(self) -> None:
        """Learn what others have changed until now; a notice of it may still be on its way."""
        await self._store.catch_up()

    def freeze(self) -> None:
        """Publish nothing any more, not even what an attempt under way is about to bring."""
        self._frozen = True

    def replace_source(self, source: Source) -> None:
        """Ask this source from now on, and at once: a secret in the one before has changed."""
        self._source = source
        self._due_now = Due(self._clock.now(), DueReason.DEFINITION)
        self._wake.set()

    async def look_again(self) -> None:
        """Reconsider when to start: the wall clock has been set, or the schedule is another.

        A clock set back by a day would leave the job waiting for a day. So the due moment is capped
        at what an attempt now would be followed by, and the hold at the longest Retry-After.
        """
        now = self._clock.now()
        held = now + LONGEST_WAIT
        latest = self.plan.due_after(
            now, now, fresh_for=self.plan.max_interval, seed=self._environment.seed()
        )
        not_after = partial(
            ledger.not_after, latest=latest, slack=self.plan.seed_span, held=held, now=now
        )
        await self._store.adjust(self.name, not_after)
        self._show()
        self._wake.set()

    def _due(self) -> Due:
        known, standing = self._store.known(self.name)
        return due.due(
            standing,
            self.plan,
            paused=known.paused,
            due_now=self._due_now,
            upstream_held_until=self.limiter.held_until,
            now=self._clock.now(),
        )

    def _next_look(self) -> float:
        """When to start or to look again, by what is known now; readers are shown when that is."""
        if self._store.presence.is_first and not self._is_started:
            self._is_started = True
            at_startup = due.due_at_startup(self.record.snapshot, self._clock.now())
            self._due_now = at_startup or self._due_now
        next_due = self._due()
        if next_due != self.record.due:
            self._projection.update(partial(replace, due=next_due))
        return due.next_look(next_due, taken=self._taken, now=self._clock.now())

    async def _wait(self, at: float) -> None:
        """Until then, or until there is a reason to look again."""
        if math.isinf(at):
            await self._wake.wait()
            return
        timer = self._clock.call_at(at, self._look_afresh)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _look_afresh(self) -> None:
        """Wake, and try what another process was found to have."""
        self._taken = False
        self._wake.set()

    async def _refresh(self) -> None:
        """Make an attempt when the upstream has a place for it, and it is still to be made."""
        async with self.limiter.place():
            next_due, now = self._due(), self._clock.now()
            # the upstream may have said 429 to another, or another process may have been quicker
            if next_due.at is None or next_due.at > now or not await self._attempted(now):
                await self.limiter.give_back()

    async def _attempted(self, now: float) -> bool:
        """Make an attempt; False where another process makes it, or has made it."""
        due_now, scheduled = self._due_now, self.standing.due
        on_schedule = due.is_scheduled(scheduled, now)
        grant = await self._store.acquire(
            self.name, due_now_since=None if due_now is None else due_now.at
        )
        if grant is not None:
            self._due_now = None
            started = self.standing.running_since
            await self._attempt(
                Lease(grant, self._clock.now() if started is None else started, on_schedule)
            )
            return True
        self._taken = True
        if due_now is not None and (
            due_now.reason is DueReason.STARTUP or not self.standing.holder
        ):
            self._due_now = None  # another process makes one that will do, or has made it
        if on_schedule and scheduled.at != self._skipped:
            self._skipped = scheduled.at
            self._environment.observer.skipped(self.name)
        return False

    async def _attempt(self, lease: Lease) -> None:
        self._lease, candidate = lease, self.standing.quarantine
        if self.awaited is None:
            self._show()
        else:
            await self.follow()  # else what is confirmed would not be what is current
        context = Context(lease, self._projection.confirmable, candidate)
        ended = await attempt(self._source, context, self.plan, self._environment)
        await self._settle(lease, ended)
        await self.limiter.share()
        self.crash = None

    async def _settle(self, lease: Lease, ended: Answered | RefreshFailed) -> None:
        """Write down what the attempt comes to, then let readers have it."""
        before = self.record
        settled = settlement(
            ended.result if isinstance(ended, Answered) else ended,
            lease,
            self.plan,
            http_status=ended.http_status,
            before=before,
            failures=self.standing.consecutive_failures + 1,
            now=self._clock.now(),
            seed=self._environment.seed(),
            redact=self._environment.redact,
        )
        if isinstance(ended, RefreshFailed) and ended.upstream_wide:
            self.limiter.hold(settled.held_until)
        after = await self._store.settle(lease.grant, settled, served=self.served)
        self._lease = None
        if self._frozen:
            self._answer()
            return
        if after is None:  # the lease is lost, to another process or to what a person decided
            await self.follow()
            return
        self._show(ended.servable if isinstance(ended, Answered) else None)
        last = after.standings[ledger.key_of(self.plan.definition)].last_attempt
        if last is not None:
            self._environment.observer.attempted(last, before)

    async def _read_awaited(self) -> None:
        while not self._frozen and (version := self.awaited) is not None:
            servable = await self._projection.read(version)
            if servable is not None and self.awaited == version:
                self._show(servable)
            elif servable is None and await self._projection.forget(version):
                message = "the store has no whole body of %s, version %d; it is fetched anew"
                logger.error(message, self.name, version.version)

    def _show(self, servable: Servable | None = None) -> None:
        if self._frozen:  # what is frozen is all that readers see
            return
        self._projection.show(self._due(), servable)
        if self.awaited is None:
            self._answer()

    def _answer(self) -> None:
        """Tell those who asked how the last attempt ended."""
        standing = self.standing
        if standing.last_attempt is not None:
            self._waiters.answer(standing.answered, standing.last_attempt)

    def _overtaken(self) -> TooSoon:
        message = f"{self.name} has just been asked for by somebody else; ask again"
        return TooSoon(self.name, "cooldown", message, retry_after=1.0)

    async def _survive(self, error: Exception) -> None:
        self.crash = self._environment.redact(_described(error))
        self._environment.observer.crashed(self.name, error)
        lease, self._lease = self._lease, None
        if lease is not None:
            message = f"the refresh broke: {self.crash}"
            with contextlib.suppress(Exception):  # what broke the attempt may break this as well
                trouble = RefreshFailed(Stage.SOURCE, message, transient=True)
                await self._settle(lease, trouble)
                return
        await sleep_until(self._clock, self._clock.now() + _AFTER_CRASH)


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  an error of foreign code, whose __str__ may be broken as well
        return type(error).__name__
