from dataclasses import replace

import pytest

from refresher import freshness
from refresher.errors import RefreshFailed
from refresher.jobs.context import Lease
from refresher.jobs.settlement import settlement
from refresher.model import (
    Attempt,
    Changed,
    Confirmation,
    Content,
    Definition,
    Due,
    DueReason,
    Failed,
    Failure,
    Format,
    Outcome,
    Quarantine,
    Quarantined,
    Record,
    Snapshot,
    Stage,
    Stored,
    Unchanged,
)
from refresher.protocols import Grant
from refresher.store.ledger import Settlement
from tests.jobs.builder import SECRET, plan_of

NOW = 1_800_000_000.0
STARTED = NOW - 2
PLAN = plan_of(freshness=freshness.Policy(timeout=10.0))
SCHEDULED = PLAN.due_after(STARTED, NOW, seed="")
STORED = Stored(
    body="b", size=1, etag='"1"', content_type="text/plain", format=Format.TEXT, items=None
)
PENDING = Record(job="rates", since=0.0)


def confirmation(lifetime: float = 100.0) -> Confirmation:
    return Confirmation(
        checked_at=NOW - 1,
        lifetime=lifetime,
        revision=None,
        definition=Definition("source", "rules"),
    )


CHANGED = Changed(stored=STORED, confirmation=confirmation())
UNCHANGED = Unchanged(confirmation=confirmation())
QUARANTINED = Quarantined(
    quarantine=Quarantine(
        stored=STORED,
        confirmation=confirmation(),
        reason="too small",
        at=NOW,
        seen=1,
        next_moment=NOW,
    )
)


def fresh(since: float | None) -> Record:
    """A job that is fresh, since then."""
    snapshot = Snapshot(
        job="rates",
        content=Content(body=b"1", content_type="text/plain", format=Format.TEXT, items=None),
        etag='"1"',
        version=1,
        change=1,
        changed_at=NOW - 50,
        dated=True,
        confirmation=replace(confirmation(), checked_at=NOW - 50),
    )
    return replace(PENDING, snapshot=snapshot, fresh_since=since)


def settled(
    ended: Changed | Unchanged | Quarantined | RefreshFailed,
    *,
    before: Record = PENDING,
    failures: int = 1,
    on_schedule: bool = True,
) -> Settlement:
    return settlement(
        ended,
        Lease(Grant("rates", 3, 8), STARTED, on_schedule),
        PLAN,
        http_status=200,
        before=before,
        failures=failures,
        now=NOW,
        seed="",
        redact=lambda text: text.replace(SECRET, "***"),
    )


@pytest.mark.parametrize(
    ("ended", "outcome", "failure"),
    [
        (CHANGED, Outcome.CHANGED, None),
        (UNCHANGED, Outcome.UNCHANGED, None),
        (QUARANTINED, Outcome.REJECTED, Failure(Stage.GUARD, "too small")),
        (
            RefreshFailed(Stage.SCHEMA, "no list"),
            Outcome.REJECTED,
            Failure(Stage.SCHEMA, "no list"),
        ),
        (
            RefreshFailed(Stage.CONNECT, f"no way to {SECRET}"),
            Outcome.FAILED,
            Failure(Stage.CONNECT, "no way to ***"),
        ),
    ],
)
def test_the_attempt_says_how_it_ended(
    ended: Changed | Unchanged | Quarantined | RefreshFailed,
    outcome: Outcome,
    failure: Failure | None,
) -> None:
    found = settled(ended)
    assert found.attempt == Attempt(
        job="rates",
        started_at=STARTED,
        duration=2.0,
        outcome=outcome,
        version=None,
        http_status=200,
        failure=failure,
    )
    assert (found.result.outcome, found.result.failure) == (outcome, failure)
    assert (found.answers, found.ended) == (8, NOW)


@pytest.mark.parametrize("ended", [CHANGED, UNCHANGED])
def test_a_success_that_took_long_is_due_by_the_schedule_as_of_its_end(
    ended: Changed | Unchanged,
) -> None:
    ended = replace(ended, confirmation=confirmation(lifetime=0.5))
    assert settled(ended).due == Due(SCHEDULED, DueReason.SCHEDULE)
    assert settled(ended).held_until == 0.0


def test_a_success_is_not_due_before_its_lifetime_is_over() -> None:
    lasting = Unchanged(confirmation=confirmation(lifetime=5000.0))
    assert settled(lasting).due == Due(NOW - 1 + 5000, DueReason.SCHEDULE)


def test_a_transient_failure_is_due_after_the_backoff_which_grows() -> None:
    trouble = RefreshFailed(Stage.CONNECT, "refused", transient=True)
    waits = [(settled(trouble, failures=n).due.at or 0.0) - NOW for n in (1, 2, 3)]
    assert settled(trouble).due.reason is DueReason.BACKOFF
    for n, wait in enumerate(waits):
        assert 0.8 * 2**n <= wait <= 1.2 * 2**n


@pytest.mark.parametrize("ended", [QUARANTINED, RefreshFailed(Stage.DECODE, "no JSON")])
def test_refused_content_is_due_by_the_schedule(ended: Quarantined | RefreshFailed) -> None:
    assert settled(ended).due == Due(SCHEDULED, DueReason.SCHEDULE)


def test_retry_after_holds_the_job() -> None:
    trouble = RefreshFailed(Stage.STATUS, "503", transient=True, retry_after=900.0)
    found = settled(trouble)
    assert found.held_until == NOW + 900
    assert found.due == Due(NOW + 900, DueReason.RETRY_AFTER)


@pytest.mark.parametrize(
    ("trouble", "on_schedule", "missed"),
    [
        (RefreshFailed(Stage.DECODE, "no JSON"), True, True),
        (RefreshFailed(Stage.DECODE, "no JSON"), False, False),
        (RefreshFailed(Stage.AUTH, "401"), True, True),
        (RefreshFailed(Stage.CONNECT, "refused", transient=True), True, False),
    ],
)
def test_a_moment_is_missed_that_brings_no_candidate_and_is_not_tried_again(
    trouble: RefreshFailed, *, on_schedule: bool, missed: bool
) -> None:
    found = settled(trouble, on_schedule=on_schedule).result
    assert isinstance(found, Failed)
    assert found.missed is missed


def test_what_was_fresh_stays_so_since_then_and_what_was_not_begins_now() -> None:
    assert settled(CHANGED).fresh_since == NOW
    assert settled(CHANGED, before=fresh(None)).fresh_since == NOW
    assert settled(CHANGED, before=fresh(NOW - 900)).fresh_since == NOW - 900
    stale = replace(fresh(NOW - 900), failing_since=NOW - 10)
    assert settled(CHANGED, before=stale).fresh_since == NOW
