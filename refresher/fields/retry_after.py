"""Retry-After: how long an upstream asks not to be asked again (RFC 9110, section 10.2.3)."""

from refresher.fields.dates import parse_http_date

LONGEST_WAIT = 3600.0
"""Seconds: a longer wait that an upstream asks for is cut to an hour."""


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds that a Retry-After field asks for, at most an hour; None where it asks for nothing.

    Both forms are read: a number of seconds, however many digits it has, and a date, which is
    measured by the local clock `now`. A date in the past asks for no wait; any other value is
    ignored.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)  # unlike int(), float() takes any number of digits
    instant = parse_http_date(value, now=now)
    return None if instant is None else min(max(instant - now, 0.0), LONGEST_WAIT)
