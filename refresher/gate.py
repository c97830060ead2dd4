"""The way to one upstream: how many attempts at once, how many in a time, and not before when.

Waiting here comes before an attempt: it counts neither to the job's timeout nor to its lease.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from refresher.clock import Clock, sleep_until
from refresher.config.units import Rate
from refresher.schedule import LONGEST_WAIT


class Gate:
    """Lets the attempts of one upstream's jobs through, first come, first served."""

    def __init__(
        self, upstream: str, *, max_concurrency: int, rate: Rate | None, clock: Clock
    ) -> None:
        self.upstream = upstream
        self.held_until = 0.0
        """No attempt before this instant: the upstream answered 429 with Retry-After."""
        self._clock = clock
        self._places = asyncio.Semaphore(max_concurrency)
        self._rate = rate
        self._turn = asyncio.Lock()
        self._starts: deque[float] = deque(maxlen=None if rate is None else rate.count)
        self._wakers: list[Callable[[], object]] = []

    def on_hold(self, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the hold is moved, so that its job can say when it is due now."""
        self._wakers.append(wake)

    def hold(self, until: float) -> None:
        """Let nobody through before `until`; an earlier instant than the present one is ignored."""
        if until <= self.held_until:
            return
        self.held_until = until
        for wake in self._wakers:
            wake()

    def look_again(self) -> None:
        """Forget what lies in the future: the wall clock has been set back."""
        now = self._clock.now()
        self.held_until = min(self.held_until, now + LONGEST_WAIT)
        for _ in range(len(self._starts)):
            self._starts.append(min(self._starts.popleft(), now))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Callable[[], None]]:
        """Wait for a place and hold it; the attempt is made inside.

        Call what it gives at the start of the attempt, before the next await: who finds that there
        is none to be made, for the upstream has said 429 meanwhile, takes nothing from the rate.
        """
        async with self._places:
            await self._await_turn()
            yield self._start

    async def _await_turn(self) -> None:
        if self._rate is None:
            return
        async with self._turn:  # one at a time, in the order in which they came
            if len(self._starts) == self._rate.count:
                await sleep_until(self._clock, self._starts[0] + self._rate.period)

    def _start(self) -> None:
        if self._rate is not None:
            self._starts.append(self._clock.now())
