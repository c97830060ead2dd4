"""Quarantine: when a candidate that the guard refused has come back often enough to be published.

A candidate is counted once at each scheduled moment at which it comes. `accept_after` of them in a
row show that it is no accident of the source.
"""

from refresher.model import Confirmation, Due, Outcome, Quarantine, Stage, Stored


def after_refusal(
    held: Quarantine | None,
    stored: Stored,
    confirmation: Confirmation,
    reason: str,
    *,
    started: float,
    on_schedule: bool,
    next_moment: float,
    now: float,
) -> Quarantine:
    """The quarantine once the guard has refused that content `now`, where there was `held` before.

    Between two scheduled moments an answer may be fetched more than once (by hand, or because a
    refusal is looked at again after an hour): each moment counts the candidate once.
    """
    counts = on_schedule and (held is None or started >= held.next_moment)
    if held is not None and not counts:
        next_moment = held.next_moment
    if held is None or held.stored.etag != stored.etag:
        at, seen = now, 0
    else:
        at, seen = held.at, held.seen
        confirmation = confirmation.of_known_bytes(held.confirmation)
    return Quarantine(
        stored=stored,
        confirmation=confirmation,
        reason=reason,
        at=at,
        seen=seen + counts,
        next_moment=next_moment,
    )


def is_accepted(quarantine: Quarantine, accept_after: int | None) -> bool:
    """Whether the candidate has come at enough scheduled moments in a row to be published."""
    return accept_after is not None and quarantine.seen >= accept_after


def is_missed(stage: Stage, next_: Due, scheduled: float, *, on_schedule: bool) -> bool:
    """Whether a scheduled moment is over without the candidate, once an attempt ended at `stage`.

    One that failed is not, while it is still to be tried again before the moment that follows.
    """
    if stage is Stage.GUARD or not on_schedule:
        return False
    answered = stage.outcome is Outcome.REJECTED
    return answered or next_.at is None or next_.at >= scheduled
