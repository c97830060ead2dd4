"""JSON texts that have been looked into, kept for the next pointer as far as memory allows."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from cachetools import LRUCache

from refresher.jsontext import pointer
from refresher.jsontext.pointer import NotThere, Opened, Path

_OVERHEAD = 512
_PER_MEMBER = 160
"""Bytes that a parsed member takes, measured: its key, and a text that points into the body."""


class Parsed:
    """A text, as far as it has been looked into; by one thread at a time."""

    def __init__(self, body: bytes) -> None:
        self.size = _OVERHEAD + len(body)
        """Bytes that it takes, with what has been parsed of it."""
        self._body = body
        self._opened: dict[Path, Opened] = {}

    def unread(self, path: Path) -> int:
        """How many bytes are looked into for the first time to find the value at a pointer."""
        return pointer.unread(self._body, path, self._opened)

    def find(self, paths: Sequence[Path]) -> list[bytes | NotThere]:
        """The values at some pointers, in their order."""
        before = len(self._opened)
        values = [pointer.find(self._body, path, self._opened) for path in paths]
        # The newest come first: however much was opened before, it is not counted again.
        for path in islice(reversed(self._opened), len(self._opened) - before):
            self.size += _PER_MEMBER * (1 + len(self._opened[path] or ()))
        return values


class Texts:
    """Parsed texts by their ETag; those not asked for longest go first.

    They take `most_bytes` at most, all together. Who looks into one takes it away and puts it back.
    """

    def __init__(self, most_bytes: int) -> None:
        self._parsed: LRUCache[str, Parsed] = LRUCache(most_bytes, getsizeof=lambda each: each.size)

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
