"""TOML 1.0: its root table as an object, dates and times as strings (RFC 3339)."""

import re
import tomllib

import msgspec

from refresher.errors import refuse
from refresher.jsontext import text as jsontext
from refresher.pipeline.formats.converted import Converted
from refresher.security.excerpts import clipped

_SHOWN = 160

_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DOTTED_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}[ \t]*+\.[ \t]*+)++", re.MULTILINE)


def convert(body: bytes) -> Converted:
    """Make an object of UTF-8.

    Raises:
        RefreshFailed: at stage `decode`, with the line that is not TOML.
    """
    text = body.decode()
    _check_keys(text)
    try:
        made = msgspec.json.encode(tomllib.loads(text, parse_float=_number))
    except RecursionError:
        refuse("the body is nested too deep to be read")
    except ValueError as error:  # TOMLDecodeError, and thousands of digits
        refuse(f"the body is not TOML: {clipped(str(error), _SHOWN)}")
    return Converted(made, jsontext.count_items(made))


def _check_keys(text: str) -> None:
    """Require that no key is too deep; tomllib takes quadratic time for it, 2 s for 20 KB."""
    if text.count(".") < jsontext.MAX_DEPTH:
        return
    if any(key[0].count(".") >= jsontext.MAX_DEPTH for key in _DOTTED_KEY.finditer(text)):
        refuse(jsontext.TOO_DEEP)


def _number(literal: str) -> msgspec.Raw:
    if literal.lstrip("+-").isalpha():
        refuse(f"the body has {literal} for a number, which JSON cannot hold")
    return msgspec.Raw(literal.replace("_", "").removeprefix("+").encode())
