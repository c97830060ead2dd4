import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from refresher import UNCHANGED, Refresher, RefresherError, State, UnknownJob
from refresher.testing import freeze
from tests.fakes import FakeClock, settled
from tests.patient import client_of
from tests.web.serving import TOKEN, Upstream, cache_of


class Flags(BaseModel):
    dark: bool = False


def test_a_frozen_value_is_served_and_no_source_is_asked() -> None:
    upstream = Upstream(["real"])
    cache = Refresher(admin_token=TOKEN)
    cache.job("names", interval="1h")(upstream)
    freeze(cache, "names", ["frozen"])
    app = FastAPI(lifespan=cache.lifespan)
    app.include_router(cache.router())
    for _ in range(2):
        with client_of(app) as client:
            answer = client.get("/data/names")
            assert answer.json() == ["frozen"]
            assert answer.headers["cache-status"].startswith("refresher; hit; ttl=")
            assert "detail" not in answer.headers["cache-status"]
            assert client.get("/jobs/names").json()["state"] == "fresh"
    assert upstream.calls == 0


async def test_freezing_while_it_runs_stops_the_job_on_the_spot() -> None:
    clock, upstream = FakeClock(), Upstream(["real"])
    cache = cache_of(clock, names=upstream)
    async with cache:
        await settled()
        assert cache.get("names").value == ["real"]
        freeze(cache, "names", ["frozen"])
        assert cache.get("names").value == ["frozen"]
        assert cache.get("names").version == 2
        await clock.advance(1000)
        assert upstream.calls == 1
        assert cache.get("names").state is State.FRESH
        freeze(cache, "names", ["again"])
        assert cache.get("names").value == ["again"]


async def test_freezing_takes_the_function_and_any_value_that_it_could_return() -> None:
    cache = Refresher()

    @cache.job()
    async def flags() -> Flags:
        raise NotImplementedError

    freeze(cache, flags, Flags(dark=True))
    async with cache:
        assert cache.get(flags).value == Flags(dark=True)
        for value in ("text", b"bytes", [1, 2.5, None], {"a": "b"}):
            freeze(cache, flags, value)
            assert cache.get("flags").body


async def test_freezing_a_job_that_is_not_there_is_an_error() -> None:
    cache = cache_of(names=Upstream())
    async with cache:
        with pytest.raises(UnknownJob):
            freeze(cache, "nope", 1)
    async with cache:
        pass


async def test_before_entry_a_job_that_is_not_there_is_found_out_on_entry() -> None:
    cache = cache_of(names=Upstream())
    freeze(cache, "nope", 1)
    with pytest.raises(UnknownJob, match="no job is called 'nope'"):
        await cache.__aenter__()


async def test_what_is_no_data_is_an_error_and_changes_nothing() -> None:
    cache = cache_of(names=Upstream(["real"]))
    async with cache:
        await settled()
        for value in (None, object(), UNCHANGED):
            with pytest.raises(RefresherError):
                freeze(cache, "names", value)
        assert cache.get("names").value == ["real"]
    async with cache:
        await settled()
        assert cache.get("names").value == ["real"]
