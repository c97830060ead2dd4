"""The store: what jobs and upstreams are known to have done, over processes and restarts.

Once a second the process says that it is alive, and learns who else is. While the store is away the
process goes on by itself; when it is back, in whatever state, it is told what has happened.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio

from refresher import allowance, ledger
from refresher.allowance import Allowance
from refresher.clock import ShiftedClock
from refresher.config.units import Rate
from refresher.errors import StoreUnavailable
from refresher.ledger import Ledger, Published, SetAside, Settlement, Standing
from refresher.link import Link
from refresher.mirror import Mirror
from refresher.model import Content, Definition, Quarantine, Stored
from refresher.protocols import Backend, Beat, Grant, StoreOperation

_BETWEEN_BEATS = 1.0
"""Seconds."""
_STARTING = 10.0
"""Seconds after entry in which a process may turn out to be the only one."""
_GOOD_READING = 0.1
"""Seconds that a beat may take for its time to be worth setting the clock by."""
_TREMBLE = 0.005
"""Seconds by which two readings of one clock differ anyway."""
_EVICT_TO = 0.95
"""To which part of its bytes history is cut when it grows beyond them, so as to do so seldom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much history is kept."""

    versions: int = 10
    """Of each job, the current one included."""
    bytes: int = 256 * 1024 * 1024
    """Of all jobs together; the current ones stay in any case."""


_USUAL = Retention()


class Store:
    """Keeps the ledgers of jobs and the allowances of upstreams; entered while a service runs.

    `served` gives the body of the version that this process serves of a job, to fill a store that
    has come back empty; `failed` is told the operation whenever the backend fails; `turned` is
    called whenever the process gets detached or attached again.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: ShiftedClock,
        retention: Retention = _USUAL,
        served: Callable[[str], bytes | None] = lambda _: None,
        failed: Callable[[StoreOperation], object] = lambda _: None,
        turned: Callable[[], object] = lambda: None,
    ) -> None:
        self.process = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:12]}"
        self.alone = False
        """Whether this process has found, at its start, that it is the only one."""
        self._clock = clock
        self._retention = retention
        self._served = served
        self._link = Link(backend, failed=failed, turned=self._turn)
        self._turned = turned
        self._definitions: dict[str, Definition] = {}
        """Of the jobs of this process."""
        self._since = clock.now()
        self._unsaved: dict[str, bytes] = {}
        """Bodies that are yet to be written, by their names."""
        self._alone: dict[str, set[str]] = {}
        """The names of those that wait for the store to come back, by their jobs."""
        self._history_bytes = 0
        self._jobs = Mirror(
            _Jobs(self._definitions, self._body_at_hand, retention.versions),
            self._link,
            catch_up=self._catch_up,
            staged=self._body_at_hand,
            kept=self._weigh,
        )
        self._upstreams = Mirror(_Upstreams(), self._link, catch_up=self._catch_up)
        self._store: str | None = None
        self._last = 0
        """Up to which change all is known."""
        self._alive = frozenset({self.process})
        self._beat_at = 0.0
        self._news: set[str] = set()
        self._has_news = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._link.backend)
            self._entered_at = asyncio.get_running_loop().time()
            with suppress(StoreUnavailable):
                await self._beat()
                await self._catch_up()
            self._news.clear()
            stack.push_async_callback(self._leave)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._live, name="refresher store heartbeat")
            tasks.start_soon(self._follow, name="refresher store news")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def detached(self) -> bool:
        """Whether this process goes on by itself, the store being away."""
        return self._link.detached

    def ledger(self, job: str) -> Ledger:
        """All that is known of a job."""
        return self._entered(job, self._jobs.get(job).document)

    def standing(self, job: str) -> Standing:
        """How the job stands under the definition that it has here."""
        return self.ledger(job).standings[ledger.key_of(self._definitions[job])]

    def published(self, job: str) -> int:
        """The store's number of the change that made the job's newest version."""
        return self._jobs.get(job).published

    def held_until(self, upstream: str) -> float:
        """Before when the upstream is not to be asked."""
        return self._upstreams.get(upstream).document.held_until

    async def news(self) -> list[str]:
        """Wait for what others have changed: the jobs it is of, or whose lease has come free."""
        await self._has_news.wait()
        self._has_news.clear()
        news = [job for job in self._news if job in self._definitions]
        self._news.clear()
        return news

    def enter(self, job: str, definition: Definition) -> None:
        """Keep a job of this process; nothing is written of it before it asks for something."""
        self._definitions[job] = definition

    async def request(self, job: str, *, force: bool = False) -> int:
        """Ask for an attempt that has yet to start; returns the number of the request.

        `force` overrides cooldown and Retry-After.
        """
        now = self._clock.now()
        ask = ledger.forced if force else ledger.requested
        await self.adjust(job, lambda known, key: ask(known, key, now=now))
        return self.standing(job).requested

    async def acquire(self, job: str, *, hurried_at: float | None = None) -> Grant | None:
        """Start an attempt; None where there is none to be made, or another process makes it."""

        def acquired(known: Ledger, key: str) -> Ledger | None:
            return ledger.acquired(
                known,
                key,
                process=self.process,
                alive=self._alive_as_far_as_known(known.standings[key]),
                hurried_at=hurried_at,
                now=self._clock.now(),
            )

        after = await self.adjust(job, acquired)
        if after is None:
            return None
        standing = after.standings[ledger.key_of(self._definitions[job])]
        return Grant(job, standing.fence, standing.requested)

    def stage(self, content: Content, etag: str) -> Stored:
        """Content that is to be written with the change that refers to it."""
        body = uuid4().hex
        self._unsaved[body] = content.body
        return Stored(
            body=body,
            size=len(content.body),
            etag=etag,
            content_type=content.content_type,
            format=content.format,
            items=content.items,
            raw=content.raw,
        )

    async def settle(self, grant: Grant, settlement: Settlement, *, served: int) -> Ledger | None:
        """End an attempt; None where its lease has been lost, and then it comes to nothing."""
        after = await self.adjust(
            grant.job,
            lambda known, key: ledger.settled(
                known,
                key,
                grant.fence,
                settlement,
                served=served,
                history=self._retention.versions,
            ),
        )
        self._tidy(grant.job, settlement, after)
        await self._evict()
        return after

    async def adjust(
        self, job: str, change: Callable[[Ledger, str], Ledger | None]
    ) -> Ledger | None:
        """Change a job's ledger by its definition's key, if need be here alone.

        None where it is not to be changed.
        """
        return await self._jobs.change(job, self._by_key(job, change))

    async def decide(
        self, job: str, decision: Callable[[Ledger, str], Ledger | None]
    ) -> Ledger | None:
        """Change a job's ledger in the store, or not at all; None where it is not to be changed.

        Raises:
            StoreUnavailable: it cannot be written, and nothing has changed.
        """
        if self._link.detached:
            raise StoreUnavailable("the store is away; nothing has been changed")
        after = await self._jobs.write(job, self._by_key(job, decision))
        await self._evict()
        return after

    @property
    def history(self) -> int:
        """How many versions are kept of a job."""
        return self._retention.versions

    async def body(self, stored: Stored) -> bytes | None:
        """The bytes of content that is kept; None where they are gone.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        unsaved = self._unsaved.get(stored.body)
        if unsaved is not None:
            return unsaved
        found = await self.bodies([stored])
        return found.get(stored.body)

    async def bodies(self, wanted: Sequence[Stored]) -> dict[str, bytes]:
        """The bytes of what is there of all this content, by the names of the bodies.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        names = [stored.body for stored in wanted]
        size = sum(stored.size for stored in wanted)
        return await self._link.ask(
            StoreOperation.READ, self._link.backend.get(names), carrying=size
        )

    async def reserve(self, upstream: str, rate: Rate) -> float | None:
        """Count the start of an attempt; where the rate forbids one, say when it no longer does."""
        now = self._clock.now()
        started = await self._upstreams.change(
            upstream, lambda known: allowance.started(known, rate, now=now)
        )
        if started is not None:
            return None
        return allowance.free_at(self._upstreams.get(upstream).document, rate, now=now)

    async def give_back(self, upstream: str) -> None:
        """Take back the start of an attempt that was not made."""
        await self._upstreams.change(upstream, allowance.given_back)

    async def hold(self, upstream: str, until: float) -> None:
        """Let no process ask the upstream before that instant."""
        await self._upstreams.change(upstream, lambda known: allowance.held(known, until))

    async def not_after(self, upstream: str, *, latest: float) -> None:
        """The wall clock has been set back: forget what lies in the future."""
        now = self._clock.now()
        await self._upstreams.change(
            upstream, lambda known: allowance.not_after(known, latest=latest, now=now)
        )

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(_BETWEEN_BEATS)
            with suppress(StoreUnavailable):
                await self._beat()
                if self._link.detached:
                    await self._reunite()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        beat = await self._link.ask(StoreOperation.BEAT, self._link.backend.beat(self.process))
        took = loop.time() - asked_at
        if beat.now is not None and (self._store is None or took < _GOOD_READING):
            self._clock.set(beat.now, tolerance=_TREMBLE)
        self._learn_who_is_alive(beat, loop.time())
        if self._store is not None and (beat.store != self._store or beat.last < self._last):
            # Another store, or one that has lost its last changes: nothing it says of a number
            # can be compared with ours.
            self._link.lose("the store has lost what it had")
            self._jobs.mistrust()
            self._upstreams.mistrust()
            self._last = 0
        self._store = beat.store
        if beat.last > self._last and not self._link.detached:
            await self._catch_up()  # a notice may get lost

    def _learn_who_is_alive(self, beat: Beat, now: float) -> None:
        gone, self._alive = self._alive - beat.alive, beat.alive | {self.process}
        self._beat_at = self._clock.now()
        if gone:
            self._tell(job for job, known in self._jobs if _holders(known) & gone)
        if not self.alone and self._alive == {self.process} and now < self._entered_at + _STARTING:
            self.alone = True
            self._tell(self._definitions)

    async def _follow(self) -> None:
        while True:
            try:
                await self._link.backend.changed()
                if not self._link.detached:
                    await self._catch_up()
            except StoreUnavailable:
                await asyncio.sleep(_BETWEEN_BEATS)

    async def _catch_up(self) -> None:
        """Read what has changed.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        changes = await self._link.ask(StoreOperation.LOAD, self._link.backend.changes(self._last))
        for change in changes:
            self._upstreams.take(change)
            job = self._jobs.take(change)
            if job is not None:
                self._tell([job])
            self._last = max(self._last, change.number)

    async def _reunite(self) -> None:
        """Tell a store that is back what has happened, and learn what has happened there.

        Raises:
            StoreUnavailable: it went away again.
        """
        while True:
            theirs = await self._link.ask(StoreOperation.LOAD, self._link.backend.changes(0))
            self._tell(await self._jobs.reunite(theirs))
            await self._upstreams.reunite(theirs)
            self._last = max((change.number for change in theirs), default=0)
            if self._jobs.is_reunited and self._upstreams.is_reunited:
                for body in set().union(*self._alone.values()):
                    self._unsaved.pop(body, None)
                self._alone.clear()
                self._link.attach()
                return

    async def _leave(self) -> None:
        with suppress(StoreUnavailable):
            await self._link.ask(StoreOperation.BEAT, self._link.backend.leave(self.process))

    async def _evict(self) -> None:
        """Keep all history together within its bytes, the oldest going first."""
        if self._history_bytes <= self._retention.bytes:
            return
        oldest = sorted(
            (version.changed_at, job, version.version)
            for job, known in self._jobs
            for version in known.versions
        )
        for _, job, number in oldest:
            if self._history_bytes <= self._retention.bytes * _EVICT_TO:
                return
            await self._jobs.change(job, partial(ledger.without, number=number))

    def _alive_as_far_as_known(self, standing: Standing) -> frozenset[str]:
        """Who is alive; one that began after we last asked may be too new to be known.

        While the store is away nobody is, for all that can be known: each goes on by itself.
        """
        if self._link.detached:
            return frozenset({self.process})
        if standing.holder is None or (standing.running_since or 0.0) < self._beat_at:
            return self._alive
        return self._alive | {standing.holder}

    def _entered(self, job: str, known: Ledger) -> Ledger:
        return ledger.entered(known, self._definitions[job], now=self._since)

    def _by_key(
        self, job: str, change: Callable[[Ledger, str], Ledger | None]
    ) -> Callable[[Ledger], Ledger | None]:
        key = ledger.key_of(self._definitions[job])
        return lambda known: change(self._entered(job, known), key)

    def _body_at_hand(self, job: str, body: str) -> bytes | None:
        """A body that is not in the store: a new one, or the one that is served."""
        if body in self._unsaved:
            return self._unsaved[body]
        if job not in self._definitions:
            return None
        current = self.ledger(job).version(self.standing(job).current)
        return self._served(job) if current is not None and current.stored.body == body else None

    def _tidy(self, job: str, settlement: Settlement, after: Ledger | None) -> None:
        """Let go of bodies that are written, or will never be.

        While the store is away, only those stay that are current or in quarantine: what they
        replace is kept in no history.
        """
        match settlement.found:
            case Published(stored=stored) | SetAside(quarantine=Quarantine(stored=stored)):
                body = stored.body
            case _:
                return
        unsaved = self._alone.pop(job, set())
        if self._link.detached and after is not None:
            standing = self.standing(job)
            current = after.version(standing.current)
            wanted = {each.stored.body for each in (current, standing.quarantine) if each}
            self._alone[job] = wanted & {*unsaved, body}
        for name in {*unsaved, body} - self._alone.get(job, set()):
            self._unsaved.pop(name, None)

    def _weigh(self, before: Ledger, after: Ledger) -> None:
        if before.versions is not after.versions:
            self._history_bytes += _size_of(after) - _size_of(before)

    def _turn(self) -> None:
        """Have every job look again: what another has, or what could not be read, may be ours."""
        self._turned()
        self._tell(self._definitions)

    def _tell(self, jobs: Iterable[str]) -> None:
        self._news.update(jobs)
        self._has_news.set()


class _Jobs:
    """The ledgers."""

    prefix = "job/"
    empty = Ledger()
    encoded = staticmethod(ledger.encoded)
    decoded = staticmethod(ledger.decoded)

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        at_hand: Callable[[str, str], bytes | None],
        history: int,
    ) -> None:
        self._definitions = definitions
        self._at_hand = at_hand
        self._history = history

    def bodies(self, document: Ledger) -> set[str]:
        return document.bodies

    def publishes(self, before: Ledger, after: Ledger) -> bool:
        return after.issued != before.issued

    def reunited(
        self, name: str, theirs: Ledger | None, ours: Ledger, *, provisional: bool, lost: bool
    ) -> Ledger | None:
        if name not in self._definitions:
            return None
        key = ledger.key_of(self._definitions[name])
        if key not in ours.standings:
            return None  # nothing has been asked of it yet
        current = ours.version(ours.standings[key].current)
        if current is not None and self._at_hand(name, current.stored.body) is None:
            ours = ledger.emptied(ours, key)
        if lost and theirs is not None and ours.paused:
            theirs = ledger.paused(theirs)
        return ledger.reunited(theirs, ours, key, provisional=provisional, history=self._history)


class _Upstreams:
    """The allowances."""

    prefix = "upstream/"
    empty = Allowance()
    encoded = staticmethod(allowance.encoded)
    decoded = staticmethod(allowance.decoded)

    def bodies(self, document: Allowance) -> set[str]:
        del document
        return set()

    def publishes(self, before: Allowance, after: Allowance) -> bool:
        del before, after
        return False

    def reunited(
        self, name: str, theirs: Allowance | None, ours: Allowance, *, provisional: bool, lost: bool
    ) -> Allowance:
        del name, provisional, lost
        return allowance.merged(theirs, ours)


def _holders(known: Ledger) -> set[str | None]:
    return {standing.holder for standing in known.standings.values()}


def _size_of(known: Ledger) -> int:
    """Bytes of all versions, a body that several of them have counted once."""
    return sum({each.stored.body: each.stored.size for each in known.versions}.values())
