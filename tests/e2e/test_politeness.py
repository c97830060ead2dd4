"""How jobs treat their upstreams: from the answers of one to when the next is asked for."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from refresher import Refresher
from refresher.jobs import actions
from refresher.model import DueReason, Stage
from refresher.payload import NotModified
from tests.fakes import START, FakeClock, FakeSource, payload
from tests.faults import Answer, FaultServer, Request, answer, json_answer, serving
from tests.jobs.builder import Scene, down, running
from tests.watching import record, until, until_attempted


class TestFreshnessOfTheSource:
    async def test_stretches_the_interval_to_the_next_moment_after_it(self) -> None:
        scene = Scene()
        job, source = scene.job(replace(payload(), fresh_for=730.0), max_interval=86_400.0)
        async with running(job):
            due = scene.record().due
            snapshot = scene.record().snapshot
            assert due.at is not None
            assert snapshot is not None
            assert 730 <= due.at - START <= 830
            assert due.at == START + snapshot.lifetime
            assert due.at == job.plan.due_after(START + 650, START + 650, seed=""), (
                "it keeps its phase"
            )
            await scene.clock.advance(729)
            assert len(source.asked_at) == 1
            await scene.clock.advance(101)
            assert len(source.asked_at) == 2

    async def test_of_a_304_counts_as_well(self) -> None:
        scene = Scene()
        confirmed = NotModified(revision="r1", fresh_for=500.0)
        job, source = scene.job(payload(), confirmed, max_interval=86_400.0)
        async with running(job):
            await scene.clock.advance(549)
        assert len(source.asked_at) == 2

    async def test_is_believed_up_to_max_interval_and_never_shortens(self) -> None:
        for fresh_for, least, most in [(1e9, 300, 400), (1.0, 50, 150)]:
            scene = Scene()
            job, _ = scene.job(replace(payload(), fresh_for=fresh_for), max_interval=300.0)
            async with running(job):
                assert least <= (scene.record().due.at or 0) - START <= most

    async def test_is_not_asked_for_unless_it_is_to_be_respected(self) -> None:
        scene = Scene()
        job, _ = scene.job(replace(payload(), fresh_for=1e9))
        async with running(job):
            assert (scene.record().due.at or 0) - START <= 150

    async def test_is_no_bar_to_a_manual_refresh(self) -> None:
        scene = Scene()
        job, source = scene.job(replace(payload(), fresh_for=1e9), max_interval=86_400.0)
        async with running(job):
            await job.answer_to(await job.request())
        assert len(source.asked_at) == 2

    async def test_is_kept_when_the_wall_clock_is_set(self) -> None:
        scene = Scene()
        job, source = scene.job(replace(payload(), fresh_for=1e9), max_interval=86_400.0)
        async with running(job):
            await scene.clock.advance(10)
            await job.look_again()
            await scene.clock.advance(10_000)
        assert len(source.asked_at) == 1


class TestAHold:
    async def test_of_the_upstream_outlasts_a_shorter_one_of_the_job(self) -> None:
        scene = Scene()
        limiter = scene.limiter()
        job, source = scene.job(down(retry_after=30.0), payload(), limiter=limiter)
        async with running(job):
            limiter.hold(START + 60)
            await scene.clock.advance(59)
            assert len(source.asked_at) == 1
            assert scene.record().due.reason is DueReason.UPSTREAM_LIMIT
            await scene.clock.advance(2)
            assert len(source.asked_at) == 2

    async def test_of_the_job_outlasts_a_shorter_one_of_the_upstream(self) -> None:
        scene = Scene()
        limiter = scene.limiter()
        job, source = scene.job(down(retry_after=60.0), payload(), limiter=limiter)
        async with running(job):
            limiter.hold(START + 30)
            await scene.clock.advance(59)
            assert len(source.asked_at) == 1
            assert scene.record().due.reason is DueReason.RETRY_AFTER


class TestAJobWithANewSecret:
    async def test_is_attempted_at_once(self) -> None:
        scene = Scene()
        job, before = scene.job(down())
        after = FakeSource([payload()], scene.clock)
        async with running(job):
            job.replace_source(after)
            await scene.clock.advance(0)
            assert scene.body() == b'{"a":1}'
        assert (len(before.asked_at), after.asked_at) == (1, [START])

    async def test_is_attempted_again_after_an_attempt_under_way_with_the_old_one(self) -> None:
        scene = Scene()
        job, before = scene.job(payload())
        before.hold = anyio.Event()
        after = FakeSource([payload(b"[2]")], scene.clock)
        async with running(job):
            job.replace_source(after)
            before.hold.set()
            await scene.clock.advance(0)
            assert (len(before.asked_at), len(after.asked_at)) == (1, 1)
            await scene.clock.advance(40)
            assert len(after.asked_at) == 1, "once"

    async def test_still_heeds_a_retry_after(self) -> None:
        scene = Scene()
        job, _ = scene.job(down(retry_after=30.0))
        after = FakeSource([payload()], scene.clock)
        async with running(job):
            job.replace_source(after)
            await scene.clock.advance(29)
            assert after.asked_at == []
            await scene.clock.advance(2)
            assert len(after.asked_at) == 1

    async def test_waits_while_it_is_paused(self) -> None:
        scene = Scene()
        job, _ = scene.job(payload())
        after = FakeSource([payload()], scene.clock)
        async with running(job):
            await actions.pause(job)
            job.replace_source(after)
            await scene.clock.advance(1)
            assert after.asked_at == []
            await actions.resume(job)
            await scene.clock.advance(0)
            assert len(after.asked_at) == 1


# From here on with real sockets, or what stands in their place, and all parts together.


@pytest.fixture
async def upstream() -> AsyncIterator[FaultServer]:
    async with serving() as server:
        yield server


@asynccontextmanager
async def attempted(cache: Refresher) -> AsyncIterator[Refresher]:
    """Enter it, and go on once every job has been attempted."""
    async with cache:
        await until_attempted(cache)
        yield cache


def failure(cache: Refresher, job: str = "a") -> tuple[Stage, str]:
    attempt = record(cache, job).last_attempt
    assert attempt is not None
    assert attempt.failure is not None
    return attempt.failure.stage, attempt.failure.message


class Limited:
    """An upstream with a quota of one request, that tells so with the fields it is given."""

    def __init__(self, status: int, fields: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._status = status
        self.fields = fields

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path == "/away":
            return httpx.Response(302, headers={"Location": "http://stranger/x"})
        if request.headers.get("if-none-match"):
            return httpx.Response(304, headers=self.fields)
        headers = {"ETag": '"a"', **self.fields} if self._status == 200 else self.fields
        return httpx.Response(self._status, json={"a": 1}, headers=headers)


@pytest.mark.parametrize("status", [200, 403, 429, 500])
@pytest.mark.parametrize(
    "fields",
    [
        {"RateLimit": '"a";r=0;t=10'},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0m10s"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{START + 10:.0f}"},
    ],
)
async def test_a_used_up_quota_holds_all_jobs_of_the_upstream_until_its_reset(
    status: int, fields: Mapping[str, str]
) -> None:
    clock, upstream = FakeClock(), Limited(status, fields)
    jobs = {name: {"url": f"http://up/{name}", "interval": "2s"} for name in ("a", "b", "c")}
    config = {
        "upstreams": {"up": {"max_concurrency": 1}},
        "defaults": {"upstream": "up"},
        "jobs": jobs,
    }
    cache = Refresher(config, transport=httpx.MockTransport(upstream), clock=clock)
    async with cache:
        await clock.advance(9)
        assert len(upstream.asked) == 1
        for job in jobs:
            due = record(cache, job).due
            assert (due.reason, due.at) == (DueReason.UPSTREAM_LIMIT, START + 10)
        await clock.advance(2)
        assert len(upstream.asked) > 1


async def test_a_quota_told_with_a_304_holds_too() -> None:
    clock, upstream = FakeClock(), Limited(200, {})
    config = {"jobs": {"a": {"url": "http://up/a", "interval": "2s"}}}
    async with Refresher(config, transport=httpx.MockTransport(upstream), clock=clock) as cache:
        await clock.advance(0)
        upstream.fields = {"RateLimit": '"a";r=0;t=50'}
        await clock.advance(10)
        assert len(upstream.asked) == 2
        assert record(cache, "a").due.reason is DueReason.UPSTREAM_LIMIT


async def test_a_quota_told_to_a_function_holds_too() -> None:
    clock, upstream = FakeClock(), Limited(200, {"RateLimit": '"a";r=0;t=500'})
    cache = Refresher(
        {"upstreams": {"up": {"base_url": "http://up"}}},
        transport=httpx.MockTransport(upstream),
        clock=clock,
    )

    @cache.job(interval="2s", upstream="up")
    async def names(client: httpx.AsyncClient) -> object:
        return (await client.get("/names")).json()

    async with cache:
        await clock.advance(10)
        assert upstream.asked == ["/names"]


async def test_a_strangers_quota_holds_nobody() -> None:
    clock, upstream = FakeClock(), Limited(200, {"RateLimit": '"a";r=0;t=500'})
    jobs = {"a": {"url": "http://up/away", "interval": "2s"}}
    async with Refresher({"jobs": jobs}, transport=httpx.MockTransport(upstream), clock=clock):
        await clock.advance(10)
        assert len(upstream.asked) >= 8


async def test_a_403_for_a_used_up_quota_says_so() -> None:
    upstream = Limited(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "100"})
    cache = Refresher(
        {"jobs": {"a": {"url": "http://up/a"}}}, transport=httpx.MockTransport(upstream)
    )
    async with attempted(cache):
        assert failure(cache) == (
            Stage.STATUS,
            "http://up/a answered 403 Forbidden; its rate limit is used up for another 100 s",
        )


async def test_max_age_is_respected_where_the_job_says_so() -> None:
    clock = FakeClock()

    def serve(request: httpx.Request) -> httpx.Response:
        fields = {"Cache-Control": "max-age=700", "Age": "100", "ETag": '"a"'}
        known = request.headers.get("if-none-match")
        return httpx.Response(
            304 if known else 200, headers=fields, content=b"" if known else b"[]"
        )

    jobs: dict[str, dict[str, object]] = {
        "polite": {"respect_cache_control": True},
        "capped": {"respect_cache_control": True, "max_interval": "5m"},
        "plain": {},
    }
    for name, job in jobs.items():
        job.update(url=f"http://up/{name}", interval="1m", format="json", jitter="0%")
    async with Refresher(
        {"jobs": jobs}, transport=httpx.MockTransport(serve), clock=clock
    ) as cache:
        await clock.advance(0)
        # A lifetime runs from when the answer was made, 100 s ago.
        lifetimes = {name: record(cache, name).snapshot.lifetime - 100 for name in jobs}  # type: ignore[union-attr]
        attempt = await cache.refresh("polite")
        assert attempt.outcome == "unchanged"
        assert record(cache, "polite").snapshot.lifetime >= 700  # type: ignore[union-attr]
    assert 600 <= lifetimes["polite"] <= 660
    assert 300 <= lifetimes["capped"] <= 360
    assert 30 <= lifetimes["plain"] <= 90


async def test_500_jobs_open_no_more_connections_than_their_host_may_have(
    upstream: FaultServer,
) -> None:
    seen = asyncio.Semaphore(0)

    def slow(request: Request) -> Answer:
        seen.release()
        return json_answer(json.dumps(request.target).encode())

    for n in range(500):
        upstream.script(f"/{n}", slow)
    jobs = {f"job-{n}": {"url": upstream.url(f"/{n}")} for n in range(500)}
    async with attempted(Refresher({"jobs": jobs})) as cache:
        assert cache.get("job-499").value == "/499"
        assert len(upstream.requests) == 500
        assert upstream.most_connections <= 4
        assert upstream.connections <= 4
    await upstream.until_left()


def idp(upstream: FaultServer, *tokens: str) -> dict[str, object]:
    """A token endpoint that issues those in turn, and the auth that asks it."""
    answers = [
        json_answer(json.dumps({"access_token": token, "token_type": "bearer"}).encode())
        for token in tokens
    ]
    return {
        "type": "oauth2",
        "token_url": upstream.script("/token", *answers),
        "client_id": "me",
        "client_secret": "cl13nt-s3cret",
    }


def guarded(request: Request) -> Answer:
    if request.header("authorization") == "Bearer t0ken-that-opens":
        return json_answer(b"[1]")
    return answer(401, f"{request.header('authorization')} is wrong".encode())


async def test_the_jobs_of_an_upstream_share_one_token(upstream: FaultServer) -> None:
    auth = idp(upstream, "t0ken-that-opens")
    upstream.script("/data", guarded)
    config = {
        "upstreams": {"api": {"base_url": upstream.url("/"), "auth": auth}},
        "jobs": {f"job-{n}": {"upstream": "api", "url": "data"} for n in range(20)},
    }
    async with attempted(Refresher(config)) as cache:
        assert cache.get("job-19").value == [1]
    assert [request.target for request in upstream.requests].count("/token") == 1


async def test_jobs_without_an_upstream_share_a_token_if_their_auth_is_the_same(
    upstream: FaultServer,
) -> None:
    auth = idp(upstream, "t0ken-that-opens")
    upstream.script("/data", guarded)
    jobs = {f"job-{n}": {"url": upstream.url("/data"), "auth": auth} for n in range(8)}
    jobs["other"] = {"url": upstream.url("/data"), "auth": {**auth, "scope": "more"}}
    async with attempted(Refresher({"jobs": jobs})):
        pass
    assert [request.target for request in upstream.requests].count("/token") == 2


async def test_a_token_is_a_secret_from_the_moment_it_is_there(
    upstream: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    auth = idp(upstream, "t0ken-that-opens")
    cache = Refresher()

    @cache.job(upstream="api", auth=auth)  # type: ignore[arg-type]
    async def echo(client: httpx.AsyncClient) -> None:
        response = await client.get("/data")
        raise ValueError(f"{response.request.headers['authorization']} cl13nt-s3cret")

    cache._source = {"upstreams": {"api": {"base_url": upstream.url()}}}  # noqa: SLF001
    with caplog.at_level(logging.DEBUG):
        async with attempted(cache):
            assert failure(cache, "echo") == (Stage.SOURCE, "ValueError: Bearer *** ***")
            assert cache.redact("t0ken-that-opens") == "***"
    assert "t0ken" not in caplog.text
    assert "cl13nt" not in caplog.text


async def test_a_token_endpoint_that_fails_is_a_failure_at_stage_auth(
    upstream: FaultServer,
) -> None:
    auth = idp(upstream)
    upstream.script("/token", answer(401, b'{"error": "invalid_client"}'))
    job = {"url": upstream.url("/data"), "auth": auth}
    async with attempted(Refresher({"jobs": {"a": job}})) as cache:
        stage, said = failure(cache)
        assert (stage, said.partition(": ")[2]) == (
            Stage.AUTH,
            "it answered 401: invalid_client",
        )
    # by the header, and once more with the form: some endpoints know the client only so
    assert [request.target for request in upstream.requests] == ["/token", "/token"]


class Signature(httpx.Auth):
    """An embedder's own."""

    def auth_flow(self, request: httpx.Request):  # type: ignore[no-untyped-def]  # noqa: ANN201
        request.headers["X-Signature"] = "signed"
        yield request


async def test_an_embedder_may_pass_an_auth_of_its_own(upstream: FaultServer) -> None:
    for path in ("/table", "/job", "/bare"):
        upstream.script(path, json_answer(b"[1]"))
    config = {
        "upstreams": {"api": {"base_url": upstream.url(), "auth": Signature()}},
        "jobs": {"table": {"upstream": "api", "url": "/table"}},
    }
    cache = Refresher(config)

    @cache.job(upstream="api")
    async def inherited(client: httpx.AsyncClient) -> object:
        elsewhere = upstream.url("/elsewhere", host="localhost")
        await client.get(elsewhere)
        return (await client.get("/job")).json()

    @cache.job(auth=Signature())
    async def bare(client: httpx.AsyncClient) -> object:
        return (await client.get(upstream.url("/bare"))).json()

    async with attempted(cache):
        assert cache.get("inherited").value == cache.get("table").value == [1]
    signed = {request.target: request.header("x-signature") for request in upstream.requests}
    assert signed == {"/table": "signed", "/job": "signed", "/bare": "signed", "/elsewhere": None}


async def test_a_rotated_secret_is_tried_at_once(upstream: FaultServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0ld-token")
    upstream.script("/data", guarded)
    upstream.script("/other", json_answer(b"[]"))
    (tmp_path / "config.toml").write_text(f"""
        [jobs.a]
        url = "{upstream.url("/data")}"
        interval = "1h"
        auth = {{ type = "bearer", token = "${{file:secret}}" }}
        [jobs.b]
        url = "{upstream.url("/other")}"
    """)
    async with attempted(Refresher.from_toml(tmp_path / "config.toml")) as cache:
        assert failure(cache)[0] is Stage.STATUS
        secret.write_text("t0ken-that-opens")
        await until(cache, lambda: record(cache).snapshot is not None)
    assert [request.target for request in upstream.requests].count("/other") == 1
