import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import RefreshFailed
from refresher.jobs.schedule import (
    Cron,
    Interval,
    Retry,
    backoff,
    due_after_attempt,
    due_from,
    next_due,
    seed_of,
)
from refresher.model import DueReason, Stage

NOW = 1_800_000_000.0
RETRY = Retry(backoff=1.0, backoff_max=300.0)

names = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?", fullmatch=True)
instants = st.floats(1e9, 4e9)
intervals = st.builds(
    lambda seconds, share: Interval(seconds, seconds * share),
    st.integers(1, 90_000).map(float),
    st.floats(0, 0.5),
)


def local(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def trouble(stage: Stage = Stage.CONNECT, **facts: object) -> RefreshFailed:
    return RefreshFailed(stage, "no", **facts)  # type: ignore[arg-type]


@given(intervals, names, instants)
def test_due_moments_are_the_same_whoever_asks_and_whenever(
    interval: Interval, name: str, instant: float
) -> None:
    due = due_from(interval, name, instant)
    assert due_from(interval, name, due) == due
    assert due_from(interval, name, (instant + due) / 2) == due


@given(intervals, names, instants)
def test_jitter_only_delays_and_by_less_than_it_says(
    interval: Interval, name: str, instant: float
) -> None:
    plain = Interval(interval.seconds)
    due = due_from(interval, name, instant)
    undelayed = due_from(plain, name, due - interval.jitter - 1e-3)
    assert -1e-3 <= due - undelayed <= interval.jitter + 1e-3


@given(intervals, names, instants)
def test_there_is_one_due_moment_in_each_interval(
    interval: Interval, name: str, instant: float
) -> None:
    first = due_from(interval, name, instant)
    second = due_from(interval, name, first + 1e-3)
    gap = interval.seconds - interval.jitter
    assert gap - 1e-3 <= second - first <= interval.seconds + interval.jitter + 1e-3


@given(intervals, names, instants, st.floats(0, 3))
def test_half_an_interval_lies_between_a_start_and_the_next_due(
    interval: Interval, name: str, started: float, length: float
) -> None:
    now = started + length * interval.seconds
    due = due_after_attempt(interval, name, started=started, now=now)
    assert due >= max(started + interval.seconds / 2, now)
    assert due <= max(started + interval.seconds / 2, now) + interval.seconds + interval.jitter


@given(intervals, names, instants, st.text(min_size=1), st.integers(1, 60))
def test_another_seed_spreads_everything_anew(
    interval: Interval, name: str, instant: float, seed: str, failures: int
) -> None:
    one, other = seed_of(name, seed), seed_of(name, f"{seed}'")
    assert due_from(interval, one, instant) == due_from(interval, seed_of(name, seed), instant)
    assert due_from(interval, one, instant) != due_from(interval, other, instant)
    cron = Cron("0 * * * *", jitter=600.0)
    assert due_from(cron, one, instant) != due_from(cron, other, instant)
    retry = Retry(1.0, math.inf)
    assert backoff(retry, one, failures) != backoff(retry, other, failures)


@given(names)
def test_no_seed_leaves_the_name(name: str) -> None:
    assert seed_of(name, "") == name


def test_different_names_are_spread_over_the_interval() -> None:
    dues = {due_from(Interval(100.0), f"job-{n}", NOW) - NOW for n in range(200)}
    assert max(dues) > 90
    assert min(dues) < 10
    assert len(dues) == 200


def test_cron_runs_on_local_wall_time() -> None:
    cron = Cron("30 9 * * *", "Europe/Berlin")
    assert due_from(cron, "x", local("2026-01-10T09:00")) == local("2026-01-10T09:30")
    assert due_from(cron, "x", local("2026-07-10T09:00")) == local("2026-07-10T09:30")


def test_cron_is_due_at_its_very_moment_and_then_at_the_next() -> None:
    cron = Cron("*/15 * * * *")
    at = due_from(cron, "x", NOW)
    assert due_from(cron, "x", at) == at
    assert due_after_attempt(cron, "x", started=at, now=at + 1) == at + 900


def test_cron_skips_the_moments_missed_by_a_long_attempt() -> None:
    at = due_from(Cron("*/15 * * * *"), "x", NOW)
    assert due_after_attempt(Cron("*/15 * * * *"), "x", started=at, now=at + 2000) == at + 2700


def test_an_hour_that_summer_time_skips_is_made_up_once_after_it() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    skipped = due_from(cron, "x", local("2026-03-29T00:00"))
    assert skipped == local("2026-03-29T03:00")
    assert due_from(cron, "x", skipped + 1) == local("2026-03-30T02:30")


def test_an_hour_that_winter_time_repeats_counts_once() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    once = due_from(cron, "x", local("2026-10-25T00:00"))
    assert once == local("2026-10-25T02:30")
    assert due_from(cron, "x", once + 1) == local("2026-10-26T02:30")


@given(names, instants)
def test_cron_jitter_delays_by_less_than_it_says(name: str, instant: float) -> None:
    due = due_from(Cron("*/5 * * * *", jitter=120.0), name, instant)
    assert due >= instant
    assert 0 <= due % 300 < 120


@given(names, st.integers(1, 200))
def test_backoff_doubles_within_a_fifth_and_ends_at_its_cap(name: str, failures: int) -> None:
    wait = backoff(RETRY, name, failures)
    exact = 2.0 ** (failures - 1)
    assert wait <= 300.0
    assert wait == 300.0 or 0.8 * exact <= wait < 1.2 * exact


def test_backoff_is_the_same_on_every_replica_and_spread_over_names() -> None:
    assert backoff(RETRY, "a", 3) == backoff(RETRY, "a", 3)
    assert len({backoff(RETRY, f"job-{n}", 3) for n in range(50)}) == 50


def test_transient_trouble_is_tried_again_soon() -> None:
    due = next_due(NOW + 100, RETRY, "x", ended=NOW, trouble=trouble(transient=True), failures=1)
    assert due.reason is DueReason.BACKOFF
    assert 0.8 <= due.at - NOW <= 1.2  # type: ignore[operator]


def test_backoff_is_never_later_than_the_schedule() -> None:
    due = next_due(NOW + 5, RETRY, "x", ended=NOW, trouble=trouble(transient=True), failures=9)
    assert (due.at, due.reason) == (NOW + 5, DueReason.SCHEDULE)


@pytest.mark.parametrize("stage", [Stage.DECODE, Stage.STATUS, Stage.GUARD])
def test_lasting_trouble_waits_for_the_schedule(stage: Stage) -> None:
    due = next_due(NOW + 1800, RETRY, "x", ended=NOW, trouble=trouble(stage), failures=1)
    assert (due.at, due.reason) == (NOW + 1800, DueReason.SCHEDULE)


def test_lasting_trouble_waits_an_hour_at_most() -> None:
    due = next_due(NOW + 86_400, RETRY, "x", ended=NOW, trouble=trouble(Stage.GUARD), failures=1)
    assert (due.at, due.reason) == (NOW + 3600, DueReason.BACKOFF)


@pytest.mark.parametrize(
    ("retry_after", "scheduled", "expected", "reason"),
    [
        (30.0, 100.0, 30.0, DueReason.RETRY_AFTER),
        (150.0, 100.0, 150.0, DueReason.RETRY_AFTER),
        (90_000.0, 100.0, 3600.0, DueReason.RETRY_AFTER),
        (0.0, 0.5, 0.5, DueReason.SCHEDULE),
    ],
)
def test_retry_after_is_a_lower_bound_of_at_most_an_hour(
    retry_after: float, scheduled: float, expected: float, reason: DueReason
) -> None:
    due = next_due(
        NOW + scheduled,
        RETRY,
        "x",
        ended=NOW,
        trouble=trouble(Stage.STATUS, transient=True, retry_after=retry_after),
        failures=1,
    )
    assert (due.at, due.reason) == (NOW + expected, reason)


@given(intervals, names, instants, st.floats(0, 1e6))
def test_what_the_source_says_of_freshness_only_skips_moments(
    schedule: Interval, name: str, started: float, fresh: float
) -> None:
    regular = due_after_attempt(schedule, name, started=started, now=started)
    until = started + fresh
    due = due_after_attempt(schedule, name, started=started, now=started, fresh_until=until)
    assert due >= max(regular, until)
    assert due == due_from(schedule, name, due), "it is one of the job's moments"
    assert due - max(regular, until) <= 1.5 * schedule.seconds + 1e-3


def test_a_cron_job_skips_matches_while_the_source_calls_its_data_current() -> None:
    began = local("2026-03-02T10:00:00")
    hourly = Cron("0 * * * *", "Europe/Berlin")
    due = due_after_attempt(hourly, "x", started=began, now=began, fresh_until=began + 7201)
    assert due == local("2026-03-02T13:00:00")
