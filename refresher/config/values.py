"""The types of single values: what a key takes, and what an editor is told of it."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo, available_timezones

import jmespath
from cronsim import CronSim, CronSimError
from jmespath.exceptions import JMESPathError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    Strict,
    WithJsonSchema,
)

from refresher.config import units, urls
from refresher.config.references import pieces_of
from refresher.config.units import Rate, Share, Unfit, duration, written_duration, written_size

T = TypeVar("T")

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~]+([ \t]+[!-~]+)*|")
_VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def _parsed(parse: Callable[[str], T], unit: str) -> PlainValidator:
    """A value that is written as a string; a bare number lacks what `unit` is an example of."""

    def validate(value: object) -> T:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise Unfit("is a bare number", f'write it with its unit, as "{value}{unit}"')
        raise Unfit("is not a string", f'write a string such as "5{unit}"')

    return PlainValidator(validate)


def at_least(least: str) -> AfterValidator:
    """A duration of at least that."""

    def check(seconds: float) -> float:
        if seconds < duration(least):
            raise Unfit("is too short", f'write at least "{least}"')
        return seconds

    return AfterValidator(check)


def up_to(most: str) -> AfterValidator:
    """A size of at least one byte and at most that."""

    def check(count: int) -> int:
        if not 0 < count <= units.size(most):
            raise Unfit("is out of range", f'write "1B" to "{most}"')
        return count

    return AfterValidator(check)


def _filled_in(text: str) -> str:
    if not text.strip():
        raise Unfit("is empty", "write a value or leave the key out")
    return text


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise Unfit(
            "is empty" if not text else "has a space, a control or a non-ASCII character",
            "write one word of visible ASCII: it travels in a header (RFC 9110, 5.5)",
        )
    return text


def _field_name(name: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        raise Unfit("is not a header name", "use letters, digits and - (RFC 9110, 5.1)")
    if name.lower() in _FRAMING:
        raise Unfit("is a header that frames the message", "leave it out: refresher sets it")
    return name


def _field_value(value: str) -> str:
    if not _FIELD_VALUE.fullmatch(value):
        raise Unfit(
            "has a line break, a space at an end or a character that no header can carry",
            "write visible ASCII on one line (RFC 9110, 5.5)",
        )
    return value


def _one_spelling_each(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise Unfit("has the same header in two spellings", "keep one: case makes no difference")
    return headers


def _user_name(text: str) -> str:
    if ":" in text or not text.isprintable():
        raise Unfit(
            "has a colon or a control character",
            "take it out: no user name may hold one (RFC 7617, 2)",
        )
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise Unfit("has a control character", "take it out (RFC 7617, 2)")
    return text


def _origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise Unfit("is not an origin", 'write it as "https://app.example.org", no path, or "*"')
    return text


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _parameter(value: object) -> str | tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(_parameter_text(item) for item in value)
    return _parameter_text(value)


def _parameter_text(value: object) -> str:
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            raise Unfit("is no query parameter", "write a string, a number, or an array of them")


def _json(value: object) -> JsonValue:
    """The value if JSON has it: TOML knows dates, infinities and no-numbers besides."""
    match value:
        case bool() | int():
            return value
        case str():
            return str(value)
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [_json(item) for item in value]
        case Mapping():
            return {str(key): _json(item) for key, item in value.items()}
        case _:
            raise Unfit("holds a value that JSON has not", "write dates as strings")


def _method(text: str) -> str:
    if not re.fullmatch(r"[A-Z]+(-[A-Z]+)*", text):
        raise Unfit("is not a method", 'write it in capitals, as "POST"')
    return text


@lru_cache(maxsize=1024)
def _cron(expression: str) -> str:
    # Any instant will do to see whether there is a next one.
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        reason = str(error).lower()
        advice = 'write minute, hour, day, month and weekday, as "*/15 8-18 * * 1-5"'
        raise Unfit(f"is not a cron expression ({reason})", advice) from None
    except StopIteration:
        raise Unfit("is a date that never comes", "look at its day and month") from None
    return expression


@lru_cache(maxsize=1024)
def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (
        OSError,
        ValueError,
        LookupError,
    ):  # by the name: absent, a folder, outside the database
        near = get_close_matches(name, available_timezones(), n=1)
        advice = f'did you mean "{near[0]}"?' if near else 'write it as "Europe/Berlin"'
        raise Unfit("is not a time zone", advice) from None
    return name


@lru_cache(maxsize=1024)
def _select(expression: str) -> str:
    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        # Its message repeats the expression, which may have come from a secret.
        position = getattr(error, "lex_position", None)
        where = "" if position is None else f" at character {position + 1}"
        raise Unfit(f"is not a JMESPath expression{where}", "see https://jmespath.org") from None
    return expression


def _jitter(text: str) -> float:
    return Share.of(text) if text.endswith("%") else duration(text)


def _function(value: object) -> str | Callable[..., object]:
    if callable(value):
        return value
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise Unfit("does not name a function", 'write it as "package.module:function"')
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise Unfit("is not a path", 'write it as "data/names.json"')
    return Path(value)


def _root_path(text: str) -> str:
    if text and (not text.startswith("/") or text.endswith("/")):
        raise Unfit("is not a path prefix", 'write it as "/cache": a slash before, none after')
    return text


def _base_url(text: str) -> str:
    urls.parse(pieces_of(text))
    if "?" in text or "#" in text:
        raise Unfit("has a query or a fragment", "put it into the jobs: paths are appended here")
    return text


def _store_url(text: str) -> str:
    if text != "memory://":
        raise Unfit("is a store that this release does not have", 'write "memory://"')
    return text


def _share_written(share: float) -> str:
    return f"{share * 100:g}%" if isinstance(share, Share) else written_duration(share)


def _string(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


_ONE_OR_MANY = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
# Looser than what is parsed: not every editor's regular expressions look ahead.
_DURATION = "([0-9]+(d|h|m|s|ms))+"
_JITTER = f"{units.PERCENTAGE}|{_DURATION}"

Text = Annotated[str, Strict()]
Word = Annotated[Text, AfterValidator(_filled_in)]
Visible = Annotated[Text, AfterValidator(_visible)]
Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
Duration = Annotated[
    float,
    _parsed(duration, "s"),
    _string(_DURATION),
    PlainSerializer(written_duration, when_used="unless-none"),
]
Size = Annotated[
    int,
    _parsed(units.size, "B"),
    _string(units.SIZE),
    PlainSerializer(written_size, when_used="unless-none"),
]
Percentage = Annotated[
    float,
    _parsed(Share.of, "%"),
    _string(units.PERCENTAGE),
    PlainSerializer(_share_written, when_used="unless-none"),
]
Jitter = Annotated[
    float,
    _parsed(_jitter, "%"),
    _string(_JITTER),
    PlainSerializer(_share_written, when_used="unless-none"),
]
Limit = Annotated[Rate, _parsed(units.rate, "/1m"), _string(f"[1-9][0-9]*/{_DURATION}")]
FieldName = Annotated[Text, AfterValidator(_field_name)]
FieldValue = Annotated[Text, AfterValidator(_field_value)]
Headers = Annotated[dict[FieldName, FieldValue], AfterValidator(_one_spelling_each)]
Credential = Annotated[FieldValue, AfterValidator(_filled_in)]
UserName = Annotated[Text, AfterValidator(_user_name)]
Password = Annotated[Text, AfterValidator(_printable)]
Parameter = Annotated[
    str | tuple[str, ...],
    PlainValidator(_parameter),
    WithJsonSchema({"type": ["string", "number", "boolean", "array"]}),
]
Json = Annotated[JsonValue, PlainValidator(_json), WithJsonSchema({})]
Method = Annotated[Text, AfterValidator(_method)]
Cron = Annotated[Text, AfterValidator(_cron)]
Timezone = Annotated[Text, AfterValidator(_timezone)]
Select = Annotated[Text, AfterValidator(_select)]
Function = Annotated[
    str | Callable[..., object], PlainValidator(_function), WithJsonSchema({"type": "string"})
]
FilePath = Annotated[Path, PlainValidator(_path), WithJsonSchema({"type": "string"})]
RootPath = Annotated[Text, AfterValidator(_root_path)]
BaseUrl = Annotated[Text, AfterValidator(_base_url)]
StoreUrl = Annotated[Text, AfterValidator(_store_url)]
Tokens = Annotated[tuple[Visible, ...], BeforeValidator(_listed), _ONE_OR_MANY]
Origins = Annotated[
    tuple[Annotated[Text, AfterValidator(_origin)], ...], BeforeValidator(_listed), _ONE_OR_MANY
]
