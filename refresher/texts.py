"""JSON texts that have been looked into, kept for the next pointer as far as memory allows."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cachetools import LRUCache

from refresher import pointer
from refresher.pointer import NotThere, Opened, Path

_OVERHEAD = 512
_PER_MEMBER = 160
"""Bytes that a parsed member takes, measured: its key, and a text that points into the body."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text, as far as it has been looked into; by one thread at a time."""

    body: bytes = field(repr=False)
    opened: dict[Path, Opened] = field(default_factory=dict, repr=False)

    def find(self, paths: Sequence[Path]) -> list[bytes | NotThere]:
        """The values at some pointers, in their order."""
        return [pointer.find(self.body, path, self.opened) for path in paths]


class Texts:
    """Parsed texts by their ETag; those not asked for longest go first.

    They take `most_bytes` at most, all together. Who looks into one takes it away and puts it back.
    """

    def __init__(self, most_bytes: int) -> None:
        self._parsed: LRUCache[str, Parsed] = LRUCache(most_bytes, getsizeof=_size_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed)

    def take(self, etag: str) -> Parsed | None:
        """The text, if it is kept; then it is the caller's alone."""
        found: Parsed | None = self._parsed.pop(etag, None)
        return found

    def keep(self, etag: str, parsed: Parsed) -> None:
        """Keep it for the next, unless it is larger than all that may be kept."""
        with suppress(ValueError):
            self._parsed[etag] = parsed


def _size_of(parsed: Parsed) -> int:
    members = sum(len(each) for each in parsed.opened.values() if each is not None)
    return _OVERHEAD + len(parsed.body) + _PER_MEMBER * members
