import logging
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from refresher.store.backends.sqlite.store import SqliteStore
from refresher.web.bodies import LARGEST_BODY
from tests.fakes import FakeClock, settled
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, Upstream, cache_of, down, kept_versions, served, serving

ROLLBACK = "/admin/jobs/one/rollback"


async def roll_back(client: httpx.AsyncClient, version: int) -> httpx.Response:
    return await client.post(ROLLBACK, json={"version": version}, headers=ADMIN)


async def job(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/jobs/one")).json()
    return found


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()["type"].removeprefix("urn:refresher:")


async def test_old_content_is_served_again_as_a_new_version_and_the_job_paused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, upstream = FakeClock(), Upstream([1], [2], [3])
    async with serving(cache_of(clock, one=upstream)) as client:
        await clock.advance(100)
        old = (await client.get("/jobs/one/history")).json()["versions"][-1]
        with caplog.at_level(logging.INFO, "refresher"):
            answer = await roll_back(client, 1)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"job": "one", "version": 3, "etag": old["etag"], "paused": True}
        assert [line for line in caplog.messages if "rolled back" in line] == [
            "one: rolled back to version 1, served as version 3; paused until somebody resumes it"
        ]
        read = await client.get("/data/one")
        assert (read.json(), read.headers["refresher-version"]) == ([1], "3")
        await clock.advance(1000)
        assert (await client.get("/data/one")).json() == [1]
        assert upstream.calls == 2
        assert ((await job(client))["paused"], (await job(client))["due_reason"]) == (
            True,
            "paused",
        )


async def test_the_current_version_becomes_a_new_one_too() -> None:
    async with serving(cache_of(one=Upstream([1]))) as client:
        etag = (await client.get("/data/one")).headers["etag"]
        assert (await roll_back(client, 1)).json()["version"] == 2
        read = await client.get("/data/one")
        assert (read.headers["etag"], read.headers["refresher-version"]) == (etag, "2")
        history = (await client.get("/jobs/one/history")).json()["versions"]
        assert [version["version"] for version in history] == [2, 1]


async def test_an_attempt_under_way_is_discarded() -> None:
    clock, upstream = FakeClock(), Upstream([1], [2], [3])
    async with serving(cache_of(clock, one=upstream)) as client:
        await clock.advance(100)
        upstream.hold = anyio.Event()
        answers: list[httpx.Response] = []

        async def refresh() -> None:
            answers.append(await client.post("/admin/refresh", json={"wait": "60s"}, headers=ADMIN))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refresh)
            await settled()
            assert upstream.calls == 3
            assert (await roll_back(client, 1)).json()["version"] == 3
        (result,) = answers[0].json()["results"]
        assert (result["outcome"], result["version"]) == ("failed", 3)
        assert "rolled back" in result["error"]["message"]
        upstream.hold.set()
        await settled()
        await clock.advance(1000)
        assert upstream.calls == 3
        read = await client.get("/data/one")
        assert (read.json(), read.headers["refresher-version"]) == ([1], "3")


async def test_a_scheduled_attempt_under_way_is_discarded() -> None:
    clock, upstream = FakeClock(), Upstream([1], [2], [3])
    async with serving(cache_of(clock, one=upstream)) as client:
        await clock.advance(100)
        upstream.hold = anyio.Event()
        await clock.advance(100)
        assert upstream.calls == 3
        assert (await roll_back(client, 1)).json()["version"] == 3
        upstream.hold.set()
        await settled()
        await clock.advance(1000)
        read = await client.get("/data/one")
        assert (read.json(), read.headers["refresher-version"]) == ([1], "3")
        assert (await job(client))["attempts"]["changed"] == 2


async def test_a_resumed_job_follows_its_source_again() -> None:
    clock = FakeClock()
    async with serving(cache_of(clock, one=Upstream([1], [2]))) as client:
        await clock.advance(100)
        await roll_back(client, 1)
        await client.post("/admin/jobs/one/resume", headers=ADMIN)
        await clock.advance(100)
        read = await client.get("/data/one")
        assert (read.json(), read.headers["refresher-version"]) == ([2], "4")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b"not json",
        b"[1]",
        b"1",
        b'{"version": "1"}',
        b'{"version": 1.5}',
        b'{"version": true}',
        b'{"version": null}',
        b'{"version": 0}',
        b'{"version": -1}',
        b'{"version": 1, "force": true}',
        b"\xff",
    ],
)
async def test_a_body_that_cannot_be_understood_is_422_and_changes_nothing(body: bytes) -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.post(ROLLBACK, content=body, headers=ADMIN)
        assert problem_of(answer) == (422, "invalid-request")
        assert answer.json()["detail"]
        assert ((await job(client))["version"], (await job(client))["paused"]) == (1, False)


async def test_an_unknown_key_is_told_what_there_is() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        body = {"version": 1, "to": 2}
        answer = await client.post(ROLLBACK, json=body, headers=ADMIN)
        assert answer.json()["detail"] == "to: is no key; there are version"


@pytest.mark.parametrize(("size", "status"), [(LARGEST_BODY, 200), (LARGEST_BODY + 1, 413)])
async def test_a_body_is_read_up_to_64_kib(size: int, status: int) -> None:
    async with serving(cache_of(one=Upstream())) as client:
        body = b'{"version": 1}'.ljust(size)
        assert (await client.post(ROLLBACK, content=body, headers=ADMIN)).status_code == status


async def test_versions_that_are_not_to_be_had_are_404_and_410() -> None:
    clock = FakeClock()
    cache = cache_of(clock, {"store": {"history": 1}}, one=Upstream([1], [2]))
    async with serving(cache) as client:
        await clock.advance(100)
        assert problem_of(await roll_back(client, 3)) == (404, "unknown-version")
        assert problem_of(await roll_back(client, 10**30)) == (404, "unknown-version")
        assert problem_of(await roll_back(client, 1)) == (410, "gone-version")
        unknown = await client.post("/admin/jobs/nope/rollback", json={"version": 1}, headers=ADMIN)
        assert problem_of(unknown) == (404, "unknown-job")
        assert ((await job(client))["version"], (await job(client))["paused"]) == (2, False)


async def test_it_needs_the_token() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.post(ROLLBACK, json={"version": 1})
        assert answer.status_code == 401


async def test_a_pending_job_has_nothing_to_go_back_to() -> None:
    async with serving(cache_of(one=Upstream(down()))) as client:
        assert problem_of(await roll_back(client, 1)) == (404, "unknown-version")


async def test_it_holds_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    async with serving(cache_of(None, {}, SqliteStore(file), one=Upstream([1], [2]))) as client:
        await kept_versions(client, "one")
        newest, *_, first = await kept_versions(client, "one")
        assert (await roll_back(client, first)).json()["version"] == newest + 1
    async with serving(cache_of(None, {}, SqliteStore(file), one=Upstream([3]))) as client:
        read = await served(client, "one")
        assert (read.json(), read.headers["refresher-version"]) == ([1], str(newest + 1))
        assert (await job(client))["paused"]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ROLLBACK, {"version": 1}),
        (ROLLBACK, {"version": 2}),
        ("/admin/jobs/one/pause", None),
        ("/admin/jobs/one/resume", None),
    ],
)
async def test_what_a_store_cannot_be_told_changes_nothing(
    path: str, body: object, *, known: bool
) -> None:
    clock, store = FakeClock(), FailingStore()
    async with serving(cache_of(clock, {}, store, one=Upstream([1], [2], [3]))) as client:
        await clock.advance(100)
        store.away = True
        if known:
            await client.get("/data/one?version=1")
        answer = await client.post(path, json=body, headers=ADMIN)
        assert problem_of(answer) == (503, "store-unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "s3cr3t" not in answer.text
        assert ((await job(client))["version"], (await job(client))["paused"]) == (2, False)
        read = await client.get("/data/one")
        assert read.json() == [2]
        assert read.headers["cache-status"].endswith("; detail=detached")


async def test_while_the_store_is_away_nobody_knows_what_it_keeps() -> None:
    clock, store = FakeClock(), FailingStore()
    cache = cache_of(clock, {"store": {"history": 1}}, store, one=Upstream([1], [2], [3]))
    async with serving(cache) as client:
        await clock.advance(100)
        store.away = True
        await clock.advance(100)
        for version in (1, 2, 3, 9):
            assert problem_of(await roll_back(client, version)) == (503, "store-unavailable")
        assert (await client.get("/data/one")).json() == [3]


class TestPause:
    async def test_rests_the_job_until_resume(self) -> None:
        clock, one = FakeClock(), Upstream()
        async with serving(cache_of(clock, one=one)) as client:
            answer = await client.post("/admin/jobs/one/pause", headers=ADMIN)
            assert (answer.status_code, answer.json()) == (200, {"job": "one", "paused": True})
            assert answer.headers["cache-control"] == "no-store"
            await clock.advance(1000)
            assert one.calls == 1
            shown = (await client.get("/jobs/one")).json()
            assert (shown["paused"], shown["due_reason"], shown["due_at"]) == (True, "paused", None)
            answer = await client.post("/admin/jobs/one/resume", headers=ADMIN)
            assert answer.json() == {"job": "one", "paused": False}
            await settled()
            assert one.calls == 2

    async def test_grows_stale_like_any_other_and_is_served(self) -> None:
        clock = FakeClock()
        async with serving(cache_of(clock, one=Upstream())) as client:
            await client.post("/admin/jobs/one/pause", headers=ADMIN)
            await clock.advance(150)
            answer = await client.get("/data/one")
            assert answer.status_code == 200
            assert answer.headers["cache-status"].endswith("; detail=paused")
            assert (await client.get("/jobs/one")).json()["state"] == "stale"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    async def test_of_a_job_that_is_not_there_is_404(self, verb: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.post(f"/admin/jobs/nope/{verb}", headers=ADMIN)
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:refresher:unknown-job"

    async def test_twice_is_as_once(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            for _ in range(2):
                answer = await client.post("/admin/jobs/one/pause", headers=ADMIN)
                assert answer.json() == {"job": "one", "paused": True}
