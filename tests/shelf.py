"""Snapshots put on a shelf by hand: what readers, views and metrics see, without any job."""

from dataclasses import dataclass, field, replace

from refresher.freshness import Policy
from refresher.model import (
    Attempt,
    Confirmation,
    Content,
    Definition,
    Failure,
    Format,
    Record,
    Snapshot,
    Stage,
)
from refresher.pipeline import representation
from refresher.state import Entry, StateStore
from tests.fakes import START, FakeClock

LIFETIME = 100.0
TIMEOUT = 10.0
PROMISE = Policy(timeout=TIMEOUT)
BODY = b'{"a":1}'
"""Too small to be compressed."""
TEXT = b'{"name": "value"}, ' * 100
"""Large enough to be compressed at the swap."""


def snapshot(
    body: bytes = BODY,
    *,
    job: str = "rates",
    content_type: str = "application/json",
    form: Format = Format.JSON,
    version: int = 1,
    checked_at: float = START,
    changed_at: float = START,
    lifetime: float = LIFETIME,
    dated: bool = True,
    age: float = 0.0,
    stale_since: float | None = None,
    content_time: float | None = None,
) -> Snapshot:
    """A version as a store would have committed it."""
    return Snapshot(
        job=job,
        content=Content(body=body, content_type=content_type, format=form, items=1),
        etag=representation.etag_of(body, content_type),
        version=version,
        change=version,
        changed_at=changed_at,
        dated=dated,
        confirmation=Confirmation(
            checked_at=checked_at,
            lifetime=lifetime,
            revision=None,
            definition=Definition("source", "rules"),
            age=age,
            stale_since=stale_since,
            content_time=content_time,
        ),
    )


def failed(stage: Stage = Stage.CONNECT, *, http_status: int | None = None) -> Attempt:
    """An attempt that brought nothing."""
    return Attempt(
        job="rates",
        started_at=START,
        duration=0.25,
        outcome=stage.outcome,
        version=1,
        http_status=http_status,
        failure=Failure(stage, "no route to host"),
    )


@dataclass
class Shelf:
    """A state store whose content a test decides, and the clock it is read by."""

    clock: FakeClock = field(default_factory=FakeClock)
    states: StateStore = field(default_factory=StateStore)

    def put(self, shown: Snapshot | None = None, policy: Policy = PROMISE, **known: object) -> None:
        """Make a job known with a snapshot; `known` is what else its record says."""
        found = snapshot() if shown is None else shown
        record = Record(job=found.job, since=START, snapshot=found)
        ready = representation.prepare(found.content.body, found.content.content_type)
        self.states.add(Entry(replace(record, **known), policy, ready))  # type: ignore[arg-type]

    def put_pending(self, job: str = "rates", **known: object) -> None:
        """Make a job known that has no snapshot yet."""
        record = replace(Record(job=job, since=START), **known)  # type: ignore[arg-type]
        self.states.add(Entry(record, PROMISE))

    def swap(self, shown: Snapshot) -> None:
        """Replace a job's snapshot, as a refresh does."""
        ready = representation.prepare(shown.content.body, shown.content.content_type)
        self.states.swap(shown.job, lambda record: replace(record, snapshot=shown), ready)
