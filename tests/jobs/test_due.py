import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import NotRefreshable, TooSoon
from refresher.jobs.due import (
    due,
    due_at_startup,
    is_scheduled,
    next_look,
    refusal,
    refusal_if_forced,
)
from refresher.model import (
    Confirmation,
    Content,
    Definition,
    Due,
    DueReason,
    Format,
    Snapshot,
)
from refresher.store.ledger import Standing
from tests.jobs.builder import plan_of

NOW = 1_800_000_000.0
SCHEDULED = Due(NOW + 50, DueReason.SCHEDULE)
OVERDUE = Due(NOW - 50, DueReason.SCHEDULE)
NEW_SECRET = Due(NOW - 1, DueReason.DEFINITION)

instants = st.floats(NOW - 1e5, NOW + 1e5)
numbers = st.integers(0, 5)
dues = st.builds(
    Due,
    st.none() | instants | st.just(math.inf),
    st.sampled_from([DueReason.STARTUP, DueReason.SCHEDULE, DueReason.BACKOFF]),
)
standings = st.builds(
    Standing,
    due=dues,
    used_at=st.just(NOW),
    since=st.just(NOW),
    held_until=st.just(0.0) | instants,
    requested=numbers,
    answered=numbers,
    forced=numbers,
    requested_at=instants,
)


def standing(scheduled: Due = SCHEDULED, **facts: float) -> Standing:
    return Standing(due=scheduled, used_at=NOW, since=NOW, **facts)  # type: ignore[arg-type]


def decided(
    known: Standing,
    *,
    enabled: bool = True,
    paused: bool = False,
    due_now: Due | None = None,
    upstream_held_until: float = 0.0,
) -> Due:
    return due(
        known,
        plan_of(enabled=enabled),
        paused=paused,
        due_now=due_now,
        upstream_held_until=upstream_held_until,
        now=NOW,
    )


def at(seconds: float | None, reason: DueReason) -> Due:
    return Due(None if seconds is None else NOW + seconds, reason)


REQUESTED = standing(requested=3, answered=2)
FORCED = standing(requested=3, answered=2, forced=3, held_until=NOW + 90)


@pytest.mark.parametrize(
    ("known", "facts", "expected"),
    [
        (standing(), {}, SCHEDULED),
        (standing(OVERDUE), {}, OVERDUE),
        (standing(Due(NOW + 3, DueReason.BACKOFF)), {}, at(3, DueReason.BACKOFF)),
        (standing(), {"due_now": NEW_SECRET}, NEW_SECRET),
        (REQUESTED, {}, at(0, DueReason.MANUAL)),
        (REQUESTED, {"due_now": NEW_SECRET}, at(0, DueReason.MANUAL)),
        (standing(requested=3, answered=3), {}, SCHEDULED),
        (standing(OVERDUE, held_until=NOW + 90), {}, at(90, DueReason.RETRY_AFTER)),
        (standing(held_until=NOW + 90), {"due_now": NEW_SECRET}, at(90, DueReason.RETRY_AFTER)),
        (standing(held_until=NOW + 20), {}, SCHEDULED),
        (standing(held_until=NOW + 50), {}, SCHEDULED),
        (standing(OVERDUE), {"upstream_held_until": NOW + 7}, at(7, DueReason.UPSTREAM_LIMIT)),
        (
            standing(OVERDUE, held_until=NOW + 90),
            {"upstream_held_until": NOW + 7},
            at(90, DueReason.RETRY_AFTER),
        ),
        (REQUESTED, {"upstream_held_until": NOW + 7}, at(7, DueReason.UPSTREAM_LIMIT)),
        (FORCED, {"upstream_held_until": NOW + 7}, at(0, DueReason.MANUAL)),
        (standing(OVERDUE), {"paused": True}, at(None, DueReason.PAUSED)),
        (standing(), {"paused": True, "due_now": NEW_SECRET}, at(None, DueReason.PAUSED)),
        (REQUESTED, {"paused": True}, at(0, DueReason.MANUAL)),
        (FORCED, {"enabled": False}, at(None, DueReason.DISABLED)),
        (standing(at(None, DueReason.SCHEDULE)), {}, at(None, DueReason.SCHEDULE)),
    ],
)
def test_when_a_job_is_due_and_why(
    known: Standing, facts: dict[str, object], expected: Due
) -> None:
    assert decided(known, **facts) == expected  # type: ignore[arg-type]


@given(standings, st.none() | st.just(NEW_SECRET), instants)
def test_only_a_forced_request_starts_before_what_the_upstream_asked_for(
    known: Standing, due_now: Due | None, upstream_held_until: float
) -> None:
    found = decided(known, due_now=due_now, upstream_held_until=upstream_held_until)
    held_until = max(known.held_until, upstream_held_until)
    is_forced = known.forced > known.answered and known.requested > known.answered
    assert is_forced or found.at is None or found.at >= held_until


@given(standings, instants)
def test_a_request_is_due_at_once_or_when_the_hold_ends(known: Standing, hold: float) -> None:
    found = decided(known, upstream_held_until=hold)
    if known.requested > known.answered:
        assert found.at in {NOW, known.held_until, hold}
        assert found.reason in {
            DueReason.MANUAL,
            DueReason.RETRY_AFTER,
            DueReason.UPSTREAM_LIMIT,
        }


@given(
    known=standings,
    due_now=st.none() | st.just(NEW_SECRET),
    hold=instants,
    paused=st.booleans(),
)
def test_a_disabled_job_is_never_due_and_a_paused_one_by_request_alone(
    known: Standing, due_now: Due | None, hold: float, *, paused: bool
) -> None:
    off = decided(known, enabled=False, paused=paused, due_now=due_now, upstream_held_until=hold)
    assert off == at(None, DueReason.DISABLED)
    on = decided(known, paused=True, due_now=due_now, upstream_held_until=hold)
    assert (on == at(None, DueReason.PAUSED)) == (known.requested <= known.answered)


@given(standings, instants, instants)
def test_a_longer_hold_never_makes_a_job_due_earlier(
    known: Standing, one: float, other: float
) -> None:
    shorter, longer = sorted((one, other))
    before, after = (decided(known, upstream_held_until=hold) for hold in (shorter, longer))
    assert (before.at is None) == (after.at is None)
    assert before.at is None or after.at is None or before.at <= after.at


@given(known=dues, taken=st.booleans(), now=instants)
def test_a_look_starts_the_attempt_exactly_when_it_is_due_and_not_taken(
    known: Due, now: float, *, taken: bool
) -> None:
    look = next_look(known, taken=taken, now=now)
    is_due = known.at is not None and known.at <= now
    assert (look <= now) == (is_due and not taken)
    assert is_due or look == (math.inf if known.at is None else known.at)


def test_a_moment_that_another_process_has_is_looked_at_again_after_a_second() -> None:
    assert next_look(OVERDUE, taken=True, now=NOW) == NOW + 1
    assert next_look(SCHEDULED, taken=True, now=NOW) == SCHEDULED.at


@pytest.mark.parametrize(
    ("known", "facts", "reason", "seconds"),
    [
        (standing(), {}, None, 0),
        (standing(requested_at=NOW - 20), {"cooldown": 60.0}, "cooldown", 40),
        (standing(requested_at=NOW - 60), {"cooldown": 60.0}, None, 0),
        (standing(held_until=NOW + 30), {}, "retry_after", 30),
        (standing(), {"upstream_held_until": NOW + 30}, "retry_after", 30),
        (standing(held_until=NOW), {"upstream_held_until": NOW}, None, 0),
        (
            standing(requested_at=NOW, held_until=NOW + 90),
            {"cooldown": 60.0},
            "retry_after",
            90,
        ),
        (standing(requested_at=NOW, held_until=NOW + 9), {"cooldown": 60.0}, "cooldown", 60),
    ],
)
def test_why_a_request_is_refused_and_for_how_long(
    known: Standing, facts: dict[str, float], reason: str | None, seconds: float
) -> None:
    found = refusal(
        known,
        plan_of(cooldown=facts.get("cooldown", 0.0)),
        paused=False,
        upstream_held_until=facts.get("upstream_held_until", 0.0),
        now=NOW,
    )
    if reason is None:
        assert found is None
    else:
        assert isinstance(found, TooSoon)
        assert (found.reason, found.retry_after) == (reason, seconds)
        assert str(found) == f"rates cannot be refreshed for another {seconds} s: {reason}"


@pytest.mark.parametrize(
    ("enabled", "paused", "reason"),
    [(True, True, "paused"), (False, False, "disabled"), (False, True, "disabled")],
)
def test_what_is_switched_off_refuses_even_what_is_forced(
    reason: str, *, enabled: bool, paused: bool
) -> None:
    job = plan_of(enabled=enabled)
    asked = refusal(standing(), job, paused=paused, upstream_held_until=0.0, now=NOW)
    for found in (asked, refusal_if_forced(job, paused=paused)):
        assert isinstance(found, NotRefreshable)
        assert found.reason == reason


def test_a_forced_request_is_refused_for_nothing_else() -> None:
    assert refusal_if_forced(plan_of(cooldown=60.0), paused=False) is None


@given(standings, instants)
def test_what_is_not_refused_is_due_at_once(known: Standing, hold: float) -> None:
    facts = {"paused": False, "upstream_held_until": hold, "now": NOW}
    if refusal(known, plan_of(), **facts) is None:  # type: ignore[arg-type]
        asked = Standing(
            due=known.due,
            used_at=NOW,
            since=NOW,
            held_until=known.held_until,
            requested=1,
            requested_at=NOW,
        )
        assert decided(asked, upstream_held_until=hold) == at(0, DueReason.MANUAL)


def snapshot(checked_at: float) -> Snapshot:
    return Snapshot(
        job="rates",
        content=Content(body=b"1", content_type="text/plain", format=Format.TEXT, items=None),
        etag='"1"',
        version=1,
        change=1,
        changed_at=checked_at,
        dated=True,
        confirmation=Confirmation(
            checked_at=checked_at,
            lifetime=100.0,
            revision=None,
            definition=Definition("source", "rules"),
        ),
    )


@pytest.mark.parametrize(
    ("served", "wanted"),
    [
        (None, True),
        (snapshot(NOW - 101), True),
        (snapshot(NOW - 100), False),
        (snapshot(NOW), False),
    ],
)
def test_a_start_wants_what_is_missing_or_past_its_lifetime(
    served: Snapshot | None, *, wanted: bool
) -> None:
    assert due_at_startup(served, NOW) == (Due(NOW, DueReason.STARTUP) if wanted else None)


@pytest.mark.parametrize(
    ("scheduled", "expected"),
    [
        (OVERDUE, True),
        (Due(NOW, DueReason.BACKOFF), True),
        (SCHEDULED, False),
        (Due(NOW - 1, DueReason.STARTUP), False),
        (Due(None, DueReason.SCHEDULE), False),
    ],
)
def test_an_attempt_answers_a_scheduled_moment_that_has_come(
    scheduled: Due, *, expected: bool
) -> None:
    assert is_scheduled(scheduled, NOW) is expected
