import httpx
import pytest

from refresher import Refresher
from refresher.store.protocols import Backend
from tests.fakes import FakeClock
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, TOKEN, Upstream, serving

QUARANTINE = "/admin/jobs/one/quarantine"


def guarded(clock: FakeClock, *answers: object, store: Backend | None = None) -> Refresher:
    cache = Refresher(
        {"defaults": {"interval": "100s", "jitter": "0%"}},
        clock=clock,
        admin_token=TOKEN,
        store=store,
    )
    cache.job("one", guard={"max_shrink": "50%", "accept_after": 9})(Upstream(*answers))
    return cache


FULL, SMALL = {"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 7}


async def asked(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    return await client.request(method, path, headers=ADMIN)


async def test_the_refused_candidate_is_shown_with_its_reason_and_difference() -> None:
    clock = FakeClock()
    async with serving(guarded(clock, FULL, SMALL)) as client:
        assert (await client.get("/jobs/one")).json()["quarantine"] is None
        await clock.advance(150)
        status = (await client.get("/jobs/one")).json()["quarantine"]
        answer = await asked(client, "GET", QUARANTINE)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        shown = answer.json()
        assert status == {"reason": shown["reason"], "at": shown["at"]}
        assert "max_shrink" in shown["reason"]
        assert (shown["job"], shown["served_version"]) == ("one", 1)
        assert (shown["seen"], shown["accept_after"]) == (1, 9)
        assert shown["difference"] == {
            "bytes": {"before": 25, "after": 7},
            "items": {"before": 4, "after": 1},
            "of": "members",
            "added": 0,
            "removed": 3,
            "changed": 1,
            "names": {"added": [], "removed": ["b", "c", "d"], "changed": ["a"]},
        }


async def test_its_body_comes_with_harmless_fields() -> None:
    clock = FakeClock()
    async with serving(guarded(clock, FULL, SMALL)) as client:
        await clock.advance(150)
        answer = await asked(client, "GET", f"{QUARANTINE}?body=1")
        assert answer.content == b'{"a":7}'
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        head = await asked(client, "HEAD", f"{QUARANTINE}?body=1")
        assert (head.content, head.headers["content-length"]) == (b"", "7")


async def test_what_is_refused_while_nothing_is_served_is_shown_alone() -> None:
    cache = Refresher(clock=FakeClock(), admin_token=TOKEN)
    cache.job("one", guard={"min_items": 5})(Upstream(["a"]))
    async with serving(cache) as client:
        shown = (await asked(client, "GET", QUARANTINE)).json()
        assert shown["served_version"] is None
        assert shown["difference"] == {
            "bytes": {"before": None, "after": 5},
            "items": {"before": None, "after": 1},
        }


async def test_accepting_publishes_it() -> None:
    clock = FakeClock()
    async with serving(guarded(clock, FULL, SMALL)) as client:
        await clock.advance(150)
        etag = (await asked(client, "GET", QUARANTINE)).json()["etag"]
        await client.post("/admin/jobs/one/pause", headers=ADMIN)
        answer = await asked(client, "POST", f"{QUARANTINE}/accept")
        assert answer.json() == {"job": "one", "version": 2, "etag": etag}
        read = await client.get("/data/one")
        assert (read.json(), read.headers["refresher-version"]) == (SMALL, "2")
        assert read.headers["etag"] == etag
        assert (await client.get("/jobs/one")).json()["quarantine"] is None


async def test_rejecting_drops_it() -> None:
    clock = FakeClock()
    async with serving(guarded(clock, FULL, SMALL)) as client:
        await clock.advance(150)
        answer = await asked(client, "POST", f"{QUARANTINE}/reject")
        assert answer.json() == {"job": "one", "quarantine": None}
        assert (await asked(client, "GET", QUARANTINE)).status_code == 404
        assert (await client.get("/data/one")).json() == FULL


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "?body=1"), ("POST", "/accept"), ("POST", "/reject")],
)
async def test_there_is_none_is_404_and_needs_the_token_to_learn(method: str, path: str) -> None:
    async with serving(guarded(FakeClock(), FULL)) as client:
        answer = await asked(client, method, QUARANTINE + path)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:refresher:no-quarantine"
        unknown = await asked(client, method, f"/admin/jobs/nope/quarantine{path}")
        assert unknown.json()["type"] == "urn:refresher:unknown-job"
        assert (await client.request(method, QUARANTINE + path)).status_code == 401


async def test_other_methods_are_refused() -> None:
    async with serving(guarded(FakeClock(), FULL)) as client:
        assert (await asked(client, "POST", QUARANTINE)).status_code == 405
        assert (await asked(client, "GET", f"{QUARANTINE}/accept")).status_code == 405
        assert (await asked(client, "GET", f"{QUARANTINE}/other")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "?body=1"), ("POST", "/accept"), ("POST", "/reject")],
)
async def test_while_the_store_is_away_nothing_is_decided(method: str, path: str) -> None:
    clock, store = FakeClock(), FailingStore()
    async with serving(guarded(clock, FULL, SMALL, store=store)) as client:
        await clock.advance(150)
        store.away = True
        for _ in range(2):  # the first finds it out
            answer = await asked(client, method, QUARANTINE + path)
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:refresher:store-unavailable"
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/data/one")).json() == FULL
        assert (await client.get("/jobs/one")).json()["quarantine"] is not None
