"""What an ended attempt comes to: its result, and when the next one is due."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

from refresher.errors import RefreshFailed
from refresher.freshness import state_of
from refresher.jobs import quarantine
from refresher.jobs.context import Lease
from refresher.jobs.plan import Plan
from refresher.jobs.schedule import held_until, next_due, seed_of
from refresher.model import (
    Attempt,
    Changed,
    Due,
    DueReason,
    Failed,
    Quarantined,
    Record,
    Result,
    Stage,
    State,
    Unchanged,
)
from refresher.store.ledger import Settlement


def settlement(
    ended: Changed | Unchanged | Quarantined | RefreshFailed,
    lease: Lease,
    plan: Plan,
    *,
    http_status: int | None,
    before: Record,
    failures: int,
    now: float,
    seed: str,
    redact: Callable[[str], str],
) -> Settlement:
    """How an attempt that ends `now` is written into the ledger.

    `before` is what readers knew of the job until then; `failures` is how many attempts will have
    failed in a row if this one has; `seed` is that of the service.
    """
    scheduled = plan.due_after(lease.started, now, seed=seed)
    chance = seed_of(plan.name, seed)
    due_after = partial(next_due, scheduled, plan.retry, chance, ended=now, failures=failures)
    retry_at = 0.0
    result: Result
    match ended:
        case Changed() | Unchanged() as result:
            expires_at = result.confirmation.checked_at + result.confirmation.lifetime
            due = Due(max(expires_at, scheduled), DueReason.SCHEDULE)
        case Quarantined() as result:
            trouble = RefreshFailed(Stage.GUARD, result.quarantine.reason)
            due = due_after(trouble=trouble)
        case RefreshFailed() as trouble:
            due = due_after(trouble=trouble)
            retry_at = held_until(trouble, now)
            stage = trouble.failure.stage
            result = Failed(
                failure=replace(trouble.failure, message=redact(trouble.failure.message)),
                missed=quarantine.is_missed(stage, due, scheduled, on_schedule=lease.on_schedule),
                since=trouble.since,
            )
        case _:
            assert_never(ended)
    is_fresh = state_of(before, plan.freshness, now) is State.FRESH
    return Settlement(
        result=result,
        attempt=Attempt(
            job=plan.name,
            started_at=lease.started,
            duration=now - lease.started,
            outcome=result.outcome,
            version=None,
            http_status=http_status,
            failure=result.failure,
        ),
        due=due,
        held_until=retry_at,
        answers=lease.grant.answers,
        ended=now,
        fresh_since=before.fresh_since or now if is_fresh else now,
    )
