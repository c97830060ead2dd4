"""What a job does with content that the guard refuses."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from refresher import freshness
from refresher.errors import NotQuarantined
from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.jobs.schedule import Interval
from refresher.model import Outcome, Quarantine, Snapshot, State
from refresher.offload.pool import LARGE, WorkerPool
from refresher.offload.tasks import Verdict
from refresher.payload import NotModified, Payload
from refresher.pipeline import GuardRules, Rules
from tests.fakes import FakeSource, payload, settled
from tests.jobs.builder import Scene, down, running
from tests.offload.workers import LARGE_BODY, in_a_file

RULES = Rules(guard=GuardRules(max_shrink=0.5))
FULL = payload(b"[1,2,3,4]", "full")
SMALL = payload(b"[1]", "small")
OTHER = payload(b"[2]", "other")
GOOD = payload(b"[1,2,3,5]", "good")
SAME = NotModified(revision="small", http_status=304)
LARGE_ITEM = b'["' + b"x" * LARGE + b'"]'


def guarded(
    scene: Scene, *answers: object, accept_after: int | None = None
) -> tuple[Job, FakeSource]:
    return scene.job(FULL, *answers, rules=RULES, accept_after=accept_after)  # type: ignore[arg-type]


def held(scene: Scene) -> Quarantine:
    found = scene.record().quarantine
    assert found is not None
    return found


async def until_due(scene: Scene) -> None:
    """Let time pass until the job's next attempt is over."""
    due = scene.record().due.at
    assert due is not None
    await scene.clock.advance(due - scene.clock.now())


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


async def test_accepting_publishes_a_new_version_that_changes_now() -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, NotModified(revision="small"))
    async with running(job):
        await until_due(scene)
        checked_at = scene.clock.now()
        await scene.clock.advance(30)
        snapshot = await actions.accept(job)
        assert scene.record().snapshot == snapshot
        assert (snapshot.version, snapshot.content.body) == (2, SMALL.body)
        assert (snapshot.changed_at, snapshot.checked_at) == (checked_at + 30, checked_at)
        assert scene.entry().representation.body("identity") == SMALL.body  # type: ignore[union-attr]
        assert scene.record().quarantine is None
        with pytest.raises(NotQuarantined, match="rates"):
            await actions.accept(job)
        await until_due(scene)
        assert source.since[-1] == "small"
        assert scene.observer.outcomes[-1] == "unchanged"


async def test_accepting_works_while_paused_and_before_the_first_version() -> None:
    scene = Scene()
    rules = Rules(guard=GuardRules(min_items=2))
    job, source = scene.job(SMALL, SAME, rules=rules)
    async with running(job):
        await job.pause()
        await scene.clock.advance(300)
        assert (await actions.accept(job)).version == 1
        assert len(source.asked_at) == 1


async def test_rejecting_asks_with_the_served_ones_validators_again() -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL)
    async with running(job):
        await until_due(scene)
        await actions.reject(job)
        assert scene.record().quarantine is None
        with pytest.raises(NotQuarantined):
            await actions.reject(job)
        await until_due(scene)
        assert source.since == [None, "full", "full"]
        assert held(scene).at == scene.clock.now()


@pytest.mark.parametrize("answer", [SAME, SMALL])
async def test_accepting_while_an_attempt_is_in_flight_counts_for_its_answer(
    answer: object,
) -> None:
    scene = Scene()
    job, source = guarded(scene, SMALL, answer)
    async with running(job):
        await until_due(scene)
        source.hold = anyio.Event()
        await until_due(scene)
        assert (await actions.accept(job)).version == 2
        source.hold.set()
        await settled()
        assert scene.observer.outcomes[-1] == "unchanged"
        assert (scene.record().quarantine, scene.body()) == (None, SMALL.body)
        assert scene.record().snapshot.checked_at == scene.clock.now()  # type: ignore[union-attr]


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
        ValueError("nobody foresaw this"),
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
    job, source = scene.job(FULL, SMALL, rules=RULES, accept_after=2, schedule=Interval(86_400.0))
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


async def test_large_content_is_kept_whole_and_known_again_once_it_is_accepted() -> None:
    scene = Scene()
    answers = [in_a_file(body) for body in (LARGE_BODY, LARGE_ITEM, LARGE_ITEM)]
    job, _ = scene.job(*answers, rules=RULES)
    async with scene.pool, running(job):
        await job.answer_to(await job.request())
        assert scene.observer.outcomes == ["changed", "rejected"]
        assert scene.body() == LARGE_BODY
        assert (await actions.candidate(job)).body == LARGE_ITEM
        assert (await actions.accept(job)).version == 2
        await job.answer_to(await job.request())
        assert scene.observer.outcomes[-1] == "unchanged"
        assert scene.body() == LARGE_ITEM
    with pytest.raises(ValueError, match="closed"):
        answers[-1].loaded()


async def test_accepting_while_a_worker_is_at_it_has_the_attempt_made_again() -> None:
    class Interrupted(WorkerPool):
        meanwhile: Callable[[], Awaitable[object]] | None = None

        async def refine(self, answer: Payload, rules: Rules, served: Snapshot | None) -> Verdict:
            verdict = await super().refine(answer, rules, served)
            interrupt, self.meanwhile = self.meanwhile, None
            if interrupt is not None:
                await interrupt()
            return verdict

    pool = Interrupted()
    scene = Scene(pool=pool)
    bodies = (LARGE_BODY, LARGE_ITEM, LARGE_ITEM, LARGE_ITEM)
    job, _ = scene.job(*map(in_a_file, bodies), rules=RULES)
    async with pool, running(job):
        await job.answer_to(await job.request())
        pool.meanwhile = partial(actions.accept, job)
        await job.answer_to(await job.request())
        assert scene.observer.outcomes == ["changed", "rejected", "unchanged"]
        assert (scene.body(), scene.record().quarantine) == (LARGE_ITEM, None)
