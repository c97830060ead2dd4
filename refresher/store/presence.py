"""Which of the processes that share a store are alive, by their heartbeats."""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from refresher.clock import ShiftedClock
from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability
from refresher.store.protocols import StoreOperation

_START_WINDOW = 10.0
"""Seconds after its start in which a process may turn out to be first, the others being dead."""
_OPEN_BUDGET = 60_000_000
"""The first heartbeat may open the store: bytes that take as long as that on a busy machine."""
_PROMPT = 0.1
"""Seconds within which a heartbeat is answered if the time in it is good to set the clock by."""
_CLOCK_RESOLUTION = 0.005
"""Seconds by which two readings of one clock may differ."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What this process has learned by a heartbeat."""

    store: str
    """Which store answered; another one has another name."""
    last: int
    """The number of the last change in it."""
    died: frozenset[str]
    """The processes that were alive at the heartbeat before this one, and are no longer."""
    is_newly_first: bool
    """Whether this process has turned out to be the first."""


class Presence:
    """This process among those that share a store; sets `clock` by the time of the store."""

    def __init__(self, availability: Availability, *, clock: ShiftedClock) -> None:
        self.process = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:12]}"
        """The name of this process, unique over hosts and restarts."""
        self.is_first = False
        """Whether no other process was alive when this one started.

        A process that was killed counts as alive for a while, so this may become true later.
        """
        self._detached_name = f"{self.process}-away"
        """Under which it beats while detached: it cannot give its leases back, and loses them."""
        self._availability = availability
        self._clock = clock
        self._alive = frozenset({self.process})
        self._alive_at = 0.0
        """When the store said so at the latest; what has started since then may be missing."""
        self._earlier: frozenset[str] | None = None
        """The other processes alive at the first heartbeat."""
        self._joined_at = 0.0

    async def beat(self) -> Heartbeat:
        """Say that this process is alive, and learn which others are.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        is_joining = self._earlier is None
        name = self._detached_name if self._availability.detached else self.process
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        beat = await self._availability.ask(
            StoreOperation.BEAT,
            self._availability.backend.beat(name),
            size=_OPEN_BUDGET if is_joining else 0,
        )
        took = loop.time() - asked_at
        if beat.now is not None and (is_joining or took < _PROMPT):
            self._clock.set(beat.now, tolerance=_CLOCK_RESOLUTION)
        self._alive_at = self._clock.now() - took - _PROMPT
        alive = (beat.alive - {self._detached_name}) | {self.process}
        died, self._alive = self._alive - alive, alive
        is_newly_first = not self.is_first and self._has_only_dead_before(alive)
        self.is_first |= is_newly_first
        return Heartbeat(beat.store, beat.last, died, is_newly_first)

    async def attach(self) -> None:
        """Say that this process is alive under the name that its leases are held by.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        beating = self._availability.backend.beat(self.process)
        await self._availability.ask(StoreOperation.BEAT, beating)

    async def leave(self) -> None:
        """Say that this process ends, so that its leases are free at once."""
        with suppress(StoreUnavailable):  # it counts as dead in a few seconds
            for name in (self.process, self._detached_name):
                leaving = self._availability.backend.leave(name)
                await self._availability.ask(StoreOperation.BEAT, leaving)

    def alive(self, holder: str | None, *, since: float | None) -> frozenset[str]:
        """The processes that are alive, with the `holder` of a lease that it has had `since`.

        A holder that may have started after the last heartbeat counts as alive. Detached, only
        this process does, for the others cannot be seen.
        """
        if self._availability.detached:
            return frozenset({self.process})
        if holder is None or (since or 0.0) < self._alive_at:
            return self._alive
        return self._alive | {holder}

    def _has_only_dead_before(self, alive: frozenset[str]) -> bool:
        """Whether this process has just started, and all that were alive before it are dead by now.

        Of several that start at once this is true of the one whose heartbeat came first.
        """
        now = self._clock.now()
        if self._earlier is None:
            self._earlier, self._joined_at = alive - {self.process}, now
        return now <= self._joined_at + _START_WINDOW and not self._earlier & alive
