"""How long to wait, in each form that servers write it in: a span, or the instant that ends it.

`Retry-After` has two forms (RFC 9110, section 10.2.3), and the fields of rate limits have none that
all agree on. Sent beside these are fractions, units (`30s`, `1m30s`, `PT30S`, `00:00:30`), dates
with a day of one digit or in another zone than GMT, ISO 8601, and seconds or milliseconds since the
epoch.
"""

import re
from datetime import UTC, datetime, timedelta

from refresher.fields.dates import parse_http_date


def waits(value: str, *, now: float) -> list[float]:
    """Seconds from `now` on, of each member of a field that can be read; negative for the past.

    A field that was sent several times is a list of its values.
    """
    # The comma after a weekday parts no members, and a weekday says nothing that the day does not.
    members = _WEEKDAY.sub("", value).split(",")
    return [seconds for member in members if (seconds := _wait(member, now)) is not None]


def number(text: str) -> float | None:
    """A number of any size, without the parameters or the comment that follow it; None for none."""
    text = _COMMENT.sub("", text).strip(" \t\"'")
    return float(text) if _NUMBER.fullmatch(text) else None


def _wait(member: str, now: float) -> float | None:
    found = number(member)
    if found is not None:
        return None if found < 0 else found if found < _EPOCH else _of_epoch(found) - now
    text = _COMMENT.sub("", member).strip(" \t\"'")
    if not text.isascii() or len(text) > _LONGEST_TEXT:
        return None
    span = _span(text.lower())
    if span is not None:
        return span
    instant = _date(text, now) if (iso := _ISO.fullmatch(text)) is None else _iso(iso)
    return None if instant is None else instant - now


def _of_epoch(count: float) -> float:
    return count / 1000 if count >= _EPOCH_MS else count


def _span(text: str) -> float | None:
    """The seconds of `1m30s`, `90 seconds`, `PT1M30S` or `00:01:30`."""
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    text = re.sub(r"^p(?=[0-9t])|(?<=d)t(?=[0-9])", "", text).removeprefix("t")
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text):
        return None
    units = [_UNITS.get(unit, _UNITS.get(unit.removesuffix("s"))) for _, unit in parts]
    if None in units:
        return None
    return sum(float(size) * unit for (size, _), unit in zip(parts, units, strict=True) if unit)


def _date(text: str, now: float) -> float | None:
    """The instant of a date with the name of a month, in whatever order its parts come."""
    time = _TIME.search(text)
    if time is None:
        return None
    before, after = text[: time.start()], text[time.end() :]
    year_at_end = re.fullmatch(r"(.*?)\s+([0-9]{4})", after)  # as asctime() writes it
    zone = _offset(year_at_end[1] if year_at_end else after)
    words = re.findall(r"[A-Za-z]+|[0-9]+", before) + ([year_at_end[2]] if year_at_end else [])
    numbers = sorted((word for word in words if word.isdigit()), key=len)
    months = [word for word in words if word.isalpha()]
    if zone is None or len(months) != 1 or len(words) != _WORDS:
        return None
    day, year = [word for word in words if word.isdigit()]
    if len(numbers[-1]) == _YEAR_DIGITS:
        day, year = numbers
    month = months[0][:3].capitalize()
    clock = f"{time['hour']:0>2}:{time['minute']}:{time['second'] or '00'}"
    # From here on it is read as HTTP's own, and the weekday is not looked at.
    if len(year) == _YEAR_DIGITS:
        found = parse_http_date(f"Sun, {day:0>2} {month} {year} {clock} GMT", now=now)
    else:
        found = parse_http_date(f"Sunday, {day:0>2}-{month}-{year} {clock} GMT", now=now)
    return None if found is None else found - zone


def _iso(iso: re.Match[str]) -> float | None:
    """The instant of a date and time of ISO 8601, of UTC where it has no zone."""
    zone = _offset(iso["zone"])
    if zone is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{iso['date']}T{iso['time'] or '00'}").replace(tzinfo=UTC)
        return (moment - timedelta(seconds=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


def _offset(zone: str) -> float | None:
    """By how many seconds a zone's clock is ahead of UTC."""
    found = _ZONE.fullmatch(zone)
    if found is None or (named := _ZONES.get(found["name"].upper())) is None:
        return None
    ahead = int(found["hours"] or 0) * 3600 + int(found["minutes"] or 0) * 60
    return named * 3600 + (-ahead if found["sign"] == "-" else ahead)


_LONGEST_TEXT = 64
"""Characters: nothing that is no number is longer."""
_EPOCH = 1e9
"""From here on a number is an instant (2001 and later), not a span of thirty years."""
_EPOCH_MS = 1e11
"""From here on the instant is in milliseconds: in seconds, it would be the year 5138."""
_YEAR_DIGITS = 4
_WORDS = 3
"""A date's day, month and year."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_COMMENT = re.compile(r"[;(].*", re.DOTALL)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
"""Seconds; a plural has an s more."""
_CLOCK = re.compile(r"(?:([0-9]+)\.)?([0-9]{1,2}):([0-9]{2}):([0-9]{2}(?:\.[0-9]+)?)")
_WEEKDAY = re.compile(
    r"\b(?:mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(?:day)?\b\.?,?", re.IGNORECASE
)
_TIME = re.compile(
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?(?:\.[0-9]+)?"
)
_ISO = re.compile(
    r"(?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:\.[0-9]+)?)?))?"
    r"(?P<zone>.*)"
)
_ZONE = re.compile(
    r"\s*(?P<name>[A-Z]*)\s*(?:(?P<sign>[+-])(?P<hours>[0-9]{1,2}):?(?P<minutes>[0-9]{2})?)?"
    r"\s*(?:UTC|GMT|Z)?",
    re.IGNORECASE,
)
_ZONES = {
    **dict.fromkeys(("", "GMT", "UTC", "UT", "Z"), 0),
    "EDT": -4,
    "EST": -5,
    "CDT": -5,
    "CST": -6,
    "MDT": -6,
    "MST": -7,
    "PDT": -7,
    "PST": -8,
}
"""Hours that a zone's clock is ahead of UTC (RFC 5322, section 4.3)."""
