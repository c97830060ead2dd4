"""A bounded memo of whole requests: on a kept connection a client sends the same bytes again."""

from typing import Generic, TypeVar

T = TypeVar("T")

_LONGEST = 2048
_GENERATION = 1024


class Memo(Generic[T]):
    """Remembers by bytes, in two generations: what is asked for stays, what is not goes in time.

    No order has to be kept up for that: looking something up costs a dict lookup.
    """

    def __init__(self, *, generation: int = _GENERATION, longest: int = _LONGEST) -> None:
        self._size = generation
        self._longest = longest
        self._young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}

    def get(self, key: bytes) -> T | None:
        """What is remembered for these bytes."""
        found = self._young.get(key)
        if found is None and key in self._old:
            found = self._old[key]
            self[key] = found
        return found

    def __setitem__(self, key: bytes, value: T) -> None:
        """Remember, unless the key is longer than anybody's habit."""
        if len(key) > self._longest:
            return
        if len(self._young) >= self._size:
            self._young, self._old = {}, self._young
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
