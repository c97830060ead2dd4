from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher import freshness
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


class TestDetail:
    def test_of_data_that_is_stale_by_its_source_says_so_whatever_else_there_is(self) -> None:
        outdated = replace(SERVED, snapshot=snapshot(stale_since=START), last_attempt=failed())
        for record in (outdated, replace(outdated, paused=True), replace(outdated, detached=True)):
            assert freshness.detail_of(record, State.STALE) == "upstream"
            assert freshness.detail_of(record, State.EXPIRED) == "expired"

    def test_prefers_what_a_person_decided_to_what_an_upstream_did(self) -> None:
        record = replace(SERVED, last_attempt=failed())
        assert freshness.detail_of(record, State.STALE) == "connect"
        paused = replace(record, paused=True)
        assert freshness.detail_of(paused, State.STALE) == "paused"
        assert freshness.detail_of(replace(paused, enabled=False), State.STALE) == "disabled"
        assert freshness.detail_of(paused, State.EXPIRED) == "expired"

    def test_prefers_what_holds_here_to_what_an_upstream_did(self) -> None:
        record = replace(SERVED, last_attempt=failed(), outdated=True)
        assert freshness.detail_of(record, State.STALE) == "definition"
        detached = replace(record, detached=True)
        assert freshness.detail_of(detached, State.STALE) == "detached"
        assert freshness.detail_of(replace(detached, paused=True), State.STALE) == "paused"
        assert freshness.detail_of(replace(detached, enabled=False), State.STALE) == "disabled"
        assert freshness.detail_of(detached, State.EXPIRED) == "expired"

    def test_of_a_status_that_nobody_answered_is_the_stage(self) -> None:
        record = replace(SERVED, last_attempt=failed(Stage.STATUS))
        assert freshness.detail_of(record, State.STALE) == "status"

    @given(st.sampled_from(Stage), st.sampled_from([None, 304, 500]), st.booleans())
    def test_is_a_token(self, stage: Stage, http_status: int | None, running: bool) -> None:  # noqa: FBT001  hypothesis gives them by position
        record = replace(
            SERVED,
            last_attempt=failed(stage, http_status=http_status),
            running_since=START if running else None,
        )
        for state in (State.FRESH, State.STALE, State.EXPIRED):
            assert freshness.detail_of(record, state).replace("-", "").isalnum()
