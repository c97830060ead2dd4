"""The way to one upstream: how many attempts at once, how many in a time, and not before when.

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
    """Lets the attempts of one upstream's jobs through, first come, first served.

    So many at once in this process; the rate and the hold are those of all processes that share
    `limits`.
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
        self._turn = asyncio.Lock()
        self._limits = limits
        self._held_until = 0.0
        self._wakers: list[Callable[[], object]] = []
        limits.on_hold(upstream, self.wake)

    @property
    def held_until(self) -> float:
        """No attempt before this instant: the upstream answered 429, or has no quota left."""
        return max(self._held_until, self._limits.held_until(self.upstream))

    def on_hold(self, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the hold is moved, so that its job can say when it is due now."""
        self._wakers.append(wake)

    def hold(self, until: float) -> None:
        """Let nobody through before `until`; an earlier instant than the present one is ignored."""
        if until <= self.held_until:
            return
        self._held_until = until
        self.wake()

    def wake(self) -> None:
        """Have every job look again at when it is due."""
        for wake in self._wakers:
            wake()

    async def share(self) -> None:
        """Let the other processes know of the hold."""
        if self._held_until > self._limits.held_until(self.upstream):
            await self._limits.hold(self.upstream, self._held_until)

    async def look_again(self) -> None:
        """Forget what lies in the future: the wall clock has been set back."""
        latest = self._clock.now() + LONGEST_WAIT
        self._held_until = min(self._held_until, latest)
        await self._limits.not_after(self.upstream, latest=latest)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and a turn, and hold the place."""
        async with self._places:
            if self._rate is not None:
                async with self._turn:  # one at a time, in the order in which they came
                    await self._await_turn(self._rate)
            yield

    async def give_back(self) -> None:
        """Take nothing from the rate after all: there is no attempt to be made any more."""
        if self._rate is not None:
            await self._limits.give_back(self.upstream)

    async def _await_turn(self, rate: Rate) -> None:
        while (free_at := await self._limits.reserve(self.upstream, rate)) is not None:
            await sleep_until(self._clock, free_at)
