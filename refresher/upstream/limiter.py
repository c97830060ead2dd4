"""Limits attempts to one upstream: how many at once, how many in a time, none while it is held.

Waiting here comes before an attempt: it counts neither to the job's timeout nor to its lease.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from refresher.clock import Clock, sleep_until
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.model import Rate
from refresher.protocols import Limits


class Limiter:
    """Grants the attempts of one upstream's jobs a place, first come, first served.

    `max_concurrency` is per process; the rate and the hold are shared by all processes of `limits`.
    """

    def __init__(
        self,
        upstream: str,
        *,
        max_concurrency: int,
        rate: Rate | None,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.upstream = upstream
        self._clock = clock
        self._places = asyncio.Semaphore(max_concurrency)
        self._rate = rate
        self._queue = asyncio.Lock()
        self._limits = limits
        self._held_until = 0.0
        self._wakers: list[Callable[[], object]] = []
        limits.on_hold(upstream, self.wake)

    @property
    def held_until(self) -> float:
        """No attempt before this instant: the upstream answered 429, or has no quota left."""
        return max(self._held_until, self._limits.held_until(self.upstream))

    def on_hold(self, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the hold is moved: its job may be due at another time."""
        self._wakers.append(wake)

    def hold(self, until: float) -> None:
        """Start no attempt before `until`; ignored where the present hold is later."""
        if until <= self.held_until:
            return
        self._held_until = until
        self.wake()

    def wake(self) -> None:
        """Have every job compute its next due moment again."""
        for wake in self._wakers:
            wake()

    async def share(self) -> None:
        """Share the hold with the other processes of the store."""
        if self._held_until > self._limits.held_until(self.upstream):
            await self._limits.hold(self.upstream, self._held_until)

    async def look_again(self) -> None:
        """Cap the hold at `LONGEST_WAIT` from now: the wall clock has been set back."""
        latest = self._clock.now() + LONGEST_WAIT
        self._held_until = min(self._held_until, latest)
        await self._limits.not_after(self.upstream, latest=latest)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and a token of the rate; the place is held until the context ends."""
        async with self._places:
            if self._rate is not None:
                async with self._queue:  # one waits at a time: first come, first served
                    await self._await_token(self._rate)
            yield

    async def admit_another(self, within: float) -> bool:
        """Take one more token of the rate for an attempt that has a place, `within` seconds.

        False where there is none by then, or the upstream is held.
        """
        latest = self._clock.now() + within
        while self.held_until <= self._clock.now():
            free_at = await self._limits.reserve(self.upstream, self._rate) if self._rate else None
            if free_at is None:
                return True
            if free_at > latest:
                return False
            await sleep_until(self._clock, free_at)
        return False

    async def give_back(self) -> None:
        """Return a token of the rate that no attempt was made with."""
        if self._rate is not None:
            await self._limits.give_back(self.upstream)

    async def _await_token(self, rate: Rate) -> None:
        while (free_at := await self._limits.reserve(self.upstream, rate)) is not None:
            await sleep_until(self._clock, free_at)
