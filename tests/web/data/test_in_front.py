from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresher import Refresher
from refresher.errors import ServiceError
from tests.fakes import settled
from tests.patient import client_of
from tests.web.serving import Upstream, asking, cache_of


class Framework:
    """An application that notes what gets to it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"the framework"})


async def ask(app: ASGIApp, scope: Mapping[str, Any]) -> tuple[int, bytes]:
    """Call an application as some server might."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "headers": [], **scope}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_read_never_gets_to_the_framework_and_all_else_does() -> None:
    framework = Framework()
    cache = cache_of(one=Upstream())
    async with cache, asking(cache.in_front_of(framework)) as client:
        await settled()
        assert (await client.get("/data/one")).json() == ["a"]
        assert (await client.head("/d%61ta/one")).status_code == 200
        assert (await client.post("/data/one")).status_code == 405
        assert (await client.get("/data/nope")).status_code == 404
        assert framework.paths == []
        for path in ("/", "/data", "/database/one", "/jobs", "/cache/data/one"):
            assert (await client.get(path)).status_code == 299
        assert len(framework.paths) == 5


async def test_versions_are_read_through_it_by_their_numbers() -> None:
    cache = cache_of(one=Upstream())
    for prefix in ("", "/cache"):
        async with cache, asking(cache.in_front_of(Framework(), prefix=prefix)) as client:
            await settled()
            answer = await client.get(f"{prefix}/data/one?version=1")
            assert (answer.json(), answer.headers["cache-control"]) == (["a"], "no-cache")
            assert (await client.get(f"{prefix}/d%61ta/one?version=9")).status_code == 404


async def test_it_answers_below_the_prefix_that_the_router_has() -> None:
    framework = Framework()
    cache = cache_of(one=Upstream())
    async with cache, asking(cache.in_front_of(framework, prefix="/cache")) as client:
        await settled()
        for path in ("/cache/data/one", "/c%61che/data/%6fne", "/cache/data/one?x=1"):
            assert (await client.get(path)).json() == ["a"]
        assert (await client.get("/data/one")).status_code == 299
        assert (await client.get("/cache%2Fdata/one")).status_code == 404


@pytest.mark.parametrize("prefix", ["cache", "/cache/", "/"])
def test_a_prefix_is_written_as_for_the_router(prefix: str) -> None:
    with pytest.raises(ServiceError, match="in_front_of"):
        Refresher().in_front_of(FastAPI(), prefix=prefix)


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/data/one", "raw_path": b"/data/one"},
        {"path": "/data/one"},
        {"path": "/data/one", "raw_path": None},
        {"path": "/r/data/one", "raw_path": b"/r/data/one", "root_path": "/r"},
        {"path": "/r/data/one", "root_path": "/r"},
        {"path": "/data/one", "raw_path": b"/data/one", "root_path": "/r"},
    ],
)
async def test_it_understands_what_servers_say_of_the_path(scope: dict[str, object]) -> None:
    cache = cache_of(one=Upstream())
    async with cache:
        await settled()
        assert await ask(cache.in_front_of(Framework()), scope) == (200, b'["a"]')


def test_the_lifespan_and_websockets_are_the_frameworks() -> None:
    cache = cache_of(one=Upstream())
    app = FastAPI(lifespan=cache.lifespan)

    @app.websocket("/data/one")
    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    with client_of(cache.in_front_of(app)) as client:
        with client.websocket_connect("/data/one") as socket:
            assert socket.receive_text() == "hello"
        assert cache.get("one").version == 1


async def test_middleware_around_it_may_change_an_answers_fields() -> None:
    cache = cache_of(one=Upstream())
    inner = cache.in_front_of(Framework())

    async def marking(scope: Scope, receive: Receive, send: Send) -> None:
        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"mark", b"x"))
            await send(message)

        await inner(scope, receive, mark)

    async with cache, asking(marking) as client:
        await settled()
        for _ in range(3):
            answer = await client.get("/data/one")
            assert answer.headers.get_list("mark") == ["x"]
