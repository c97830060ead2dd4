"""What readers get of a ledger, without a job: changes to the ledger in, records and bytes out."""

from dataclasses import replace

import pytest

from refresher.jobs.projection import Projection
from refresher.model import (
    Changed,
    Confirmation,
    Content,
    Definition,
    Due,
    DueReason,
    Format,
    Record,
    Stored,
    Unchanged,
)
from refresher.pipeline.representation import Servable, prepare
from refresher.state import Entry
from refresher.store import decisions
from tests.fakes import START
from tests.jobs.builder import Scene, plan_of
from tests.store.ledgers import FAILED, settlement

JSON = "application/json"
DUE = Due(START + 100, DueReason.SCHEDULE)
PLAN = plan_of()


def servable(body: bytes) -> Servable:
    content = Content(body=body, content_type=JSON, format=Format.JSON, items=None)
    return Servable(content, prepare(body, JSON))


def confirmation(revision: str, definition: Definition = PLAN.definition) -> Confirmation:
    return Confirmation(checked_at=START, lifetime=100.0, revision=revision, definition=definition)


class Projected(Scene):
    """A job's ledger, its readers, and the projection between them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.store.register("rates", PLAN.definition)
        self.states.add(Entry(Record(job="rates", since=START), PLAN.freshness))
        self.projection = Projection("rates", PLAN.definition, self.environment)

    async def settle(self, result: Changed | Unchanged | None = None) -> None:
        """A whole attempt with that result; a failure without one."""
        grant = await self.store.acquire("rates", due_now_since=self.clock.now())
        assert grant is not None
        await self.clock.advance(1)
        ended = settlement(result or FAILED, at=self.clock.now())
        assert await self.store.settle(grant, ended, served=self.projection.served)

    async def publish(self, body: bytes, revision: str = "r1") -> Servable:
        """An attempt that brought that content, which is yet to be shown."""
        new = servable(body)
        stored = self.store.stage("rates", new.content, new.representation.identity_etag)
        await self.settle(Changed(stored=stored, confirmation=confirmation(revision)))
        return new


async def test_a_version_is_awaited_until_it_is_shown() -> None:
    scene = Projected()
    assert scene.projection.awaited is None
    new = await scene.publish(b"[1]")
    awaited = scene.projection.awaited
    assert awaited is not None
    assert (awaited.version, scene.projection.served) == (1, 0)
    scene.projection.show(DUE, new)
    assert scene.projection.awaited is None
    assert (scene.projection.served, scene.body()) == (1, b"[1]")
    assert scene.entry().representation is new.representation
    assert scene.record().due == DUE


async def test_without_the_bytes_all_else_is_shown() -> None:
    scene = Projected()
    await scene.publish(b"[1]")
    scene.projection.show(DUE)
    assert scene.body() is None
    assert scene.record().counts.changed == 1
    assert scene.record().last_attempt is not None


async def test_bytes_that_are_not_of_the_awaited_version_are_not_shown() -> None:
    scene = Projected()
    await scene.publish(b"[1]")
    scene.projection.show(DUE, servable(b"[666]"))
    assert scene.body() is None
    assert scene.projection.awaited is not None


async def test_what_is_confirmed_has_another_check_and_the_same_bytes() -> None:
    scene = Projected()
    scene.projection.show(DUE, await scene.publish(b"[1]"))
    before = scene.record().snapshot
    confirmed = confirmation("r2")
    await scene.settle(Unchanged(confirmation=confirmed))
    scene.projection.show(DUE)
    after = scene.record().snapshot
    assert before is not None
    assert after is not None
    assert after.confirmation == confirmed
    assert after == replace(before, confirmation=confirmed)


async def test_a_snapshot_that_nothing_has_happened_to_is_the_same_object() -> None:
    scene = Projected()
    scene.projection.show(DUE, await scene.publish(b"[1]"))
    before = scene.record().snapshot
    await scene.settle()
    scene.projection.show(DUE)
    assert scene.record().snapshot is before
    assert scene.record().consecutive_failures == 1


async def test_only_what_is_current_and_of_the_present_rules_can_be_confirmed() -> None:
    scene = Projected()
    assert scene.projection.confirmable is None
    scene.projection.show(DUE, await scene.publish(b"[1]"))
    assert scene.projection.confirmable is scene.record().snapshot
    await scene.publish(b"[2]")
    assert scene.projection.confirmable is None, "another version is current, and not shown yet"


async def test_data_of_other_rules_is_shown_as_outdated() -> None:
    scene = Projected()
    new = servable(b"[1]")
    stored = scene.store.stage("rates", new.content, new.representation.identity_etag)
    other = confirmation("r1", Definition("source", "other rules"))
    await scene.settle(Changed(stored=stored, confirmation=other))
    scene.projection.show(DUE, new)
    assert scene.record().outdated
    assert scene.projection.confirmable is None


async def test_what_the_store_has_is_read_ready_to_be_served() -> None:
    scene = Projected()
    new = await scene.publish(b"[1]")
    awaited = scene.projection.awaited
    assert awaited is not None
    assert await scene.projection.read(awaited) == new


@pytest.mark.parametrize("found", [None, b"[666]"])
async def test_a_body_that_is_gone_or_another_is_not_read_and_the_version_is_forgotten(
    found: bytes | None,
) -> None:
    scene = Projected()
    await scene.publish(b"[1]")
    awaited = scene.projection.awaited
    assert awaited is not None

    async def body(job: str, stored: Stored) -> bytes | None:
        del job, stored
        return found

    scene.store.body = body  # type: ignore[method-assign]
    assert await scene.projection.read(awaited) is None
    assert await scene.projection.forget(awaited)
    assert scene.projection.awaited is None
    assert scene.store.standing("rates").due == Due(scene.clock.now(), DueReason.STARTUP)
    assert not await scene.projection.forget(awaited), "it has been, and may have been replaced"


async def test_a_pause_is_shown() -> None:
    scene = Projected()
    await scene.store.decide("rates", lambda known, _: decisions.paused(known))
    scene.projection.show(Due(None, DueReason.PAUSED))
    assert scene.record().paused
    assert scene.record().due.reason is DueReason.PAUSED
