"""By what the due moments of a service are spread."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from refresher import Refresher
from refresher.jobs.schedule import Cron, Interval, due_from, seed_of
from refresher.store.protocols import Backend
from tests.fakes import START, FakeClock
from tests.store.fake_backend import FakeStorage

JOBS = {
    "regular": {"url": "http://up/a", "interval": "10m", "jitter": "0%"},
    "delayed": {"url": "http://up/b", "interval": "10m", "jitter": "50%"},
    "nightly": {"url": "http://up/c", "cron": "0 3 * * *", "jitter": "10m"},
    "failing": {"url": "http://up/no", "interval": "1h", "backoff": "1m", "backoff_max": "10m"},
}

# The time zone is read from its file once, and not while the loop runs.
due_from(Cron("0 3 * * *"), "any", START)


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503) if request.url.path == "/no" else httpx.Response(200, json=[1])


@asynccontextmanager
async def service(
    store: Backend, *, seed: str | None = None, clock: FakeClock | None = None
) -> AsyncIterator[Refresher]:
    clock = clock or FakeClock()
    config = {"jobs": JOBS, "server": {} if seed is None else {"seed": seed}}
    async with Refresher(
        config, store=store, transport=httpx.MockTransport(answer), clock=clock
    ) as cache:
        await clock.advance(0)
        yield cache


def dues(cache: Refresher) -> dict[str, float | None]:
    return {entry.record.job: entry.record.due.at for entry in cache.service.states}


async def moments(store: Backend, seed: str | None = None) -> dict[str, float | None]:
    """When the jobs of a service are due after their first attempt."""
    async with service(store, seed=seed) as cache:
        return dues(cache)


async def test_services_with_stores_of_their_own_are_due_at_no_common_moment() -> None:
    one = await moments(FakeStorage("one").backend())
    other = await moments(FakeStorage("other").backend())
    assert one.keys() == JOBS.keys()
    assert all(one[job] != other[job] for job in JOBS)


async def test_processes_of_one_store_are_due_at_the_same_moments() -> None:
    storage, clock = FakeStorage(), FakeClock()
    async with (
        service(storage.backend(), clock=clock) as one,
        service(storage.backend(), clock=clock) as other,
    ):
        for _ in range(4):
            await clock.advance(601)
            assert dues(one) == dues(other)
            assert one.service.store.identity == other.service.store.identity == storage.name


async def test_services_of_one_seed_are_due_at_the_same_moments_whatever_their_stores() -> None:
    one = await moments(FakeStorage("one").backend(), "fleet")
    assert await moments(FakeStorage("other").backend(), "fleet") == one
    assert await moments(FakeStorage("one").backend(), "other fleet") != one
    assert one["regular"] == due_from(Interval(600), seed_of("regular", "fleet"), START + 300)


async def test_an_empty_seed_leaves_the_names_of_the_jobs() -> None:
    due = (await moments(FakeStorage().backend(), ""))["regular"]
    assert due == due_from(Interval(600), "regular", START + 300)


async def test_a_due_moment_that_is_stored_outlives_the_seed() -> None:
    for seed in ("new", "newer", "newest", "other"):
        storage, clock = FakeStorage(), FakeClock()
        async with service(storage.backend(), seed="old", clock=clock) as cache:
            stored = dues(cache)
        storage.alive.clear()
        async with service(storage.backend(), seed=seed, clock=clock) as cache:
            again = dues(cache)
            assert {**again, "failing": None} == {**stored, "failing": None}
            regular = stored["regular"]
            assert regular is not None
            await clock.advance(regular - START + 1)
            spread = due_from(Interval(600), seed_of("regular", seed), regular + 300)
            assert dues(cache)["regular"] == spread


async def test_the_seed_is_the_hosts_name_until_the_store_has_been_reached() -> None:
    backend, clock = FakeStorage().backend(), FakeClock()
    backend.away = True
    async with service(backend, clock=clock) as cache:
        host = socket.gethostname()
        assert cache.service.store.identity == host
        assert dues(cache)["regular"] == due_from(
            Interval(600), seed_of("regular", host), START + 300
        )
        backend.away = False
        await clock.advance(5)
        assert cache.service.store.identity == "first"
