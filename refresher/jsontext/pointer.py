"""JSON Pointer (RFC 6901): the text of a value inside JSON text, digit for digit."""

import json
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

Path: TypeAlias = tuple[str, ...]
"""The reference tokens of a pointer; none of them points to the whole."""

Opened: TypeAlias = Mapping[str, msgspec.Raw] | Sequence[msgspec.Raw] | None
"""The members of an object or an array, still as text; None for what has none."""


@dataclass(frozen=True, slots=True)
class NotThere:
    """There is no value at a pointer: `depth` of its tokens could be followed."""

    depth: int


_MAX_TOKENS = 513
"""One more than a value of a snapshot can be deep."""
_INDEX = re.compile("0|[1-9][0-9]*")
_MAX_INDEX_DIGITS = 18
"""Digits: enough for any array, and too few to cost `int` any time."""
_ESCAPES = re.compile("~(.?)", re.DOTALL)
_TOKENS = {"0": "~", "1": "/"}


def parse(raw: bytes) -> Path | NotThere:
    """Read the pointer that a raw path is: `/a%20b/c~1d`.

    Split at `/` as it was written, each segment is percent-decoded, then unescaped (RFC 6901, 4 and
    6). A segment that is not UTF-8, or has a `~` without 0 or 1, is found nowhere. Of a pointer
    longer than JSON may be deep here, the rest is not parsed.
    """
    tokens: list[str] = []
    for segment in raw.removeprefix(b"/").split(b"/", _MAX_TOKENS)[:_MAX_TOKENS]:
        try:
            text = unquote_to_bytes(segment).decode()
            tokens.append(_ESCAPES.sub(lambda escape: _TOKENS[escape[1]], text))
        except (UnicodeDecodeError, KeyError):
            return NotThere(len(tokens))
    return tuple(tokens)


def find(text: bytes, path: Path, opened: MutableMapping[Path, Opened]) -> bytes | NotThere:
    """The text of the value that a pointer points to in well-formed JSON.

    Of a key that is twice in an object, the last value counts. `opened` caches, by pointer, the
    objects and arrays on the way, for further pointers into the same text.
    """
    value: bytes | msgspec.Raw = text
    for depth, token in enumerate(path):
        here = path[:depth]
        if here in opened:
            members = opened[here]
        else:
            members = opened[here] = _open(value)
        member = _member(members, token)
        if member is None:
            return NotThere(depth)
        value = member
    return bytes(value).strip(b" \t\r\n")


def unread(text: bytes, path: Path, opened: Mapping[Path, Opened]) -> int:
    """How many bytes `find` would parse for the first time."""
    value: bytes | msgspec.Raw = text
    for depth, token in enumerate(path):
        here = path[:depth]
        if here not in opened:
            return memoryview(value).nbytes
        member = _member(opened[here], token)
        if member is None:
            return 0
        value = member
    return 0


def _member(members: Opened, token: str) -> msgspec.Raw | None:
    match members:
        case None:
            return None
        case Mapping():
            return members.get(token)
        case _:
            is_index = len(token) <= _MAX_INDEX_DIGITS and _INDEX.fullmatch(token) is not None
            return members[int(token)] if is_index and int(token) < len(members) else None


def _open(value: bytes | msgspec.Raw) -> Opened:
    found = _BRACKET.match(memoryview(value))
    bracket = None if found is None else bytes(found[1])
    try:
        match bracket:
            case b"{":
                return msgspec.json.decode(value, type=dict[str, msgspec.Raw])
            case b"[":
                return msgspec.json.decode(value, type=list[msgspec.Raw])
            case _:
                return None
    except msgspec.DecodeError:  # a lone surrogate: JSON (RFC 8259, 8.2), but no text
        pairs = _pairs(memoryview(value))
        return dict(pairs) if bracket == b"{" else [row for _, row in pairs]


def _pairs(value: memoryview) -> Iterator[tuple[str, msgspec.Raw]]:
    """The members of an object, or the rows of an array under empty keys, read more leniently.

    A lone surrogate is kept; no pointer can name a key that has one. Members are not copied: those
    of a value 500 levels deep would take 500 times its memory.
    """
    text, key = str(value, "latin-1"), ""  # in which a character is a byte
    at = _next(text, 0)
    is_object = text[at] == "{"
    at = _next(text, at + 1)
    while text[at] not in "]}":
        if is_object:
            _, colon = _read(text, at)
            key, _ = _read(str(value[at:colon], "utf-8"), 0)
            at = _next(text, _next(text, colon) + 1)
        _, end = _read(text, at)
        yield key, msgspec.Raw(value[at:end])
        end = _next(text, end)
        at = _next(text, end + 1) if text[end] == "," else end


def _next(text: str, at: int) -> int:
    """The place of the first character from there on that is no space."""
    while text[at] in _SPACE:
        at += 1
    return at


def _nothing(_: str) -> None:
    """Drop a number: it may have more digits than `int` takes."""


_SPACE = " \t\r\n"
_BRACKET = re.compile(rb"[ \t\r\n]*([\[{])")
_read = json.JSONDecoder(parse_float=_nothing, parse_int=_nothing).raw_decode
