"""A bounded memo of what was decided: clients ask for the same again and again."""

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_GENERATION = 1024


class Memo(dict[K, T | None]):
    """Remembers in two generations: what is asked for stays, what is not goes in time.

    `memo[key]` is what is remembered, or None. No order has to be kept up for that: mostly it costs
    a dict lookup, and nothing else.
    """

    def __init__(self, *, generation: int = _GENERATION) -> None:
        self._size = generation
        self._old: dict[K, T | None] = {}

    def __missing__(self, key: K) -> T | None:
        """What the older generation remembers; the younger one takes it over."""
        found = self._old.get(key)
        if found is not None:
            self[key] = found
        return found

    def __setitem__(self, key: K, value: T | None) -> None:
        """Remember."""
        if len(self) >= self._size:
            self._old = dict(self)
            self.clear()
        super().__setitem__(key, value)
