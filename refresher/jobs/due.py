"""When a job starts its next attempt, or why it may not be asked for one, with time as an argument.

What is weighed: the schedule and the backoff, as the standing has them; requests of people; the
Retry-After of the source and the hold on its upstream; and whether the job is paused or disabled.
"""

import math

from refresher.errors import NotRefreshable, RefreshRefused, TooSoon
from refresher.jobs.plan import Plan
from refresher.model import Due, DueReason, Snapshot
from refresher.store import ledger
from refresher.store.ledger import Standing

_RECHECK = 1.0
"""Seconds before a moment that another process has is looked at again, should no news come."""


def due(
    standing: Standing,
    plan: Plan,
    *,
    paused: bool,
    due_now: Due | None,
    upstream_held_until: float,
    now: float,
) -> Due:
    """When the next attempt is to start, and why then.

    `due_now` says since when and why this process wants an attempt whatever the schedule says. A
    request comes before the pause, and a forced one before Retry-After and the upstream's hold as
    well; all else waits for these.
    """
    if not plan.enabled:
        return Due(None, DueReason.DISABLED)
    wanted = standing.due if due_now is None else due_now
    if ledger.is_pending(standing):
        wanted = Due(now, DueReason.MANUAL)
        if ledger.is_forced(standing):
            return wanted
    elif paused:
        return Due(None, DueReason.PAUSED)
    held_until = max(standing.held_until, upstream_held_until)
    if wanted.at is None or wanted.at >= held_until:
        return wanted
    own = held_until == standing.held_until
    return Due(held_until, DueReason.RETRY_AFTER if own else DueReason.UPSTREAM_LIMIT)


def refusal(
    standing: Standing, plan: Plan, *, paused: bool, upstream_held_until: float, now: float
) -> RefreshRefused | None:
    """Why a manual refresh cannot be taken now; None where it can."""
    if (switched_off := refusal_if_forced(plan, paused=paused)) is not None:
        return switched_off
    until, reason = max(
        (standing.requested_at + plan.cooldown, "cooldown"),
        (max(standing.held_until, upstream_held_until), "retry_after"),
    )
    if until <= now:
        return None
    left = until - now
    message = f"{plan.name} cannot be refreshed for another {math.ceil(left)} s: {reason}"
    return TooSoon(plan.name, reason, message, retry_after=left)


def refusal_if_forced(plan: Plan, *, paused: bool) -> NotRefreshable | None:
    """Why one that overrides cooldown and Retry-After cannot be taken; None where it can."""
    for holds, reason in ((not plan.enabled, "disabled"), (paused, "paused")):
        if holds:
            return NotRefreshable(plan.name, reason, f"{plan.name} is {reason}")
    return None


def next_look(due: Due, *, taken: bool, now: float) -> float:
    """When to look again: `now` or before to start the attempt, infinite to wait for a trigger.

    `taken` says that another process was found to have this moment; should that process die, there
    may be no news of it.
    """
    if due.at is None:
        return math.inf
    return now + _RECHECK if taken and due.at <= now else due.at


def due_at_startup(snapshot: Snapshot | None, now: float) -> Due | None:
    """Due now where the snapshot is missing or past its lifetime; asked by the first process."""
    if snapshot is None or now > snapshot.checked_at + snapshot.lifetime:
        return Due(now, DueReason.STARTUP)
    return None


def is_scheduled(due: Due, started: float) -> bool:
    """Whether an attempt that starts then answers a scheduled moment, or tries it again.

    `due` is what the schedule says, whether or not somebody has asked for the attempt as well.
    """
    return due.at is not None and due.at <= started and due.reason is not DueReason.STARTUP
