"""Content time: when data is from by its own word, as an instant that stands in it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from refresher.clock import zone
from refresher.errors import RefreshFailed
from refresher.fields.dates import parse_http_date
from refresher.model import Content, Stage
from refresher.pipeline.select import UNEVALUABLE, search
from refresher.security.excerpts import clipped, quoted

_MILLISECONDS = 1e11
"""From here on a number is in milliseconds (1973 and later): in seconds, it is the year 5138."""
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0
"""The years 1 to 9999, which is as far as Python's calendar goes."""
_AHEAD = 300.0
"""Seconds by which the clock that data was dated with may be ahead of ours."""
_EPOCH = re.compile(r"[0-9]{9,16}(\.[0-9]+)?")
_LEAP_SECOND = re.compile(r"(T[0-9]{2}:[0-9]{2}):60")
_NAMED_DAY = re.compile(r"[A-Z][a-z]{2}, ")
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ContentTimeRule:
    """Where an instant stands in data, and in which time zone it is where it names none."""

    expression: str
    """JMESPath."""
    timezone: str = "UTC"


def time_of(data: Content, rule: ContentTimeRule) -> float:
    """The instant that data says it is from, in seconds since the epoch.

    Raises:
        RefreshFailed: at stage `guard`; there is none, or none that can be read.
    """
    if not data.is_json:
        message = f"content_time looks into JSON, but the answer is {data.format}"
        raise RefreshFailed(Stage.GUARD, f"{message} ({data.content_type})")
    try:
        found = search(data.body, rule.expression)
    except UNEVALUABLE as error:
        message = f"content_time failed: {rule.expression}: {clipped(str(error), _SHOWN)}"
        raise RefreshFailed(Stage.GUARD, message) from error
    if found is None:
        raise RefreshFailed(Stage.GUARD, f"content_time found nothing: {rule.expression} is null")
    instant = instant_of(found, rule.timezone)
    if instant is None:
        what = quoted(str(found)) if isinstance(found, str | int | float) else "no single value"
        message = f"content_time is no instant: {rule.expression} is {what}"
        raise RefreshFailed(Stage.GUARD, message)
    return instant


def refusal(instant: float | None, served: float | None, now: float) -> str | None:
    """Why data of `instant` must not replace that of the instant `served`; None where it may.

    Where what is served is itself from the future, a person has accepted it, and good data is to be
    taken again.
    """
    if instant is None:
        return None
    if instant > now + _AHEAD:
        return f"content_time is {written(instant)}, which is yet to come"
    if served is not None and instant < served <= now + _AHEAD:
        return (
            f"content_time is {written(instant)}, before that of what is served, {written(served)}"
        )
    return None


def instant_of(found: object, timezone: str) -> float | None:
    """The instant that a JSON value stands for, in seconds since the epoch; None if for none.

    A date and time as RFC 3339 or HTTP has them, a bare date, which begins in `timezone`, or a
    number of seconds since the epoch, from 1e11 on of milliseconds. A time without an offset is one
    of `timezone` as well.
    """
    match found:
        case bool():
            return None
        case int() | float():
            return _of_number(found)
        case str():
            return _of_text(found.strip(), timezone)
        case _:
            return None


def _of_number(number: float) -> float | None:
    try:
        seconds = float(number)
    except OverflowError:  # an integer beyond a double
        return None
    if seconds >= _MILLISECONDS:
        seconds /= 1000
    return seconds if isfinite(seconds) and _FIRST <= seconds <= _LAST else None


def _of_text(text: str, timezone: str) -> float | None:
    if _EPOCH.fullmatch(text):
        return _of_number(float(text))
    if _NAMED_DAY.match(text):
        return _of_named_day(text)
    # RFC 3339, section 5.6: T and Z may be small, and a space may stand for the T
    written = re.sub(r"(?<=[0-9]) (?=[0-9]{2}:)", "T", text.upper(), count=1)
    leap = _LEAP_SECOND.search(written) is not None
    try:
        moment = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", written))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone(timezone))
        seconds = moment.timestamp() + leap
    except (ValueError, OverflowError):
        return parse_http_date(text)
    return seconds if _FIRST <= seconds <= _LAST else None


def _of_named_day(text: str) -> float | None:
    """An HTTP date, or one as mail has them, with an offset (RFC 5322, section 3.3)."""
    instant = parse_http_date(text)
    if instant is not None:
        return instant
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def written(instant: float) -> str:
    """An instant as RFC 3339, in UTC and whole seconds."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
