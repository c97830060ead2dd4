"""The difference between what is served and what might be: counts, and a few names."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from refresher.jsontext import text as jsontext
from refresher.model import Content

_MOST_NAMES = 5
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What would come, go and change, of the members of root objects or the rows of root arrays."""

    of: str
    """`members` or `rows`."""
    added: int
    removed: int
    changed: int
    names: dict[str, list[str]]
    """The first few members that are added, removed and changed; rows have no names."""


def difference(before: Content, after: Content) -> Difference | None:
    """Compare the roots of two contents; None unless both are JSON objects, or both arrays.

    A row is the same if its text is; of those that only one side has, as many as have a partner on
    the other count as changed.
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
    few = names[:_MOST_NAMES]
    return [n if len(n) <= _LONGEST_NAME else f"{n[:_LONGEST_NAME]}…" for n in few]
