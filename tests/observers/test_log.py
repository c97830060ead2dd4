import logging
from collections.abc import Sequence

import pytest

from refresher.model import (
    Attempt,
    Confirmation,
    Definition,
    Failure,
    Format,
    Outcome,
    Quarantine,
    Record,
    Stage,
    Stored,
)
from refresher.observers.log import LogObserver


def good(version: int = 1, outcome: Outcome = Outcome.CHANGED) -> Attempt:
    return Attempt(job="rates", started_at=0.0, duration=0.0123, outcome=outcome, version=version)


def bad(stage: Stage, version: int | None = None, message: str = "no route") -> Attempt:
    failure = Failure(stage, message)
    return Attempt(
        job="rates",
        started_at=0.0,
        duration=1.0,
        outcome=stage.outcome,
        version=version,
        failure=failure,
    )


def logged(caplog: pytest.LogCaptureFixture, attempts: Sequence[Attempt]) -> list[tuple[str, str]]:
    """The lines that a history of attempts makes, with their levels."""
    observer, last = LogObserver(), None
    with caplog.at_level(logging.INFO, "refresher"):
        for attempt in attempts:
            observer.attempted(attempt, Record(job="rates", since=0.0, last_attempt=last))
            last = attempt
    return [(each.levelname, each.getMessage()) for each in caplog.records]


def test_the_first_success_is_told_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    unchanged = good(1, Outcome.UNCHANGED)
    assert logged(caplog, [good(), unchanged, good(2)]) == [
        ("INFO", "rates: serving version 1 after 12 ms")
    ]


def test_the_first_failure_and_the_recovery_are_told(caplog: pytest.LogCaptureFixture) -> None:
    away = bad(Stage.CONNECT, 1)
    assert logged(caplog, [good(), away, away, away, good(), good(2)])[1:] == [
        (
            "WARNING",
            "rates: failed at stage connect: no route; still serving version 1",
        ),
        ("INFO", "rates: recovered, serving version 1 after 12 ms"),
    ]


def test_a_failure_before_any_success_says_that_nothing_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = logged(caplog, [bad(Stage.DECODE), good()])
    assert lines == [
        ("WARNING", "rates: rejected at stage decode: no route; nothing to serve yet"),
        ("INFO", "rates: recovered, serving version 1 after 12 ms"),
    ]


def test_a_failure_of_another_kind_is_told(caplog: pytest.LogCaptureFixture) -> None:
    history = [bad(Stage.CONNECT), bad(Stage.CONNECT, message="other"), bad(Stage.STATUS)]
    lines = logged(caplog, history)
    assert [line.split(":")[1].split()[-1] for _, line in lines] == ["connect", "status"]


def test_a_crash_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("oops")
    LogObserver().crashed("rates", error)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "rates" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_what_the_guard_keeps_aside_is_told(caplog: pytest.LogCaptureFixture) -> None:
    stored = Stored(
        body="b",
        size=2,
        etag='"e"',
        content_type="application/json",
        format=Format.JSON,
        items=0,
    )
    confirmation = Confirmation(
        checked_at=0.0, lifetime=1.0, revision=None, definition=Definition("source", "rules")
    )
    kept = Quarantine(
        stored=stored,
        confirmation=confirmation,
        reason="too few",
        at=0.0,
        seen=1,
        next_moment=1.0,
    )
    LogObserver().attempted(
        bad(Stage.GUARD, 1, "too few"), Record(job="rates", since=0.0, quarantine=kept)
    )
    assert caplog.messages == [
        (
            "rates: rejected at stage guard: too few; still serving version 1; "
            "the answer is in quarantine, to be accepted or rejected"
        )
    ]
