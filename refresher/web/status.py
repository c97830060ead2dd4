"""What `/jobs` says of a job, under the names of `refresher/docs/http.md`."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from refresher import freshness
from refresher.config import JobPlan
from refresher.model import Attempt, Failure, Quarantine, Version
from refresher.state import Entry


def rfc3339(instant: float | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    if instant is None or math.isinf(instant):  # a cron expression may never match again
        return None
    text = datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def job_status(entry: Entry, plan: JobPlan, now: float) -> dict[str, object]:
    """All that is known of a job, as of `now`."""
    record, policy = entry.record, entry.policy
    snapshot = record.snapshot
    due_at = record.due.at
    return {
        "name": record.job,
        "state": freshness.state_of(record, policy, now),
        "state_since": rfc3339(freshness.state_since(record, policy, now)),
        "enabled": record.enabled,
        "paused": record.paused,
        "version": snapshot and snapshot.version,
        "etag": snapshot and snapshot.etag,
        "content_type": snapshot and snapshot.content.content_type,
        "bytes": snapshot and len(snapshot.content.body),
        "items": snapshot and snapshot.content.items,
        "checked_at": snapshot and rfc3339(snapshot.checked_at),
        "changed_at": snapshot and rfc3339(snapshot.changed_at),
        "content_time": snapshot and rfc3339(snapshot.content_time),
        "late": snapshot and freshness.is_late(snapshot, policy, now),
        "age_seconds": snapshot and round(freshness.age_of(snapshot, now), 3),
        "lifetime_seconds": snapshot and round(snapshot.lifetime, 3),
        "expires_at": rfc3339(freshness.expires_at(record, policy)),
        "due_at": rfc3339(due_at),
        "due_reason": record.due.reason,
        "consecutive_failures": record.consecutive_failures,
        "attempts": {
            "changed": record.counts.changed,
            "unchanged": record.counts.unchanged,
            "failed": record.counts.failed,
            "rejected": record.counts.rejected,
        },
        "last_attempt": record.last_attempt and _last_attempt(record.last_attempt),
        "source": {"kind": plan.kind, "url": plan.shown},
        "tags": plan.config.tags,
        "quarantine": record.quarantine and _quarantine(record.quarantine),
    }


def history(versions: Iterable[Version]) -> dict[str, object]:
    """The versions of a job that are kept, in their order."""
    return {"versions": [_version(version) for version in versions]}


def attempt_result(attempt: Attempt) -> dict[str, object]:
    """How an attempt that was asked for ended."""
    return {
        "job": attempt.job,
        "outcome": attempt.outcome,
        "version": attempt.version,
        "duration_ms": round(attempt.duration * 1000),
        "error": attempt.failure and _error(attempt.failure),
    }


def _version(version: Version) -> dict[str, object]:
    return {
        "version": version.version,
        "etag": version.stored.etag,
        "bytes": version.stored.size,
        "items": version.stored.items,
        "changed_at": rfc3339(version.changed_at),
    }


def _last_attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "at": rfc3339(attempt.started_at),
        "outcome": attempt.outcome,
        "duration_ms": round(attempt.duration * 1000),
        "http_status": attempt.http_status,
        "error": attempt.failure and _error(attempt.failure),
    }


def _quarantine(quarantine: Quarantine) -> dict[str, object]:
    return {"reason": quarantine.reason, "at": rfc3339(quarantine.at)}


def _error(failure: Failure) -> dict[str, str]:
    return {"stage": failure.stage, "message": failure.message}
