"""Formats that hold a JSON value without being JSON: each module makes JSON text of one.

Every number keeps its digits, every string its characters; what JSON cannot hold is refused. What
is made may be larger than what came, within `most_made_of`: the bombs of YAML's aliases and of
CSV's long names are seen before they go off.
"""

from dataclasses import dataclass

_SOME = 1 << 20
_TIMES = 32
_MOST = 512 << 20


@dataclass(frozen=True, slots=True)
class Converted:
    """A body as JSON text."""

    text: bytes
    items: int | None
    repeated_key: str | None = None
    """A key that stood twice in one mapping, where JSON text no longer shows it."""


def most_made_of(size: int) -> int:
    """How many bytes of JSON may be made of a body of so many."""
    return min(_MOST, max(_SOME, _TIMES * size))
