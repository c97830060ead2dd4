"""The bodies that this process has put into an SQLite store, and no document keeps yet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pieces:
    """A body that is in the file in pieces, under a number of its own."""

    number: int
    size: int


class ProvisionalBodies:
    """Provisional bodies: the bytes of small ones, and of large ones which pieces they are.

    Used by the event loop and the store's threads without a lock: each step is one operation on
    a dict or a set.
    """

    def __init__(self) -> None:
        self._bodies: dict[str, bytes | Pieces] = {}
        self._claimed: set[int] = set()

    def claim(self, number: int) -> None:
        """Say that pieces of that number may be kept yet: they are not to be deleted."""
        self._claimed.add(number)

    def release(self, number: int) -> None:
        """Say that these pieces will not be kept."""
        self._claimed.discard(number)

    def is_claimed(self, number: int) -> bool:
        """Whether they may be kept yet."""
        return number in self._claimed

    def put(self, name: str, body: bytes | Pieces) -> None:
        """Add a body, in place of one of the same name."""
        self.forget(name)
        self._bodies[name] = body

    def get(self, name: str) -> bytes | Pieces | None:
        """The body of that name."""
        return self._bodies.get(name)

    def forget(self, name: str) -> None:
        """Remove a body: it was kept, or dropped."""
        body = self._bodies.pop(name, None)
        if isinstance(body, Pieces):
            self.release(body.number)

    def in_memory(self) -> dict[str, bytes]:
        """The small ones, the oldest first."""
        bodies = list(self._bodies.items())  # at once: other threads remove some
        return {name: body for name, body in bodies if isinstance(body, bytes)}
