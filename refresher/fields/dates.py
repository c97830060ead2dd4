"""HTTP's dates, written and read (RFC 9110, section 5.6.7)."""

import math
import re
import time
from datetime import UTC, datetime
from email.utils import formatdate

_DAY, _MONTH = r"(?P<day>[0-9]{2})", r"(?P<month>[A-Z][a-z]{2})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMATS = (
    # Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(rf"[A-Z][a-z]{{2}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    # Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(rf"[A-Z][a-z]{{5,8}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    # Sun Nov  6 08:49:37 1994
    re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}


def http_date(seconds: float) -> str:
    """Write an instant, in seconds since the epoch, to the whole second it falls in."""
    return formatdate(math.floor(seconds), usegmt=True)


def parse_http_date(text: str, *, now: float | None = None) -> float | None:
    """Read an instant, in seconds since the epoch, from any of the three forms; None if it is none.

    `now` determines the century of the obsolete form with a two-digit year; by default it is the
    system's clock.
    """
    text = text.strip(" \t")
    found = next(filter(None, (form.fullmatch(text) for form in _FORMATS)), None)
    if found is None or (month := _MONTHS.get(found["month"])) is None:
        return None
    day, hour, minute, second = (int(found[part]) for part in ("day", "hour", "minute", "second"))
    year = int(found["year"])
    if len(found["year"]) == 2:  # noqa: PLR2004  the grammar's own two digits
        year = _with_century(year, (month, day), time.time() if now is None else now)
    leap = second == 60  # noqa: PLR2004  the grammar has leap seconds, datetime has not
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() + leap


def _with_century(year: int, day: tuple[int, int], now: float) -> int:
    """The last such year that is not more than 50 years ahead (RFC 9110, section 5.6.7)."""
    today = datetime.fromtimestamp(now, UTC)
    horizon = (today.year + 50, today.month, today.day)
    year += horizon[0] // 100 * 100
    return year - 100 if (year, *day) > horizon else year
