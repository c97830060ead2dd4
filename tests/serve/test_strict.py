import asyncio
import json

import pytest

from refresher import Refresher
from tests.e2e.process import eventually
from tests.serve.wiring import listening, request
from tests.web.serving import Upstream, cache_of

TEXT = ["a value that is not too short"] * 100
PATH = "/data/one"


def small() -> Refresher:
    return cache_of(one=Upstream(), text=Upstream(TEXT), other=Upstream({"b": 2}))


class TestTheConnection:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"BREW /data/one HTTP/1.1\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nno colon\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            b"GET /data/one HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nHost: x/y\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nHost: a@b\r\n\r\n",
            b"GET /jobs HTTP/1.1\r\nHost: x y\r\n\r\n",
        ],
    )
    @pytest.mark.filterwarnings("ignore::UserWarning")
    async def test_ends_with_a_problem_where_something_is_no_http(self, garbage: bytes) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(garbage)
            (reply,) = connection.replies()
            assert reply.status == 400
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["connection"] == "close"
            assert json.loads(reply.body)["status"] == 400
            assert connection.transport.is_closed

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /data/one HTTP/1.1\r\nHost: \r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
            b"GET /data/one HTTP/1.1\r\nHost: a-b.example:80\r\n\r\n",
            b"GET /data/one HTTP/1.0\r\n\r\n",
        ],
    )
    async def test_may_be_for_whatever_host_it_is(self, head: bytes) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(head)
            await connection.done()
            assert [reply.status for reply in connection.replies()] == [200]

    @pytest.mark.parametrize(
        "garbage",
        [
            b"GET /data/one HTTP/1.1\r\n\r\n",
            request("/livez", "Transfer-Encoding: chunked", method="POST", body=b"ZZZ\r\n"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::UserWarning")
    async def test_gives_what_was_asked_for_before_garbage_and_nothing_more(
        self, garbage: bytes
    ) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(request("/jobs/one") + request(PATH) + garbage, request(PATH))
            await connection.done()
            replies = connection.replies()
            assert [reply.status for reply in replies] == [200, 200]
            assert replies[1].headers["connection"] == "close"
            assert connection.transport.is_closed

    @pytest.mark.parametrize(
        ("begin", "rest", "status"),
        [
            (b"GET /data/one HTTP/1.1\r\nHost: x\r\nCookie: ", b"a" * 4096, 431),
            (b"GET /data/one HTTP/1.1\r\nHost: x\r\n", b"X-Name: value\r\n" * 256, 431),
            (b"GET /data/", b"a" * 4096, 414),
            (b"GET /livez?", b"a" * 4096, 414),
        ],
    )
    @pytest.mark.parametrize("access_log", [False, True])
    async def test_ends_where_a_head_does_not(
        self, begin: bytes, rest: bytes, status: int, *, access_log: bool
    ) -> None:
        async with listening(small(), access_log=access_log) as listener:
            connection = listener.connect()
            connection.feed(begin, *[rest] * 16)
            assert not connection.transport.is_closed, "64 KiB may come"
            connection.feed(rest, rest)
            (reply,) = connection.replies()
            assert (reply.status, json.loads(reply.body)["status"]) == (status, status)
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers["connection"] == "close"
            assert connection.transport.is_closed

    @pytest.mark.filterwarnings("ignore::UserWarning")
    async def test_ends_with_a_414_where_a_target_is_longer_than_any(self) -> None:
        async with listening(small()) as listener:
            for path in ("/data/", "/data/one?", "/jobs?"):
                connection = listener.connect()
                connection.feed(request(path + "a" * 0xFFFF))
                (reply,) = connection.replies()
                assert reply.status == 414
                assert connection.transport.is_closed
            connection = listener.connect()
            assert (await connection.get("/data/one?" + "a" * 60_000)).status == 200

    @pytest.mark.parametrize("rest", [b"X-Name: value\r\n" * 256, b"X: " + b"a" * 4096])
    async def test_ends_where_what_follows_a_body_does_not(self, rest: bytes) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            asked = request(PATH, "Transfer-Encoding: chunked", method="POST", body=b"0\r\n")
            connection.feed(asked, *[rest] * 18)
            assert connection.transport.is_closed

    async def test_takes_bodies_and_many_requests_of_any_length(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            body = b"a" * 1_000_000
            asked = request(PATH, f"Content-Length: {len(body)}", method="POST", body=body)
            connection.feed(*(asked[n : n + 4096] for n in range(0, len(asked), 4096)))
            await connection.done()
            chunked = request(PATH, "Transfer-Encoding: chunked", method="POST")
            connection.feed(chunked, *[b"1\r\na\r\n"] * 20_000, b"0\r\n\r\n")
            await connection.done()
            many = request(PATH) * 5000
            connection.feed(*(many[n : n + 7000] for n in range(0, len(many), 7000)))
            assert [reply.status for reply in connection.replies()] == [405] * 2 + [200] * 5000
            assert not connection.transport.is_closed

    async def test_is_not_read_on_while_requests_wait_for_their_answers(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(request("/jobs/one") * 3)
            assert not connection.transport.is_read
            while len(connection.replies()) < 2:
                assert not connection.transport.is_read
                await asyncio.sleep(0)
            await connection.done()
            assert connection.transport.is_read
            asked = request("/admin/refresh", "Content-Length: 2", method="POST", body=b"{}")
            connection.feed(asked * 2 + asked[:-1])
            await eventually(lambda: connection.transport.is_read, "the wish for the rest")
            connection.feed(asked[-1:])
            await connection.done()
            assert [reply.status for reply in connection.replies()] == [200] * 3 + [401] * 3

    async def test_gets_nothing_more_once_it_is_lost(self) -> None:
        async with listening(small()) as listener:
            connection = listener.connect()
            connection.feed(request("/jobs/one") * 3)
            connection.protocol.connection_lost(ConnectionResetError())
            await listener.rested()
            assert connection.transport.written == []
            assert connection.asked == ["/jobs/one"]
