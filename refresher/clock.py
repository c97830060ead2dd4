"""Time: clocks, given to code so that a test can move them; time zones and cron moments."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

# uvloop rounds a timer down to the millisecond, so one set for the instant itself fires before it
# and has to be set again. Waking a millisecond late costs less than waking twice.
_ROUNDING = 0.001


class Timer(Protocol):
    """A scheduled callback; `cancel` prevents the call."""

    def cancel(self) -> None: ...  # noqa: D102


class Clock(Protocol):
    """The source of the time; all waiting for an instant goes through it."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def call_at(self, instant: float, callback: Callable[[], object]) -> Timer:
        """Call back in the running event loop once `now()` has reached `instant`."""
        ...


class SystemClock:
    """The machine's clock and the running loop's timers."""

    now = staticmethod(time.time)  # called at every read: a method of our own would cost a frame

    def call_at(self, instant: float, callback: Callable[[], object]) -> Timer:
        """Call back once the wall clock says `instant`, or up to a millisecond later."""
        delay = max(0.0, instant - time.time()) + _ROUNDING
        return asyncio.get_running_loop().call_later(delay, callback)


class ShiftedClock:
    """A clock that is set by the time of a store, so that all processes that share it agree."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since the Unix epoch, by the time that it was set to last."""
        return self._clock.now() + self._ahead

    def call_at(self, instant: float, callback: Callable[[], object]) -> Timer:
        """Call back once `now()` has reached `instant`."""
        return self._clock.call_at(instant - self._ahead, callback)

    def set(self, now: float, *, tolerance: float) -> None:
        """Set the clock, unless it differs from `now` by at most `tolerance` seconds."""
        ahead = now - self._clock.now()
        if abs(ahead - self._ahead) > tolerance:
            self._ahead = ahead


async def sleep_until(clock: Clock, instant: float) -> None:
    """Wait until the clock has reached `instant`."""
    reached = asyncio.Event()
    timer = clock.call_at(instant, reached.set)
    try:
        await reached.wait()
    finally:
        timer.cancel()


@cache
def zone(name: str) -> tzinfo:
    """The time zone of that name in the tz database, which is read from its file once.

    ZoneInfo itself keeps eight. A configuration reads those it names when it is loaded: where they
    are used, in the event loop, no file is to be read.

    Raises:
        OSError, ValueError, LookupError: there is none.
    """
    return UTC if name == "UTC" else ZoneInfo(name)


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments at which the clock of a time zone matches a cron expression."""

    expression: str
    timezone: str = "UTC"

    def after(self, instant: float) -> Iterator[float]:
        """All later than `instant`, in order, in seconds since the epoch.

        A moment that the clock skips comes once after it, one that it repeats comes once.
        """
        before = datetime.fromtimestamp(math.floor(instant), zone(self.timezone))
        return (match.timestamp() for match in CronSim(self.expression, before))
