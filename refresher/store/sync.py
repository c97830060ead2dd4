"""Keeps the local copies of a store's documents up to date, and merges them after an outage."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from refresher.clock import Clock, sleep_until
from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability, StoreSilent
from refresher.store.local import LOSS, LocalCopy
from refresher.store.presence import Heartbeat, Presence
from refresher.store.protocols import Change, StoreOperation

_BEAT_INTERVAL = 1.0
"""Seconds."""
_LOAD_BUDGET = 200_000_000
"""Bytes that all documents together may have, for the time limit on reading them."""


class Sync:
    """Reads what other processes change as soon as there is notice of it, or by the next heartbeat.

    Detached, each heartbeat tries to merge the local copies with the store and to attach to it.

    Args:
        availability: Of the store.
        presence: Of this process in it.
        clock: Says when the next heartbeat is due.
        beaten: Is called with what each heartbeat has shown.
        merged: Is called when the store has every change that was made here while detached.
    """

    def __init__(
        self,
        availability: Availability,
        presence: Presence,
        *,
        clock: Clock,
        beaten: Callable[[Heartbeat], object] = lambda _: None,
        merged: Callable[[], object] = lambda: None,
    ) -> None:
        self._availability = availability
        self._presence = presence
        self._clock = clock
        self._beaten = beaten
        self._merged = merged
        self._copies: list[tuple[LocalCopy[Any], Callable[[list[str]], object]]] = []
        self.store: str | None = None
        """Which store it is: the opaque name that came with the last heartbeat."""
        self._last = 0
        """The number of the last change that is known here."""

    def add(
        self, copy: LocalCopy[Any], changed: Callable[[list[str]], object] = lambda _: None
    ) -> None:
        """Keep a copy up to date; `changed` is called with the names of what has changed in it."""
        self._copies.append((copy, changed))

    async def load(self) -> None:
        """Learn all that the store has: one that cannot be written, being full, may be read."""
        try:
            await self.beat()
        except StoreSilent:
            return
        except StoreUnavailable:
            pass
        with suppress(StoreUnavailable):
            await self.catch_up()

    async def beat_each_second(self) -> None:
        """Say that this process is alive, and merge if it is detached, for ever."""
        while True:
            await self._sleep()
            with self._availability.surviving():
                await self.beat()
                if self._availability.detached:
                    await self._merge()

    async def follow(self) -> None:
        """Read changes as soon as there is notice of them, for ever."""
        while True:
            is_notified = False
            with self._availability.surviving():
                await self._availability.backend.changed()
                is_notified = True
                if not self._availability.detached:
                    await self.catch_up()
            if self._availability.detached or not is_notified:
                await self._sleep()

    async def catch_up(self) -> None:
        """Read what has changed since the last change that is known.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        for change in await self._changes(self._last):
            for copy, changed in self._copies:
                name = copy.take(change)
                if name is not None:
                    changed([name])
            self._last = max(self._last, change.number)

    async def beat(self) -> None:
        """Say that this process is alive, and learn of changes of which no notice came.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        last = self._last  # a later one may be known by the time the heartbeat is answered
        heartbeat = await self._presence.beat()
        self._beaten(heartbeat)
        if self.store is not None and (heartbeat.store != self.store or heartbeat.last < last):
            # Another store, or one that has lost its last changes: its numbers cannot be compared
            # with those that are known here.
            self._availability.detach(LOSS, failed=StoreOperation.LOAD)
            for copy, _ in self._copies:
                copy.mark_untrusted()
            self._last = 0
        self.store = heartbeat.store
        if heartbeat.last > self._last and not self._availability.detached:
            await self.catch_up()  # a notice may get lost

    async def _merge(self) -> None:
        """Merge the local copies with a store that is available again, and attach to it.

        Raises:
            StoreUnavailable: it is not available again.
        """
        while True:
            theirs = await self._changes(0)
            for copy, changed in self._copies:
                changed(await copy.merge(theirs))
            self._last = max((change.number for change in theirs), default=0)
            await self._presence.attach()  # before anyone sees a lease of this process
            if all(copy.is_merged for copy, _ in self._copies):
                self._merged()
                self._availability.attach()
                return

    async def _changes(self, since: int) -> list[Change]:
        reading = self._availability.backend.changes(since)
        size = _LOAD_BUDGET if since == 0 else 0
        return await self._availability.ask(StoreOperation.LOAD, reading, size=size)

    async def _sleep(self) -> None:
        await sleep_until(self._clock, self._clock.now() + _BEAT_INTERVAL)
