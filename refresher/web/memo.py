"""A bounded memo of what was decided: clients ask for the same again and again."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_GENERATION = 1024


class Memo(Generic[K, T]):
    """Remembers in two generations: what is asked for stays, what is not goes in time.

    No order has to be kept up for that: looking something up costs a dict lookup.
    """

    def __init__(self, *, generation: int = _GENERATION) -> None:
        self._size = generation
        self._young: dict[K, T] = {}
        self._old: dict[K, T] = {}

    def get(self, key: K) -> T | None:
        """What is remembered."""
        found = self._young.get(key)
        if found is None and key in self._old:
            found = self._old[key]
            self[key] = found
        return found

    def __setitem__(self, key: K, value: T) -> None:
        """Remember."""
        if len(self._young) >= self._size:
            self._young, self._old = {}, self._young
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
