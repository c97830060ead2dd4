import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvloop

from refresher.upstream.addresses import EXTENSION, AddressRule, ForbiddenAddress
from refresher.upstream.client import open_client
from tests.faults import (
    CERTIFICATE,
    CUT,
    HANG_UP,
    RESET,
    STALL,
    Answer,
    Deed,
    FaultServer,
    Request,
    Until,
    answer,
    closed_port,
    serving,
)
from tests.upstream.requests import from_public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_connection_is_opened_to_an_address_out_of_reach(
    host: str, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        await client.send(from_public(upstream.url(host=host)))
    assert isinstance(caught.value.__cause__, ForbiddenAddress)
    assert upstream.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_kept_connection_is_used_to_an_address_out_of_reach(
    host: str, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    upstream.script("/", answer(200, b"[]"))
    url = upstream.url(host=host)
    await client.get(url)
    with pytest.raises(httpx.ConnectError) as caught:
        await client.send(from_public(url))
    assert isinstance(caught.value.__cause__, ForbiddenAddress)
    await client.get(url)
    assert (upstream.connections, len(upstream.requests)) == (1, 2)


async def test_a_name_for_a_link_local_address_is_not_connected_to(
    client: httpx.AsyncClient,
) -> None:
    request = httpx.Request("GET", "http://0xa9fea9fe/", extensions={EXTENSION: AddressRule("x")})
    with pytest.raises(httpx.ConnectError) as caught:
        await client.send(request)
    assert isinstance(caught.value.__cause__, ForbiddenAddress)


async def test_an_address_rule_holds_for_its_own_request_alone(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    async def allowed() -> int:
        return (await client.get(upstream.url(host="localhost"))).status_code

    async def forbidden() -> str:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.send(from_public(upstream.url(host="localhost")))
        return type(caught.value.__cause__).__name__

    found = await asyncio.gather(*(call() for _ in range(10) for call in (allowed, forbidden)))
    assert found == [404, "ForbiddenAddress"] * 10


@pytest.mark.parametrize(
    "late",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"garbage",
    ],
)
async def test_what_comes_on_a_kept_connection_unasked_answers_nothing(
    late: bytes, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    over = asyncio.Event()
    url = upstream.script("/", (*answer(200, b"1"), Until(over), late), answer(200, b"2"))
    assert (await client.get(url)).content == b"1"
    over.set()
    async with serving() as other:  # once this has its answer, the late one has come, too
        await client.get(other.url())
    assert (await client.get(url)).content == b"2"
    assert upstream.connections == 2


STRAYS = [
    b"0\r\n\r\n",
    b'{"error": "none"}',
    b"<html></html>",
    gzip.compress(b"", mtime=0),
    b"\0",
    b"0",
    b"<!-- 12 ms -->",
    b"   ",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    b"x" * 300_000,
]
WHOLE = [
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, b""),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", 200, b"[1]"),
    (b"HTTP/1.1 200 OK\nContent-Length: 3\n\n[1]", 200, b"[1]"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[1]", 200, b"[1]"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", 200, b"[1]"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"1" * 600_000, 200, b"1" * 600_000),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n", 200, b"[1]"),
]


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_bytes_after_a_whole_answer_are_no_part_of_it_nor_of_the_next(
    size: int, whole: tuple[bytes, int, bytes], stray: bytes, upstream: FaultServer
) -> None:
    sent, status, body = whole
    small, rest = sent[:200], sent[200:] + stray
    pieces = [small[at : at + size] for at in range(0, len(small), size)]
    if size > len(sent):  # all in one read
        pieces, rest = [sent + stray], b""
    elif b"poison" in stray:  # once the next request has been sent, it looks like the answer to it
        return
    async with open_client() as client:
        url = upstream.script("/", (*pieces, rest), answer(200, b"next"))
        got = await client.get(url)
        assert (got.status_code, got.content) == (status, body)
        assert (await client.get(url)).content == b"next"


@pytest.mark.parametrize("late", [b"0\r\n\r\n", b"\0", b"<!-- -->", b" ", b"HTPP/1.1 200 OK"])
async def test_what_comes_late_and_begins_no_answer_is_that_of_none(
    late: bytes, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", answer(200, b"1"), (late, STALL), answer(200, b"2"))
    assert (await client.get(url)).content == b"1"
    assert (await client.get(url)).content == b"2"
    assert [sent.connection for sent in upstream.requests] == [1, 1, 2]
    url = upstream.script("/", answer(200, b"1"), (late, STALL))
    await client.get(url)
    with pytest.raises(httpx.NetworkError):
        await client.post(url)


async def test_an_empty_line_after_an_answer_costs_no_connection(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", (*answer(200, b"1"), b"\r\n"))
    for _ in range(3):
        assert (await client.get(url)).content == b"1"
    assert upstream.connections == 1


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize("chunks", [b"zz\r\n", b"3\r\n[1]xx\r\n", b"3\r\n[1]\r\n0\r\nbad\r\n\r\n"])
async def test_a_body_that_is_malformed_fails_at_once(
    cut: int, chunks: bytes, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    go = asyncio.Event()
    steps = (head, Until(go), chunks, STALL) if cut else (head + chunks, STALL)
    async with asyncio.timeout(60), client.stream("GET", upstream.script("/", steps)) as got:
        go.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await got.aread()


async def test_a_new_connection_on_which_the_server_speaks_first_is_not_replaced(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    upstream.greeting = (b"SSH-2.0-OpenSSH_9\r\n",)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(upstream.script("/", (STALL,)))
    assert upstream.connections == 1


async def test_a_304_that_tells_the_length_of_what_it_did_not_send_keeps_its_connection(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",))
    for _ in range(2):
        assert (await client.get(url)).status_code == 304
    assert upstream.connections == 1


@pytest.mark.parametrize("end", [HANG_UP, RESET])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_get_on_a_kept_connection_that_ends_without_a_byte_is_sent_once_more(
    end: Deed, *, tls: bool
) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with serving(tls=tls) as upstream, open_client(tls=trusting) as client:
        url = upstream.script("/", answer(200, b"1"), (end,), answer(200, b"2"))
        assert (await client.get(url)).content == b"1"
        assert (await client.request("GET", url, content=b"?")).content == b"2"
        assert [(sent.connection, sent.body) for sent in upstream.requests] == [
            (1, b""),
            (1, b"?"),
            (2, b"?"),
        ]


async def test_it_is_sent_on_a_new_connection_and_on_no_other_that_was_kept(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    both = asyncio.Event()

    def let_both_go(_: Request) -> Answer:
        both.set()
        return answer(200)

    slow = upstream.script("/slow", (Until(both), *answer(200)))
    await asyncio.gather(client.get(slow), client.get(upstream.script("/fast", let_both_go)))
    assert upstream.connections == 2
    url = upstream.script("/", (HANG_UP,), answer(200, b"1"))
    assert (await client.get(url)).content == b"1"
    assert upstream.requests[-1].connection == 3


async def test_what_has_been_sent_twice_is_not_sent_again(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", answer(200), (HANG_UP,))
    await client.get(url)
    with pytest.raises(httpx.ReadError):
        await client.get(url)
    assert len(upstream.requests) == 3


async def test_what_ends_on_a_new_connection_is_not_sent_again(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ReadError):
        await client.get(upstream.script("/", (HANG_UP,), answer(200)))
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("end", [HANG_UP, RESET])
@pytest.mark.parametrize("some", [b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_what_has_been_answered_in_part_is_not_sent_again(
    some: bytes, end: Deed, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", answer(200), (some, end), answer(200))
    await client.get(url)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.get(url)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
async def test_what_is_no_get_is_not_sent_again(
    method: str, upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    url = upstream.script("/", answer(200), (HANG_UP,), answer(200))
    await client.get(url)
    with pytest.raises(httpx.ReadError):
        await client.request(method, url)
    assert len(upstream.requests) == 2


async def test_a_stream_that_has_been_read_is_not_sent_again(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"

    url = upstream.script("/", answer(200), (HANG_UP,), answer(200))
    await client.get(url)
    with pytest.raises(httpx.ReadError):
        await client.request("GET", url, content=parts(), headers={"Content-Length": "3"})
    assert len(upstream.requests) == 2


async def test_the_address_that_answered_is_noted(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    for _ in range(2):
        rule = AddressRule("localhost")
        request = httpx.Request("GET", upstream.url(), extensions={EXTENSION: rule})
        await client.send(request)
        assert rule.peer == "127.0.0.1"
    assert upstream.connections == 1


async def test_a_client_fails_with_the_errors_of_httpx(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ConnectError):
        await client.get(f"http://127.0.0.1:{closed_port()}/")
    for steps, error in [
        ((HANG_UP,), httpx.ReadError),
        ((RESET,), httpx.ReadError),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", HANG_UP), httpx.RemoteProtocolError),
        ((b"nonsense\r\n\r\n",), httpx.RemoteProtocolError),
    ]:
        with pytest.raises(error):
            await client.get(upstream.script("/", steps))
    with pytest.raises(httpx.ReadTimeout):
        await client.get(upstream.script("/", (STALL,)), timeout=httpx.Timeout(None, read=0.02))
    with pytest.raises(httpx.LocalProtocolError):
        await client.get(upstream.url(), headers={"X-Name": "a\r\nX-Other: b"})


async def test_a_client_streams_a_body_up(upstream: FaultServer, client: httpx.AsyncClient) -> None:
    upstream.script("/", answer(200))

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    await client.post(upstream.url(), content=parts(), headers={"Content-Length": "6"})
    assert upstream.requests[0].body == b"onetwo"


async def test_a_client_trusts_the_authorities_of_its_tls_context() -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with serving(tls=True) as upstream, open_client(tls=trusting) as client:
        upstream.script("/", answer(200, b"[]"))
        assert (await client.get(upstream.url())).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await client.send(from_public(upstream.url()))


UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\n[1"


@pytest.mark.parametrize(("end", "tls"), [(RESET, False), (RESET, True), (CUT, True)])
@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_body_that_only_the_end_delimits_is_broken_where_its_end_proves_nothing(
    end: Deed, loop: Callable[[], asyncio.AbstractEventLoop] | None, *, tls: bool
) -> None:
    async def fetch() -> None:
        come = asyncio.Event()
        async with serving(tls=tls) as upstream, open_client(tls=trusting()) as client:
            upstream.script("/", (UNTIL_CLOSED, Until(come), end))
            async with client.stream("GET", upstream.url()) as response:
                chunks = response.aiter_raw()
                assert await anext(chunks) == b"[1"
                come.set()
                with pytest.raises(httpx.RemoteProtocolError, match="its connection ended"):
                    await anext(chunks)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(fetch())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_body_that_only_the_end_delimits_is_whole_where_that_came_in_good_order(
    loop: Callable[[], asyncio.AbstractEventLoop] | None, *, tls: bool
) -> None:
    async def fetch() -> None:
        async with serving(tls=tls) as upstream, open_client(tls=trusting()) as client:
            upstream.script("/", (UNTIL_CLOSED, b"]", HANG_UP))
            assert (await client.get(upstream.url())).content == b"[1]"

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(fetch())


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)
