"""What readers are told from second to second, of a real job with a real schedule."""

import math
import re
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from refresher import Refresher
from refresher.errors import RefreshFailed
from refresher.model import Stage
from tests.fakes import START, FakeClock
from tests.web.serving import TOKEN, Upstream, serving

_STATUS = re.compile(r"refresher; hit; ttl=(-?\d+)(?:; detail=([a-z0-9-]+))?")


class Told:
    """What one read told."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200
        found = _STATUS.fullmatch(answer.headers["cache-status"])
        assert found is not None, answer.headers["cache-status"]
        max_age = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
        assert max_age is not None
        self.version = int(answer.headers["refresher-version"])
        self.age = int(answer.headers["age"])
        self.max_age = int(max_age[1])
        self.ttl, self.detail = int(found[1]), found[2]
        self.changed_at = parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
        assert self.ttl == self.max_age - self.age


def unavailable() -> RefreshFailed:
    return RefreshFailed(Stage.STATUS, "answered 503", transient=True, http_status=503)


def cache_of(clock: FakeClock, upstream: Upstream, **keys: Any) -> Refresher:  # noqa: ANN401  as the decorator's
    cache = Refresher(clock=clock, admin_token=TOKEN)
    cache.job("one", **{"interval": "60s", "jitter": "0%", "timeout": "5s", **keys})(upstream)
    return cache


async def test_age_and_time_left_follow_the_last_check_and_nothing_else() -> None:
    clock = FakeClock()
    upstream = Upstream(["a"], ["a"], ["b"], unavailable(), unavailable(), unavailable(), ["c"])
    async with serving(cache_of(clock, upstream, backoff="20s")) as client:
        seen = set()
        for _ in range(400):
            told = Told(await client.get("/data/one"))
            status = (await client.get("/jobs/one")).json()
            assert told.age == math.floor(status["age_seconds"] + 0.0005)
            assert told.max_age == math.floor(status["lifetime_seconds"])
            assert told.version == status["version"]
            assert (told.detail is not None) == (status["state"] != "fresh" or told.ttl < 0)
            if status["consecutive_failures"]:
                assert told.detail == "status-503"
            seen.add((told.version, told.detail))
            await clock.advance(1)
    assert seen >= {(1, None), (2, None), (2, "status-503"), (3, None)}


async def test_max_age_stays_what_it_was_however_long_an_outage_lasts() -> None:
    clock, upstream = FakeClock(), Upstream(["a"], unavailable())
    async with serving(cache_of(clock, upstream, max_stale="1d")) as client:
        first = Told(await client.get("/data/one"))
        for _ in range(5):
            await clock.advance(700)
            told = Told(await client.get("/data/one"))
            assert told.max_age == first.max_age
            assert told.age == int(clock.now() - START)
            assert told.detail == "status-503"
        assert upstream.calls > 10


async def test_only_a_change_moves_last_modified() -> None:
    clock, upstream = FakeClock(), Upstream(["a"], ["a"], ["a"], ["b"])
    async with serving(cache_of(clock, upstream)) as client:
        moments = set()
        for _ in range(250):
            told = Told(await client.get("/data/one"))
            moments.add((told.version, told.changed_at))
            await clock.advance(1)
    (first, began), (second, changed) = sorted(moments)
    assert (first, began, second) == (1, START, 2)
    assert START + 120 < changed < START + 240


@pytest.mark.parametrize(("cap", "told"), [("10s", 10), ("1h", 60)])
async def test_the_cap_is_told_but_state_goes_by_the_lifetime(cap: str, told: int) -> None:
    clock, upstream = FakeClock(), Upstream()
    async with serving(cache_of(clock, upstream, max_age=cap)) as client:
        await clock.advance(61)  # past the first check, which may come early
        while (now := Told(await client.get("/data/one"))).age != 30:
            await clock.advance(1)
        assert now.max_age == told
        assert (await client.get("/jobs/one")).json()["state"] == "fresh"
        assert now.detail == ("overdue" if told == 10 else None)
