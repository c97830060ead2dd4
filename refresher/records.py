"""What is known of a job after each thing that happens to it: from one record to the next."""

from dataclasses import replace

from refresher import freshness
from refresher.freshness import Policy
from refresher.model import Attempt, Due, Quarantine, Record, Snapshot, State


def started(record: Record, now: float) -> Record:
    """An attempt is under way."""
    return replace(record, running_since=now)


def renewed(record: Record, snapshot: Snapshot, policy: Policy, now: float) -> Record:
    """The snapshot is good, which ends any run of failures, and whatever was in quarantine."""
    fresh = freshness.state_of(record, policy, now) is State.FRESH
    return replace(
        record,
        snapshot=snapshot,
        fresh_since=record.fresh_since if fresh else now,
        failing_since=None,
        consecutive_failures=0,
        quarantine=None,
    )


def quarantined(record: Record, quarantine: Quarantine | None) -> Record:
    """A candidate is kept aside, or no longer."""
    return replace(record, quarantine=quarantine)


def went_without(record: Record) -> Record:
    """A due moment is over without the candidate in quarantine: its row begins anew."""
    held = record.quarantine
    return replace(record, quarantine=held and replace(held, seen=0))


def failed(record: Record, now: float) -> Record:
    """An attempt brought nothing; what is served stays."""
    return replace(
        record,
        failing_since=now if record.failing_since is None else record.failing_since,
        consecutive_failures=record.consecutive_failures + 1,
    )


def concluded(record: Record, attempt: Attempt, due: Due) -> Record:
    """The attempt is over and counted."""
    return replace(
        record,
        due=due,
        running_since=None,
        last_attempt=attempt,
        counts=record.counts.plus(attempt.outcome),
    )
