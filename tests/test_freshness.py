from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher import freshness
from refresher.clock import Moments
from refresher.freshness import Policy
from refresher.model import Record, Stage, State
from tests.fakes import START
from tests.shelf import LIFETIME, TIMEOUT, failed, snapshot

END = START + LIFETIME
POLICY = Policy(timeout=TIMEOUT, max_stale=50.0)
PENDING = Record(job="rates", since=START - 5)
CHECKED = replace(snapshot(), changed_at=START - 100)
"""Data that its source has confirmed since it changed."""
SERVED = replace(PENDING, snapshot=CHECKED, fresh_since=START)


class TestState:
    def test_is_pending_without_a_snapshot(self) -> None:
        assert freshness.state_of(PENDING, POLICY, START + 1e9) is State.PENDING
        failing = replace(PENDING, failing_since=START)
        assert freshness.state_of(failing, POLICY, START) is State.PENDING

    @pytest.mark.parametrize(
        ("now", "state"),
        [
            (START - 1e6, State.FRESH),
            (START, State.FRESH),
            (END, State.FRESH),
            (END + TIMEOUT, State.FRESH),
            (END + TIMEOUT + 0.01, State.STALE),
            (END + 50.0, State.STALE),
            (END + 50.01, State.EXPIRED),
        ],
    )
    def test_goes_by_the_time_past_the_lifetime(self, now: float, state: State) -> None:
        assert freshness.state_of(SERVED, POLICY, now) is state

    def test_is_stale_once_an_attempt_has_failed(self) -> None:
        failing = replace(SERVED, failing_since=START + 1)
        assert freshness.state_of(failing, POLICY, START + 1) is State.STALE

    def test_never_expires_without_max_stale(self) -> None:
        assert freshness.state_of(SERVED, Policy(timeout=TIMEOUT), START + 1e9) is State.STALE

    def test_may_expire_before_the_timeout_is_over(self) -> None:
        policy = Policy(timeout=TIMEOUT, max_stale=0.0)
        assert freshness.state_of(SERVED, policy, END) is State.FRESH
        assert freshness.state_of(SERVED, policy, END + 0.01) is State.EXPIRED

    def test_of_a_paused_or_disabled_job_is_that_of_any_other(self) -> None:
        for now in (START, END + 20, END + 60):
            expected = freshness.state_of(SERVED, POLICY, now)
            for resting in (replace(SERVED, paused=True), replace(SERVED, enabled=False)):
                assert freshness.state_of(resting, POLICY, now) is expected

    def test_of_what_other_rules_made_is_stale_at_best(self) -> None:
        outdated = replace(SERVED, outdated=True)
        assert freshness.state_of(outdated, POLICY, START) is State.STALE
        assert freshness.state_of(outdated, POLICY, END + 60) is State.EXPIRED
        assert freshness.state_of(replace(PENDING, outdated=True), POLICY, START) is State.PENDING

    def test_is_stale_while_its_source_says_so_of_its_own_answers(self) -> None:
        served = replace(SERVED, snapshot=snapshot(stale_since=START))
        assert freshness.state_of(served, POLICY, START) is State.STALE
        assert freshness.state_of(served, POLICY, END + 60) is State.EXPIRED

    def test_is_stale_once_the_content_is_too_old_by_its_own_time(self) -> None:
        policy = Policy(timeout=TIMEOUT, max_stale=50.0, max_content_age=60.0)
        served = replace(SERVED, snapshot=snapshot(content_time=START - 20))
        assert freshness.state_of(served, policy, START + 40) is State.FRESH
        assert freshness.state_of(served, policy, START + 41) is State.STALE
        assert freshness.state_of(served, policy, END + 51) is State.EXPIRED
        assert freshness.state_of(served, POLICY, START + 41) is State.FRESH
        assert freshness.state_of(SERVED, policy, START + 41) is State.FRESH, "it does not say"
        assert served.snapshot is not None
        assert freshness.stands_until(served.snapshot, policy, START) == START + 40
        assert freshness.stands_until(served.snapshot, policy, START + 41) == END + TIMEOUT

    def test_of_a_detached_process_is_that_of_any_other(self) -> None:
        for now in (START, END + 20, END + 60):
            expected = freshness.state_of(SERVED, POLICY, now)
            detached = replace(SERVED, detached=True)
            assert freshness.state_of(detached, POLICY, now) is expected


class TestStateSince:
    def test_of_pending_is_when_the_job_became_known(self) -> None:
        assert freshness.state_since(PENDING, POLICY, START) == START - 5

    def test_of_fresh_is_when_fresh_data_came_and_does_not_move_with_checks(self) -> None:
        checked = replace(SERVED, snapshot=snapshot(checked_at=START + 90))
        assert freshness.state_since(checked, POLICY, START + 95) == START

    @pytest.mark.parametrize(
        ("failing_since", "since"),
        [(None, END + TIMEOUT), (START + 3, START + 3), (END + 30, END + TIMEOUT), (0.0, 0.0)],
    )
    def test_of_stale_is_the_first_of_its_reasons(
        self, failing_since: float | None, since: float
    ) -> None:
        record = replace(SERVED, failing_since=failing_since)
        assert freshness.state_since(record, POLICY, END + 40) == since

    @pytest.mark.parametrize(
        ("failing_since", "since"), [(None, START + 9), (START + 3, START + 3), (END, START + 9)]
    )
    def test_of_what_its_source_calls_stale_is_the_first_of_its_reasons(
        self, failing_since: float | None, since: float
    ) -> None:
        record = replace(
            SERVED, snapshot=snapshot(stale_since=START + 9), failing_since=failing_since
        )
        assert freshness.state_since(record, POLICY, END + 40) == since

    @pytest.mark.parametrize(
        ("content_time", "since"), [(START - 20, START + 40), (START - 5000, START)]
    )
    def test_of_old_content_is_when_it_became_too_old_or_came(
        self, content_time: float, since: float
    ) -> None:
        policy = Policy(timeout=TIMEOUT, max_content_age=60.0)
        served = replace(SERVED, snapshot=snapshot(content_time=content_time))
        assert freshness.state_since(served, policy, START + 41) == since

    @pytest.mark.parametrize("failing_since", [None, START + 3])
    def test_of_what_other_rules_made_is_when_they_last_held(
        self, failing_since: float | None
    ) -> None:
        record = replace(SERVED, outdated=True, failing_since=failing_since)
        assert freshness.state_since(record, POLICY, END + 40) == START

    def test_of_expired_is_when_it_expired(self) -> None:
        record = replace(SERVED, failing_since=START + 3)
        assert freshness.state_since(record, POLICY, END + 60) == END + 50

    @given(
        st.floats(0, 1000), st.none() | st.floats(0, 1000), st.none() | st.floats(0, 300), st.data()
    )
    def test_is_never_later_than_now(
        self,
        elapsed: float,
        max_stale: float | None,
        failing: float | None,
        data: st.DataObject,
    ) -> None:
        policy = Policy(timeout=data.draw(st.floats(0, 20)), max_stale=max_stale)
        began = None if failing is None or failing > elapsed else START + failing
        record = replace(SERVED, failing_since=began)
        now = START + elapsed
        assert freshness.state_since(record, policy, now) <= now


def test_expiry_is_lifetime_and_max_stale_past_the_check() -> None:
    assert freshness.expires_at(SERVED, POLICY) == END + 50
    assert freshness.expires_at(SERVED, Policy()) is None
    assert freshness.expires_at(PENDING, POLICY) is None


@pytest.mark.parametrize(
    ("state", "served", "served_or_fail"),
    [
        (State.PENDING, False, False),
        (State.FRESH, True, True),
        (State.STALE, True, True),
        (State.EXPIRED, True, False),
    ],
)
def test_what_is_there_is_served_unless_it_expired_and_the_job_says_fail(
    state: State, *, served: bool, served_or_fail: bool
) -> None:
    assert freshness.is_served(state, Policy()) is served
    assert freshness.is_served(state, Policy(fail_when_expired=True)) is served_or_fail


@pytest.mark.parametrize(("now", "age"), [(START - 9, 0.0), (START, 0.0), (START + 1.5, 1.5)])
def test_age_is_the_time_since_the_check_and_never_negative(now: float, age: float) -> None:
    assert freshness.age_of(CHECKED, now) == age


@given(st.floats(0, 1e8), st.none() | st.floats(0, 1e8))
def test_max_age_never_promises_more_than_the_lifetime_or_the_cap(
    lifetime: float, cap: float | None
) -> None:
    told = freshness.max_age_of(snapshot(lifetime=lifetime), Policy(max_age=cap))
    least = lifetime if cap is None else min(lifetime, cap)
    assert told <= least < told + 1


def test_the_cap_counts_from_our_own_check() -> None:
    from_a_cache = snapshot(checked_at=START - 3000, age=3000.0, lifetime=3100.0)
    assert freshness.max_age_of(from_a_cache, Policy(max_age=60.0)) == 3060
    assert freshness.max_age_of(from_a_cache, Policy(max_age=600.0)) == 3100


class TestLate:
    DAILY = Policy(changes_by=Moments("0 17 * * *"))
    FIVE = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 17 * 3600
    """17:00 UTC of some day."""

    @pytest.mark.parametrize(
        ("changed", "late_from"),
        [(-3600.0, 1), (-0.5, 1), (0.0, 2), (0.5, 2), (3600.0, 2), (86_399.0, 2), (86_400.0, 3)],
    )
    def test_is_from_the_second_moment_after_a_change_on(
        self, changed: float, late_from: int
    ) -> None:
        served = snapshot(changed_at=self.FIVE + changed)
        moment = self.FIVE + late_from * 86_400
        assert freshness.late_from(served, self.DAILY) == moment
        assert not freshness.is_late(served, self.DAILY, moment - 0.001)
        assert freshness.is_late(served, self.DAILY, moment)
        assert freshness.is_late(served, self.DAILY, moment + 1e7)

    def test_nothing_is_that_may_change_when_it_does(self) -> None:
        assert not freshness.is_late(snapshot(), POLICY, START + 1e9)


class TestComplaint:
    @pytest.mark.parametrize(
        ("record", "now", "complaint"),
        [
            (SERVED, START, None),
            (PENDING, START, "pending"),
            (SERVED, END + 20, "stale: overdue"),
            (SERVED, END + 60, "expired"),
            (replace(SERVED, failing_since=START, last_attempt=failed()), START, "stale: connect"),
            (replace(SERVED, snapshot=snapshot(stale_since=START)), START, "stale: upstream"),
            (replace(SERVED, snapshot=snapshot(content_time=0)), START, "stale: content"),
            (replace(SERVED, snapshot=snapshot(changed_at=0)), START, "late"),
        ],
    )
    def test_says_why_data_is_not_as_it_should_be(
        self, record: Record, now: float, complaint: str | None
    ) -> None:
        policy = replace(
            POLICY, max_content_age=60.0, changes_by=Moments("0 0 1 1 *", "Europe/Berlin")
        )
        assert freshness.complaint(record, policy, now) == complaint


class TestDetail:
    def test_of_old_content_says_so(self) -> None:
        policy = replace(POLICY, max_content_age=60.0)
        old = replace(SERVED, snapshot=snapshot(content_time=START - 61), paused=True)
        assert freshness.detail_of(old, policy, State.STALE, START) == "content"
        assert freshness.detail_of(old, policy, State.STALE, START - 1) == "paused"

    def test_of_data_that_is_stale_by_its_source_says_so_whatever_else_there_is(self) -> None:
        outdated = replace(SERVED, snapshot=snapshot(stale_since=START), last_attempt=failed())
        for record in (outdated, replace(outdated, paused=True), replace(outdated, detached=True)):
            assert freshness.detail_of(record, POLICY, State.STALE, START) == "upstream"
            assert freshness.detail_of(record, POLICY, State.EXPIRED, START) == "expired"

    def test_prefers_what_a_person_decided_to_what_an_upstream_did(self) -> None:
        record = replace(SERVED, last_attempt=failed())
        assert freshness.detail_of(record, POLICY, State.STALE, START) == "connect"
        paused = replace(record, paused=True)
        assert freshness.detail_of(paused, POLICY, State.STALE, START) == "paused"
        assert (
            freshness.detail_of(replace(paused, enabled=False), POLICY, State.STALE, START)
            == "disabled"
        )
        assert freshness.detail_of(paused, POLICY, State.EXPIRED, START) == "expired"

    def test_prefers_what_holds_here_to_what_an_upstream_did(self) -> None:
        record = replace(SERVED, last_attempt=failed(), outdated=True)
        assert freshness.detail_of(record, POLICY, State.STALE, START) == "definition"
        detached = replace(record, detached=True)
        assert freshness.detail_of(detached, POLICY, State.STALE, START) == "detached"
        assert (
            freshness.detail_of(replace(detached, paused=True), POLICY, State.STALE, START)
            == "paused"
        )
        assert (
            freshness.detail_of(replace(detached, enabled=False), POLICY, State.STALE, START)
            == "disabled"
        )
        assert freshness.detail_of(detached, POLICY, State.EXPIRED, START) == "expired"

    def test_of_a_status_that_nobody_answered_is_the_stage(self) -> None:
        record = replace(SERVED, last_attempt=failed(Stage.STATUS))
        assert freshness.detail_of(record, POLICY, State.STALE, START) == "status"

    @given(st.sampled_from(Stage), st.sampled_from([None, 304, 500]), st.booleans())
    def test_is_a_token(self, stage: Stage, http_status: int | None, running: bool) -> None:  # noqa: FBT001  hypothesis gives them by position
        record = replace(
            SERVED,
            last_attempt=failed(stage, http_status=http_status),
            running_since=START if running else None,
        )
        for state in (State.FRESH, State.STALE, State.EXPIRED):
            assert freshness.detail_of(record, POLICY, state, START).replace("-", "").isalnum()
