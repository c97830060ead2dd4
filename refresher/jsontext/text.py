"""JSON text, examined without building its values: syntax, depth, items, repeated keys."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from refresher.errors import refuse
from refresher.security.excerpts import excerpt

T = TypeVar("T")

MAX_DEPTH = 512
TOO_DEEP = f"the body is nested deeper than {MAX_DEPTH} levels"


def check(text: bytes, name: str = "the body") -> None:
    """Require that UTF-8 is JSON (RFC 8259); a refusal speaks of `name`.

    Raises:
        RefreshFailed: at stage `decode`, with the place where it is not.
    """
    try:
        read(text, _skim)
    except msgspec.DecodeError as error:
        refuse(_syntax_error(text, str(error), name))
    except RecursionError:
        refuse(TOO_DEEP)


def read(text: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]) -> T:
    r"""Decode JSON; a lone surrogate (`"\ud83d"`) is read as U+FFFD.

    The grammar allows it, so it is served as it came (RFC 8259, section 8.2); but no `str` that can
    be encoded holds it, and msgspec takes it for an error.

    Raises:
        msgspec.DecodeError: as of `decode`.
    """
    try:
        return decode(text)
    except msgspec.DecodeError:
        given = bytes(text)
        whole = without_lone_surrogates(given)
        if whole == given:
            raise
        return decode(whole)


def without_lone_surrogates(text: bytes) -> bytes:
    r"""The text with `\ufffd`, which is as long, in place of every lone surrogate's escape."""
    whole = bytearray(text)
    for escape in _ESCAPES.finditer(text):
        if escape["half"]:
            whole[slice(*escape.span("half"))] = b"fffd"
    return bytes(whole)


def count_items(text: bytes) -> int | None:
    """Count the items at the root of well-formed JSON; None for a scalar.

    Raises:
        RefreshFailed: at stage `decode`; it is nested too deep.
    """
    depth, commas = _outline(text)
    if depth > MAX_DEPTH:
        refuse(TOO_DEEP)
    match text.lstrip(b" \t\r\n")[:1]:
        case b"{":
            return len(read(text, _members))
        case b"[":
            return 0 if _EMPTY_ARRAY.match(text) else commas + 1
        case _:
            return None


def repeated_key(text: bytes) -> str | None:
    """A key that is twice in one object of well-formed JSON; None where there is none."""
    try:
        _keys.decode(text.decode())
    except _RepeatedKey as found:
        return found.key
    return None


class _RepeatedKey(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _check_keys(pairs: Sequence[tuple[str, object]]) -> None:
    """Raise for a key that is there twice; the object itself is dropped."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise _RepeatedKey(Counter(key for key, _ in pairs).most_common(1)[0][0])


def _nothing(_: str) -> None:
    pass


_keys = json.JSONDecoder(object_pairs_hook=_check_keys, parse_float=_nothing, parse_int=_nothing)

_skim = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\(?:u(?P<half>[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

_EMPTY_ARRAY = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\]")
_OPENING, _COMMA = b"[,"
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NOT_OUTLINE = bytes(set(range(256)) - set(b'[]{},"'))


def _outline(text: bytes) -> tuple[int, int]:
    """How deep well-formed JSON is, and how many commas its root has, by its brackets alone.

    The values themselves, even unparsed ones, would take many times the memory of the text.
    """
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = text.translate(_ALIKE, _NOT_OUTLINE).replace(b'""', b"")
    marks = b"".join(marks.split(b'"')[::2])  # what is between quotes is inside of strings
    depth = deepest = commas = 0
    for mark in marks:
        if mark == _COMMA:
            if depth == 1:
                commas += 1
        elif mark == _OPENING:
            depth += 1
            if depth > deepest:  # noqa: PLR1730  max() takes twice as long as all the rest
                deepest = depth
        else:
            depth -= 1
    return deepest, commas


_AT_BYTE = re.compile(r"^(?:JSON is malformed: )?(.*) \(byte ([0-9]+)\)$")
_NOT_A_NUMBER = re.compile(rb"NaN|Infinity")
_EXCERPT = 24


def _syntax_error(text: bytes, reason: str, name: str) -> str:
    found = _AT_BYTE.match(reason)
    if found is None and text.isspace():
        return f"{name} is not JSON: it is nothing but white space"
    if found is None:
        end = _quoted(text, len(text) - 2 * _EXCERPT, len(text))
        return f"{name} is not JSON: more was to come after {end}"
    at = int(found[2])
    near = _quoted(text, at - _EXCERPT, at + _EXCERPT)
    if number := _NOT_A_NUMBER.match(text, at):
        return f"{name} is not JSON: {number[0].decode()} is no number there, near {near}"
    return f"{name} is not JSON: {found[1]} at byte {at}, near {near}"


def _quoted(text: bytes, start: int, stop: int) -> str:
    return repr(excerpt(text, start, stop))
