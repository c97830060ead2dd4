"""What jobs, upstreams and services need of others, each protocol named for the need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from refresher.model import Attempt, Rate, Record
from refresher.payload import NotModified, Payload


class Source(Protocol):
    """Where a job's data comes from."""

    async def fetch(self, since: str | None) -> Payload | NotModified:
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


class Limits(Protocol):
    """What an upstream allows all processes together."""

    async def reserve(self, upstream: str, rate: Rate) -> float | None:
        """Count the start of an attempt; where the rate forbids one, say when it no longer does."""
        ...

    async def give_back(self, upstream: str) -> None:
        """Take back the start of an attempt that was not made."""
        ...

    def held_until(self, upstream: str) -> float:
        """The instant, in seconds since the epoch, before which no attempt may start; 0: none."""
        ...

    async def hold(self, upstream: str, until: float) -> None:
        """Let no process ask the upstream before that instant."""
        ...

    def on_hold(self, upstream: str, wake: Callable[[], object]) -> None:
        """Call `wake` whenever the upstream is held for longer, by whichever process."""
        ...

    async def not_after(self, upstream: str, *, latest: float) -> None:
        """The wall clock has been set back: end holds at `latest`, count later starts as now."""
        ...


class Observer(Protocol):
    """Is told how attempts end; must not raise."""

    def attempted(self, attempt: Attempt, before: Record) -> None:
        """An attempt is over; `before` is what was known until it ended."""
        ...

    def skipped(self, job: str) -> None:
        """A due moment came that another process has; nothing else has changed."""
        ...

    def crashed(self, job: str, error: Exception) -> None:
        """The job's loop broke with an unexpected error; the job goes on."""
        ...
