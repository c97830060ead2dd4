import asyncio
import gzip
import json
import logging
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from refresher import Refresher
from refresher.pipeline.representation import etag_of
from refresher.serve.protocol import WireProtocol, http_protocol
from tests.e2e.process import eventually
from tests.fakes import FakeClock
from tests.serve.wiring import Listener, Reply, listening, request
from tests.web.serving import Upstream, cache_of

TEXT = ["a value that is not too short"] * 100
PATH = "/data/one"


def small() -> Refresher:
    return cache_of(one=Upstream(), text=Upstream(TEXT), other=Upstream({"b": 2}))


class TestTheShortWay:
    async def test_answers_reads_without_the_application(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            for _ in range(3):
                reply = await connection.get(PATH)
                assert (reply.status, reply.body) == (200, b'["a"]')
            etag = reply.headers["etag"]
            assert (await connection.get(PATH, f"If-None-Match: {etag}")).status == 304
            assert (await connection.get(PATH, method="HEAD")).headers == reply.headers
            packed = await connection.get("/data/text", "Accept-Encoding: gzip")
            assert json.loads(gzip.decompress(packed.body)) == TEXT
            assert connection.asked == []
            assert listener.server.total_requests == 6

    @pytest.mark.parametrize(
        "asked",
        [
            request(PATH, method="POST"),
            request(PATH, method="OPTIONS"),
            request("/jobs"),
            request("/data/one?x=1"),
            request("/data/one?version=1"),
            request("/data/%6fne"),
            request("/data/one/0"),
            request("/data/nope"),
            request("http://testserver/data/one"),
            request(PATH, "Prefer: wait=1"),
            request(PATH, "Expect: 100-continue"),
            request(PATH, "Connection: close"),
            request(PATH, "Connection: upgrade", "Upgrade: h2c"),
            request(PATH, "Upgrade: websocket"),
            request(PATH, "Content-Length: 2", body=b"{}"),
            request(PATH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            request(PATH).replace(b"HTTP/1.1", b"HTTP/1.0"),
        ],
    )
    async def test_is_not_for_requests_that_ask_for_more(self, asked: bytes) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            for _ in range(2):  # not the second time either
                connection.feed(asked)
                await connection.done()
                if connection.transport.is_closed:
                    break
            assert len(connection.asked) >= 1
            assert all(reply.status for reply in connection.replies())

    async def test_is_closed_where_connections_are_limited(self) -> None:
        async with listening(small(), limit_concurrency=9) as listener:
            connection = listener.connect()
            assert (await connection.get(PATH)).status == 200
            assert connection.asked == [PATH]

    async def test_is_closed_where_every_request_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "uvicorn.access"):
            async with listening(small(), access_log=True) as listener:
                logging.getLogger("uvicorn.access").propagate = True
                connection = listener.connect()
                assert (await connection.get(PATH)).status == 200
                assert connection.asked == [PATH]
        assert '"GET /data/one HTTP/1.1" 200' in caplog.text

    async def test_is_left_behind_an_answer_that_is_not_complete(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(request("/jobs/one") + request(PATH) + request("/data/other"))
            assert connection.transport.written == []
            await connection.done()
            assert len(connection.asked) == 3
            bodies = [reply.body for reply in connection.replies()]
            assert b'"name":"one"' in bodies[0]
            assert bodies[1:] == [b'["a"]', b'{"b":2}']
            assert (await connection.get(PATH)).status == 200
            assert len(connection.asked) == 3, "and is open again"

    async def test_is_not_for_a_client_that_does_not_read(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            await connection.get(PATH)
            connection.transport.written.clear()
            connection.protocol.pause_writing()
            connection.feed(request(PATH) * 3)
            for _ in range(20):
                await asyncio.sleep(0)
            assert connection.transport.written == []
            assert not connection.transport.is_read, "what else it asks for waits outside"
            connection.protocol.resume_writing()
            await connection.done()
            assert [reply.status for reply in connection.replies()] == [200] * 3
            assert connection.transport.is_read

    async def test_takes_requests_as_they_come_in_pieces_or_many_at_once(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            asked = request(PATH) + request("/data/other", method="HEAD") + request("/data/other")
            connection.feed(*(asked[n : n + 1] for n in range(len(asked))))
            connection.feed(asked, asked, asked[:30], asked[30:])
            assert connection.asked == []
            replies = connection.replies(*["GET", "HEAD", "GET"] * 4)
            assert [reply.body for reply in replies] == [b'["a"]', b"", b'{"b":2}'] * 4

    async def test_counts_as_the_other_way_does(self) -> None:
        for kind in (WireProtocol, HttpToolsProtocol):
            cache = small()
            async with listening(cache, kind) as listener:
                connection = listener.connect()
                for fields in ([], ["If-None-Match: *"], [], ["Content-Length: 0"]):
                    await connection.get(PATH, *fields)
                await connection.get("/data/nope")
                assert counted(listener) == ({200: 3, 304: 1, 404: 1}, 5)


class TestWhatIsCached:
    async def test_is_the_request_and_not_the_answer(self) -> None:
        clock = FakeClock()
        upstream = Upstream(["a"], ["b"], RuntimeError("down"))
        cache = cache_of(clock, one=upstream)
        async with listening(cache) as listener:
            connection = listener.connect()
            first, again = await connection.get(PATH), await connection.get(PATH)
            assert first == again
            await clock.advance(3)
            assert (await connection.get(PATH)).headers["age"] == "3"
            await cache.refresh("one")
            changed = await connection.get(PATH)
            assert (changed.body, changed.headers["refresher-version"]) == (b'["b"]', "2")
            assert changed.headers["age"] == "0"
            await cache.refresh("one")
            stale = await connection.get(PATH)
            assert stale.headers["cache-status"].endswith("detail=source")
            known = f"If-None-Match: {first.headers['etag']}"
            assert (await connection.get(PATH, known)).status == 200
            assert connection.asked == []

    @pytest.mark.parametrize(
        ("known", "detail"), [("detached", "detached"), ("outdated", "definition")]
    )
    async def test_says_what_else_becomes_known_of_the_job(self, known: str, detail: str) -> None:
        cache = small()
        async with listening(cache) as listener:
            connection = listener.connect()
            before = await connection.get(PATH)
            for holds in (True, False):
                change: dict[str, Any] = {known: holds}
                cache.service.states.update("one", partial(replace, **change))
                after = await connection.get(PATH)
                assert after.headers["cache-status"].endswith(f"; detail={detail}") == holds
            assert after == before
            assert connection.asked == []

    async def test_opens_nothing_once_the_token_is_another(self) -> None:
        config = {"server": {"read_tokens": ["r3ad"]}}
        cache = cache_of(FakeClock(), config, one=Upstream())
        async with listening(cache) as listener:
            connection = listener.connect()
            bearer = "Authorization: Bearer r3ad"
            for _ in range(2):
                assert (await connection.get(PATH, bearer)).status == 200
            assert connection.asked == []
            tokens = cache.service.access.tokens
            cache.service.access.tokens = type(tokens)(admin=tokens.admin, read=("new",))
            assert (await connection.get(PATH, bearer)).status == 401
            assert (await connection.get(PATH)).status == 401
            assert (await connection.get(PATH, "Authorization: Bearer new")).status == 200

    async def test_never_serves_longer_than_the_job_allows(self) -> None:
        clock = FakeClock()
        config = {"defaults": {"interval": "100s", "max_stale": "10s", "on_expired": "fail"}}
        cache = cache_of(clock, config, one=Upstream(["a"], RuntimeError("down")))
        async with listening(cache) as listener:
            connection = listener.connect()
            assert (await connection.get(PATH)).status == 200
            await clock.advance(600)
            assert (await connection.get(PATH)).status == 503

    @pytest.mark.parametrize("rest", [b"GET /da", b"BREW / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
    async def test_is_no_request_with_something_behind_it(self, rest: bytes) -> None:
        async with listening(small()) as listener:
            first, second = listener.connect(), listener.connect()
            for connection in (first, second):
                connection.feed(request(PATH) + rest)
                connection.feed(b"ta/other HTTP/1.1\r\nHost: x\r\n\r\n")
            statuses = [reply.status for reply in first.replies()]
            assert statuses == [200, 200 if rest == b"GET /da" else 400]
            assert [reply.status for reply in second.replies()] == statuses

    async def test_is_a_request_only_where_one_can_begin(self) -> None:
        async with listening(small()) as listener:
            connection, asked = listener.connect(), request(PATH)
            connection.feed(asked)
            connection.feed(request(PATH, f"Content-Length: {len(asked)}", method="POST"))
            await connection.done()
            connection.feed(asked)  # which is its body
            connection.feed(b"GET /data/other HTTP/1.1\r\nX: ")
            connection.feed(asked)  # which is the rest of its head
            assert [reply.status for reply in connection.replies()] == [200, 405, 200]
            assert connection.replies()[2].body == b'{"b":2}'


class TestTheConnection:
    async def test_is_closed_when_nothing_is_ever_asked(self) -> None:
        async with listening(small(), timeout_keep_alive=0.01) as listener:
            connection = listener.connect()
            await eventually(lambda: connection.transport.is_closed, "its end")

    async def test_is_closed_when_nothing_has_been_asked_for_long_enough(self) -> None:
        async with listening(small(), timeout_keep_alive=0.01) as listener:
            connection = listener.connect()
            await connection.get(PATH)
            await eventually(lambda: connection.transport.is_closed, "its end")

    async def test_is_kept_when_something_was_asked_for_since_the_timer_was_set(self) -> None:
        async with listening(small(), timeout_keep_alive=60.0) as listener:
            connection = listener.connect()
            protocol = connection.protocol
            await connection.get(PATH)
            timer = protocol.timeout_keep_alive_task
            await connection.get(PATH)
            assert timer is not None
            assert protocol.timeout_keep_alive_task is timer
            protocol.timeout_keep_alive_handler()  # as if its time had come
            assert not connection.transport.is_closed
            assert protocol.timeout_keep_alive_task is not timer

    async def test_is_kept_while_what_was_asked_for_is_yet_to_be_read(self) -> None:
        async with listening(small(), timeout_keep_alive=0.01) as listener:
            connection = listener.connect()
            protocol, transport = connection.protocol, connection.transport
            transport.on_write = protocol.pause_writing
            connection.feed(request(PATH) * 3)
            timer = protocol.timeout_keep_alive_task
            assert timer is not None
            await eventually(
                lambda: transport.is_closed or protocol.timeout_keep_alive_task is not timer,
                "the end of its time",
            )
            assert not transport.is_closed
            transport.on_write = lambda: None
            protocol.resume_writing()
            await connection.done()
            assert [reply.status for reply in connection.replies()] == [200] * 3
            await eventually(lambda: transport.is_closed, "its end")

    async def test_waits_for_as_long_as_ever_for_the_rest_of_a_request(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            await connection.get(PATH)
            connection.feed(b"GET /da")
            assert connection.protocol.timeout_keep_alive_task is None

    async def test_is_closed_when_the_server_ends_and_nothing_is_on_its_way(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            await connection.get(PATH)
            connection.protocol.shutdown()
            assert connection.transport.is_closed

    async def test_gets_a_500_where_a_read_breaks(self, caplog: pytest.LogCaptureFixture) -> None:
        cache = small()
        async with listening(cache) as listener:
            connection = listener.connect()
            await connection.get(PATH)
            del cache.service.access.tokens
            assert (await connection.get(PATH)).status == 500
        assert "a read broke" in caplog.text


class TestTheVersionOfUvicorn:
    def test_that_is_installed_is_known(self, caplog: pytest.LogCaptureFixture) -> None:
        assert http_protocol() is WireProtocol
        assert caplog.records == []

    @pytest.mark.parametrize("version", ["0.53.9", "0.55.0", "1.0", "0.56.0rc1"])
    def test_that_is_not_known_reads_through_asgi_and_says_so(
        self, version: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert http_protocol(version) is HttpToolsProtocol
        (record,) = caplog.records
        assert record.getMessage().startswith(f"uvicorn {version} is none that")

    def test_that_may_be_installed_is_known_and_the_next_is_not(self) -> None:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())[
            "project"
        ]
        (ours,) = (each for each in project["dependencies"] if each.startswith("uvicorn"))
        first, end = ours.removeprefix("uvicorn>=").split(",<")
        assert http_protocol(first) is WireProtocol
        assert http_protocol(end) is HttpToolsProtocol


methods = st.sampled_from(["GET"] * 6 + ["HEAD"] * 3 + ["POST", "OPTIONS", "DELETE"])
paths = st.sampled_from(
    [PATH] * 4
    + ["/data/text"] * 4
    + ["/data/nope", "/data/one?x", "/data/%6fne", "/data/", "/data/one/0", "/livez", "/", "/jobs"]
    + ["/data/text?version=1", "/data/text?version=2"]
)


JSON = "application/json"
etags = [etag_of(b'["a"]', JSON), etag_of(json.dumps(TEXT, separators=(",", ":")).encode(), JSON)]
fields = st.lists(
    st.sampled_from(
        [
            *(f"If-None-Match: {etag}" for etag in etags),
            f"If-None-Match: {', '.join(etags)}",
            f"If-None-Match: W/{etags[0]}",
            f'If-None-Match: {etags[1][:-1]}-gzip"',
            "if-none-match: *",
            "If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT",
            "If-Modified-Since: Fri, 15 Jan 2027 07:59:59 GMT",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "accept-encoding: br;q=0.5, gzip;q=0.4",
            "Accept-Encoding: zstd",
            "Accept-Encoding: *;q=0",
            "Connection: keep-alive",
            "Connection: close",
            "Connection: Upgrade",
            "Upgrade: h2c",
            "Prefer: wait=5",
            "Expect: 100-continue",
            "Origin: https://app.example",
            "Origin: https://evil.example",
            "Access-Control-Request-Method: GET",
            "Range: bytes=0-1",
            "X-Forwarded-For: 1.2.3.4",
            "Authorization: Bearer r3ad",
            "Authorization: Bearer wrong",
            "User-Agent: a client of ours",
            "Cookie: a=b",
        ]
    ),
    max_size=4,
)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[list[str], list[bytes]]:
    """Requests, some of them again, in the pieces in which they come."""
    pool = []
    for _ in range(draw(st.integers(1, 3))):
        method, path, said = draw(methods), draw(paths), draw(fields)
        body, version = b"", draw(st.sampled_from(["HTTP/1.1"] * 9 + ["HTTP/1.0"]))
        match draw(st.sampled_from(["none"] * 6 + ["length", "chunked", "empty"])):
            case "length":
                said, body = [*said, "Content-Length: 3"], b"abc"
            case "chunked":
                said = [*said, "Transfer-Encoding: chunked"]
                body = b"3\r\nabc\r\n0\r\n\r\n"
            case "empty":
                said = [*said, "Content-Length: 0"]
            case _:
                pass
        text = request(path, *said, method=method, body=body)
        pool.append((method, text.replace(b"HTTP/1.1", version.encode())))
    asked = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5))
    if draw(st.booleans()):  # each by itself
        return [method for method, _ in asked], [text for _, text in asked]
    stream = b"".join(text for _, text in asked)
    stream += draw(st.sampled_from([b"", b"", b"\r\n"]))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    return [method for method, _ in asked], chunks


@pytest.fixture(params=[[], ["r3ad"]], ids=["open", "with tokens"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Listener, Listener]]:
    """The short way and uvicorn's own, to services that know the same."""
    config = {"server": {"cors_origins": ["https://app.example"], "read_tokens": request.param}}
    short, long = (cache_of(FakeClock(), config, one=Upstream(), text=Upstream(TEXT)) for _ in "12")
    async with listening(short) as ours, listening(long, HttpToolsProtocol) as theirs:
        yield ours, theirs


async def outcome(
    listener: Listener, chunks: list[bytes], methods: list[str]
) -> tuple[list[Reply], bool]:
    """What a client gets that sends these chunks, and whether the connection is closed then."""
    connection = listener.connect()
    for chunk in chunks:
        connection.feed(chunk)
        if connection.protocol.cycle is None or connection.protocol.cycle.response_complete:
            continue
        await connection.done()
    await connection.done()
    await listener.rested()
    replies = connection.replies(*methods)
    for reply in replies:
        assert (reply.status == 100) != (reply.headers.pop("date", None) is not None)
    return replies, connection.transport.is_closed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(exchange=exchanges())
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_both_ways_give_the_same_answers(
    both: tuple[Listener, Listener], exchange: tuple[list[str], list[bytes]]
) -> None:
    methods, chunks = exchange
    ours, theirs = both
    for each in both:
        counted(each)
    (answers, closed), (expected, expected_closed) = [
        await outcome(each, chunks, methods) for each in both
    ]
    assert closed == expected_closed
    if expected and expected[-1].body == b"Invalid HTTP request received.":
        # What was asked for before is forgotten there, and here answered if it was before that.
        assert answers.pop().status == expected.pop().status
        assert answers[: len(expected)] == expected
        return
    assert answers == expected
    assert counted(ours) == counted(theirs)


def counted(listener: Listener) -> tuple[dict[int, int], int]:
    """What has been counted since this was asked last."""
    reads = listener.state["refresher"].service.metrics.reads
    found = {status: count for status, count in enumerate(reads) if count}
    for status in found:
        reads[status] = 0
    requests, listener.server.total_requests = listener.server.total_requests, 0
    return found, requests
