"""What a kind of store promises: documents by compare-and-set, bodies, and who is alive."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A document as a store has it."""

    key: str
    number: int
    """The store's number of the write that made it so; one counter over all documents, from 1."""
    published: int
    """The number of the last write of this document that published; 0 where none has."""
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a store says to the heartbeat of a process."""

    store: str
    """Which store this is: made when it was empty, kept with its documents, opaque."""
    now: float | None
    """The store's own time, in seconds since the epoch; None where it goes by this machine's."""
    alive: frozenset[str]
    """The processes whose last beat is under five seconds old by the store's own clock."""
    last: int
    """The number of its last change."""


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

        In the same step the bodies of `keeps` become permanent, and those of `drops` go, or are
        marked to go soon. Returns the number of this change; None where somebody else was quicker,
        and then nothing has happened.
        """
        ...

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call; any process's will do.

        Cancelling the wait loses nothing: what came meanwhile ends the next one at once.
        """
        ...


class Bodies(Protocol):
    """The bytes of versions, up to 512 MiB each, under names that their writers make up."""

    async def put(self, body: str, content: bytes) -> None:
        """Write a body, provisionally: only a document's write that `keeps` it makes it stay.

        What was never kept goes once its process is dead. No large one holds up other writes.

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


class Presence(Protocol):
    """Which processes are alive."""

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; once a second. Also heals what can be healed.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        ...

    async def leave(self, process: str) -> None:
        """Say that a process has ended, so that nobody waits for it.

        Raises:
            StoreUnavailable: the store does not answer or cannot be written.
        """
        ...


class Backend(Documents, Bodies, Presence, Protocol):
    """A kind of store; an asynchronous context manager, which is entered once a service runs.

    Entering raises `ServiceError` where the store can never be used as configured (no such
    folder, not permitted, written by a newer release) and nothing where it is merely away.
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
    """What was asked of a store, as metrics name it when it fails."""

    LOAD = "load"
    """To list what has changed."""
    READ = "read"
    """To give the bytes of a version."""
    WRITE = "write"
    """To make a change."""
    BEAT = "beat"
    """To note that a process is alive."""
