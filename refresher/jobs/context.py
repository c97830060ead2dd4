"""What an attempt starts from."""

from dataclasses import dataclass

from refresher.model import Quarantine, Snapshot
from refresher.protocols import Grant


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant in use: the attempt that it is for is under way."""

    grant: Grant
    started: float
    on_schedule: bool
    """Whether the attempt answers a scheduled moment, and not only a request."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a job when an attempt starts."""

    lease: Lease
    served: Snapshot | None
    candidate: Quarantine | None
    """What the guard refused last; the source is asked with its validators."""
