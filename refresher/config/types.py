"""The types of single values: what a key accepts, and its JSON Schema."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    Strict,
    WithJsonSchema,
)

from refresher.config import checks, units
from refresher.config.units import InvalidValue, Share, duration, written_duration, written_size
from refresher.model import Rate

T = TypeVar("T")

_NEVER = "never"

STRICT = ConfigDict(extra="forbid")
"""Of the model of a table: a key that it has not is a problem."""


def _parsed(parse: Callable[[str], T], unit: str) -> PlainValidator:
    """A quantity that is written as a string; `unit` is what a bare number lacks."""

    def validate(value: object) -> T:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise InvalidValue("is a bare number", f'write it with its unit, as "{value}{unit}"')
        raise InvalidValue("is not a string", f'write a string such as "5{unit}"')

    return PlainValidator(validate)


def at_least(least: str) -> AfterValidator:
    """A duration of at least that."""
    least_seconds = duration(least)

    def check(seconds: float) -> float:
        if seconds < least_seconds:
            raise InvalidValue("is too short", f'write at least "{least}"')
        return seconds

    return AfterValidator(check)


def up_to(most: str) -> AfterValidator:
    """A size of at least one byte and at most that."""
    most_bytes = units.size(most)

    def check(count: int) -> int:
        if not 0 < count <= most_bytes:
            raise InvalidValue("is out of range", f'write "1B" to "{most}"')
        return count

    return AfterValidator(check)


def _some(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise InvalidValue("is empty", "write at least one or leave the key out")
    return values


at_least_one = AfterValidator(_some)
"""A list that is not empty. (What pydantic has for it counts no items that are wrong.)"""


def _share_written(share: float) -> str:
    return f"{share * 100:g}%" if isinstance(share, Share) else written_duration(share)


def _jitter(text: str) -> float:
    return Share.of(text) if text.endswith("%") else duration(text)


def _duration_or_never(text: str) -> float:
    if text == _NEVER:
        return math.inf
    try:
        return duration(text)
    except InvalidValue as error:
        raise InvalidValue(error.wrong, f'{error.advice}, or "{_NEVER}"') from None


def _written_or_never(seconds: float) -> str:
    return _NEVER if math.isinf(seconds) else written_duration(seconds)


def _string(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


_ONE_OR_MANY = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
# Looser than what is parsed: not every editor's regular expressions look ahead.
_DURATION = "([0-9]+(d|h|m|s|ms))+"
_JITTER = f"{units.PERCENTAGE}|{_DURATION}"

Text = Annotated[str, Strict()]
Word = Annotated[Text, AfterValidator(checks.not_blank)]
Visible = Annotated[Text, AfterValidator(checks.visible)]
Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
Duration = Annotated[
    float,
    _parsed(duration, "s"),
    _string(_DURATION),
    PlainSerializer(written_duration, when_used="unless-none"),
]
DurationOrNever = Annotated[
    float,
    _parsed(_duration_or_never, "s"),
    _string(f"never|{_DURATION}"),
    PlainSerializer(_written_or_never, when_used="unless-none"),
]
"""Infinite: never."""
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
Growth = Annotated[
    float,
    _parsed(Share.of_any_size, "%"),
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
FieldName = Annotated[Text, AfterValidator(checks.field_name)]
FieldValue = Annotated[Text, AfterValidator(checks.field_value)]
Headers = Annotated[dict[FieldName, FieldValue], AfterValidator(checks.one_spelling_each)]
Credential = Annotated[FieldValue, AfterValidator(checks.not_blank)]
UserName = Annotated[Text, AfterValidator(checks.user_name)]
Password = Annotated[Text, AfterValidator(checks.printable)]
ClientSecret = Annotated[Password, AfterValidator(checks.not_blank)]
Parameter = Annotated[
    str | tuple[str, ...],
    PlainValidator(checks.parameter),
    WithJsonSchema({"type": ["string", "number", "boolean", "array"]}),
]
Json = Annotated[JsonValue, PlainValidator(checks.json_value), WithJsonSchema({})]
Method = Annotated[Text, AfterValidator(checks.method)]
Cron = Annotated[Text, AfterValidator(checks.cron)]
EndStatus = Annotated[Number, Field(ge=400, le=499), AfterValidator(checks.end_status)]
Charset = Annotated[Text, AfterValidator(checks.charset)]
Delimiter = Annotated[Text, AfterValidator(checks.delimiter)]
Timezone = Annotated[Text, AfterValidator(checks.timezone)]
Expression = Annotated[Text, AfterValidator(checks.expression)]
Function = Annotated[
    str | Callable[..., object], PlainValidator(checks.function), WithJsonSchema({"type": "string"})
]
FilePath = Annotated[Path, PlainValidator(checks.path), WithJsonSchema({"type": "string"})]
RootPath = Annotated[Text, AfterValidator(checks.root_path)]
TokenUrl = Annotated[Text, AfterValidator(checks.token_url)]
ProxyUrl = Annotated[Text, AfterValidator(checks.proxy_url)]
HttpxAuth = Annotated[object, PlainValidator(checks.httpx_auth)]
BaseUrl = Annotated[Text, AfterValidator(checks.base_url)]
StoreUrl = Annotated[Text, AfterValidator(checks.store_url)]
StorePrefix = Annotated[Text, AfterValidator(checks.store_prefix)]
Tokens = Annotated[tuple[Visible, ...], BeforeValidator(checks.one_or_many), _ONE_OR_MANY]
Origins = Annotated[
    tuple[Annotated[Text, AfterValidator(checks.origin)], ...],
    BeforeValidator(checks.one_or_many),
    _ONE_OR_MANY,
]
