import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import trustme

from refresher import Refresher
from refresher.clock import ShiftedClock, SystemClock
from refresher.config import Config, load
from refresher.errors import ConfigError
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.model import Attempt, State
from refresher.service.service import Service
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store
from tests.fakes import FakeClock
from tests.offload.workers import LARGE_BODY, children


class Upstream:
    """What answers in place of the network."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(200, json={"n": len(self.asked)})


class BreakingStore(MemoryStore):
    """A store that raises an unexpected error as long as it is told to."""

    broken = True

    async def write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool = False,
        keeps: Sequence[str] = (),
        drops: Sequence[str] = (),
    ) -> int | None:
        if self.broken and publishes and key == "job/a":
            raise ZeroDivisionError("unexpected: s3cret-token")
        return await super().write(
            key, document, after=after, publishes=publishes, keeps=keeps, drops=drops
        )


def make_cache(
    config: Path | Mapping[str, object],
    upstream: Upstream,
    *,
    clock: FakeClock | None = None,
    store: MemoryStore | None = None,
) -> Refresher:
    transport = httpx.MockTransport(upstream)
    return Refresher(config, transport=transport, clock=clock, store=store)


@asynccontextmanager
async def entered(cache: Refresher) -> AsyncIterator[Refresher]:
    async with cache:
        await anyio.wait_all_tasks_blocked()
        yield cache


def attempts(cache: Refresher, job: str) -> Attempt | None:
    entry = cache.service.states.get(job)
    assert entry is not None
    return entry.record.last_attempt


async def test_a_crash_in_a_job_is_logged_with_its_traceback_named_and_survived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, store, upstream = FakeClock(), BreakingStore(), Upstream()
    job = {"url": "http://up/a", "auth": {"type": "bearer", "token": "s3cret-token"}}
    cache = make_cache(
        {"jobs": {"a": job, "b": {"url": "http://up/b"}}}, upstream, clock=clock, store=store
    )
    with caplog.at_level(logging.INFO, "refresher"):
        async with entered(cache):
            assert cache.service.crashed() == {"a": "ZeroDivisionError: unexpected: ***"}
            assert cache.service.is_alive()
            assert cache.get("b").value == {"n": 2}
            crash = next(record for record in caplog.records if record.exc_text)
            assert "Traceback" in str(crash.exc_text)
            assert "s3cret-token" not in str(crash.exc_text)
            store.broken = False
            await clock.advance(3)
            assert cache.service.crashed() == {}
            assert cache.get("a").state is State.FRESH


async def test_a_large_body_is_served_as_it_came_and_its_workers_end_with_the_service() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=LARGE_BODY))
    jobs = {"a": {"url": "http://up/a", "format": "json", "timeout": "5m"}}
    async with Refresher({"jobs": jobs}, transport=transport) as cache:
        await cache.refresh("a")
        assert cache.get("a").body == LARGE_BODY
        assert children()
    assert not children()


async def test_ready_stays_ready() -> None:
    upstream = Upstream()
    cache = make_cache({"jobs": {"a": {"url": "http://up/a", "required": True}}}, upstream)
    async with cache:
        assert cache.service.missing() == ["a"]
        await cache.refresh("a")
        assert cache.service.missing() == []


async def test_every_function_that_cannot_be_imported_is_named_at_once() -> None:
    jobs = {"a": {"python": "nothing.at.all:x"}, "b": {"python": "os:nothing"}}
    with pytest.raises(ConfigError) as wrong:
        async with make_cache({"jobs": jobs}, Upstream()):
            pass
    assert [problem.split(": ")[1] for problem in wrong.value.problems] == [
        "jobs.a.python",
        "jobs.b.python",
    ]


async def test_a_rotated_secret_brings_nothing_else_that_was_edited(tmp_path: Path) -> None:
    config, secret, upstream = tmp_path / "config.toml", tmp_path / "secret", Upstream()
    job = (
        '[jobs.{}]\nurl = "http://up/{}"\nauth = {{ type = "bearer", token = "${{file:secret}}" }}'
    )
    job += "\n"
    config.write_text(job.format("a", "a") + job.format("b", "b") + job.format("gone", "gone"))
    secret.write_text("0ld-token")
    cache = make_cache(config, upstream)
    async with entered(cache):
        edited = job.format("a", "a") + job.format("b", "elsewhere")
        config.write_text(f"{edited}[jobs.new]\nurl = 'http://x'\n")
        secret.write_text("n3w-token")
        with anyio.fail_after(60):
            while upstream.asked[-1].headers["authorization"] != "Bearer n3w-token":
                await cache.refresh("a")
                await anyio.sleep(0.05)
        upstream.asked.clear()
        await cache.refresh("b")
        await cache.refresh("gone")
        assert [str(request.url) for request in upstream.asked] == ["http://up/b", "http://up/gone"]
        assert cache.service.missing() == []
        assert cache.redact("0ld-token n3w-token") == "*** ***"


async def test_a_rotation_that_is_read_half_way_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, authority = tmp_path / "config.toml", tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    config.write_text(
        '[upstreams.a]\nbase_url = "https://127.0.0.1:1"\ntls = { ca = "ca.pem" }\n'
        '[jobs.a]\nupstream = "a"\nurl = "/a"\n'
    )
    readings = []

    def read() -> Config:
        readings.append(load(config, environ={}))
        if len(readings) > 1:
            authority.write_text("half")  # the second of its two writes comes right then
        return readings[-1]

    async with Service(read, clock=SystemClock()) as service:
        trustme.CA().cert_pem.write_to_path(authority)
        with anyio.fail_after(60):
            while "but cannot be used" not in caplog.text:  # noqa: ASYNC110  the log has no event
                await anyio.sleep(0.05)
        assert service.config is readings[0]


async def test_a_hold_of_a_clock_that_has_been_set_back_is_no_longer_than_any_other() -> None:
    clock, backend = FakeClock(), MemoryStore()
    async with Store(backend, clock=ShiftedClock(clock)) as store:
        await store.limits.hold("up", clock.now() + 86_400)
    config = {
        "upstreams": {"up": {}},
        "jobs": {"a": {"url": "https://b.example", "upstream": "up"}},
    }
    async with entered(make_cache(config, upstream := Upstream(), clock=clock, store=backend)):
        assert not upstream.asked
        await clock.advance(LONGEST_WAIT + 1)
        assert len(upstream.asked) == 1
