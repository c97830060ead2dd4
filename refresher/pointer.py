"""JSON Pointer (RFC 6901): the text of a value inside JSON text, digit for digit."""

import re
from collections.abc import Mapping, MutableMapping, Sequence
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
    """The answer to a pointer that points to nothing: how many of its tokens led somewhere."""

    depth: int


_INDEX = re.compile("0|[1-9][0-9]*")
_LONGEST_INDEX = 18
"""Digits: more than any array has, and fewer than `int` would think about for long."""
_ESCAPES = re.compile("~(.?)", re.DOTALL)
_TOKENS = {"0": "~", "1": "/"}


def parse(raw: bytes) -> Path | NotThere:
    """Read the pointer that a raw path is: `/a%20b/c~1d`.

    Split at `/` as it was written, each segment is percent-decoded, then unescaped (RFC 6901, 4 and
    6). A segment that is no UTF-8, or has a `~` without 0 or 1, is a token that nothing has.
    """
    tokens: list[str] = []
    for segment in raw.removeprefix(b"/").split(b"/"):
        try:
            text = unquote_to_bytes(segment).decode()
            tokens.append(_ESCAPES.sub(lambda escape: _TOKENS[escape[1]], text))
        except (UnicodeDecodeError, KeyError):
            return NotThere(len(tokens))
    return tuple(tokens)


def find(text: bytes, path: Path, opened: MutableMapping[Path, Opened]) -> bytes | NotThere:
    """The text of the value that a pointer points to in well-formed JSON.

    What stands twice in an object is what stands there last. `opened` keeps, by pointer, what has
    been looked into, for the next to be found in the same text.
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


def _member(members: Opened, token: str) -> msgspec.Raw | None:
    match members:
        case None:
            return None
        case Mapping():
            return members.get(token)
        case _:
            is_index = len(token) <= _LONGEST_INDEX and _INDEX.fullmatch(token) is not None
            return members[int(token)] if is_index and int(token) < len(members) else None


def _open(value: bytes | msgspec.Raw) -> Opened:
    found = _BRACKET.match(memoryview(value))
    try:
        match found and bytes(found[1]):
            case b"{":
                return msgspec.json.decode(value, type=dict[str, msgspec.Raw])
            case b"[":
                return msgspec.json.decode(value, type=list[msgspec.Raw])
            case _:
                return None
    except msgspec.DecodeError:  # a key is half a surrogate pair: JSON, but no text
        return None


_BRACKET = re.compile(rb"[ \t\r\n]*([\[{])")
