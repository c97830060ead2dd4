"""Select: serve what a JMESPath expression finds, with every number's digits as they came."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from typing import Self

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from refresher.errors import RefreshFailed
from refresher.jsontext import text as jsontext
from refresher.model import Content, Stage
from refresher.pipeline import media
from refresher.security.excerpts import clipped

_SHOWN = 200


class _Number(float):
    """A double that keeps the literal it was written as.

    Projection passes it on with all its digits; sums, comparisons and sorting see the double. (A
    Decimal keeps its digits too, but JMESPath's functions refuse it.)
    """

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> Self:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number


_Number.__name__ = "float"  # JMESPath's functions know a type by its name alone


def select(content: Content, expression: str) -> Content:
    """Evaluate a JMESPath expression; its result is the new content, as compact JSON.

    Raises:
        RefreshFailed: at stage `select`; there is no JSON to look into, or nothing was found.
    """
    found = find(content, expression)
    if found is None:
        hint = _hint(jsontext.read(content.body, _read))
        raise RefreshFailed(Stage.SELECT, f"select found nothing: {expression} is null{hint}")
    return found


def find(content: Content, expression: str) -> Content | None:
    """Evaluate a JMESPath expression as `select` does; None where its result is null.

    Raises:
        RefreshFailed: at stage `select`; there is no JSON to look into.
    """
    if not content.is_json:
        message = f"select looks into JSON, but the answer is {content.format}"
        raise RefreshFailed(Stage.SELECT, f"{message} ({content.content_type})")
    try:
        value = jsontext.read(content.body, _read)
        found = _compiled(expression).search(value)
        if found is None:
            return None
        if not _is_finite(found):
            message = f"select gives a number that JSON cannot hold: {expression}"
            raise RefreshFailed(Stage.SELECT, message)
        body = msgspec.json.encode(found, enc_hook=_write)
    except UNEVALUABLE as error:
        message = f"select failed: {expression}: {clipped(str(error), _SHOWN)}"
        raise RefreshFailed(Stage.SELECT, message) from error
    items = len(found) if isinstance(found, list | dict) else None
    return replace(content, body=body, content_type=media.JSON, items=items)


def search(text: bytes, expression: str) -> object:
    """What a JMESPath expression finds in well-formed JSON; raises what is in `UNEVALUABLE`."""
    found: object = _compiled(expression).search(jsontext.read(text, _read))
    return found


UNEVALUABLE = (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError)
"""Beside JMESPath's own errors, an expression can fail as Python does: on a mix of types, on a
slice with step 0, on a sum too large for a double, on data too deep for the stack left."""


def _read(text: bytes) -> object:
    """The value that well-formed JSON holds."""
    if _MINUS_ZERO.search(text) is None:
        try:
            return _decode(text)
        except msgspec.ValidationError:  # an integer of thousands of digits
            pass
    value: object = _decode_slowly(text.decode())
    return value


def _integer(literal: str) -> int | _Number:
    """An integer, where there is one that is written like that."""
    if literal == "-0":
        return _Number(literal)
    try:
        return int(literal)
    except ValueError:  # Python reads no more than some thousands of digits
        return _Number(literal)


_MINUS_ZERO = re.compile(rb"-0(?![0-9.eE])")
_decode = msgspec.json.Decoder[object](float_hook=_Number).decode
# Four times slower, and has a say in integers too.
_decode_slowly = json.JSONDecoder(parse_float=_Number, parse_int=_integer).decode


def _write(value: object) -> msgspec.Raw:
    if isinstance(value, _Number):
        return msgspec.Raw(value.literal)
    raise TypeError(f"its result is no JSON value but {type(value).__name__}")


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> ParsedResult:
    return jmespath.compile(expression)


def _is_finite(value: object) -> bool:
    """Whether no calculation ended in infinity or NaN, which would be written as null."""
    pending: list[Iterable[object]] = [(value,)]
    while pending:
        for one in pending.pop():
            match one:
                case dict():
                    pending.append(one.values())
                case list():
                    pending.append(one)
                case float() if not isinstance(one, _Number) and not isfinite(one):
                    return False
    return True


def _hint(value: object) -> str:
    match value:
        case dict():
            names = ", ".join(list(value)[:8])
            return f"; the root is an object with {clipped(names, _SHOWN) or 'no members'}"
        case list():
            return f"; the root is an array of {len(value)}"
        case _:
            return "; the root is a single value"
