"""The store: what jobs and upstreams are known to have done, over processes and restarts.

Once a second the process says that it is alive, and learns who else is. While the store is away the
process goes on by itself; when it is back, in whatever state, it is told what has happened.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio

from refresher.clock import ShiftedClock, sleep_until
from refresher.errors import StoreUnavailable
from refresher.model import Content, Definition, Rate, Stored
from refresher.protocols import Grant
from refresher.store import ledger, limits
from refresher.store.availability import Link, StoreSilent
from refresher.store.kinds import Allowances, Ledgers
from refresher.store.ledger import Ledger, Settlement, Standing
from refresher.store.limits import Allowance
from refresher.store.local import LOSS, Mirror
from refresher.store.protocols import Backend, Change, StoreOperation

_BETWEEN_BEATS = 1.0
"""Seconds."""
_STARTING = 10.0
"""Seconds in which a process may turn out to be the first, those before it being dead."""
_OPENING = 60_000_000
"""As many bytes take as long as a busy machine may need to open a store."""
_GOOD_READING = 0.1
"""Seconds that a beat may take for its time to be worth setting the clock by."""
_ALL_DOCUMENTS = 200_000_000
"""Bytes that all documents together may well have, for the patience to read them."""
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

    `served` gives what this process serves of a job, if its ETag is the given one, to fill a store
    that has come back empty; `failed` is told the operation whenever the backend fails; `turned` is
    called whenever the process gets detached or attached again.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: ShiftedClock,
        retention: Retention = _USUAL,
        served: Callable[[str, str], bytes | None] = lambda *_: None,
        failed: Callable[[StoreOperation], object] = lambda _: None,
        turned: Callable[[], object] = lambda: None,
    ) -> None:
        self.process = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:12]}"
        self._away = f"{self.process}-away"
        """As whom it says that it is alive while it cannot give a lease back."""
        self.alone = False
        """Whether this process has found, at its start, that no other was there before it."""
        self._clock = clock
        self._retention = retention
        self._served = served
        self._link = Link(backend, failed=failed, turned=self._turn)
        self._turned = turned
        self._definitions: dict[str, Definition] = {}
        """Of the jobs of this process."""
        self._keys: dict[str, str] = {}
        """Of these definitions, as `ledger.key_of` makes them."""
        self._entries: dict[str, tuple[Ledger, Ledger]] = {}
        """Ledgers without a standing for the definition of their jobs, and the same with one."""
        self._since = clock.now()
        self._staged: dict[str, dict[str, bytes]] = {}
        """Bodies that are to be written with the next settlement, by their jobs and names."""
        self._unsaved: dict[str, dict[str, bytes]] = {}
        """Those that wait for the store to come back."""
        self._history_bytes = 0
        self._with_past: set[str] = set()
        """The jobs that have versions besides the current ones."""
        self._has_much_history = asyncio.Event()
        self._jobs = Mirror(
            Ledgers(self.process, self._definitions, self._body_at_hand, retention.versions),
            self._link,
            catch_up=self._catch_up,
            staged=self._body_at_hand,
            kept=self._weigh,
        )
        self._upstreams = Mirror(
            Allowances(), self._link, catch_up=self._catch_up, kept=self._hear_of_hold
        )
        self._store: str | None = None
        self._last = 0
        """Up to which change all is known."""
        self._alive = frozenset({self.process})
        self._before: frozenset[str] | None = None
        """The processes that were there before this one."""
        self._joined_at = 0.0
        self._beat_at = 0.0
        self._news: set[str] = set()
        self._has_news = asyncio.Event()
        self._wakers: dict[str, Callable[[], object]] = {}
        """What to call when an upstream is held for longer."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._link.backend)
            await self._meet()
            self._since = self._clock.now()  # by the store's time, from here on
            self._news.clear()
            stack.push_async_callback(self._leave)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._live, name="refresher store heartbeat")
            tasks.start_soon(self._follow, name="refresher store news")
            tasks.start_soon(self._cut_history, name="refresher store history")
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

    @property
    def persistent(self) -> bool:
        """Whether what is kept outlives this process."""
        return self._link.backend.persistent

    def ledger(self, job: str) -> Ledger:
        """All that is known of a job."""
        return self._entered(job, self._jobs.get(job).document)

    def standing(self, job: str) -> Standing:
        """How the job stands under the definition that it has here."""
        key = self._keys[job]
        standing = self._jobs.get(job).document.standings.get(key)
        return self.ledger(job).standings[key] if standing is None else standing

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

    def register(self, job: str, definition: Definition) -> bool:
        """Add a job of this process; returns whether the store knows anything of it.

        Nothing is written before the job asks for something.
        """
        self._definitions[job] = definition
        self._keys[job] = ledger.key_of(definition)
        return job in self._jobs

    async def catch_up(self) -> None:
        """Learn what others have changed until now; a notice of it may still be on its way."""
        if not self._link.detached:
            with suppress(StoreUnavailable):
                await self._catch_up()

    async def request(self, job: str, *, force: bool = False, cooldown: float = 0.0) -> int | None:
        """Ask for an attempt that has yet to start; returns the number of the request.

        None where the job is paused, or somebody has asked within `cooldown` seconds; `force`
        overrides the cooldown and Retry-After.
        """
        now = self._clock.now()

        def asked(known: Ledger, key: str) -> Ledger | None:
            if known.paused:
                return None
            if force:
                return ledger.forced(known, key, now=now)
            if cooldown and now < known.standings[key].requested_at + cooldown:
                return None
            return ledger.requested(known, key, now=now)

        after = await self.adjust(job, asked)
        return None if after is None else after.standings[self._keys[job]].requested

    async def acquire(self, job: str, *, due_now_since: float | None = None) -> Grant | None:
        """Start an attempt; None where there is none to be made, or another process makes it."""

        def acquired(known: Ledger, key: str) -> Ledger | None:
            return ledger.acquired(
                known,
                key,
                process=self.process,
                alive=self._alive_as_far_as_known(known.standings[key]),
                due_now_since=due_now_since,
                now=self._clock.now(),
            )

        after = await self.adjust(job, acquired)
        if after is None:
            return None
        standing = after.standings[self._keys[job]]
        return Grant(job, standing.fence, standing.requested)

    def stage(self, job: str, content: Content, etag: str) -> Stored:
        """Content that is to be written with the settlement that refers to it."""
        body = uuid4().hex
        self._staged.setdefault(job, {})[body] = content.body
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
        try:
            return await self.adjust(
                grant.job,
                lambda known, key: ledger.settled(
                    known,
                    key,
                    grant.fence,
                    settlement,
                    process=self.process,
                    served=served,
                    history=self._retention.versions,
                ),
            )
        finally:
            self._tidy(grant.job)

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
        return await self._jobs.write(job, self._by_key(job, decision))

    @property
    def history(self) -> int:
        """How many versions are kept of a job."""
        return self._retention.versions

    async def body(self, job: str, stored: Stored) -> bytes | None:
        """The bytes of content that is kept; None where they are gone.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        unwritten = self._unwritten(job).get(stored.body)
        if unwritten is not None:
            return unwritten
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
            upstream, lambda known: limits.started(known, rate, now=now)
        )
        if started is not None:
            return None
        return limits.free_at(self._upstreams.get(upstream).document, rate, now=now)

    async def give_back(self, upstream: str) -> None:
        """Take back the start of an attempt that was not made."""
        await self._upstreams.change(upstream, limits.given_back)

    async def hold(self, upstream: str, until: float) -> None:
        """Let no process ask the upstream before that instant."""
        await self._upstreams.change(upstream, lambda known: limits.held(known, until))

    def on_hold(self, upstream: str, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the upstream is held for longer, by whichever process."""
        self._wakers[upstream] = wake

    async def not_after(self, upstream: str, *, latest: float) -> None:
        """The wall clock has been set back: forget what lies in the future."""
        now = self._clock.now()
        await self._upstreams.change(
            upstream, lambda known: limits.not_after(known, latest=latest, now=now)
        )

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Go on without the store, whatever it has raised."""
        try:
            yield
        except StoreUnavailable:
            pass  # whoever asked it has said so
        # A task that dies in the lifespan's group does not stop uvicorn, which would go on
        # answering with a store that nobody looks after.
        except Exception as error:  # noqa: BLE001
            self._link.lose(f"the store broke: {type(error).__name__}: {error}")

    async def _pause(self) -> None:
        await sleep_until(self._clock, self._clock.now() + _BETWEEN_BEATS)

    async def _live(self) -> None:
        while True:
            await self._pause()
            with self._going_on():
                await self._beat()
                if self._link.detached:
                    await self._reunite()

    async def _meet(self) -> None:
        """Learn all that the store has: one that cannot be written, being full, may be read."""
        try:
            await self._beat()
        except StoreSilent:
            return
        except StoreUnavailable:
            pass
        with suppress(StoreUnavailable):
            await self._catch_up()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at, last = loop.time(), self._last
        name = self._away if self._link.detached else self.process
        opening = _OPENING if self._store is None else 0
        beating = self._link.backend.beat(name)
        beat = await self._link.ask(StoreOperation.BEAT, beating, carrying=opening)
        took = loop.time() - asked_at
        if beat.now is not None and (self._store is None or took < _GOOD_READING):
            self._clock.set(beat.now, tolerance=_TREMBLE)
        self._beat_at = self._clock.now() - took - _GOOD_READING
        self._learn_who_is_alive((beat.alive - {self._away}) | {self.process})
        if self._store is not None and (beat.store != self._store or beat.last < last):
            # Another store, or one that has lost its last changes: nothing it says of a number
            # can be compared with ours.
            self._link.lose(LOSS, StoreOperation.LOAD)
            self._jobs.mistrust()
            self._upstreams.mistrust()
            self._last = 0
        self._store = beat.store
        if beat.last > self._last and not self._link.detached:
            await self._catch_up()  # a notice may get lost

    def _learn_who_is_alive(self, alive: frozenset[str]) -> None:
        gone, self._alive = self._alive - alive, alive
        if gone:
            self._tell(job for job, known in self._jobs if _holders(known) & gone)
        if self._before is None:
            self._before, self._joined_at = alive - {self.process}, self._clock.now()
        # One that was killed counts as alive for a while. Of those that start together, one is it.
        has_started = self._clock.now() > self._joined_at + _STARTING
        if not (self.alone or has_started or self._before & alive):
            self.alone = True
            self._tell(self._definitions)

    async def _follow(self) -> None:
        while True:
            has_heard = False
            with self._going_on():
                await self._link.backend.changed()
                has_heard = True
                if not self._link.detached:
                    await self._catch_up()
            if self._link.detached or not has_heard:
                await self._pause()

    async def _catch_up(self) -> None:
        """Read what has changed.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        for change in await self._changes(self._last):
            job = self._jobs.take(change)
            if job is not None:
                self._tell([job])
            self._upstreams.take(change)
            self._last = max(self._last, change.number)

    async def _changes(self, since: int) -> list[Change]:
        asked = self._link.backend.changes(since)
        return await self._link.ask(
            StoreOperation.LOAD, asked, carrying=_ALL_DOCUMENTS if since == 0 else 0
        )

    async def _reunite(self) -> None:
        """Tell a store that is back what has happened, and learn what has happened there.

        Raises:
            StoreUnavailable: it went away again.
        """
        while True:
            theirs = await self._changes(0)
            self._tell(await self._jobs.reunite(theirs))
            await self._upstreams.reunite(theirs)
            self._last = max((change.number for change in theirs), default=0)
            # Who may hold leases again is to be known as alive first.
            await self._link.ask(StoreOperation.BEAT, self._link.backend.beat(self.process))
            if self._jobs.is_reunited and self._upstreams.is_reunited:
                self._unsaved.clear()
                self._link.attach()
                return

    async def _leave(self) -> None:
        with suppress(StoreUnavailable):
            for name in (self.process, self._away):
                await self._link.ask(StoreOperation.BEAT, self._link.backend.leave(name))

    async def _cut_history(self) -> None:
        """Keep all history together within its bytes, the oldest going first."""
        while True:
            await self._has_much_history.wait()
            self._has_much_history.clear()
            with self._going_on():  # it is as much when the store is back
                await self._evict()

    async def _evict(self) -> None:
        oldest = sorted(
            (version.changed_at, job, version.version)
            for job in self._with_past
            for version in ledger.evictable(self._jobs.get(job).document)
        )
        for _, job, number in oldest:
            if self._history_bytes <= self._retention.bytes * _EVICT_TO:
                return
            await self._jobs.write(job, partial(ledger.without, number=number))

    def _alive_as_far_as_known(self, standing: Standing) -> frozenset[str]:
        """Who is alive; one that began after we last asked may be too new to be known."""
        if self._link.detached:
            return frozenset({self.process})  # of whom else nothing is to be known
        if standing.holder is None or (standing.running_since or 0.0) < self._beat_at:
            return self._alive
        return self._alive | {standing.holder}

    def _entered(self, job: str, known: Ledger) -> Ledger:
        if self._keys[job] in known.standings:
            self._entries.pop(job, None)
            return known
        before, entered = self._entries.get(job, (None, known))
        if before is not known:  # made once: until its first attempt a job is asked for it often
            entered = ledger.with_definition(known, self._definitions[job], now=self._since)
            self._entries[job] = known, entered
        return entered

    def _by_key(
        self, job: str, change: Callable[[Ledger, str], Ledger | None]
    ) -> Callable[[Ledger], Ledger | None]:
        key = self._keys[job]
        return lambda known: change(self._entered(job, known), key)

    def _body_at_hand(self, job: str, body: str) -> bytes | None:
        """A body that is not in the store: a new one, or the one that is served."""
        unwritten = self._unwritten(job).get(body)
        if unwritten is not None or job not in self._definitions:
            return unwritten
        current = self.ledger(job).version(self.standing(job).current)
        if current is None or current.stored.body != body:
            return None
        return self._served(job, current.stored.etag)

    def _tidy(self, job: str) -> None:
        """Let go of bodies that are written, or will never be.

        While the store is away, only those stay that are current or in quarantine: what they
        replace is kept in no history.
        """
        unwritten = self._unwritten(job)
        self._staged.pop(job, None)
        self._unsaved.pop(job, None)
        if self._link.detached:
            standing = self.standing(job)
            current = self.ledger(job).version(standing.current)
            wanted = {each.stored.body for each in (current, standing.quarantine) if each}
            if kept := {name: unwritten[name] for name in wanted & unwritten.keys()}:
                self._unsaved[job] = kept

    def _unwritten(self, job: str) -> dict[str, bytes]:
        return self._unsaved.get(job, {}) | self._staged.get(job, {})

    def _weigh(self, job: str, before: Ledger, after: Ledger) -> None:
        if before.versions is not after.versions:
            (self._with_past.add if len(after.versions) > 1 else self._with_past.discard)(job)
            self._history_bytes += _size_of(after) - _size_of(before)
            if self._history_bytes > self._retention.bytes and self._with_past:
                self._has_much_history.set()

    def _hear_of_hold(self, upstream: str, before: Allowance, after: Allowance) -> None:
        if after.held_until > before.held_until and upstream in self._wakers:
            self._wakers[upstream]()

    def _turn(self) -> None:
        """Have every job look again: what another has, or what could not be read, may be ours."""
        self._turned()
        self._tell(self._definitions)

    def _tell(self, jobs: Iterable[str]) -> None:
        self._news.update(jobs)
        self._has_news.set()


def _holders(known: Ledger) -> set[str | None]:
    return {standing.holder for standing in known.standings.values()}


def _size_of(known: Ledger) -> int:
    """Bytes of all versions, a body that several of them have counted once."""
    return sum({each.stored.body: each.stored.size for each in known.versions}.values())
