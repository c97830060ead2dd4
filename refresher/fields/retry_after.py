"""Retry-After: how long an upstream asks not to be asked again (RFC 9110, section 10.2.3)."""

from refresher.fields.waits import waits

LONGEST_WAIT = 3600.0
"""Seconds: a longer wait that an upstream asks for is cut to an hour."""


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds that a Retry-After field asks for, at most an hour; None where none can be read.

    A number of seconds, however many digits it has, and a date, which is measured by the local
    clock `now`, are read in each form that `waits` knows. A date in the past asks for no wait. Of
    several values the longest counts; a negative number is none.
    """
    asked = [] if value is None else waits(value, now=now)
    return min(max(*asked, 0.0), LONGEST_WAIT) if asked else None
