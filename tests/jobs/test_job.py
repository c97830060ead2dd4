import asyncio

import anyio
import pytest

from refresher import freshness
from refresher.errors import NotRefreshable, RefreshFailed, TooSoon
from refresher.jobs import actions
from refresher.jobs.schedule import due_from
from refresher.model import DueReason, Outcome, Rate, Stage, State
from refresher.payload import NotModified, Payload
from refresher.pipeline import GuardRules, Rules
from tests.fakes import START, payload, payloads
from tests.jobs.builder import SECRET, Scene, down, running
from tests.offload.workers import ENDLESS, LARGE_BODY, children, in_a_file, in_memory, until


async def test_a_pending_job_is_attempted_at_once() -> None:
    scene = Scene()
    job, source = scene.job()
    async with running(job):
        assert source.asked_at == [START]
        assert scene.body() == b'{"a":1}'


async def test_each_due_moment_is_fetched_once() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(50))
    async with running(job):
        await scene.clock.advance(1000)
    first = due_from(job.plan.schedule, job.name, START + 50)
    assert source.asked_at[1:] == pytest.approx([first + 100 * n for n in range(10)])


async def test_a_snapshot_says_when_it_was_checked_and_for_how_long_it_is_fresh() -> None:
    scene = Scene()
    job, _ = scene.job()
    async with running(job):
        snapshot = scene.record().snapshot
        assert snapshot is not None
        assert snapshot.checked_at == START
        assert snapshot.checked_at + snapshot.lifetime == scene.record().due.at


async def test_equal_bytes_make_no_new_version_but_a_new_check() -> None:
    scene = Scene()
    job, source = scene.job(payload(revision="r1"), payload(revision="r2"))
    async with running(job):
        before = scene.record().snapshot
        await scene.clock.advance(200)
        after = scene.record().snapshot
    assert before is not None
    assert after is not None
    assert (after.version, after.change, after.changed_at) == (1, before.change, START)
    assert after.checked_at > before.checked_at
    assert after.content is before.content
    assert source.since[:3] == [None, "r1", "r2"]
    assert scene.observer.outcomes[:2] == ["changed", "unchanged"]


async def test_not_modified_confirms_what_is_served() -> None:
    scene = Scene()
    job, source = scene.job(payload(), NotModified(revision="r9"))
    async with running(job):
        await scene.clock.advance(250)
    assert scene.observer.outcomes[:3] == ["changed", "unchanged", "unchanged"]
    assert source.since[:3] == [None, "r1", "r9"]
    assert scene.record().snapshot.version == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad",
    [
        RefreshFailed(Stage.STATUS, "503", transient=True, http_status=503),
        RefreshFailed(Stage.BODY, "truncated", transient=True),
        Payload(body=b"<html>", content_type="text/html"),
        Payload(body=b"[1,", content_type="application/json"),
        Payload(body=b"", content_type="application/json"),
        ValueError("unexpected"),
    ],
)
async def test_nothing_bad_replaces_the_last_good_copy(bad: Payload | Exception) -> None:
    scene = Scene()
    job, source = scene.job(payload(), bad, rules=Rules(guard=GuardRules(required=("a",))))
    async with running(job):
        await scene.clock.advance(250)
        record = scene.record()
    assert scene.body() == b'{"a":1}'
    assert record.snapshot.version == 1  # type: ignore[union-attr]
    assert record.snapshot.checked_at == START  # type: ignore[union-attr]
    assert record.last_attempt.failure is not None  # type: ignore[union-attr]
    assert set(source.since[1:]) == {"r1"}, "the validators sent are those of what is served"
    assert freshness.state_of(record, job.plan.freshness, scene.clock.now()) is State.STALE


async def test_a_failure_never_moves_what_readers_are_told_of_freshness() -> None:
    scene = Scene()
    job, _ = scene.job(payload(), down())
    async with running(job):
        before = scene.record().snapshot
        await scene.clock.advance(1000)
        assert scene.record().snapshot is before


async def test_transient_failures_are_tried_again_with_growing_pauses() -> None:
    scene = Scene()
    job, source = scene.job(down())
    async with running(job):
        await scene.clock.advance(40)
    pauses = [b - a for a, b in zip(source.asked_at, source.asked_at[1:], strict=False)]
    assert len(pauses) >= 4
    for n, pause in enumerate(pauses[:4]):
        assert 0.8 * 2**n <= pause <= 1.2 * 2**n


async def test_a_rejected_answer_waits_for_the_schedule() -> None:
    scene = Scene()
    job, source = scene.job(Payload(body=b"x", content_type="application/json"))
    async with running(job):
        await scene.clock.advance(90)
        assert len(source.asked_at) <= 2
        assert scene.record().due.reason is DueReason.SCHEDULE


async def test_recovery_ends_the_run_of_failures() -> None:
    scene = Scene()
    job, _ = scene.job(down(), down(), payload())
    async with running(job):
        assert scene.record().consecutive_failures == 1
        await scene.clock.advance(10)
        record = scene.record()
    assert record.consecutive_failures == 0
    assert record.failing_since is None
    assert record.counts.failed == 2
    assert record.counts.changed == 1


async def test_retry_after_holds_back_even_what_was_asked_for() -> None:
    scene = Scene()
    job, source = scene.job(
        RefreshFailed(Stage.STATUS, "503", transient=True, http_status=503, retry_after=30.0),
        payload(),
    )
    async with running(job):
        assert scene.record().due.reason is DueReason.RETRY_AFTER
        with pytest.raises(TooSoon) as refused:
            await job.request()
        assert refused.value.reason == "retry_after"
        assert refused.value.retry_after == pytest.approx(30)
        await scene.clock.advance(29)
        assert len(source.asked_at) == 1
        await scene.clock.advance(2)
        assert len(source.asked_at) == 2


async def test_force_overrides_retry_after() -> None:
    scene = Scene()
    job, source = scene.job(
        RefreshFailed(Stage.STATUS, "503", transient=True, retry_after=30.0), payload()
    )
    async with running(job):
        attempt = await job.answer_to(await job.request(force=True))
        assert attempt.outcome is Outcome.CHANGED
        assert len(source.asked_at) == 2


async def test_a_429_holds_every_job_of_its_upstream_and_a_503_only_its_own() -> None:
    scene = Scene()
    limiter = scene.limiter()
    limit = RefreshFailed(
        Stage.STATUS, "429", transient=True, http_status=429, retry_after=500.0, upstream_wide=True
    )
    away = RefreshFailed(Stage.STATUS, "503", transient=True, http_status=503, retry_after=500.0)
    sibling, asked = scene.job(name="sibling", limiter=limiter)
    other, others = scene.job(away, name="other", limiter=limiter)
    async with running(other, sibling):
        await scene.clock.advance(250)
        assert len(others.asked_at) == 1
        assert len(asked.asked_at) >= 3
        limited, _ = scene.job(limit, payload(), name="limited", limiter=limiter)
        before = len(asked.asked_at)
        async with running(limited):
            assert scene.record("sibling").due.reason is DueReason.UPSTREAM_LIMIT
            assert scene.record("sibling").due.at == scene.clock.now() + 500
            await scene.clock.advance(499)
            assert len(asked.asked_at) == before
            await scene.clock.advance(2)
            assert len(asked.asked_at) == before + 1


async def test_many_triggers_during_an_attempt_make_one_more() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(20))
    source.hold = anyio.Event()
    async with running(job):
        numbers = [await job.request() for _ in range(100)]
        answers = [job.answer_to(number) for number in numbers]
        assert len(source.asked_at) == 1
        source.hold.set()
        attempts = await asyncio.gather(*answers)
        assert len(source.asked_at) == 2
        assert {attempt.version for attempt in attempts} == {2}


async def test_an_attempt_under_way_does_not_answer_a_later_request() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(20))
    source.hold = anyio.Event()
    async with running(job):
        answer = job.answer_to(await job.request())
        source.hold.set()
        assert (await answer).version == 2


async def test_a_waiter_that_leaves_cancels_nothing() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(20))
    source.hold = anyio.Event()
    async with running(job):
        leaving = job.answer_to(await job.request())
        staying = job.answer_to(await job.request())
        leaving.cancel()
        source.hold.set()
        assert (await staying).outcome is Outcome.CHANGED


async def test_a_manual_refresh_does_not_wait_for_the_schedule() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(20))
    async with running(job):
        await scene.clock.advance(10)
        attempt = await job.answer_to(await job.request())
    assert attempt.started_at == START + 10
    assert source.asked_at == [START, START + 10]


async def test_cooldown_is_the_least_time_between_two_manual_refreshes() -> None:
    scene = Scene()
    job, _ = scene.job(cooldown=60.0)
    async with running(job):
        await job.answer_to(await job.request())
        await scene.clock.advance(20)
        with pytest.raises(TooSoon) as refused:
            await job.request()
        assert refused.value.reason == "cooldown"
        assert refused.value.retry_after == pytest.approx(40)
        await job.answer_to(await job.request(force=True))
        await scene.clock.advance(61)
        await job.answer_to(await job.request())


async def test_under_cooldown_and_retry_after_the_longer_one_is_told() -> None:
    scene = Scene()
    away = RefreshFailed(Stage.STATUS, "503", transient=True, http_status=503, retry_after=90.0)
    job, _ = scene.job(payload(), away, cooldown=60.0)
    async with running(job):
        await job.answer_to(await job.request())
        with pytest.raises(TooSoon) as refused:
            await job.request()
        assert refused.value.reason == "retry_after"
        assert refused.value.retry_after == pytest.approx(90)


async def test_a_paused_job_makes_no_attempt_and_goes_on_where_it_was_due() -> None:
    scene = Scene()
    job, source = scene.job()
    async with running(job):
        await actions.pause(job)
        await scene.clock.advance(1000)
        assert len(source.asked_at) == 1
        assert scene.record().due.at is None
        assert scene.record().due.reason is DueReason.PAUSED
        with pytest.raises(NotRefreshable):
            await job.request()
        await actions.resume(job)
        await anyio.wait_all_tasks_blocked()
        assert len(source.asked_at) == 2


async def test_a_disabled_job_is_never_attempted() -> None:
    scene = Scene()
    job, source = scene.job(enabled=False)
    async with running(job):
        await scene.clock.advance(1000)
        with pytest.raises(NotRefreshable):
            await job.request(force=True)
    assert source.asked_at == []
    assert scene.record().due.reason is DueReason.DISABLED


async def test_an_attempt_ends_at_its_timeout() -> None:
    scene = Scene()
    job, source = scene.job(timeout=0.02)
    source.hold = anyio.Event()
    async with running(job):
        with anyio.fail_after(60):
            await scene.observer.told.wait()
        failure = scene.record().last_attempt.failure  # type: ignore[union-attr]
    assert failure is not None
    assert failure.stage is Stage.TIMEOUT
    assert "0.02 s" in failure.message


async def test_waiting_for_a_place_counts_neither_to_timeout_nor_as_an_attempt() -> None:
    scene = Scene()
    limiter = scene.limiter(max_concurrency=1)
    first, held = scene.job(name="first", limiter=limiter)
    second, asked = scene.job(name="second", limiter=limiter, timeout=0.01)
    held.hold = anyio.Event()
    async with running(first, second):
        await anyio.sleep(0.05)
        assert asked.asked_at == []
        assert scene.record("second").running_since is None
        held.hold.set()
        await anyio.wait_all_tasks_blocked()
        assert scene.body("second") is not None


async def test_moments_that_pass_while_waiting_for_a_place_are_one() -> None:
    scene = Scene()
    limiter = scene.limiter(max_concurrency=1)
    first, held = scene.job(name="first", limiter=limiter, timeout=1e6)
    second, asked = scene.job(name="second", limiter=limiter)
    held.hold = anyio.Event()
    async with running(first, second):
        await scene.clock.advance(1000)
        held.hold.set()
        await anyio.wait_all_tasks_blocked()
        assert asked.asked_at == [START + 1000]


async def test_a_rate_holds_for_all_jobs_of_an_upstream_together() -> None:
    scene = Scene()
    limiter = scene.limiter(max_concurrency=100, rate=Rate(3, 60.0))
    pairs = [scene.job(name=f"job-{n}", limiter=limiter) for n in range(8)]
    async with running(*(job for job, _ in pairs)):
        await scene.clock.advance(600)
    starts = sorted(at for _, source in pairs for at in source.asked_at)
    assert len(starts) > 20
    assert all(later - at >= 60 for at, later in zip(starts, starts[3:], strict=False))


async def test_a_broken_loop_is_told_and_goes_on() -> None:
    scene = Scene()
    job, source = scene.job(ValueError(f"oops {SECRET}"), payload())
    async with running(job):
        assert job.crash == "ValueError: oops ***"
        assert len(scene.observer.crashes) == 1
        assert scene.record().last_attempt.failure.stage is Stage.SOURCE  # type: ignore[union-attr]
        await scene.clock.advance(5)
        assert job.crash is None
    assert len(source.asked_at) == 2
    assert scene.body() == b'{"a":1}'


async def test_an_attempt_that_breaks_answers_its_requests() -> None:
    scene = Scene()
    job, _ = scene.job(payload(), ValueError("oops"), payload())
    async with running(job):
        attempt = await job.answer_to(await job.request())
    assert attempt.outcome is Outcome.FAILED


async def test_no_secret_is_in_what_is_said_of_a_failure() -> None:
    scene = Scene()
    job, _ = scene.job(RefreshFailed(Stage.CONNECT, f"no route to {SECRET}", transient=True))
    async with running(job):
        failure = scene.record().last_attempt.failure  # type: ignore[union-attr]
    assert failure is not None
    assert failure.message == "no route to ***"


async def test_versions_count_from_one() -> None:
    scene = Scene()
    job, _ = scene.job(*payloads(5))
    async with running(job):
        assert scene.record().snapshot.version == 1  # type: ignore[union-attr]
        await scene.clock.advance(200)
        assert scene.record().snapshot.version == 3  # type: ignore[union-attr]


async def test_a_change_within_the_second_of_the_last_is_not_dated() -> None:
    scene = Scene()
    job, _ = scene.job(*payloads(5))
    async with running(job):
        assert scene.record().snapshot.dated  # type: ignore[union-attr]
        await job.answer_to(await job.request())
        assert not scene.record().snapshot.dated  # type: ignore[union-attr]
        await scene.clock.advance(1.5)
        await job.answer_to(await job.request())
        assert scene.record().snapshot.dated  # type: ignore[union-attr]


async def test_what_has_been_frozen_is_not_replaced_by_an_attempt_under_way() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(5))
    async with running(job):
        source.hold = anyio.Event()
        answer = job.answer_to(await job.request())
        await anyio.wait_all_tasks_blocked()
        job.freeze()
        source.hold.set()
        await answer
        before = scene.record()
        await job.look_again()
        assert scene.record() is before, "nor by a clock that is set"
    assert scene.body() == b"[0]"


async def test_a_worker_that_takes_longer_than_the_timeout_is_a_failed_attempt() -> None:
    scene = Scene()
    job, _ = scene.job(in_memory(LARGE_BODY), payload(), rules=ENDLESS, timeout=0.5)
    async with scene.pool, running(job):
        await scene.observer.told.wait()
        failure = scene.record().last_attempt.failure  # type: ignore[union-attr]
        assert failure.stage is Stage.TIMEOUT  # type: ignore[union-attr]
        await until(lambda: not children())


async def test_a_large_answer_is_served_byte_for_byte_and_known_again() -> None:
    scene = Scene()
    answers = [in_a_file(LARGE_BODY), in_a_file(LARGE_BODY), in_a_file(LARGE_BODY[:-1])]
    job, _ = scene.job(*answers)
    async with scene.pool, running(job):
        for _ in range(2):  # and one at the start
            await job.answer_to(await job.request())
        assert scene.observer.outcomes == ["changed", "unchanged", "rejected"]
        assert scene.body() == LARGE_BODY
        assert scene.record().last_attempt.http_status == 200  # type: ignore[union-attr]
    for answer in answers:
        with pytest.raises(ValueError, match="closed"):
            answer.loaded()
