import logging
from collections.abc import Sequence

import httpx
import pytest

from refresher import Refresher
from refresher.clock import ShiftedClock
from refresher.errors import ConfigError
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.model import State
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store
from tests.fakes import FakeClock
from tests.offload.workers import LARGE_BODY, children
from tests.service.caches import Upstream, entered, make_cache


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
