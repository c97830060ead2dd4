import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from refresher.config.auth import OAuth2Auth
from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.upstream.client import open_client
from refresher.upstream.oauth2 import TokenAuth, TokenSource
from refresher.upstream.urls import origin_of
from tests.fakes import FakeClock
from tests.faults import (
    HANG_UP,
    STALL,
    Answer,
    Endless,
    FaultServer,
    Request,
    Script,
    Until,
    answer,
    closed_port,
    gzip_bomb,
    json_answer,
    redirect,
    serving,
)


@dataclass
class Bench:
    """A token endpoint, a protected resource, and a client of both."""

    upstream: FaultServer
    client: httpx.AsyncClient
    clock: FakeClock = field(default_factory=FakeClock)
    learned: list[str] = field(default_factory=list)

    def tokens(self, *answers: Script, url: str | None = None) -> TokenSource:
        token_url = url or self.upstream.script("/token", *answers)
        return TokenSource(
            OAuth2Auth(token_url=token_url, client_id="me", client_secret="s3cret"),
            client=self.client,
            now=self.clock.now,
            learn=self.learned.append,
        )

    async def get(self, tokens: TokenSource, path: str = "/data") -> httpx.Response:
        url = self.upstream.url(path)
        return await self.client.get(url, auth=TokenAuth(origin_of(httpx.URL(url)), tokens))

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.upstream.requests if request.target == path]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as upstream, open_client() as client:
        yield Bench(upstream, client)


def issue(value: str, expires_in: object = 100, **more: object) -> Answer:
    said = {"access_token": value, "token_type": "Bearer", "expires_in": expires_in, **more}
    said = {key: entry for key, entry in said.items() if entry is not None}
    return json_answer(json.dumps(said).encode())


def wanting(*good: str) -> Script:
    """A resource that those tokens open."""

    def ask(request: Request) -> Answer:
        welcome = request.header("authorization") in {f"Bearer {token}" for token in good}
        return json_answer(b"[1]") if welcome else answer(401, b"who are you?")

    return ask


async def refusal(tokens: TokenSource) -> RefreshFailed:
    with pytest.raises(RefreshFailed) as caught:
        await tokens.get()
    assert caught.value.failure.stage is Stage.AUTH
    assert "s3cret" not in str(caught.value)
    return caught.value


async def test_a_token_is_asked_for_as_the_rfc_says(bench: Bench) -> None:
    bench.upstream.script("/token", issue("t1"))
    tokens = TokenSource(
        OAuth2Auth(
            token_url=bench.upstream.url("/token"),
            client_id="m:e",
            client_secret="s+ ä",
            scope="read write",
            audience="https://api",
        ),
        client=bench.client,
        now=bench.clock.now,
        learn=bench.learned.append,
    )
    assert await tokens.get() == "t1"
    [request] = bench.upstream.requests
    assert request.method == "POST"
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["read write"],
        "audience": ["https://api"],
    }
    login = base64.b64encode(b"m%3Ae:s%2B+%C3%A4").decode()
    assert request.header("authorization") == f"Basic {login}"
    assert bench.learned == ["t1"]


def form_only(request: Request) -> Answer:
    """An endpoint that looks for the client in the form alone."""
    form = parse_qs(request.body.decode())
    if (form.get("client_id"), form.get("client_secret")) == (["me"], ["s3cret"]):
        return issue("t1", expires_in=1)
    return answer(401, b'{"error": "invalid_client"}')


def credentials_in(request: Request) -> tuple[bool, bool]:
    """Whether they are in the header, and whether in the form."""
    return request.header("authorization") is not None, b"client_secret" in request.body


async def test_a_client_that_is_not_known_by_its_header_is_named_in_the_form_from_then_on(
    bench: Bench,
) -> None:
    tokens = bench.tokens(form_only)
    assert await tokens.get() == "t1"
    await bench.clock.advance(10)
    assert await tokens.get() == "t1"
    sent = [credentials_in(request) for request in bench.upstream.requests]
    assert sent == [(True, False), (False, True), (False, True)]


@pytest.mark.parametrize("error", ["invalid_client", "invalid_request"])
async def test_a_client_that_is_known_in_no_way_is_asked_for_in_both_once(
    error: str, bench: Bench
) -> None:
    tokens = bench.tokens(answer(401, f'{{"error": "{error}"}}'.encode()))
    assert error in str(await refusal(tokens))
    sent = [credentials_in(request) for request in bench.upstream.requests]
    assert sent == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b'{"error": "invalid_scope"}', {}),
        (401, b"", {}),
        (503, b"", {}),
        (429, b'{"error": "invalid_client"}', {"Retry-After": "9"}),
    ],
)
async def test_any_other_refusal_is_the_answer(
    status: int, body: bytes, headers: dict[str, str], bench: Bench
) -> None:
    await refusal(bench.tokens(answer(status, body, headers)))
    assert len(bench.upstream.requests) == 1


async def test_with_client_auth_body_the_form_alone_has_the_credentials(bench: Bench) -> None:
    tokens = TokenSource(
        OAuth2Auth(
            token_url=bench.upstream.script("/token", form_only),
            client_id="me",
            client_secret="s3cret",
            client_auth="body",
        ),
        client=bench.client,
        now=bench.clock.now,
        learn=bench.learned.append,
    )
    assert await tokens.get() == "t1"
    assert [credentials_in(request) for request in bench.upstream.requests] == [(False, True)]


async def test_a_201_brings_a_token_too(bench: Bench) -> None:
    body = b'{"access_token": "t1", "token_type": "Bearer"}'
    tokens = bench.tokens(answer(201, body, {"Content-Type": "application/json"}))
    assert await tokens.get() == "t1"


async def test_it_is_fetched_once_however_many_wait(bench: Bench) -> None:
    go = asyncio.Event()
    tokens = bench.tokens((Until(go), *issue("t1")))
    bench.upstream.script("/data", wanting("t1"))
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(bench.get, tokens)
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert len(bench.asked("/token")) == 1
    assert len(bench.asked("/data")) == 50


async def test_who_leaves_while_fetching_leaves_it_to_the_next(bench: Bench) -> None:
    tokens = bench.tokens((STALL,), issue("t1"))
    with anyio.move_on_after(0.05):
        await tokens.get()
    assert await tokens.get() == "t1"


async def test_a_failure_is_raised_to_all_that_waited(bench: Bench) -> None:
    tokens = bench.tokens(answer(401, b'{"error": "invalid_scope"}'), issue("t1"))
    found: list[RefreshFailed] = []

    async def ask() -> None:
        found.append(await refusal(tokens))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    assert len(bench.upstream.requests) == 1
    assert len({id(failure) for failure in found}) == 50
    await bench.clock.advance(1)
    assert await tokens.get() == "t1"


async def test_it_is_renewed_at_80_percent_of_its_life(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1", 100), issue("t2", "100"))
    await tokens.get()
    await bench.clock.advance(79)
    assert await tokens.get() == "t1"
    await bench.clock.advance(2)
    assert await tokens.get() == "t2"
    await bench.clock.advance(79)
    assert await tokens.get() == "t2"


async def test_an_endpoint_that_is_down_costs_nothing_while_the_token_is_good(
    bench: Bench,
) -> None:
    tokens = bench.tokens(issue("t1", 100), answer(503))
    await tokens.get()
    await bench.clock.advance(81)
    assert [await tokens.get() for _ in range(10)] == ["t1"] * 10
    assert len(bench.upstream.requests) == 2
    await bench.clock.advance(6)
    assert await tokens.get() == "t1"
    assert len(bench.upstream.requests) == 3
    await bench.clock.advance(20)
    assert (await refusal(tokens)).transient


async def test_an_endpoint_that_hangs_costs_one_attempt_while_the_token_is_good(
    bench: Bench,
) -> None:
    tokens = bench.tokens(issue("t1", 100), (STALL,))
    await tokens.get()
    await bench.clock.advance(81)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tokens.get)
        await anyio.wait_all_tasks_blocked()
        assert await tokens.get() == "t1"
        tasks.cancel_scope.cancel()
    assert await tokens.get() == "t1"


@pytest.mark.parametrize("expires_in", [None, "soon", True, float("nan"), [1]])
async def test_without_a_life_it_is_good_until_it_is_refused(
    bench: Bench, expires_in: object
) -> None:
    tokens = bench.tokens(issue("t1", expires_in), issue("t2"))
    await tokens.get()
    await bench.clock.advance(1e7)
    bench.upstream.script("/data", wanting("t2"))
    assert (await bench.get(tokens)).status_code == 200
    assert len(bench.asked("/token")) == 2


async def test_a_life_of_more_digits_than_a_number_can_have_is_refused(bench: Bench) -> None:
    failed = await refusal(bench.tokens(issue("t1", 10**310)))
    assert "expires_in" in str(failed)


async def test_one_that_is_dead_on_arrival_serves_once(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1", 0), issue("t2", -5))
    assert [await tokens.get(), await tokens.get()] == ["t1", "t2"]


async def test_a_401_fetches_a_new_token_once_and_resends_once(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1"), issue("t2"))
    bench.upstream.script("/data", wanting("t2"))
    assert (await bench.get(tokens)).json() == [1]
    assert len(bench.asked("/data")) == 2
    assert len(bench.asked("/token")) == 2


async def test_a_second_401_is_the_answer(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1"), issue("t2"))
    bench.upstream.script("/data", wanting("t9"))
    assert (await bench.get(tokens)).status_code == 401
    assert len(bench.asked("/data")) == 2


async def test_jobs_that_meet_a_401_together_fetch_one_token(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1"), issue("t2"))
    bench.upstream.script("/data", wanting("t2"))
    await tokens.get()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(bench.get, tokens)
    assert len(bench.asked("/token")) == 2


async def test_what_comes_with_a_401_is_not_read(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1"), issue("t2"))
    endless = (b"HTTP/1.1 401 No\r\n\r\n", Endless(b"x" * 1000))
    bench.upstream.script("/data", endless, json_answer(b"[1]"))
    assert (await bench.get(tokens)).json() == [1]


async def test_a_body_that_cannot_be_sent_twice_is_not(bench: Bench) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"x"

    tokens = bench.tokens(issue("t1"), issue("t2"))
    url = bench.upstream.script("/data", wanting("t2"))
    auth = TokenAuth(origin_of(httpx.URL(url)), tokens)
    found = await bench.client.post(
        url, content=parts(), headers={"Content-Length": "1"}, auth=auth
    )
    assert found.status_code == 401


async def test_another_origin_gets_no_token(bench: Bench) -> None:
    tokens = bench.tokens(issue("t1"))
    auth = TokenAuth(("https", "api.example", 443), tokens)
    await bench.client.get(bench.upstream.url("/data"), auth=auth)
    [request] = bench.upstream.requests
    assert request.header("authorization") is None


def endpoint(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return answer(status, body, {"Content-Type": "application/json", **(headers or {})})


@pytest.mark.parametrize(
    ("steps", "transient", "said"),
    [
        (endpoint(200, b"<html>"), False, "not a JSON object"),
        (endpoint(200, b"[]"), False, "not a JSON object"),
        (endpoint(200, b"{}"), False, "no access_token"),
        (endpoint(200, b'{"access_token": ""}'), False, "one word of visible ASCII"),
        (endpoint(200, b'{"access_token": "a\\r\\nX: b"}'), False, "one word of visible ASCII"),
        (endpoint(200, b'{"access_token": 7}'), False, "one word of visible ASCII"),
        (issue("t1", token_type="mac"), False, "only bearer tokens"),
        (endpoint(200, b"[" * 60_000), False, "not a JSON object"),
        (endpoint(200, b" " * 70_000), False, "more than max_bytes"),
        (gzip_bomb(200), False, "after decompression"),
        ((*endpoint(200, b"{}", {"Content-Length": "9"}), HANG_UP), True, "breaks off"),
        (endpoint(400, b'{"error": "invalid_scope"}'), False, "answered 400: invalid_scope"),
        (
            endpoint(401, b'{"error": "invalid_client", "error_description": "no\\nsuch"}'),
            False,
            "answered 401: invalid_client, no such",
        ),
        (endpoint(429, b""), True, "answered 429"),
        (endpoint(500, b"oops"), True, "answered 500"),
        (redirect("/elsewhere", 307), False, "answered 307"),
        ((HANG_UP,), True, "closed the connection"),
        ((b"nonsense\r\n\r\n",), True, "broken HTTP"),
    ],
)
async def test_an_endpoint_that_gives_no_token_fails_at_stage_auth(
    bench: Bench,
    steps: Answer,
    transient: bool,  # noqa: FBT001  a parameter of the test
    said: str,
) -> None:
    failure = await refusal(bench.tokens(steps))
    assert failure.transient is transient
    assert str(failure).startswith(f"no token from {bench.upstream.url('/token')}: ")
    assert said in str(failure)
    # A client that is not known is asked for once more, in the form.
    assert len(bench.upstream.requests) == (2 if "invalid_client" in said else 1)
    assert {request.target for request in bench.upstream.requests} == {"/token"}


@pytest.mark.parametrize(
    "script",
    [
        issue("t1", token_type=f"mac {'Zq7' * 80}"),
        answer(401, json.dumps({"error": f"see {'Zq7' * 80}"}).encode()),
    ],
)
async def test_no_part_of_a_secret_is_quoted(bench: Bench, script: Answer) -> None:
    said = str(await refusal(bench.tokens(script)))
    assert "…" in said
    assert "Zq7" not in said


async def test_an_endpoint_that_cannot_be_reached_fails_at_stage_auth(bench: Bench) -> None:
    failure = await refusal(bench.tokens(url=f"http://127.0.0.1:{closed_port()}/token"))
    assert failure.transient


async def test_a_retry_after_of_the_endpoint_holds_for_all(bench: Bench) -> None:
    limited = answer(429, b"", {"Retry-After": "30"})
    tokens = bench.tokens(limited, issue("t1"))
    assert (await refusal(tokens)).retry_after == 30
    await bench.clock.advance(20)
    assert (await refusal(tokens)).retry_after == pytest.approx(10)
    assert len(bench.upstream.requests) == 1
    await bench.clock.advance(11)
    assert await tokens.get() == "t1"


async def test_a_coded_answer_is_read(bench: Bench) -> None:
    body = gzip.compress(b'{"access_token": "t1"}')
    tokens = bench.tokens(answer(200, body, {"Content-Encoding": "gzip"}))
    assert await tokens.get() == "t1"


def test_no_repr_shows_a_secret() -> None:
    assert "s3cret" not in repr(
        OAuth2Auth(token_url="https://idp.example/token", client_id="me", client_secret="s3cret")
    )
