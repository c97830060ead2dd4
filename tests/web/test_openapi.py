"""`/openapi.json` is valid and says the truth: every status, media type and member is described."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import anyio.to_thread
import httpx
import jsonschema_rs
from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader
from pydantic import BaseModel

from refresher import Refresher
from tests.fakes import FakeClock
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, Upstream, cache_of, down, serving

PROBLEM = "application/problem+json"
HARD = {
    # What has to be made first, or broken, has tests elsewhere; of this cache a job is never ready.
    ("get", "/livez", 503),
    ("get", "/readyz", 200),
    ("get", "/freshz", 200),
    ("get", "/jobs/{job}/diff", 413),
}


def embedded(cache: Refresher, prefix: str = "/cache", **options: Any) -> dict[str, Any]:  # noqa: ANN401  as the router's
    app = FastAPI()
    app.include_router(cache.router(**options), prefix=prefix)
    return app.openapi()


def valid(schema: Mapping[str, Any]) -> bool:
    command = [sys.executable, "-m", "openapi_spec_validator", "-"]
    text = json.dumps(schema).encode()
    found = subprocess.run(command, input=text, capture_output=True, check=False)  # noqa: S603  ours
    return found.returncode == 0


def operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


async def described() -> dict[str, Any]:
    async with serving(cache_of(one=Upstream())) as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
        return found


class TestTheDocument:
    async def test_is_valid_under_serve_and_in_an_application(self) -> None:
        assert await anyio.to_thread.run_sync(valid, await described())
        assert await anyio.to_thread.run_sync(valid, embedded(cache_of(one=Upstream())))

    def test_is_valid_beside_models_and_caches_of_an_application(self) -> None:
        class Job(BaseModel):
            name: str

        app = FastAPI()

        @app.get("/")
        def mine() -> Job:
            return Job(name="mine")

        for name in ("one", "two"):
            app.include_router(Refresher(name=name).router(), prefix=f"/{name}")
        schema = app.openapi()
        assert valid(schema)
        assert all(_resolved(schema, ref) for ref in set(_references(schema)))

    async def test_refers_to_nothing_that_is_not_there(self) -> None:
        for schema in (await described(), embedded(cache_of(one=Upstream()))):
            assert all(_resolved(schema, ref) for ref in set(_references(schema)))

    async def test_has_problems_as_what_they_are(self) -> None:
        for _, path, operation in operations(await described()):
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == [PROBLEM], (path, status)
                    schema = response["content"][PROBLEM]["schema"]
                    assert schema == {"$ref": "#/components/schemas/RefresherProblem"}


class TestSecurity:
    async def test_schemes_have_names_that_are_allowed(self) -> None:
        schemes = (await described())["components"]["securitySchemes"]
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemes)
        assert {each["scheme"] for each in schemes.values()} == {"bearer"}
        assert {each["type"] for each in schemes.values()} == {"http"}

    async def test_is_named_by_every_operation(self) -> None:
        for _, path, operation in operations(await described()):
            if path.startswith("/admin"):
                assert operation["security"] == [{"adminToken": []}]
            else:  # without `server.read_tokens` nobody needs one
                assert operation["security"] == [{"readToken": []}, {"adminToken": []}, {}]

    def test_of_admin_is_the_embedders_where_there_is_one(self) -> None:
        guard = Depends(APIKeyHeader(name="X-Key", scheme_name="theirs"))

        def guarded(_: object = guard) -> None: ...

        for _, path, operation in operations(embedded(cache_of(), admin=guarded)):
            if path.startswith("/cache/admin"):
                assert operation["security"] == [{"theirs": []}]


class Conversation:
    """Holds each answer of a service to what its document says of it."""

    def __init__(self, client: httpx.AsyncClient, schema: dict[str, Any]) -> None:
        self._client = client
        self._schema = _closed(schema)
        self.seen: set[tuple[str, str, int]] = set()

    async def __call__(
        self,
        request: str,
        path: str,
        status: int,
        *,
        as_admin: bool = True,
        job: str = "one",
        **options: Any,  # noqa: ANN401  as httpx takes them
    ) -> httpx.Response:
        """Ask for `request`, which is of the described `path`, and get that status."""
        method, _, target = request.partition(" ")
        headers = options.pop("headers", {}) | (ADMIN if as_admin else {})
        target = (target or path).replace("{job}", job)
        answer = await self._client.request(method, target, headers=headers, **options)
        assert answer.status_code == status, (request, answer.text)
        self.seen.add((method.lower(), path, status))
        responses = self._schema["paths"][path][method.lower()]["responses"]
        assert str(status) in responses, f"{status} is not described"
        response = responses[str(status)]
        if not answer.content:
            assert "content" not in response
            return answer
        media_type = answer.headers["content-type"].partition(";")[0]
        content = response["content"]
        assert media_type in content or "*/*" in content, f"{media_type} is not described"
        if media_type.endswith("json") and media_type in content:
            components = {"components": self._schema["components"]}
            jsonschema_rs.validator_for({**content[media_type]["schema"], **components}).validate(
                answer.json()
            )
        return answer


async def test_every_answer_is_described_and_every_description_is_answered() -> None:
    clock, store = FakeClock(), FailingStore()
    server = {"server": {"read_tokens": ["r3ad"]}, "store": {"history": 2}}
    cache = cache_of(clock, server, store, off=Upstream(down()))
    one = Upstream([1], [2], [3], [4], {"a": {"b": 1}}, [1], {"a": 2})
    cache.job("one", cooldown="50s")(one)
    cache.job("text", format="text")(Upstream("a"))
    cache.job("must", required=True)(Upstream(down()))
    slow = Upstream()
    slow.hold = anyio.Event()
    cache.job("slow")(slow)
    guarded = Upstream([1, 2, 3, 4], [1], [1, 2, 3, 4], [2])
    cache.job("guarded", guard={"max_shrink": "50%"})(guarded)
    cache.job("held", guard={"max_shrink": "50%"})(Upstream([1, 2, 3, 4], [1]))
    async with serving(cache) as client:
        schema = (await client.get("/openapi.json")).json()
        ask = Conversation(client, schema)
        await _read(ask, clock)
        await _administer(ask, clock)
        await _without_store(ask, store)
    every = {
        (method, path, int(status))
        for method, path, operation in operations(schema)
        for status in operation["responses"]
    }
    assert every - ask.seen == HARD


async def _read(ask: Conversation, clock: FakeClock) -> None:
    data, value, diff = "/data/{job}", "/data/{job}/{pointer}", "/jobs/{job}/diff"
    for _ in range(4):
        await clock.advance(100)
    for path, target in ((data, "/data/{job}"), (value, "/data/{job}/a")):
        read = await ask(f"GET {target}", path, 200)
        tag = {"if-none-match": read.headers["etag"]}
        await ask(f"GET {target}", path, 304, headers=tag)
        await ask(f"GET {target}?version=0", path, 400)
        await ask(f"GET {target}?version=1", path, 410)
        await ask(f"GET {target}?version=99", path, 404)
        await ask(f"GET {target}", path, 401, as_admin=False)
        await ask(f"GET {target}", path, 503, job="off")
    await ask("GET", data, 200, job="text")
    await ask("GET", "/jobs", 200)
    await ask("GET /jobs?limit=1&state=pending", "/jobs", 200)
    await ask("GET /jobs?limit=0", "/jobs", 400)
    for path in ("/jobs", "/jobs/{job}", "/jobs/{job}/history", diff, "/metrics"):
        await ask("GET", path, 401, as_admin=False)
    for path in ("/jobs/{job}", "/jobs/{job}/history", diff):
        await ask("GET", path, 404, job="nope")
    for job in ("one", "off", "guarded"):
        await ask("GET", "/jobs/{job}", 200, job=job)
        await ask("GET", "/jobs/{job}/history", 200, job=job)
    await ask(f"GET {diff}?from=4&to=5", diff, 200)
    await ask(f"GET {diff}?from=4", diff, 400)
    await ask(f"GET {diff}?from=1&to=5", diff, 410)
    await ask(f"GET {diff}?from=1&to=1", diff, 422, job="text")
    await ask("GET", "/metrics", 200)
    for as_admin in (True, False):
        await ask("GET", "/livez", 200, as_admin=as_admin)
        await ask("GET", "/readyz", 503, as_admin=as_admin)
        await ask("GET", "/freshz", 503, as_admin=as_admin)


async def _administer(ask: Conversation, clock: FakeClock) -> None:
    refresh, job = "/admin/refresh", "/admin/jobs/{job}"
    held = f"{job}/quarantine"
    for method, path in (
        ("POST", refresh),
        *(("POST", f"{job}/{verb}") for verb in ("pause", "resume", "rollback")),
        ("GET", held),
        *(("POST", f"{held}/{verb}") for verb in ("accept", "reject")),
    ):
        await ask(method, path, 401, as_admin=False)
        if path != refresh:
            await ask(method, path, 404, job="nope", json={"version": 1})
    await ask("GET", held, 200, job="guarded")
    await ask(f"GET {held}?body=1", held, 200, job="guarded")
    await ask("POST", f"{held}/reject", 200, job="guarded")
    await ask("POST", refresh, 202)
    await ask("POST", refresh, 200, json={"jobs": ["must"], "wait": "10s", "force": True})
    await ask("POST", refresh, 202, json={"jobs": ["slow"], "wait": "1ms"})
    await clock.advance(60)
    for _ in range(2):
        await ask("POST", refresh, 200, json={"jobs": ["guarded"], "wait": "10s"})
    await ask("POST", f"{held}/accept", 200, job="guarded")
    await ask("POST", refresh, 404, json={"jobs": ["nope"]})
    await ask("POST", refresh, 202, json={"jobs": ["one"]})
    await ask("POST", refresh, 429, json={"jobs": ["one"]})
    await ask("POST", refresh, 422, json={"jobs": 1})
    await ask("POST", refresh, 413, content=b" " * 70_000)
    await ask("POST", f"{job}/pause", 200)
    await ask("POST", refresh, 409, json={"jobs": ["one"]})
    await ask("POST", refresh, 202, json={})
    await ask("POST", f"{job}/resume", 200)
    rollback = f"{job}/rollback"
    await ask("POST", rollback, 410, json={"version": 1})
    await ask("POST", rollback, 422, json={"version": "5"})
    await ask("POST", rollback, 413, content=b" " * 70_000)
    newest = (await ask("GET", "/jobs/{job}", 200)).json()["version"]
    await ask("POST", rollback, 200, json={"version": float(newest)})


async def _without_store(ask: Conversation, store: FailingStore) -> None:
    newest = (await ask("GET", "/jobs/{job}", 200)).json()["version"]
    store.away = True
    for path in ("/data/{job}", "/data/{job}/{pointer}"):
        target = path.replace("{pointer}", "a")
        await ask(f"GET {target}?version={newest}", path, 503)
    for method, path in (
        *(("POST", f"/admin/jobs/{{job}}/{verb}") for verb in ("pause", "resume")),
        *(("POST", f"/admin/jobs/{{job}}/quarantine/{verb}") for verb in ("accept", "reject")),
        ("GET", "/admin/jobs/{job}/quarantine"),
    ):
        await ask(method, path, 503, job="held")
    await ask("POST", "/admin/jobs/{job}/rollback", 503, json={"version": newest})
    both = f"from={newest}&to={newest}"
    await ask(f"GET /jobs/{{job}}/diff?{both}", "/jobs/{job}/diff", 503)


async def test_readiness_and_freshness_are_described() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        ask = Conversation(client, (await client.get("/openapi.json")).json())
        await ask("GET", "/readyz", 200)
        await ask("GET", "/freshz", 200)


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)


def _resolved(schema: Mapping[str, Any], reference: str) -> bool:
    found: Any = schema
    for name in reference.removeprefix("#/").split("/"):
        if name not in found:
            return False
        found = found[name]
    return True


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, with no members in what is answered but those that are described."""
    found = copy.deepcopy(schema)
    for each in found["components"]["schemas"].values():
        if "properties" in each:
            each["additionalProperties"] = False
    return found
