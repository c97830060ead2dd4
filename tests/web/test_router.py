import logging
from collections.abc import Mapping
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from refresher import Refresher
from refresher.service.service import Service
from refresher.web.answer import json_answer
from refresher.web.endpoints import Endpoints
from refresher.web.routing import as_response
from tests.fakes import FakeClock, FakeSource, payload, settled
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, TOKEN, Upstream, asking, cache_of, down, serving

DIFF = "/jobs/one/diff?from=1&to=1"
READS = ["/data/one", "/jobs", "/jobs/one", "/jobs/one/history", DIFF, "/metrics"]
OPEN = ["/livez", "/readyz", "/freshz", "/openapi.json", "/docs"]
ADMINS = [
    "/admin/refresh",
    "/admin/jobs/one/pause",
    "/admin/jobs/one/resume",
    "/admin/jobs/one/rollback",
    "/admin/jobs/nope/pause",
    "/admin/reload",
    "/admin/",
]
APP = "https://app.example"


def locked(**jobs: Upstream) -> Refresher:
    return cache_of(None, {"server": {"read_tokens": ["r3ad"]}}, **jobs)


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    if answer.request.method == "HEAD":
        assert answer.content == b""
        return {}
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"] == "about:blank" or found["type"].startswith("urn:refresher:")
    assert found["title"]
    assert found["detail"]
    return found


class TestMethods:
    @pytest.mark.parametrize(
        "path", ["/jobs", "/jobs/one", "/livez", "/readyz", "/freshz", "/metrics"]
    )
    async def test_of_what_is_read_are_get_and_head(self, path: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            get, head = await client.get(path), await client.head(path)
            assert get.status_code == head.status_code == 200
            assert head.content == b""
            assert head.headers["content-type"] == get.headers["content-type"]
            assert get.headers["cache-control"] == head.headers["cache-control"] == "no-store"
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
                answer = await client.request(method, path)
                is_problem(answer, 405)
                assert answer.headers["allow"] == "GET, HEAD"

    @pytest.mark.parametrize("path", ["/admin/refresh", "/admin/jobs/one/pause"])
    async def test_of_what_is_done_is_post(self, path: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
                answer = await client.request(method, path, headers=ADMIN)
                is_problem(answer, 405)
                assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize("path", ["/", "/nope", "/jobs/", "/data", "/jobs/a/b", "//jobs"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
    async def test_of_what_is_not_there_are_none(self, method: str, path: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            is_problem(await client.request(method, f"http://testserver{path}"), 404)

    async def test_of_an_admin_path_that_is_not_there_are_none(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            for method in ("GET", "POST"):
                is_problem(await client.request(method, "/admin/reload", headers=ADMIN), 404)


def test_an_answer_to_head_has_no_body() -> None:
    request = Request({"type": "http", "method": "HEAD", "headers": []})
    response = as_response(request, json_answer({"a": 1}))
    assert response.body == b""
    assert response.headers["content-length"] == "7"


class TestReadTokens:
    @pytest.mark.parametrize("path", READS)
    @pytest.mark.parametrize("authorization", [None, "Bearer nope", "Basic cjNhZDo=", "r3ad"])
    async def test_are_asked_for_by_what_tells_of_data(
        self, path: str, authorization: str | None
    ) -> None:
        headers = {} if authorization is None else {"authorization": authorization}
        async with serving(locked(one=Upstream())) as client:
            answer = await client.get(path, headers=headers)
            is_problem(answer, 401)
            assert answer.headers["www-authenticate"] == 'Bearer realm="refresher"'

    @pytest.mark.parametrize("path", READS)
    @pytest.mark.parametrize("token", ["r3ad", TOKEN])
    async def test_open_it_as_the_admin_token_does(self, path: str, token: str) -> None:
        async with serving(locked(one=Upstream())) as client:
            answer = await client.get(path, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200

    @pytest.mark.parametrize("path", OPEN)
    async def test_are_not_asked_for_by_the_rest(self, path: str) -> None:
        async with serving(locked(one=Upstream())) as client:
            assert (await client.get(path)).status_code == 200

    async def test_do_not_open_admin(self) -> None:
        async with serving(locked(one=Upstream())) as client:
            answer = await client.post("/admin/refresh", headers={"authorization": "Bearer r3ad"})
            is_problem(answer, 401)

    async def test_protect_the_names_of_jobs_in_health_too(self) -> None:
        cache = locked()
        cache.job("secretive", required=True)(Upstream(down()))
        cache.job("broken")(Upstream(down()))
        read = {"authorization": "Bearer r3ad"}
        async with serving(cache) as client:
            assert "secretive" in (await client.get("/readyz", headers=read)).text
            anonymous = await client.get("/readyz")
            is_problem(anonymous, 503)
            assert "secretive" not in anonymous.text
            assert "secretive" in (await client.get("/freshz", headers=read)).text
            anonymous = await client.get("/freshz")
            is_problem(anonymous, 503)
            assert "secretive" not in anonymous.text
            assert (await client.get("/livez")).json() == {"status": "ok"}


class TestFreshness:
    async def test_is_of_the_required_jobs_and_says_what_is_wrong_with_them(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock, beside=Upstream(down()))
        one, two = Upstream(["a"], down()), Upstream(["b"])
        cache.job("one", required=True)(one)
        cache.job("two", required=True, changes_by="*/5 * * * *")(two)
        async with serving(cache) as client:
            assert (await client.get("/freshz")).json() == {"status": "fresh"}
            await clock.advance(200)
            found = is_problem(await client.get("/freshz"), 503)
            assert found["jobs"] == {"one": "stale: connect"}
            assert "one (stale: connect)" in found["detail"]
            await clock.advance(500)
            found = is_problem(await client.get("/freshz"), 503)
            assert found["jobs"] == {"one": "stale: connect", "two": "late"}
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/jobs/two")).json()["late"] is True

    async def test_is_there_once_what_was_pending_is_fresh(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock)
        cache.job("one", required=True)(Upstream(down(), ["a"]))
        async with serving(cache) as client:
            found = is_problem(await client.get("/freshz"), 503)
            assert found["jobs"] == {"one": "pending"}
            await clock.advance(100)
            assert (await client.get("/freshz")).status_code == 200


class TestTheAdminToken:
    @pytest.mark.parametrize("path", ADMINS)
    @pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS", "DELETE", "PROPFIND"])
    async def test_is_needed_before_anything_is_said(self, method: str, path: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.request(method, path, content=b"not even read")
            is_problem(answer, 401)
            assert answer.headers["www-authenticate"] == 'Bearer realm="refresher"'

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN} {TOKEN}",
            f"Bearer {TOKEN.upper()}",
            f"Bearer\t{TOKEN}",
            f"Bearer{TOKEN}",
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer tök\u00ffen",
            f'Bearer token="{TOKEN}"',
            "Bearer " + "x" * 10_000,
        ],
    )
    async def test_is_not_whatever_looks_like_it(self, authorization: str) -> None:
        one = Upstream()
        async with serving(cache_of(one=one)) as client:
            headers = {"authorization": authorization.encode("latin-1")}
            is_problem(await client.post("/admin/refresh", headers=headers), 401)  # type: ignore[arg-type]
            await settled()
            assert one.calls == 1

    @pytest.mark.parametrize("template", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer    {}  "])
    async def test_opens_admin_however_the_scheme_is_written(self, template: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            headers = {"authorization": template.format(TOKEN)}
            assert (await client.post("/admin/refresh", headers=headers)).status_code == 202

    async def test_sent_twice_is_none(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            pairs = [("authorization", "Bearer x"), ("authorization", f"Bearer {TOKEN}")]
            is_problem(await client.post("/admin/refresh", headers=pairs), 401)

    async def test_may_be_any_of_several(self) -> None:
        cache = Refresher({"admin": {"token": ["first", "second"]}}, clock=FakeClock())
        cache.job("one")(Upstream())
        async with serving(cache) as client:
            for token in ("first", "second"):
                headers = {"authorization": f"Bearer {token}"}
                assert (await client.post("/admin/refresh", headers=headers)).status_code == 202

    @pytest.mark.parametrize("token", [None, ""])
    async def test_that_is_not_there_opens_nothing(self, token: str | None) -> None:
        cache = Refresher(clock=FakeClock(), admin_token=token)
        cache.job("one")(Upstream())
        async with serving(cache) as client:
            for authorization in ("", "Bearer ", "Bearer None", 'Bearer ""'):
                headers = {"authorization": authorization}
                is_problem(await client.post("/admin/refresh", headers=headers), 401)

    async def test_that_is_wrong_is_logged_without_its_value(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            headers = {"authorization": "Bearer gu3ssed"}
            with caplog.at_level(logging.WARNING, "refresher"):
                await client.post("/admin/refresh?token=gu3ssed", headers=headers)
                await client.post("/admin/jobs/a%1B%0Ab/pause", headers=headers)
            first, second = (each.getMessage() for each in caplog.records)
            assert "POST /admin/refresh" in first
            assert "127.0.0.1" in first
            assert "gu3ssed" not in caplog.text
            assert second.isprintable(), "a line is a line, and no terminal obeys it"


class TestOtherOrigins:
    def cache(self, **jobs: Upstream) -> Refresher:
        return cache_of(None, {"server": {"cors_origins": [APP], "read_tokens": ["r"]}}, **jobs)

    @pytest.mark.parametrize("path", ["/jobs", "/jobs/one", "/jobs/nope", "/data/one"])
    async def test_may_read_data_and_status(self, path: str) -> None:
        headers = {"origin": APP, "authorization": "Bearer r"}
        async with serving(self.cache(one=Upstream())) as client:
            answer = await client.get(path, headers=headers)
            assert answer.headers["access-control-allow-origin"] == APP
            assert "ETag" in answer.headers["access-control-expose-headers"]
            assert "Origin" in answer.headers["vary"].split(", ")
            denied = await client.get(path, headers={**headers, "origin": "https://evil.example"})
            assert "access-control-allow-origin" not in denied.headers
            assert "Origin" in denied.headers["vary"].split(", ")
            refused = await client.get(path, headers={"origin": APP})
            assert refused.status_code == 401
            assert refused.headers["access-control-allow-origin"] == APP, "so that it can see why"

    @pytest.mark.parametrize("path", ["/jobs", "/jobs/one", "/data/one"])
    async def test_are_granted_it_in_a_preflight_without_a_token(self, path: str) -> None:
        asked = {"origin": APP, "access-control-request-method": "GET"}
        async with serving(self.cache(one=Upstream())) as client:
            answer = await client.options(path, headers=asked)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == APP
            assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
            assert {"Origin", "Access-Control-Request-Method"} <= set(
                answer.headers["vary"].split(", ")
            )

    @pytest.mark.parametrize("path", ["/admin/refresh", "/admin/jobs/one/pause"])
    async def test_may_never_administer(self, path: str) -> None:
        async with serving(self.cache(one=Upstream())) as client:
            asked = {"origin": APP, "access-control-request-method": "POST"}
            for headers in (asked, {**asked, **ADMIN}):
                for method in ("OPTIONS", "POST"):
                    answer = await client.request(method, path, headers=headers)
                    assert not any(name.startswith("access-control") for name in answer.headers)
                    assert answer.status_code != 204

    async def test_are_not_mentioned_where_none_are_configured(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.get("/jobs", headers={"origin": APP})
            assert "vary" not in answer.headers
            assert not any(name.startswith("access-control") for name in answer.headers)


class Lifeless:
    """A service whose scheduler has stopped."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def is_alive(self) -> bool:
        return False

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)


class TestHealth:
    async def test_readiness_waits_for_every_required_job_and_names_what_is_missing(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock, other=Upstream(down()))
        cache.job("needed", required=True)(Upstream(down(), down(), ["a"]))
        cache.job("there", required=True)(Upstream())
        async with serving(cache) as client:
            found = is_problem(await client.get("/readyz"), 503)
            assert found["missing"] == ["needed"]
            assert "needed" in found["detail"]
            assert "there" not in found["detail"]
            await clock.advance(10)
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
            assert answer.headers["cache-control"] == "no-store"

    async def test_readiness_is_kept_once_it_was_there_until_the_end(self) -> None:
        clock = FakeClock()
        cache = Refresher(clock=clock)
        cache.job("needed", required=True, max_stale="1s", on_expired="fail")(
            Upstream(["a"], down())
        )
        async with serving(cache) as client:
            assert (await client.get("/readyz")).status_code == 200
            await clock.advance(1000)
            assert (await client.get("/data/needed")).status_code == 503
            assert (await client.get("/readyz")).status_code == 200
            cache.close_soon()
            await settled()
            found = is_problem(await client.get("/readyz"), 503)
            assert found["type"] == "urn:refresher:closing"
            assert (await client.get("/livez")).status_code == 200

    async def test_a_job_that_broke_is_named_until_it_has_recovered_and_the_service_lives(
        self,
    ) -> None:
        clock = FakeClock()
        cache = cache_of(clock, fine=Upstream(), broken=Upstream())
        async with serving(cache) as client:
            assert (await client.get("/livez")).json() == {"status": "ok", "crashed": {}}
            job = cache.service.jobs.get("broken")
            assert job is not None
            job.replace_source(FakeSource([KeyError("oops"), payload()], clock))
            await client.post("/admin/refresh", headers=ADMIN)
            await settled()
            answer = await client.get("/livez")
            assert answer.status_code == 200
            assert answer.json() == {"status": "ok", "crashed": {"broken": "KeyError: 'oops'"}}
            await clock.advance(5)
            assert (await client.get("/livez")).json() == {"status": "ok", "crashed": {}}

    @pytest.mark.parametrize("at_start", [False, True])
    async def test_a_store_that_is_away_is_told_and_not_fatal(self, *, at_start: bool) -> None:
        store = FailingStore()
        store.away = at_start
        async with serving(cache_of(None, {}, store, one=Upstream())) as client:
            store.away = True
            await client.get("/data/one?version=1")
            answer = await client.get("/livez")
            assert answer.status_code == 200
            assert answer.json() == {"status": "ok", "crashed": {}, "store": "detached"}
            status = (await client.get("/data/one")).headers["cache-status"]
            assert status.endswith("; detail=detached")

    async def test_a_store_that_is_away_is_nothing_to_those_who_may_not_read(self) -> None:
        config = {"server": {"read_tokens": ["r3ad"]}}
        store = FailingStore()
        store.away = True
        async with serving(cache_of(None, config, store, one=Upstream())) as client:
            assert (await client.get("/livez")).json() == {"status": "ok"}

    async def test_a_scheduler_that_does_not_run_is_not_alive(self) -> None:
        cache = cache_of(fine=Upstream())
        async with cache:
            endpoints = Endpoints(cast("Service", Lifeless(cache.service)))
            answer = endpoints.livez(None)
        assert answer.status == 503
        assert b"urn:refresher:not-alive" in answer.body

    async def test_metrics_are_in_the_text_format(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.get("/metrics")
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store"
            assert 'refresher_attempts_total{job="one",outcome="changed"} 1' in answer.text

    async def test_metrics_count_reads_and_nothing_else(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            for path in ("/data/one", "/data/one", "/data/nope", "/jobs", "/livez", "/nope"):
                await client.get(path)
            text = (await client.get("/metrics")).text
            reads = [line for line in text.splitlines() if line.startswith("refresher_reads")]
            assert reads == [
                'refresher_reads_total{code="200"} 2',
                'refresher_reads_total{code="404"} 1',
            ]


class TestEmbedded:
    def app(self, cache: Refresher, prefix: str = "/cache") -> FastAPI:
        app = FastAPI()
        app.include_router(cache.router(), prefix=prefix)
        return app

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/cache/data/one", 200),
            ("/cache/data/%6fne", 200),
            ("/c%61che/data/one", 200),
            ("/cache/d%61ta/%6fne?x=1", 200),
            ("/cache/data/one%2Fa", 404),
            ("/cache/data/one/a", 404),
            ("/cache/data/one/", 404),
            ("/cache/data/", 404),
            ("/cache%2Fdata/one", 404),
            ("/cache/data%2Fone", 404),
            ("/data/one", 404),
        ],
    )
    async def test_reads_are_found_under_the_prefix(self, path: str, status: int) -> None:
        cache = cache_of(one=Upstream())
        async with cache, asking(self.app(cache)) as client:
            await settled()
            answer = await client.get(path)
            assert answer.status_code == status
            if status == 200:
                assert answer.content == b'["a"]'
                assert answer.headers["cache-status"].startswith("refresher; hit; ttl=")

    async def test_reads_are_those_of_serve(self) -> None:
        cache = cache_of(one=Upstream(["a" * 2000]))
        headers = {"accept-encoding": "gzip"}
        async with serving(cache) as served, asking(self.app(cache)) as client:
            for method in ("GET", "HEAD", "POST"):
                ours = await served.request(method, "/data/one", headers=headers)
                theirs = await client.request(method, "/cache/data/one", headers=headers)
                assert theirs.headers.items() == ours.headers.items()
                if method != "POST":  # which names the path
                    assert theirs.content == ours.content

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/cache/data/nope", 404),
            ("GET", "/cache/data/a/b", 404),
            ("PUT", "/cache/data/one", 405),
            ("GET", "/cache/jobs/nope", 404),
            ("POST", "/cache/jobs", 405),
            ("POST", "/cache/livez", 405),
            ("POST", "/cache/admin/refresh", 401),
            ("POST", "/cache/admin/nope", 401),
        ],
    )
    async def test_errors_of_our_routes_are_problems(
        self, method: str, path: str, status: int
    ) -> None:
        cache = cache_of(one=Upstream())
        async with cache, asking(self.app(cache)) as client:
            is_problem(await client.request(method, path), status)

    async def test_errors_of_other_routes_are_the_applications_own(self) -> None:
        cache = cache_of(one=Upstream())
        async with cache, asking(self.app(cache)) as client:
            assert (await client.get("/nope")).json() == {"detail": "Not Found"}

    async def test_below_a_mount_the_raw_path_is_found_all_the_same(self) -> None:
        cache = cache_of(one=Upstream())
        outer = FastAPI()
        outer.mount("/deep", self.app(cache))
        async with cache, asking(outer) as client:
            await settled()
            assert (await client.get("/deep/cache/data/%6fne")).status_code == 200
            assert (await client.get("/deep/cache/data/one%2F")).status_code == 404

    async def test_a_dependency_may_guard_admin_instead_of_the_token(self) -> None:
        async def knocks(knock: str = "") -> None:
            if knock != "thrice":
                raise HTTPException(403, "knock thrice")

        cache = cache_of(one=Upstream())
        app = FastAPI()
        app.include_router(cache.router(admin=knocks))
        async with cache, asking(app) as client:
            assert is_problem(await client.post("/admin/refresh"), 403)["detail"] == "knock thrice"
            assert is_problem(await client.post("/admin/nope"), 403)
            assert (await client.post("/admin/refresh?knock=thrice")).status_code == 202
            assert (await client.post("/admin/refresh", headers=ADMIN)).status_code == 403

    async def test_a_guard_that_asks_for_more_than_came_is_422(self) -> None:
        async def counts(knocks: int) -> None: ...

        cache = cache_of(one=Upstream())
        app = FastAPI()
        app.include_router(cache.router(admin=counts))
        async with cache, asking(app) as client:
            found = is_problem(await client.post("/admin/refresh?knocks=many"), 422)
            assert found["detail"].startswith("query.knocks: ")

    async def test_a_cache_that_does_not_run_says_how_to_run_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = cache_of(one=Upstream())
        app = self.app(cache)
        with pytest.raises(Exception, match="refresher is not running: FastAPI"):
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://testserver"
            ) as client:
                await client.get("/cache/data/one")
        assert not caplog.records

    def test_openapi_shows_each_endpoint_once_and_nothing_hidden(self) -> None:
        schema = self.app(cache_of(one=Upstream()), prefix="").openapi()
        assert {path: sorted(found) for path, found in schema["paths"].items()} == {
            "/data/{job}": ["get"],
            "/data/{job}/{pointer}": ["get"],
            "/jobs": ["get"],
            "/jobs/{job}": ["get"],
            "/jobs/{job}/history": ["get"],
            "/jobs/{job}/diff": ["get"],
            "/livez": ["get"],
            "/readyz": ["get"],
            "/freshz": ["get"],
            "/metrics": ["get"],
            "/admin/refresh": ["post"],
            "/admin/jobs/{job}/pause": ["post"],
            "/admin/jobs/{job}/resume": ["post"],
            "/admin/jobs/{job}/rollback": ["post"],
            "/admin/jobs/{job}/quarantine": ["get"],
            "/admin/jobs/{job}/quarantine/accept": ["post"],
            "/admin/jobs/{job}/quarantine/reject": ["post"],
        }
        body: Mapping[str, Any] = schema["paths"]["/admin/refresh"]["post"]["requestBody"]
        described = body["content"]["application/json"]["schema"]
        assert set(described["properties"]) == {"jobs", "tags", "wait", "force"}
        assert [each["type"] for each in described["properties"]["wait"]["anyOf"]] == [
            "string",
            "null",
        ]
        parameters = [
            parameter["name"]
            for path in schema["paths"].values()
            for operation in path.values()
            for parameter in operation.get("parameters", [])
        ]
        assert set(parameters) == {
            *("job", "pointer", "body", "version", "from", "to"),
            *("If-None-Match", "If-Modified-Since"),
            *("limit", "after", "state", "tag"),
        }
