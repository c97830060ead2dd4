"""The difference between served content and a candidate: counts, and a few names."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from refresher.jsontext import text as jsontext
from refresher.model import Content

_MAX_NAMES = 5
_MAX_NAME_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How many members of the root object, or rows of the root array, would change."""

    of: str
    """`members` or `rows`."""
    added: int
    removed: int
    changed: int
    names: dict[str, list[str]]
    """The first few members that are added, removed and changed; rows have no names."""


def difference(before: Content, after: Content) -> Difference | None:
    """Compare the roots of two contents; None unless both are JSON objects, or both arrays.

    Rows are equal if their texts are. Of rows that only one side has, as many as the other side has
    of its own count as changed, and the rest as added or removed.
    """
    if not (before.is_json and after.is_json):
        return None
    match _root(before), _root(after):
        case b"{", b"{":
            return _of_members(before.body, after.body)
        case b"[", b"[":
            return _of_rows(before.body, after.body)
        case _:
            return None


def _root(content: Content) -> bytes:
    return content.body.lstrip(b" \t\r\n")[:1]


def _of_members(before: bytes, after: bytes) -> Difference:
    old, new = (jsontext.read(body, _members) for body in (before, after))
    added = [name for name in new if name not in old]
    removed = [name for name in old if name not in new]
    changed = [name for name in new if name in old and bytes(new[name]) != bytes(old[name])]
    names = {"added": _few(added), "removed": _few(removed), "changed": _few(changed)}
    return Difference(
        of="members",
        added=len(added),
        removed=len(removed),
        changed=len(changed),
        names=names,
    )


def _of_rows(before: bytes, after: bytes) -> Difference:
    old, new = Counter(_rows(before)), Counter(_rows(after))
    added, removed = (new - old).total(), (old - new).total()
    changed = min(added, removed)
    return Difference(
        of="rows", added=added - changed, removed=removed - changed, changed=changed, names={}
    )


def _rows(body: bytes) -> Iterable[bytes]:
    return map(bytes, jsontext.read(body, _elements))


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _few(names: list[str]) -> list[str]:
    few = names[:_MAX_NAMES]
    return [n if len(n) <= _MAX_NAME_LENGTH else f"{n[:_MAX_NAME_LENGTH]}…" for n in few]
