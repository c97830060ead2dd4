"""Time as a clock on a wall shows it: time zones, and the moments that a cron expression names."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim


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
