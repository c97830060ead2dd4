"""Values that tests put in the place of a job's data."""

import sys
from collections.abc import Mapping
from dataclasses import replace

from refresher.config import JobPlan
from refresher.errors import RefreshFailed
from refresher.model import Confirmation, Snapshot, Stage
from refresher.pipeline import Rules, refine, representation
from refresher.sources.callable import payload_of
from refresher.state import StateStore

_LIFETIME = 365 * 86_400.0
"""Seconds that a frozen value counts as fresh."""


def publish(
    job: str, value: object, states: StateStore, plans: Mapping[str, JobPlan], *, now: float
) -> None:
    """Serve `value`, taken as if a function had returned it, and show the job as paused.

    Raises:
        UnknownJob: no job has that name.
        RefreshFailed: the value is not data.
    """
    before = states.known(job).record.snapshot
    payload = payload_of(value, sys.maxsize)
    if payload is None:
        raise RefreshFailed(Stage.SOURCE, "UNCHANGED stands for data, and is none itself")
    content = refine(payload.loaded(), payload.content_type, Rules(), None)
    prepared = representation.prepare(content.body, content.content_type)
    snapshot = Snapshot(
        job=job,
        content=content,
        etag=prepared.identity_etag,
        version=1 if before is None else before.version + 1,
        change=0,
        changed_at=now,
        dated=True,
        confirmation=Confirmation(
            checked_at=now,
            lifetime=_LIFETIME,
            revision=None,
            definition=plans[job].definition,
        ),
    )
    states.swap(job, lambda record: replace(record, snapshot=snapshot, paused=True), prepared)
