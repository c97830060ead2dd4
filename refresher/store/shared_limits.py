"""What upstreams allow all processes that share a store: rates and holds."""

from collections.abc import Awaitable, Callable

from refresher.clock import Clock
from refresher.model import Rate
from refresher.store import limits
from refresher.store.availability import Availability
from refresher.store.kinds import Allowances
from refresher.store.limits import Allowance
from refresher.store.local import LocalCopy


class SharedLimits:
    """Implements `refresher.protocols.Limits` on the documents of upstreams."""

    def __init__(
        self,
        availability: Availability,
        *,
        clock: Clock,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._wakers: dict[str, Callable[[], object]] = {}
        self.upstreams = LocalCopy(
            Allowances(), availability, catch_up=catch_up, changed=self._changed
        )
        """What is known of each of them here."""

    async def reserve(self, upstream: str, rate: Rate) -> float | None:
        """Count the start of an attempt; where the rate forbids one, say when it no longer does."""
        now = self._clock.now()
        started = await self.upstreams.change(
            upstream, lambda known: limits.started(known, rate, now=now)
        )
        if started is not None:
            return None
        return limits.free_at(self.upstreams.get(upstream).document, rate, now=now)

    async def give_back(self, upstream: str) -> None:
        """Take back the start of an attempt that was not made."""
        await self.upstreams.change(upstream, limits.given_back)

    def held_until(self, upstream: str) -> float:
        """The instant, in seconds since the epoch, before which no attempt may start; 0: none."""
        return self.upstreams.get(upstream).document.held_until

    async def hold(self, upstream: str, until: float) -> None:
        """Let no process ask the upstream before that instant."""
        await self.upstreams.change(upstream, lambda known: limits.held(known, until))

    def on_hold(self, upstream: str, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the upstream is held for longer, by whichever process."""
        self._wakers[upstream] = wake

    async def not_after(self, upstream: str, *, latest: float) -> None:
        """The wall clock has been set back: end holds at `latest`, count later starts as now."""
        now = self._clock.now()
        await self.upstreams.change(
            upstream, lambda known: limits.not_after(known, latest=latest, now=now)
        )

    def _changed(self, upstream: str, before: Allowance, after: Allowance) -> None:
        if after.held_until > before.held_until and upstream in self._wakers:
            self._wakers[upstream]()
