"""What a person decides of a job's data."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from refresher.clock import ShiftedClock
from refresher.errors import GoneVersion, NotQuarantined, StoreUnavailable, UnknownVersion
from refresher.jobs import actions
from refresher.model import Outcome, Snapshot
from refresher.offload.pool import WorkerPool
from refresher.offload.tasks import Verdict
from refresher.payload import NotModified, Payload
from refresher.pipeline import GuardRules, Rules
from refresher.store.retention import Retention
from refresher.store.store import Store
from tests.fakes import payloads, settled
from tests.jobs.builder import Scene, running
from tests.jobs.guarded import (
    LARGE_ITEM,
    RULES,
    SAME,
    SMALL,
    guarded,
    held,
    until_due,
)
from tests.offload.workers import LARGE_BODY, in_a_file
from tests.store.fake_backend import FakeStorage


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
        await actions.pause(job)
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


async def test_a_rollback_serves_a_kept_version_as_a_new_one_and_pauses() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(2))
    async with running(job):
        await job.answer_to(await job.request())
        snapshot = await actions.roll_back(job, 1)
        assert (snapshot.version, snapshot.content.body) == (3, b"[0]")
        assert scene.record().snapshot is snapshot
        assert scene.record().paused
        await scene.clock.advance(1000)
        assert len(source.asked_at) == 2


async def test_a_request_that_a_rollback_overtakes_is_told_so() -> None:
    scene = Scene()
    job, source = scene.job(*payloads(3))
    async with running(job):
        source.hold = anyio.Event()
        answer = job.answer_to(await job.request())
        await scene.clock.advance(5)
        await actions.roll_back(job, 1)
        attempt = await answer
        assert (attempt.outcome, attempt.version, attempt.duration) == (Outcome.FAILED, 2, 5.0)
        assert "rolled back" in attempt.failure.message  # type: ignore[union-attr]
        source.hold.set()
        await settled()
        assert scene.body() == b"[0]"


async def test_a_kept_version_is_given_whole_and_one_that_is_not_is_gone_or_unknown() -> None:
    scene = Scene()
    scene.store = Store(
        scene.backend, clock=ShiftedClock(scene.clock), retention=Retention(versions=2)
    )
    scene.store.presence.is_first = True
    job, _ = scene.job(*payloads(3))
    async with running(job):
        for _ in range(2):
            await job.answer_to(await job.request())
        version, content = await actions.kept(job, 2)
        assert (version.version, content.body) == (2, b"[1]")
        with pytest.raises(GoneVersion):
            await actions.kept(job, 1)
        with pytest.raises(GoneVersion):
            await actions.roll_back(job, 1)
        with pytest.raises(UnknownVersion, match="rates has not come to version 4"):
            await actions.kept(job, 4)


async def test_a_candidate_whose_bytes_the_store_has_lost_or_changed_is_not_published() -> None:
    storage = FakeStorage()
    scene = Scene(backend=storage.backend())
    job, _ = guarded(scene, SMALL)
    async with running(job):
        await until_due(scene)
        name = held(scene).stored.body
        storage.bodies[name] = b"[666]"
        with pytest.raises(NotQuarantined):
            await actions.accept(job)
        del storage.bodies[name]
        with pytest.raises(NotQuarantined, match="is gone"):
            await actions.accept(job)
        assert scene.record().snapshot.version == 1  # type: ignore[union-attr]


async def test_nothing_changes_while_the_store_is_away() -> None:
    backend = FakeStorage().backend()
    scene = Scene(backend=backend)
    job, _ = guarded(scene, SMALL)
    async with running(job):
        await until_due(scene)
        candidate = held(scene)
        backend.broken = frozenset({"write"})
        decisions = (actions.accept(job), actions.reject(job), actions.roll_back(job, 1))
        for decision in decisions:
            with pytest.raises(StoreUnavailable):
                await decision
        assert held(scene) == candidate
        assert scene.record().snapshot.version == 1  # type: ignore[union-attr]
        assert not scene.record().paused
