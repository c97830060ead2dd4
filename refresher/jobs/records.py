"""What readers see of a job, made of what its ledger says."""

from dataclasses import replace

from refresher.model import Confirmation, Content, Definition, Due, Record, Snapshot, Version
from refresher.store.ledger import Ledger, Standing


def reflected(
    record: Record,
    *,
    ledger: Ledger,
    standing: Standing,
    definition: Definition,
    due: Due,
    snapshot: Snapshot | None = None,
) -> Record:
    """The record with all that the ledger says; `snapshot` is of a version yet to be served."""
    snapshot, confirmation = snapshot or record.snapshot, standing.confirmation
    if (
        snapshot is not None
        and confirmation is not None
        and confirmation != snapshot.confirmation  # else the same object: answers are kept by it
        and snapshot.version == standing.current
    ):
        snapshot = replace(snapshot, confirmation=confirmation)
    return Record(
        job=record.job,
        since=standing.since,
        snapshot=snapshot,
        due=due,
        running_since=standing.running_since,
        last_attempt=standing.last_attempt,
        counts=ledger.counts,
        consecutive_failures=standing.consecutive_failures,
        failing_since=standing.failing_since,
        fresh_since=standing.fresh_since,
        quarantine=standing.quarantine,
        outdated=confirmation is not None and confirmation.definition.rules != definition.rules,
        detached=record.detached,
        paused=ledger.paused,
        enabled=record.enabled,
    )


def snapshot_of(
    job: str, version: Version, confirmation: Confirmation, content: Content, *, change: int
) -> Snapshot:
    """A version with its bytes, as it is served."""
    return Snapshot(
        job=job,
        content=content,
        etag=version.stored.etag,
        version=version.version,
        change=change,
        changed_at=version.changed_at,
        dated=version.dated,
        confirmation=confirmation,
    )
