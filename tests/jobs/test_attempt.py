"""One attempt, without a job: a source's answer in, what came of it out."""

import math
from dataclasses import replace

import anyio
import msgspec
import pytest

from refresher.errors import RefreshFailed, StoreUnavailable
from refresher.jobs.attempt import Answered, attempt
from refresher.jobs.context import Context, Lease
from refresher.model import (
    Changed,
    Confirmation,
    Content,
    Definition,
    Format,
    Quarantine,
    Quarantined,
    Snapshot,
    Stage,
    Stored,
    Unchanged,
)
from refresher.payload import NotModified, Payload
from refresher.pipeline import GuardRules, Rules
from refresher.pipeline.content_time import ContentTimeRule
from refresher.pipeline.representation import etag_of
from refresher.protocols import Grant
from tests.fakes import START, Answer, FakeSource, payload
from tests.jobs.builder import SECRET, Scene, down, plan_of
from tests.jobs.guarded import accepting

JSON = "application/json"
SERVED, SMALL, NEW = b"[1,2,3,4]", b"[1]", b"[1,2,3,4,5]"
GUARDED = Rules(guard=GuardRules(max_shrink=0.5))
NOT_MODIFIED = NotModified(revision="r9", http_status=304)


def confirmation(revision: str) -> Confirmation:
    return Confirmation(
        checked_at=START - 100,
        lifetime=100.0,
        revision=revision,
        definition=Definition("source", "rules"),
    )


def snapshot(body: bytes = SERVED) -> Snapshot:
    return Snapshot(
        job="rates",
        content=Content(body=body, content_type=JSON, format=Format.JSON, items=4),
        etag=etag_of(body, JSON),
        version=7,
        change=1,
        changed_at=START - 100,
        dated=True,
        confirmation=confirmation("of the served"),
    )


def candidate(scene: Scene, body: bytes = SMALL, *, seen: int = 1) -> Quarantine:
    """One that the store has."""
    content = Content(body=body, content_type=JSON, format=Format.JSON, items=1)
    return Quarantine(
        stored=scene.store.stage("rates", content, etag_of(body, JSON)),
        confirmation=confirmation("of the candidate"),
        reason="too small",
        at=START - 100,
        seen=seen,
        next_moment=START,
    )


async def ended(
    scene: Scene,
    answer: Answer,
    *,
    served: Snapshot | None = None,
    held: Quarantine | None = None,
    on_schedule: bool = True,
    **facts: object,
) -> Answered | RefreshFailed:
    """How an attempt ends that gets that answer."""
    context = Context(Lease(Grant("rates", 1, 0), START, on_schedule), served, held)
    source = FakeSource([answer], scene.clock)
    plan = plan_of(**{"rules": GUARDED, **facts})  # type: ignore[arg-type]
    return await attempt(source, context, plan, scene.environment)


async def answered(scene: Scene, answer: Answer, **facts: object) -> Answered:
    found = await ended(scene, answer, **facts)  # type: ignore[arg-type]
    assert isinstance(found, Answered)
    return found


async def failed(scene: Scene, answer: Answer, **facts: object) -> RefreshFailed:
    found = await ended(scene, answer, **facts)  # type: ignore[arg-type]
    assert isinstance(found, RefreshFailed)
    return found


async def test_new_content_is_a_change_that_the_store_can_write() -> None:
    scene = Scene()
    found = await answered(scene, payload(NEW, "r1"), served=snapshot())
    assert isinstance(found.result, Changed)
    assert found.http_status == 200
    assert found.servable is not None
    assert found.servable.content.body == found.servable.representation.identity == NEW
    assert found.result.stored.etag == etag_of(NEW, JSON)
    assert await scene.store.body("rates", found.result.stored) == NEW
    confirmed = found.result.confirmation
    assert (confirmed.checked_at, confirmed.revision) == (START, "r1")
    assert confirmed.lifetime == plan_of().due_after(START, START, seed="") - START


@pytest.mark.parametrize("answer", [payload(NEW), payload(SERVED), NOT_MODIFIED])
async def test_an_answer_of_a_cache_is_as_old_as_it_says_and_is_due_all_the_same(
    answer: Payload | NotModified,
) -> None:
    found = await answered(Scene(), replace(answer, as_of=START - 3000), served=snapshot())
    assert isinstance(found.result, Changed | Unchanged)
    confirmed = found.result.confirmation
    assert (confirmed.checked_at, confirmed.age) == (START - 3000, 3000)
    assert confirmed.checked_at + confirmed.lifetime == plan_of().due_after(START, START, seed="")


async def test_no_answer_is_of_the_future() -> None:
    found = await answered(Scene(), replace(payload(NEW), as_of=START + 50))
    assert isinstance(found.result, Changed)
    assert (found.result.confirmation.checked_at, found.result.confirmation.age) == (START, 0)


@pytest.mark.parametrize(
    ("overdue", "stale_since"), [(0.0, None), (10.0, None), (11.0, START), (math.inf, START)]
)
async def test_an_answer_is_stale_that_says_so_for_longer_than_the_timeout(
    overdue: float, stale_since: float | None
) -> None:
    found = await answered(Scene(), replace(payload(NEW), overdue=overdue))
    assert isinstance(found.result, Changed)
    assert found.result.confirmation.stale_since == stale_since


async def test_a_candidate_of_a_cache_was_refused_when_it_came_and_is_due_all_the_same() -> None:
    old = replace(payload(SMALL), as_of=START - 3000)
    found = await answered(Scene(), old, served=snapshot())
    assert isinstance(found.result, Quarantined)
    held = found.result.quarantine
    assert (held.at, held.confirmation.checked_at) == (START, START - 3000)
    assert held.next_moment == plan_of().due_after(START, START, seed="")


DATED = Rules(content_time=ContentTimeRule("at"))


def dated(at: object, served_at: float | None = START - 100) -> tuple[Payload, Snapshot]:
    """An answer, and what is served, with their content times."""
    known = snapshot()
    confirmed = replace(known.confirmation, content_time=served_at)
    body = b'{"at": %b}' % msgspec.json.encode(at)
    return payload(body), replace(known, confirmation=confirmed)


@pytest.mark.parametrize("at", [START - 100, START - 99.5, START, START + 300])
async def test_content_that_is_not_older_than_what_is_served_replaces_it(at: float) -> None:
    answer, served = dated(at)
    found = await answered(Scene(), answer, served=served, rules=DATED)
    assert isinstance(found.result, Changed)
    assert found.result.stored.content_time == at


@pytest.mark.parametrize("at", [START - 101, START + 301, None, "never", 1e300])
async def test_content_that_is_older_ahead_or_undated_is_a_candidate(at: object) -> None:
    scene = Scene()
    answer, served = dated(at)
    found = await answered(scene, answer, served=served, rules=DATED)
    assert isinstance(found.result, Quarantined)
    held = found.result.quarantine
    assert held.reason.startswith("content_time")
    assert held.stored.content_time == (at if at in {START - 101, START + 301} else None)
    assert await scene.store.body("rates", held.stored) == answer.body


async def test_older_content_that_has_come_often_enough_is_a_change() -> None:
    scene = Scene()
    answer, served = dated(START - 101)
    assert isinstance(answer.body, bytes)
    held = candidate(scene, answer.body)
    rules = accepting(DATED, 2)
    found = await answered(scene, answer, served=served, held=held, rules=rules)
    assert isinstance(found.result, Changed)


async def test_older_content_of_another_definition_is_no_reason() -> None:
    answer, _ = dated(START - 9000)
    found = await answered(Scene(), answer, served=None, rules=DATED)
    assert isinstance(found.result, Changed)


async def test_what_was_accepted_without_a_time_is_unchanged_when_it_comes_again() -> None:
    body = b'{"at": "never"}'
    found = await answered(Scene(), payload(body), served=snapshot(body), rules=DATED)
    assert isinstance(found.result, Unchanged)


async def test_the_same_bytes_are_no_change() -> None:
    found = await answered(Scene(), payload(SERVED, "r2"), served=snapshot())
    assert isinstance(found.result, Unchanged)
    assert found.result.confirmation.revision == "r2"
    assert found.servable is None


async def test_not_modified_confirms_what_is_served() -> None:
    found = await answered(Scene(), NOT_MODIFIED, served=snapshot())
    assert isinstance(found.result, Unchanged)
    assert (found.result.confirmation.revision, found.http_status) == ("r9", 304)


async def test_not_modified_with_nothing_served_is_a_failure() -> None:
    trouble = await failed(Scene(), NOT_MODIFIED)
    assert (trouble.failure.stage, trouble.http_status) == (Stage.STATUS, 304)


async def test_the_source_is_asked_with_the_validators_of_the_candidate_or_of_what_is_served() -> (
    None
):
    scene = Scene()
    source = FakeSource([NOT_MODIFIED], scene.clock)
    lease = Lease(Grant("rates", 1, 0), START, on_schedule=True)
    for context in (
        Context(lease, None, None),
        Context(lease, snapshot(), None),
        Context(lease, snapshot(), candidate(scene)),
    ):
        await attempt(source, context, plan_of(), scene.environment)
    assert source.since == [None, "of the served", "of the candidate"]


async def test_what_the_guard_refuses_is_a_candidate_and_its_reason_has_no_secret() -> None:
    scene = Scene()
    rules = Rules(guard=GuardRules(required=(SECRET,)))
    found = await answered(scene, payload(), rules=rules)
    assert isinstance(found.result, Quarantined)
    held = found.result.quarantine
    assert "***" in held.reason
    assert SECRET not in held.reason
    assert (held.at, held.seen) == (START, 1)
    assert await scene.store.body("rates", held.stored) == payload().body
    assert found.servable is None


@pytest.mark.parametrize("again", [payload(SMALL, "r5"), NOT_MODIFIED])
async def test_the_candidate_that_comes_again_is_not_stored_again(again: Answer) -> None:
    scene = Scene()
    held = candidate(scene)
    found = await answered(scene, again, served=snapshot(), held=held)
    assert isinstance(found.result, Quarantined)
    counted = found.result.quarantine
    assert counted.stored is held.stored
    assert (counted.at, counted.seen) == (held.at, 2)
    assert counted.confirmation.revision == again.revision  # type: ignore[union-attr]


@pytest.mark.parametrize("again", [payload(SMALL, "r5"), NOT_MODIFIED])
async def test_a_candidate_that_has_come_often_enough_is_a_change(again: Answer) -> None:
    scene = Scene()
    held = candidate(scene)
    found = await answered(scene, again, served=snapshot(), held=held, rules=accepting(GUARDED, 2))
    assert isinstance(found.result, Changed)
    assert found.result.stored is held.stored
    assert found.servable is not None
    assert found.servable.content.body == found.servable.representation.identity == SMALL


class BodilessScene(Scene):
    """Its store gives no body: it has lost them, or `trouble` is raised."""

    trouble: StoreUnavailable | None = None

    def __post_init__(self) -> None:
        super().__post_init__()

        async def body(job: str, stored: Stored) -> None:
            del job, stored
            if self.trouble is not None:
                raise self.trouble

        self.store.body = body  # type: ignore[method-assign]


@pytest.mark.parametrize("trouble", [None, StoreUnavailable("no answer")])
async def test_a_candidate_that_cannot_be_read_is_a_failure_and_one_that_is_lost_for_good(
    trouble: StoreUnavailable | None,
) -> None:
    scene = BodilessScene()
    scene.trouble = trouble
    held = candidate(scene)
    found = await failed(
        scene, NOT_MODIFIED, served=snapshot(), held=held, rules=accepting(GUARDED, 2)
    )
    assert found.failure.stage is Stage.SOURCE
    assert found.http_status == 304
    assert found.transient is (trouble is not None)


async def test_good_content_is_a_change_though_there_is_a_candidate() -> None:
    scene = Scene()
    found = await answered(scene, payload(NEW), served=snapshot(), held=candidate(scene))
    assert isinstance(found.result, Changed)


async def test_content_that_a_rule_refuses_is_a_failure_with_the_status_of_the_answer() -> None:
    broken = Payload(body=b"[1,", content_type=JSON, http_status=203)
    trouble = await failed(Scene(), broken)
    assert (trouble.failure.stage, trouble.http_status) == (Stage.DECODE, 203)


async def test_a_source_that_fails_is_a_failure_as_it_says() -> None:
    trouble = down()
    assert await failed(Scene(), trouble) is trouble


async def test_an_unexpected_error_is_raised() -> None:
    with pytest.raises(ValueError, match="oops"):
        await ended(Scene(), ValueError("oops"))


async def test_the_time_is_over_at_the_timeout() -> None:
    scene = Scene()
    source = FakeSource([payload()], scene.clock, hold=anyio.Event())
    context = Context(Lease(Grant("rates", 1, 0), START, on_schedule=True), None, None)
    found = await attempt(source, context, plan_of(timeout=0.01), scene.environment)
    assert isinstance(found, RefreshFailed)
    assert (found.failure.stage, found.transient) == (Stage.TIMEOUT, True)
    assert "0.01 s" in found.failure.message


async def test_a_timeout_of_the_source_itself_is_not_taken_for_that_of_the_job() -> None:
    with pytest.raises(TimeoutError):
        await ended(Scene(), TimeoutError("of a socket"))
