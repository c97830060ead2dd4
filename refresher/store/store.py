"""What all processes that share a store know of their jobs, kept over restarts.

Each process works on a local copy of the ledgers. While the store is not available the process is
detached: it goes on with that copy alone, and merges it with the store afterwards.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio

from refresher.clock import ShiftedClock
from refresher.errors import StoreUnavailable
from refresher.model import Content, Definition, Stored
from refresher.protocols import Grant
from refresher.store import ledger
from refresher.store.availability import Availability
from refresher.store.kinds import Ledgers
from refresher.store.ledger import Ledger, Settlement, Standing
from refresher.store.local import LocalCopy
from refresher.store.pending import PendingBodies
from refresher.store.presence import Heartbeat, Presence
from refresher.store.protocols import Backend, StoreOperation
from refresher.store.retention import Eviction, Retention
from refresher.store.shared_limits import SharedLimits
from refresher.store.sync import Sync

PROCESS = uuid4().hex
"""The identity of stores that are of this process alone."""
_DEFAULT_RETENTION = Retention()


class Store:
    """Keeps the ledgers of jobs; entered while a service runs.

    `presence` says which processes are alive, `limits` what upstreams allow them together.

    Args:
        backend: Where documents and bodies are kept.
        clock: Is set by the time of the backend.
        retention: How much history is kept.
        served_body: Gives the bytes that this process serves of a job, if their ETag is the given
            one: a store that comes back empty is filled with them.
        failed: Is called with the operation whenever the backend fails.
        availability_changed: Is called whenever `detached` has changed.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: ShiftedClock,
        retention: Retention = _DEFAULT_RETENTION,
        served_body: Callable[[str, str], bytes | None] = lambda *_: None,
        failed: Callable[[StoreOperation], object] = lambda _: None,
        availability_changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.history = retention.versions
        """How many versions are kept of a job."""
        self._availability = Availability(
            backend, failed=failed, changed=self._availability_has_changed
        )
        self.presence = Presence(self._availability, clock=clock)
        self._pending = PendingBodies()
        self._sync = Sync(
            self._availability,
            self.presence,
            clock=clock,
            beaten=self._take_heartbeat,
            merged=self._pending.clear,
        )
        self._availability_changed = availability_changed
        self._served_body = served_body
        self._clock = clock
        self._host = socket.gethostname()
        self._entered_at = clock.now()
        self._definitions: dict[str, Definition] = {}
        """Of the jobs of this process."""
        self._keys: dict[str, str] = {}
        """Of these definitions, as `ledger.key_of` makes them."""
        self._unwritten: dict[str, tuple[Ledger, Ledger]] = {}
        """Ledgers without a standing for the definition of their jobs, and the same with one."""
        self._eviction = Eviction(retention.bytes)
        self._jobs = LocalCopy(
            Ledgers(
                self.presence.process, self._definitions, self._pending_body, retention.versions
            ),
            self._availability,
            catch_up=self._sync.catch_up,
            pending=self._pending_body,
            changed=self._eviction.count,
        )
        self.limits = SharedLimits(self._availability, clock=clock, catch_up=self._sync.catch_up)
        self._sync.add(self._jobs, self._tell)
        self._sync.add(self.limits.upstreams)
        self._news: set[str] = set()
        self._has_news = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._availability.backend)
            await self._sync.load()
            self._entered_at = self._clock.now()  # by now the store's time
            self._news.clear()
            stack.push_async_callback(self.presence.leave)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._sync.beat_each_second, name="refresher store heartbeat")
            tasks.start_soon(self._sync.follow, name="refresher store news")
            tasks.start_soon(
                self._eviction.run, self._jobs, self._availability, name="refresher store history"
            )
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
        """Whether this process goes on by itself, the store not being available."""
        return self._availability.detached

    @property
    def identity(self) -> str:
        """What the processes of this store have in common, and no other store's: its opaque name.

        It is the host's name until the store has answered; a store in memory has that of the
        process.
        """
        if not self.persistent:
            return PROCESS
        return self._sync.store or self._host

    @property
    def persistent(self) -> bool:
        """Whether what is kept outlives this process."""
        return self._availability.backend.persistent

    def register(self, job: str, definition: Definition) -> bool:
        """Add a job of this process; returns whether the store knows anything of it.

        Nothing is written before the job asks for something.
        """
        self._definitions[job] = definition
        self._keys[job] = ledger.key_of(definition)
        return job in self._jobs

    def known(self, job: str) -> tuple[Ledger, Standing]:
        """All that is known of a job, and its standing under the definition that it has here."""
        known = self._with_definition(job, self._jobs.get(job).document)
        return known, known.standings[self._keys[job]]

    def ledger(self, job: str) -> Ledger:
        """All that is known of a job."""
        return self.known(job)[0]

    def standing(self, job: str) -> Standing:
        """The job's standing under the definition that it has here."""
        return self.known(job)[1]

    def published(self, job: str) -> int:
        """The store's number of the change that made the job's newest version."""
        return self._jobs.get(job).published

    async def news(self) -> list[str]:
        """Wait for changes by others; returns the jobs that changed, or whose lease is free."""
        await self._has_news.wait()
        self._has_news.clear()
        news = [job for job in self._news if job in self._definitions]
        self._news.clear()
        return news

    async def catch_up(self) -> None:
        """Learn what others have changed until now; a notice of it may still be on its way."""
        if not self._availability.detached:
            with suppress(StoreUnavailable):
                await self._sync.catch_up()

    async def request(self, job: str, *, force: bool = False, cooldown: float = 0.0) -> int | None:
        """Ask for an attempt that starts after this; returns the number of the request.

        None where the job is paused, or an attempt was asked for within `cooldown` seconds; `force`
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
        """Start an attempt; None where the job is not due, or another process has the lease.

        `due_now_since` is as for `ledger.acquired`.
        """

        def acquired(known: Ledger, key: str) -> Ledger | None:
            standing = known.standings[key]
            return ledger.acquired(
                known,
                key,
                process=self.presence.process,
                alive=self.presence.alive(standing.holder, since=standing.running_since),
                due_now_since=due_now_since,
                now=self._clock.now(),
            )

        after = await self.adjust(job, acquired)
        if after is None:
            return None
        standing = after.standings[self._keys[job]]
        return Grant(job, standing.fence, standing.requested)

    def stage(self, job: str, content: Content, etag: str) -> Stored:
        """Hold content until it is written, by the settlement that refers to it."""
        return Stored(
            body=self._pending.stage(job, content.body),
            size=len(content.body),
            etag=etag,
            content_type=content.content_type,
            format=content.format,
            items=content.items,
            raw=content.raw,
            content_time=content.content_time,
        )

    async def settle(self, grant: Grant, settlement: Settlement, *, served: int) -> Ledger | None:
        """End an attempt; None where its lease has been lost: then it has no effect.

        `served` is the highest version that this process has served.
        """
        try:
            return await self.adjust(
                grant.job,
                lambda known, key: ledger.settled(
                    known,
                    key,
                    grant.fence,
                    settlement,
                    process=self.presence.process,
                    served=served,
                    history=self.history,
                ),
            )
        finally:
            self._release_bodies(grant.job)

    async def adjust(
        self, job: str, change: Callable[[Ledger, str], Ledger | None]
    ) -> Ledger | None:
        """Change a job's ledger, while detached in the local copy alone.

        `change` gets the ledger and the key of the definition; None: it is not to be changed.
        """
        return await self._jobs.change(job, self._by_key(job, change))

    async def decide(
        self, job: str, decision: Callable[[Ledger, str], Ledger | None]
    ) -> Ledger | None:
        """Change a job's ledger in the store, or not at all; None: it is not to be changed.

        Raises:
            StoreUnavailable: it cannot be written, and nothing has changed.
        """
        return await self._jobs.write(job, self._by_key(job, decision))

    async def body(self, job: str, stored: Stored) -> bytes | None:
        """The bytes of content that is kept; None where they are lost.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        pending = self._pending.of(job).get(stored.body)
        if pending is not None:
            return pending
        found = await self.bodies([stored])
        return found.get(stored.body)

    async def bodies(self, wanted: Sequence[Stored]) -> dict[str, bytes]:
        """The bytes of those of the contents that the store has, by the names of the bodies.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        names = [stored.body for stored in wanted]
        size = sum(stored.size for stored in wanted)
        reading = self._availability.backend.get(names)
        return await self._availability.ask(StoreOperation.READ, reading, size=size)

    def _with_definition(self, job: str, known: Ledger) -> Ledger:
        if self._keys[job] in known.standings:
            self._unwritten.pop(job, None)
            return known
        before, after = self._unwritten.get(job, (None, known))
        if before is not known:  # made once: until its first attempt a job is asked for it often
            after = ledger.with_definition(known, self._definitions[job], now=self._entered_at)
            self._unwritten[job] = known, after
        return after

    def _by_key(
        self, job: str, change: Callable[[Ledger, str], Ledger | None]
    ) -> Callable[[Ledger], Ledger | None]:
        key = self._keys[job]
        return lambda known: change(self._with_definition(job, known), key)

    def _pending_body(self, job: str, body: str) -> bytes | None:
        """A body that the store may not have: a new one, or the one that is served."""
        pending = self._pending.of(job).get(body)
        if pending is not None or job not in self._definitions:
            return pending
        known, standing = self.known(job)
        current = known.version(standing.current)
        if current is None or current.stored.body != body:
            return None
        return self._served_body(job, current.stored.etag)

    def _release_bodies(self, job: str) -> None:
        """Release the bodies of an attempt, which are written, or never will be.

        While detached, those that are current or in quarantine stay; what they replace is kept in
        no history.
        """
        if not self._availability.detached:
            self._pending.keep_only(job)
            return
        known, standing = self.known(job)
        current = known.version(standing.current)
        wanted = {each.stored.body for each in (current, standing.quarantine) if each}
        self._pending.keep_only(job, wanted)

    def _take_heartbeat(self, heartbeat: Heartbeat) -> None:
        if heartbeat.died:
            self._tell(job for job, known in self._jobs if _holders(known) & heartbeat.died)
        if heartbeat.is_newly_first:
            self._tell(self._definitions)

    def _availability_has_changed(self) -> None:
        """Have every job look again: what another has, or what could not be read, may be ours."""
        self._availability_changed()
        self._tell(self._definitions)

    def _tell(self, jobs: Iterable[str]) -> None:
        self._news.update(jobs)
        self._has_news.set()


def _holders(known: Ledger) -> set[str | None]:
    return {standing.holder for standing in known.standings.values()}
