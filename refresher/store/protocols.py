"""What a kind of store promises: documents by compare-and-set, bodies, which processes live."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

ALIVE = 5.0
"""Seconds for which a process counts as alive after a heartbeat, by the store's own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A document as a store has it."""

    key: str
    number: int
    """The number of its last write, by a counter over all documents, from 1."""
    published: int
    """The number of the last write of this document that published; 0 where none has."""
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The answer of a store to the heartbeat of a process."""

    store: str
    """The opaque name of this store: made when it was empty, and lost with its documents."""
    now: float | None
    """The store's own time, in seconds since the Unix epoch; None: it has that of this machine."""
    alive: frozenset[str]
    """The processes whose last beat is less than `ALIVE` old."""
    last: int
    """The number of the last change."""


class Documents(Protocol):
    """Small documents that processes share; each write is a compare-and-set of one of them.

    Every method raises `StoreUnavailable` where the store does not answer or cannot be written.
    """

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number (0: all), by number."""
        ...

    async def write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool = False,
        keeps: Sequence[str] = (),
        drops: Sequence[str] = (),
    ) -> int | None:
        """Replace a document, if `after` is still the number of its last write (0: there is none).

        In the same step the bodies of `keeps` become permanent, and those of `drops` are deleted,
        or marked for that. Returns the number of this change; None where the document has been
        written since `after`: then nothing has been changed.
        """
        ...

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call, by any process.

        Cancelling loses nothing: a write that came meanwhile ends the next wait at once.
        """
        ...


class Bodies(Protocol):
    """The bytes of versions, up to 512 MiB each, under names that their writers choose."""

    async def put(self, body: str, content: bytes) -> None:
        """Write a body, provisionally: the write of a document that `keeps` it makes it permanent.

        One that is never kept is deleted once its process is dead. A large one delays no other
        write.

        Raises:
            StoreUnavailable: it could not be written.
        """
        ...

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there, whole.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...


class Processes(Protocol):
    """Which processes are alive."""

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; called once a second. Also repairs what can be repaired.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        ...

    async def leave(self, process: str) -> None:
        """Say that a process has ended, so that its leases are free at once.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        ...


class Backend(Documents, Bodies, Processes, Protocol):
    """A kind of store; an asynchronous context manager, which is entered while a service runs.

    Entering raises `ServiceError` where the store can never be used as configured (no such
    folder, not permitted, written by a newer release). One that is not available at the moment
    raises nothing then.
    """

    @property
    def persistent(self) -> bool:
        """Whether what it holds outlives the processes that use it."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class StoreOperation(StrEnum):
    """An operation of a store, as metrics name it when it fails."""

    LOAD = "load"
    """Read the documents that have changed."""
    READ = "read"
    """Read bodies."""
    WRITE = "write"
    """Write a document or a body."""
    BEAT = "beat"
    """Note that a process is alive, or has ended."""
