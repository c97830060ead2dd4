"""The seams: what a job needs from the world, each named for the need."""

from dataclasses import dataclass
from typing import Protocol

from refresher.model import (
    Attempt,
    Candidate,
    Confirmation,
    NotModified,
    Payload,
    Quarantine,
    Record,
    Snapshot,
)
from refresher.spool import Spooled


class Source(Protocol):
    """Where a job's data comes from."""

    async def fetch(self, since: str | None) -> Payload | Spooled | NotModified:
        """Ask for content newer than the revision `since` (None: whatever there is).

        Raises:
            RefreshFailed: there was no complete answer, with the stage at which it ended.
        """
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to run one attempt of a job."""

    job: str
    fence: int
    """Grows with every grant; a store refuses what comes with an older one."""
    answers: int
    """The highest request number this attempt answers: those taken before it started."""


class Lease(Protocol):
    """Who may attempt a job, and which requests an attempt answers."""

    async def request(self, job: str) -> int:
        """Take the next request number of a job; the attempt that answers it has yet to start."""
        ...

    async def acquire(self, job: str) -> Grant:
        """Start an attempt: it answers every request taken until now."""
        ...


class SnapshotStore(Protocol):
    """Where snapshots outlive a process, or at least an attempt."""

    async def commit(
        self, grant: Grant, candidate: Candidate, *, at: float | None = None
    ) -> Snapshot:
        """Make the candidate current under a new version, or confirm it where the bytes are equal.

        The numbers are issued and the snapshot is saved in one step, before anyone sees it, and
        whatever of the job is in quarantine leaves it. `at` is when the bytes change; None: when
        the source was asked for them.
        """
        ...

    async def confirm(self, grant: Grant, confirmation: Confirmation) -> Snapshot:
        """Note that the source confirmed the current snapshot: times, revision and definition.

        Whatever of the job is in quarantine leaves it: the source has come back from that.
        """
        ...


class QuarantineStore(Protocol):
    """Where candidates that the guard refused are kept, one a job."""

    async def set_aside(self, grant: Grant, quarantine: Quarantine) -> None:
        """Keep a candidate, in place of the one that was kept before."""
        ...

    async def quarantined(self, job: str) -> Quarantine | None:
        """The candidate that is kept of a job."""
        ...

    async def release(self, job: str) -> None:
        """Forget the candidate that is kept of a job."""
        ...


class Observer(Protocol):
    """Someone who wants to know how attempts end; must not raise."""

    def attempted(self, attempt: Attempt, before: Record) -> None:
        """An attempt is over; `before` is what was known until it ended."""
        ...

    def crashed(self, job: str, error: Exception) -> None:
        """The job's loop broke with an error that nobody foresaw; the job goes on."""
        ...
