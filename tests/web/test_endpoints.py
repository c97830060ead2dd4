from pathlib import Path

from refresher.pipeline import representation
from refresher.store.backends.sqlite.store import SqliteStore
from refresher.web.status import rfc3339
from tests.fakes import START, FakeClock
from tests.web.serving import Upstream, cache_of, kept_versions, serving


async def test_kept_versions_are_listed_the_newest_first() -> None:
    clock = FakeClock()
    async with serving(cache_of(clock, one=Upstream([1], 17, {"a": 1, "b": 2}))) as client:
        await clock.advance(200)
        answer = await client.get("/jobs/one/history")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        versions = answer.json()["versions"]
        assert [version["version"] for version in versions] == [3, 2, 1]
        changed_at = versions[0].pop("changed_at")
        assert versions[0] == {
            "version": 3,
            "etag": representation.etag_of(b'{"a":1,"b":2}', "application/json"),
            "bytes": 13,
            "items": 2,
        }
        assert changed_at == (await client.get("/jobs/one")).json()["changed_at"]
        assert (versions[1]["bytes"], versions[1]["items"]) == (2, None)
        assert versions[2]["changed_at"] == rfc3339(START)
        for version in versions:
            read = await client.get(f"/data/one?version={version['version']}")
            assert read.headers["etag"] == version["etag"]


async def test_no_more_are_listed_than_are_kept() -> None:
    clock = FakeClock()
    cache = cache_of(clock, {"store": {"history": 2}}, one=Upstream([1], [2], [3]))
    async with serving(cache) as client:
        await clock.advance(200)
        versions = (await client.get("/jobs/one/history")).json()["versions"]
        assert [version["version"] for version in versions] == [3, 2]


async def test_a_pending_job_has_none() -> None:
    async with serving(cache_of(one=Upstream(ValueError("no")))) as client:
        assert (await client.get("/jobs/one/history")).json() == {"versions": []}


async def test_a_job_that_is_not_there_is_404() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.get("/jobs/nope/history")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:refresher:unknown-job")


async def test_history_outlives_a_restart(tmp_path: Path) -> None:
    listed = []
    for _ in range(2):
        cache = cache_of(None, {}, SqliteStore(tmp_path / "store.db"), one=Upstream([1]))
        async with serving(cache) as client:
            await kept_versions(client, "one")
            listed.append((await client.get("/jobs/one/history")).json())
    assert listed[0] == listed[1]
    assert listed[0]["versions"]
