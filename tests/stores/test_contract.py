"""What every store of snapshots does, whatever it keeps them in."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol

import pytest

from refresher import representation
from refresher.model import (
    Candidate,
    Confirmation,
    Content,
    Definition,
    Format,
    Quarantine,
    Snapshot,
)
from refresher.protocols import Grant, Lease, QuarantineStore, SnapshotStore
from refresher.stores.memory import MemoryStore
from tests.fakes import START


class Store(SnapshotStore, QuarantineStore, Lease, Protocol):
    """The one object that is all three."""


Opening = Callable[[], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    yield MemoryStore()


@pytest.fixture(params=[memory])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    opening: Opening = request.param
    async with opening() as opened:
        yield opened


def confirmation(checked_at: float = START, revision: str | None = "r1") -> Confirmation:
    return Confirmation(
        checked_at=checked_at,
        lifetime=100.0,
        revision=revision,
        definition=Definition("source", "rules"),
    )


def candidate(body: bytes = b"[1]", checked_at: float = START) -> Candidate:
    content = Content(body=body, content_type="application/json", format=Format.JSON, items=1)
    etag = representation.etag_of(body, content.content_type)
    return Candidate(content=content, etag=etag, confirmation=confirmation(checked_at))


async def put(
    store: Store, body: bytes = b"[1]", *, job: str = "rates", at: float = START
) -> Snapshot:
    return await store.commit(await store.acquire(job), candidate(body, at))


async def test_a_commit_gives_the_candidate_back_numbered(store: Store) -> None:
    given = candidate()
    snapshot = await store.commit(await store.acquire("rates"), given)
    assert snapshot.job == "rates"
    assert snapshot.content == given.content
    assert snapshot.etag == given.etag
    assert snapshot.confirmation == given.confirmation
    assert snapshot.changed_at == START
    assert snapshot.version >= 1


async def test_versions_grow_and_are_each_jobs_own(store: Store) -> None:
    first = [await put(store, b"[%d]" % n) for n in range(3)]
    other = await put(store, job="other")
    assert [snapshot.version for snapshot in first] == sorted({s.version for s in first})
    assert other.version <= first[0].version


async def test_changes_are_counted_over_all_jobs(store: Store) -> None:
    made = [await put(store, b"[%d]" % n, job=job) for n, job in enumerate("abab")]
    changes = [snapshot.change for snapshot in made]
    assert changes == sorted(set(changes))


async def test_a_confirmation_moves_times_revision_and_definition_alone(store: Store) -> None:
    before = await put(store)
    fresh = replace(confirmation(START + 60, "r2"), definition=Definition("source", "new rules"))
    after = await store.confirm(await store.acquire("rates"), fresh)
    assert after == replace(before, confirmation=fresh)


async def test_what_follows_a_confirmation_is_the_next_version(store: Store) -> None:
    first = await put(store)
    await store.confirm(await store.acquire("rates"), confirmation(START + 60))
    assert (await put(store, b"[2]", at=START + 120)).version > first.version


@pytest.mark.parametrize(
    ("seconds", "dated"), [(0.0, False), (0.99, False), (1.0, True), (3600.0, True)]
)
async def test_a_version_of_the_second_of_the_one_before_is_not_dated(
    store: Store, seconds: float, *, dated: bool
) -> None:
    assert (await put(store)).dated
    assert (await put(store, b"[2]", at=START + seconds)).dated is dated


async def test_requests_are_numbered_by_job(store: Store) -> None:
    numbers = [await store.request("rates") for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert await store.request("other") <= numbers[0]


async def test_an_attempt_answers_what_was_asked_before_it_and_nothing_after(store: Store) -> None:
    nobody = await store.acquire("rates")
    first = await store.request("rates")
    second = await store.request("rates")
    grant = await store.acquire("rates")
    third = await store.request("rates")
    assert nobody.answers < first < second <= grant.answers < third


async def test_every_grant_has_a_higher_fence(store: Store) -> None:
    grants: list[Grant] = [await store.acquire(job) for job in ("rates", "rates", "other")]
    fences = [grant.fence for grant in grants]
    assert fences == sorted(set(fences))
    assert [grant.job for grant in grants] == ["rates", "rates", "other"]


def refused(body: bytes = b"[9]") -> Quarantine:
    return Quarantine(
        candidate=candidate(body), reason="too few", at=START, seen=1, next_moment=START + 100
    )


async def test_one_candidate_a_job_is_kept_in_quarantine_until_released(store: Store) -> None:
    await put(store)
    for body in (b"[8]", b"[9]"):
        await store.set_aside(await store.acquire("rates"), refused(body))
    assert await store.quarantined("rates") == refused(b"[9]")
    assert await store.quarantined("other") is None
    await store.release("rates")
    await store.release("rates")
    assert await store.quarantined("rates") is None


async def test_good_data_ends_the_quarantine_of_its_job_alone(store: Store) -> None:
    for job in ("rates", "other"):
        await put(store, job=job)
        await store.set_aside(await store.acquire(job), refused())
    await put(store, b"[2]")
    assert await store.quarantined("rates") is None
    await store.set_aside(await store.acquire("rates"), refused())
    await store.confirm(await store.acquire("rates"), confirmation(START + 60))
    assert await store.quarantined("rates") is None
    assert await store.quarantined("other") == refused()


async def test_bytes_may_change_later_than_they_were_checked(store: Store) -> None:
    await put(store)
    made = await store.commit(await store.acquire("rates"), candidate(b"[2]", START), at=START + 9)
    assert (made.checked_at, made.changed_at, made.dated) == (START, START + 9, True)
