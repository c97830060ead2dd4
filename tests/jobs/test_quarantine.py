"""Content that the guard refuses: kept aside, counted, and published by its return."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher import freshness
from refresher.errors import NotQuarantined
from refresher.jobs import actions, quarantine
from refresher.jobs.schedule import Interval
from refresher.model import (
    Confirmation,
    Definition,
    Due,
    DueReason,
    Format,
    Outcome,
    Quarantine,
    Stage,
    State,
    Stored,
)
from refresher.payload import NotModified
from refresher.pipeline import GuardRules, Rules
from tests.fakes import START, payload
from tests.jobs.builder import Scene, down, running
from tests.jobs.guarded import (
    FULL,
    GOOD,
    OTHER,
    RULES,
    SAME,
    SMALL,
    accepting,
    guarded,
    held,
    until_due,
)


async def test_what_the_guard_refuses_is_kept_and_not_served() -> None:
    scene = Scene()
    job, _ = guarded(scene, SMALL)
    async with running(job):
        checked_at = scene.record().snapshot.checked_at  # type: ignore[union-attr]
        await until_due(scene)
        assert scene.body() == FULL.body
        assert (await actions.candidate(job)).body == SMALL.body
        assert "max_shrink" in held(scene).reason
        assert held(scene).at == scene.clock.now()
        assert actions.quarantined(job) == held(scene)
        assert scene.record().snapshot.checked_at == checked_at  # type: ignore[union-attr]
        assert scene.observer.outcomes == ["changed", "rejected"]


async def test_its_own_validators_are_sent_and_a_304_to_them_is_rejected_again() -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, SAME)
    async with running(job):
        before = scene.record().snapshot
        await until_due(scene)
        at, reason = held(scene).at, held(scene).reason
        await until_due(scene)
        await until_due(scene)
        assert source.since == [None, "full", "small", "small"]
        assert scene.observer.outcomes == ["changed", "rejected", "rejected", "rejected"]
        assert scene.record().snapshot is before, "no checked_at moves"
        last = scene.record().last_attempt
        assert last is not None
        assert (last.http_status, last.failure.message) == (304, reason)  # type: ignore[union-attr]
        assert held(scene).at == at
        state = freshness.state_of(scene.record(), job.plan.freshness, scene.clock.now())
        assert state is State.STALE


@pytest.mark.parametrize("good", [FULL, GOOD])
async def test_good_data_that_comes_later_drops_it(good: object) -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, good, NotModified())
    async with running(job):
        await until_due(scene)
        await until_due(scene)
        assert scene.record().quarantine is None
        with pytest.raises(NotQuarantined):
            actions.quarantined(job)
        await until_due(scene)
        assert source.since[-1] == good.revision  # type: ignore[attr-defined]


async def test_a_failure_keeps_it() -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, down(), SAME)
    async with running(job):
        for _ in range(3):
            await until_due(scene)
        assert source.since[1:] == ["full", "small", "small"]
        assert held(scene).seen == 2, "the moment that failed was tried again, and it came"


@pytest.mark.parametrize("again", [SMALL, SAME])
async def test_what_comes_back_at_enough_moments_in_a_row_is_taken(again: object) -> None:
    scene = Scene()
    job, _ = guarded(scene, SMALL, again, accept_after=3)
    async with running(job):
        for _ in range(2):
            await until_due(scene)
            assert scene.body() == FULL.body
        await until_due(scene)
        assert (scene.body(), scene.record().quarantine) == (SMALL.body, None)
        with pytest.raises(NotQuarantined):
            actions.quarantined(job)
        assert scene.observer.outcomes == ["changed", "rejected", "rejected", "changed"]


async def test_manual_refreshes_do_not_count() -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, accept_after=3)
    async with running(job):
        for _ in range(5):
            attempt = await job.answer_to(await job.request())
            assert attempt.outcome is Outcome.REJECTED
        assert held(scene).seen == 0
        await until_due(scene)
        await job.answer_to(await job.request())
        await until_due(scene)
        assert (held(scene).seen, scene.body()) == (2, FULL.body)
        await until_due(scene)
        assert scene.body() == SMALL.body
        assert len(source.asked_at) == 10


@pytest.mark.parametrize(
    "between",
    [
        OTHER,
        payload(b"[1,"),
        # Not tried again before the schedule.
        ValueError("unexpected"),
    ],
)
async def test_another_answer_between_begins_the_row_anew(between: object) -> None:
    scene = Scene()
    if isinstance(between, ValueError):
        between = down()
        between.transient = False
    job, _ = guarded(scene, SMALL, SMALL, between, SMALL, accept_after=3)
    async with running(job):
        for _ in range(5):
            await until_due(scene)
            assert scene.body() == FULL.body
        await until_due(scene)
        assert scene.body() == SMALL.body


async def test_a_refusal_looked_at_again_after_an_hour_counts_once() -> None:
    scene = Scene()
    job, source = scene.job(FULL, SMALL, rules=accepting(RULES, 2), schedule=Interval(86_400.0))
    async with running(job):
        await until_due(scene)
        first = scene.clock.now()
        await scene.clock.advance(86_000)
        assert len(source.asked_at) > 20
        assert (held(scene).seen, held(scene).at) == (1, first)
        assert scene.body() == FULL.body
        await scene.clock.advance(400 + 3600)
        assert scene.body() == SMALL.body


async def test_the_reason_holds_no_secret() -> None:
    scene = Scene()
    rules = Rules(guard=GuardRules(required=("s3cr3t-t0k3n",)))
    job, _ = scene.job(payload(), rules=rules)
    async with running(job):
        assert "***" in held(scene).reason
        assert "s3cr3t" not in held(scene).reason


CONFIRMATION = Confirmation(
    checked_at=START, lifetime=100.0, revision="small", definition=Definition("source", "rules")
)
instants = st.floats(START, START + 1e6)


def stored(etag: str) -> Stored:
    return Stored(
        body=etag, size=1, etag=etag, content_type="text/plain", format=Format.TEXT, items=None
    )


def refused(
    before: Quarantine | None,
    etag: str,
    started: float,
    *,
    on_schedule: bool = True,
    next_moment: float = START + 1000,
) -> Quarantine:
    return quarantine.after_refusal(
        before,
        stored(etag),
        replace(CONFIRMATION, checked_at=started),
        "too small",
        started=started,
        on_schedule=on_schedule,
        next_moment=next_moment,
        now=started,
    )


@given(started=st.lists(instants, min_size=1), next_moment=instants)
def test_one_moment_counts_a_candidate_once_however_often_it_is_fetched(
    started: list[float], next_moment: float
) -> None:
    held = None
    for at in sorted(started):
        held = refused(held, "a", at, next_moment=max(next_moment, at + 1))
    assert held is not None
    assert held.at == min(started)
    later = [at for at in started if at >= next_moment]
    assert 1 <= held.seen <= 1 + len(later)


@given(st.lists(instants))
def test_what_is_fetched_by_hand_counts_nothing(started: list[float]) -> None:
    held = refused(None, "a", START)
    for at in sorted(started):
        held = refused(held, "a", at, on_schedule=False, next_moment=at + 50)
    assert (held.seen, held.next_moment) == (1, START + 1000)


@given(instants)
def test_another_candidate_is_counted_from_one(at: float) -> None:
    held = refused(refused(None, "a", START), "b", START + 1000 + (at - START))
    assert (held.stored.etag, held.seen, held.at) == ("b", 1, START + 1000 + (at - START))


@pytest.mark.parametrize(
    ("seen", "accept_after", "expected"),
    [(1, None, False), (9, None, False), (2, 3, False), (3, 3, True), (4, 3, True)],
)
def test_a_candidate_is_accepted_at_so_many_moments(
    seen: int, accept_after: int | None, *, expected: bool
) -> None:
    held = replace(refused(None, "a", START), seen=seen)
    assert quarantine.is_accepted(held, accept_after) is expected


@pytest.mark.parametrize(
    ("on_schedule", "stage", "next_at", "missed"),
    [
        (True, Stage.GUARD, 100, False),
        (False, Stage.CONNECT, 100, False),
        (False, Stage.SCHEMA, 5, False),
        (True, Stage.SCHEMA, 5, True),
        (True, Stage.CONNECT, 5, False),
        (True, Stage.CONNECT, 100, True),
        (True, Stage.CONNECT, None, True),
    ],
)
def test_a_moment_is_missed_unless_it_is_tried_again_before_the_next(
    stage: Stage, next_at: float | None, *, on_schedule: bool, missed: bool
) -> None:
    next_ = Due(next_at, DueReason.BACKOFF)
    assert quarantine.is_missed(stage, next_, 100, on_schedule=on_schedule) is missed
