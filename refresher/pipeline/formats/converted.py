"""What a format converts a body to, and how large it may become.

The JSON may be larger than the body, up to `max_json_size`: YAML's aliases, and long names in the
header of a CSV file, could multiply it without bound.
"""

from dataclasses import dataclass

_ALWAYS_ALLOWED = 1 << 20
_MAX_FACTOR = 32
_NEVER_MORE = 512 << 20


@dataclass(frozen=True, slots=True)
class Converted:
    """A body as JSON text."""

    text: bytes
    items: int | None
    repeated_key: str | None = None
    """A key that was twice in one mapping, where the JSON text no longer shows it."""


def max_json_size(size: int) -> int:
    """How many bytes of JSON may be made of a body of `size` bytes."""
    return min(_NEVER_MORE, max(_ALWAYS_ALLOWED, _MAX_FACTOR * size))
