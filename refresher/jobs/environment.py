"""What all jobs of a service share."""

from collections.abc import Callable
from dataclasses import dataclass

from refresher.clock import Clock
from refresher.offload.pool import WorkerPool
from refresher.protocols import Observer
from refresher.state import StateStore
from refresher.store.store import Store
from refresher.values import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The objects with which a job works, the same for each."""

    states: StateStore
    store: Store
    pool: WorkerPool
    clock: Clock
    observer: Observer
    values: Values
    seed: Callable[[], str]
    """What the due moments of all jobs are spread by; it may change while the service runs."""
    redact: Callable[[str], str]
    """Takes the secrets out of a sentence before anybody can see it."""
