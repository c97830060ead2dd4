"""How fresh a job's data is: pure functions of its record, its policy and the time."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

from refresher.clock import Moments
from refresher.model import Record, Snapshot, Stage, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a job promises its readers; all in seconds."""

    max_age: float | None = None
    """Cap on the freshness that readers are told, from our own check on."""
    max_stale: float | None = None
    """How long past its lifetime a snapshot may be served; None: for ever."""
    timeout: float = 0.0
    """How long past its lifetime a snapshot counts as fresh: an attempt may be under way."""
    fail_when_expired: bool = False
    max_content_age: float | None = None
    """How long content counts as fresh after its own time; None: for ever."""
    changes_by: Moments | None = None
    """When the bytes must have changed since the moment before; None: whenever they do."""


def state_of(record: Record, policy: Policy, now: float) -> State:
    """The job's state, as States in refresher/docs/http.md defines it."""
    snapshot = record.snapshot
    if snapshot is None:
        return State.PENDING
    deadline = snapshot.checked_at + snapshot.lifetime
    if policy.max_stale is not None and now > deadline + policy.max_stale:
        return State.EXPIRED
    if (
        record.outdated
        or record.failing_since is not None
        or snapshot.confirmation.stale_since is not None
        or now > min(deadline + policy.timeout, _content_end(snapshot, policy))
    ):
        return State.STALE
    return State.FRESH


def stands_until(snapshot: Snapshot, policy: Policy, now: float) -> float:
    """The last moment of the state that is `now`, while nothing happens to the job; or infinity."""
    deadline = snapshot.checked_at + snapshot.lifetime
    ends = [deadline + policy.timeout, _content_end(snapshot, policy)]
    if policy.max_stale is not None:
        ends.append(deadline + policy.max_stale)
    return min((end for end in ends if now <= end), default=math.inf)


def state_since(record: Record, policy: Policy, now: float) -> float:
    """When the job entered the state it is in, in seconds since the epoch."""
    snapshot = record.snapshot
    match state_of(record, policy, now):
        case State.PENDING:
            return record.since
        case State.FRESH:
            return record.since if record.fresh_since is None else record.fresh_since
        case State.STALE if snapshot is not None:
            overdue_at = snapshot.checked_at + snapshot.lifetime + policy.timeout
            too_old_at = max(_content_end(snapshot, policy), snapshot.changed_at)
            stale_since = snapshot.confirmation.stale_since
            reasons = (overdue_at, too_old_at, record.failing_since, stale_since)
            since = min(each for each in reasons if each is not None)
            # When the rules were changed is not known, only that it was after they last held.
            return min(since, snapshot.checked_at) if record.outdated else since
        case _:
            expired = expires_at(record, policy)
            return record.since if expired is None else expired


def expires_at(record: Record, policy: Policy) -> float | None:
    """When the snapshot may no longer count as good: past its lifetime and `max_stale`."""
    if record.snapshot is None or policy.max_stale is None:
        return None
    return record.snapshot.checked_at + record.snapshot.lifetime + policy.max_stale


def late_from(snapshot: Snapshot, policy: Policy) -> float:
    """When the bytes are late, if they have not changed until then; infinite where they never are.

    That is the second of the `changes_by` after they changed: at the first, they have changed since
    the one before it.
    """
    if policy.changes_by is None:
        return math.inf
    return _second_after(policy.changes_by, snapshot.changed_at)


def is_late(snapshot: Snapshot, policy: Policy, now: float) -> bool:
    """Whether the bytes have not changed by the moment at which they should have."""
    return now >= late_from(snapshot, policy)


@lru_cache(maxsize=65536)
def _second_after(moments: Moments, instant: float) -> float:
    return next(itertools.islice(moments.after(instant), 1, None), math.inf)


def _content_end(snapshot: Snapshot, policy: Policy) -> float:
    """The last moment at which the content is not too old by its own time; or infinity."""
    if policy.max_content_age is None or snapshot.content_time is None:
        return math.inf
    return snapshot.content_time + policy.max_content_age


def is_served(state: State, policy: Policy) -> bool:
    """Whether a reader may have the snapshot of a job in that state."""
    if state is State.EXPIRED:
        return not policy.fail_when_expired
    return state is not State.PENDING


def age_of(snapshot: Snapshot, now: float) -> float:
    """Seconds since the snapshot was good by its source's word, never negative (RFC 9111, 5.1)."""
    return max(0.0, now - snapshot.checked_at)


def max_age_of(snapshot: Snapshot, policy: Policy) -> int:
    """The `max-age` that readers are told, in whole seconds (RFC 9111, 5.2.2.1)."""
    lifetime = snapshot.lifetime
    if policy.max_age is not None:
        lifetime = min(lifetime, snapshot.confirmation.age + policy.max_age)
    return math.floor(lifetime)


def complaint(record: Record, policy: Policy, now: float) -> str | None:
    """Why the data is not as it should be: its state and the detail of that, or that it is late."""
    state = state_of(record, policy, now)
    match state, record.snapshot:
        case State.FRESH, Snapshot() as snapshot:
            return "late" if is_late(snapshot, policy, now) else None
        case ((State.PENDING | State.EXPIRED), _):
            return str(state)
        case _:
            return f"{state}: {detail_of(record, policy, state, now)}"


def detail_of(record: Record, policy: Policy, state: State, now: float) -> str:
    """Why the data is not fresh, or may not be, as one word of Cache-Status (RFC 9211, 2.8).

    The first reason that holds: what is wrong with the data itself, what a person decided, what
    holds for this process alone, what the source did. The order is that of the table in
    refresher/docs/http.md.
    """
    snapshot = record.snapshot
    reasons = {
        "expired": state is State.EXPIRED,
        "content": snapshot is not None and now > _content_end(snapshot, policy),
        "upstream": snapshot is not None and snapshot.confirmation.stale_since is not None,
        "disabled": not record.enabled,
        "paused": record.paused,
        "detached": record.detached,
        "definition": record.outdated,
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    attempt = record.last_attempt
    if attempt is not None and attempt.failure is not None:
        stage = attempt.failure.stage
        if stage is Stage.STATUS and attempt.http_status is not None:
            return f"status-{attempt.http_status}"
        return str(stage)
    return "overdue" if record.running_since is None else "updating"
