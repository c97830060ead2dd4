"""A bounded memo that costs a dict lookup: clients send the same requests again and again."""

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_GENERATION = 1024


class Memo(dict[K, T | None]):
    """Keeps two generations of entries: those in use stay, the others are dropped in time.

    `memo[key]` is the value, or None. Unlike an LRU cache it maintains no order: a lookup is mostly
    one of a dict, and nothing else.
    """

    def __init__(self, *, generation: int = _GENERATION) -> None:
        self._size = generation
        self._old: dict[K, T | None] = {}

    def __missing__(self, key: K) -> T | None:
        """Look in the older generation, and move what is found to the younger one."""
        found = self._old.get(key)
        if found is not None:
            self[key] = found
        return found

    def __setitem__(self, key: K, value: T | None) -> None:
        """Keep a value; a full generation becomes the older one, and that is dropped."""
        if len(self) >= self._size:
            self._old = dict(self)
            self.clear()
        super().__setitem__(key, value)
