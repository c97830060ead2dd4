from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresher.api import Refresher
from refresher.errors import ConfigError
from refresher.serve.app import create_app
from tests.fakes import settled
from tests.offload.workers import children
from tests.patient import client_of
from tests.web.serving import (
    ADMIN,
    PATIENT,
    TOKEN,
    Upstream,
    application,
    asking,
    cache_of,
    serving,
)


def behind(app: ASGIApp, root_path: str) -> ASGIApp:
    """The application as uvicorn calls it with `--root-path`: put before every path."""

    async def with_root_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {
                **scope,
                "root_path": root_path,
                "path": root_path + scope["path"],
                "raw_path": root_path.encode() + scope["raw_path"],
            }
        await app(scope, receive, send)

    return with_root_path


def test_it_runs_the_cache_for_as_long_as_it_runs_itself() -> None:
    one = Upstream()
    cache = cache_of(one=one)
    app = create_app(cache)
    assert one.calls == 0
    with client_of(app) as client:
        assert client.post("/admin/refresh", json={"wait": "10s"}, headers=ADMIN).status_code == 200
        assert client.get("/data/one").json() == ["a"]
        assert cache.get("one").version == 1
    with pytest.raises(Exception, match="not running"):
        cache.get("one")


@pytest.mark.parametrize("path", ["/data/one", "/d%61ta/one", "/data/%6fne", "/%64%61%74%61/one?x"])
async def test_a_path_is_what_it_means_however_it_is_spelled(path: str) -> None:
    async with serving(cache_of(one=Upstream())) as client:
        assert (await client.get(path)).json() == ["a"]


@pytest.mark.parametrize("path", ["/data%2Fone", "/%2Fdata/one", "/data/one%2F", "//data/one"])
async def test_an_encoded_slash_parts_no_segments(path: str) -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.get(f"http://testserver{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/data/one", "/data/%6fne", "/jobs", "/jobs/one", "/livez", "/openapi.json", "/docs"]
)
async def test_everything_is_below_the_root_path(path: str) -> None:
    cache = cache_of(one=Upstream())
    app = behind(await application(cache), "/proxied")
    async with cache, asking(app) as client:
        await settled()
        assert (await client.get(path)).status_code == 200


async def test_what_is_not_there_is_named() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        assert (await client.get("/nope")).json()["detail"] == "nothing is at /nope"


async def test_a_method_that_documentation_does_not_take_is_a_problem() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.post("/openapi.json")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_large_body_is_compressed_when_it_is_asked_for() -> None:
    text = "a lot of text, " * 100_000
    cache = cache_of(None, PATIENT, one=Upstream(text))
    async with serving(cache) as client:
        await cache.refresh("one")
        for _ in range(2):
            answer = await client.get("/data/one", headers={"accept-encoding": "gzip"})
            assert answer.headers["content-encoding"] == "gzip"
            assert int(answer.headers["content-length"]) < 100_000
            assert answer.text == text


async def test_a_value_in_a_large_body_is_found_by_a_worker_that_goes_with_the_cache() -> None:
    rows = [{"n": n, "text": "x" * 100} for n in range(20_000)]
    cache = cache_of(None, PATIENT, one=Upstream({"rows": rows}))
    async with serving(cache) as client:
        await cache.refresh("one")
        for path, value in (("/rows/19999/n", b"19999"), ("/rows/7", None), ("/rows/20000", None)):
            answer = await client.get(f"/data/one{path}")
            assert answer.status_code == (404 if path == "/rows/20000" else 200)
            assert value in {None, answer.content}
        assert children()
    assert not children()


async def test_documentation_needs_no_other_host() -> None:
    async with serving(cache_of(one=Upstream())) as client:
        page = (await client.get("/docs")).text
        assert "http://" not in page
        assert "https://" not in page
        for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert (await client.get(f"/static-offline-docs/{name}")).status_code == 200


async def test_an_error_of_ours_is_a_problem_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = cache_of(one=Upstream())  # is not entered: there is nothing to answer from
    async with asking(await application(cache)) as client:
        for path in ("/data/one", "/jobs"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.json()["title"] == "Internal Server Error"
            assert TOKEN not in answer.text
            assert "not running" not in answer.text
        assert (await client.get("/data/one")).headers["vary"] == "Accept-Encoding"
    assert "not running" in caplog.text


async def test_a_start_that_cannot_be_is_told_in_a_sentence(tmp_path: Path) -> None:
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    app = await application(Refresher(tmp_path / "none.toml"))
    with pytest.raises(ConfigError) as error:
        await app({"type": "lifespan", "app": app, "state": {}}, receive, send)
    assert told == [{"type": "lifespan.startup.failed", "message": str(error.value)}]
    assert "none.toml" in str(error.value)
