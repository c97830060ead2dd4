"""The bodies that a process has put and not yet kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pieces:
    """A body that lies in the file in pieces, under a number of its own."""

    number: int
    size: int


class Stage:
    """Bodies on their way: small ones themselves, of large ones where they lie.

    The loop and the store's threads use it, each step being one operation on a dict or a set.
    """

    def __init__(self) -> None:
        self._bodies: dict[str, bytes | Pieces] = {}
        self._held: set[int] = set()

    def hold(self, number: int) -> None:
        """Pieces of that number may be kept one day: they are not to be cleared away."""
        self._held.add(number)

    def let_go(self, number: int) -> None:
        """Nobody will keep these pieces."""
        self._held.discard(number)

    def holds(self, number: int) -> bool:
        """Whether they may be kept one day."""
        return number in self._held

    def put(self, name: str, body: bytes | Pieces) -> None:
        """Have a body there, in place of one of the same name."""
        self.forget(name)
        self._bodies[name] = body

    def get(self, name: str) -> bytes | Pieces | None:
        """What was put under the name."""
        return self._bodies.get(name)

    def forget(self, name: str) -> None:
        """It was kept, or dropped."""
        body = self._bodies.pop(name, None)
        if isinstance(body, Pieces):
            self.let_go(body.number)

    def in_memory(self) -> dict[str, bytes]:
        """The small ones, oldest first."""
        bodies = list(self._bodies.items())  # at once: other threads take out of it
        return {name: body for name, body in bodies if isinstance(body, bytes)}
