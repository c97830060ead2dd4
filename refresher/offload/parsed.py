"""JSON texts that have been parsed in part, cached for the next pointer that leads into them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from cachetools import LRUCache

from refresher.jsontext import pointer
from refresher.jsontext.pointer import NotThere, Opened, Path

_OVERHEAD = 512
_PER_MEMBER = 160
"""Bytes that a parsed member takes, measured: its key, and a text that points into the body."""


class ParsedText:
    """A JSON text, parsed as far as pointers have led into it; for one thread at a time."""

    def __init__(self, body: bytes) -> None:
        self.size = _OVERHEAD + len(body)
        """Bytes that it takes in memory, with what has been parsed of it."""
        self._body = body
        self._opened: dict[Path, Opened] = {}

    def unread(self, path: Path) -> int:
        """How many bytes would be parsed for the first time to find the value at a pointer."""
        return pointer.unread(self._body, path, self._opened)

    def find(self, paths: Sequence[Path]) -> list[bytes | NotThere]:
        """The values at some pointers, in their order."""
        before = len(self._opened)
        values = [pointer.find(self._body, path, self._opened) for path in paths]
        # The newest come first: however much was opened before, it is not counted again.
        for path in islice(reversed(self._opened), len(self._opened) - before):
            self.size += _PER_MEMBER * (1 + len(self._opened[path] or ()))
        return values


class ParsedCache:
    """An LRU cache of parsed texts by their ETag, of `max_bytes` all together.

    Who looks into a text takes it out and puts it back: it grows meanwhile.
    """

    def __init__(self, max_bytes: int) -> None:
        self._parsed: LRUCache[str, ParsedText] = LRUCache(
            max_bytes, getsizeof=lambda each: each.size
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed)

    def take(self, etag: str) -> ParsedText | None:
        """Take a text out of the cache; None where it is not there."""
        found: ParsedText | None = self._parsed.pop(etag, None)
        return found

    def put(self, etag: str, parsed: ParsedText) -> None:
        """Cache a text, unless it is larger than the whole cache."""
        with suppress(ValueError):
            self._parsed[etag] = parsed
