import asyncio
import gzip
import socket
import ssl
import tracemalloc
from collections.abc import Mapping

import httpx
import pytest

from refresher.config.auth import BearerAuth, QueryAuth
from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.sources import Exchange, HttpRequest, HttpSource
from refresher.upstream.auth import OriginHeader, OriginParameter
from refresher.upstream.client import open_client
from refresher.upstream.urls import origin_of
from tests.fakes import START, FakeClock
from tests.faults import (
    CERTIFICATE,
    HANG_UP,
    RESET,
    STALL,
    Answer,
    Deed,
    Endless,
    FaultServer,
    Request,
    Until,
    answer,
    closed_port,
    gzip_bomb,
    json_answer,
    redirect,
    serving,
)
from tests.sources.fetching import mocked, not_modified, payload, refusal, spooled

LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
OK_HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def conditional(request: Request) -> Answer:
    """As a well-behaved upstream answers."""
    if request.header("if-none-match") == '"a"':
        return answer(304, headers={"ETag": '"a"'})
    return json_answer(b"[1]", {"ETag": '"a"', "Last-Modified": LONG_AGO})


async def failure(
    client: httpx.AsyncClient, upstream: FaultServer, *steps: Answer
) -> RefreshFailed:
    url = upstream.script("/x", *steps)
    return await refusal(HttpSource(HttpRequest(url=url), client=client))


class TestAnAnswer:
    async def test_is_its_bytes_media_type_and_validators(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        body = b'{"b": 1.10, "a": "\xc3\xa4"}\n'
        url = upstream.script("/x", json_answer(body, {"ETag": '"a"'}))
        found = await payload(HttpSource(HttpRequest(url=url), client=client))
        assert (found.body, found.content_type, found.http_status) == (
            body,
            "application/json",
            200,
        )
        assert found.revision is not None

    async def test_without_validators_has_no_revision(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", json_answer(b"[]"))
        assert (await payload(HttpSource(HttpRequest(url=url), client=client))).revision is None

    @pytest.mark.parametrize(
        ("fields", "age", "overdue"),
        [
            ({}, 0, 0),
            ({"Age": "3000"}, 3000, 0),
            ({"Age": "3000, 5", "Cache-Status": "cdn; hit; ttl=-40"}, 3000, 40),
            ({"Age": "soon", "Cache-Status": "refresher; hit; ttl=9"}, 0, 0),
        ],
    )
    async def test_is_as_old_as_it_says_when_its_head_has_come(
        self,
        fields: dict[str, str],
        age: float,
        overdue: float,
        upstream: FaultServer,
        client: httpx.AsyncClient,
    ) -> None:
        url = upstream.script(
            "/x", json_answer(b"[1]", {**fields, "ETag": '"a"'}), answer(304, b"", fields)
        )
        clock = FakeClock()
        dated = HttpSource(HttpRequest(url=url, now=clock.now), client=client)
        whole = await payload(dated)
        for answered in (whole, await not_modified(dated, whole.revision)):
            assert (answered.as_of, answered.overdue) == (START - age, overdue)

    async def test_was_good_when_its_head_came_however_long_its_body_takes(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        clock, head, rest = FakeClock(), asyncio.Event(), asyncio.Event()
        url = upstream.script(
            "/x", (OK_HEAD + b"Content-Length: 3\r\nAge: 7\r\n\r\n[", Until(rest), b"1]")
        )
        source = HttpSource(
            HttpRequest(url=url, now=clock.now), client=client, on_exchange=lambda _: head.set()
        )
        fetching = asyncio.ensure_future(payload(source))
        await head.wait()
        await clock.advance(50)
        rest.set()
        assert (await fetching).as_of == START - 7

    async def test_is_fetched_though_the_connection_kept_for_it_has_ended(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", json_answer(b"[1]"), (RESET,), json_answer(b"[2]"))
        seen: list[Exchange] = []
        source = HttpSource(HttpRequest(url=url), client=client, on_exchange=seen.append)
        assert (await payload(source)).body == b"[1]"
        assert (await payload(source)).body == b"[2]"
        assert (len(seen), len(upstream.requests)) == (2, 3)

    async def test_at_a_url_that_httpx_does_not_take_is_no_request_and_no_crash(
        self, client: httpx.AsyncClient
    ) -> None:
        source = HttpSource(HttpRequest(url=f"http://api/{'x' * 70_000}"), client=client)
        found = await refusal(source)
        assert (found.failure.stage, found.transient) == (Stage.CONNECT, False)
        assert "no request could be made to the configured url" in found.failure.message

    async def test_whose_body_is_large_lies_in_a_file_where_that_is_asked_for(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        body = b"[%s]" % (b"1," * 50_000 + b"1")
        coded = {"Content-Encoding": "gzip", "ETag": '"a"', "Cache-Control": "max-age=30"}
        url = upstream.script(
            "/x", answer(200, gzip.compress(body), coded), json_answer(b"[1]"), json_answer(body)
        )
        source = HttpSource(HttpRequest(url=url), client=client, spool_from=len(body))
        found = await spooled(source)
        assert found.loaded() == body
        assert (found.http_status, found.revision is None, found.fresh_for) == (200, False, 30.0)
        assert (await payload(source)).body == b"[1]"
        in_memory = HttpSource(HttpRequest(url=url), client=client)
        assert (await payload(in_memory)).body == body

    @pytest.mark.parametrize(
        "steps",
        [
            (CHUNKED + b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n",),
            (OK_HEAD + b"\r\n[1]", HANG_UP),
            (b"HTTP/1.0 200 OK\r\n\r\n[1]", HANG_UP),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + OK_HEAD + b"Content-Length: 3\r\n\r\n[1]",),
            answer(200, gzip.compress(b"[") + gzip.compress(b"1]"), {"Content-Encoding": "gzip"}),
        ],
        ids=["chunked", "until close", "1.0", "continue", "gzip"],
    )
    async def test_is_whole_however_it_is_framed_and_coded(
        self, steps: Answer, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", steps)
        assert (await payload(HttpSource(HttpRequest(url=url), client=client))).body == b"[1]"

    async def test_may_have_another_status_if_the_job_takes_it(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        request = HttpRequest(
            url=upstream.script("/x", answer(203, b"[]")), ok_status=frozenset({203})
        )
        found = await payload(HttpSource(request, client=client))
        assert (found.body, found.http_status) == (b"[]", 203)
        upstream.script("/x", answer(200, b"[]"))
        failed = await refusal(HttpSource(request, client=client))
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, 200)


class TestARequest:
    async def test_goes_out_as_configured(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/a%2Fb/%7Ec", answer(200, b"[]"))
        source = HttpSource(
            HttpRequest(
                url=f"{url}?sig=%2C+%3d&&x",
                method="POST",
                params={"base": "EUR", "to": ["USD", "CHF"]},
                headers={"X-Name": "Zoë", "User-Agent": "mine/1", "Content-Type": "text/plain"},
                content=b"hello",
                auth=OriginHeader(origin_of(httpx.URL(url)), BearerAuth(token="token")),
            ),
            client=client,
        )
        await payload(source)
        [sent] = upstream.requests
        assert (sent.method, sent.body) == ("POST", b"hello")
        assert sent.target == "/a%2Fb/%7Ec?sig=%2C+%3d&&x&base=EUR&to=USD&to=CHF"
        assert "X-Name: Zoë\r\n".encode() in sent.raw
        assert sent.header("user-agent") == "mine/1"
        assert sent.header("authorization") == "Bearer token"
        assert sent.header("content-length") == "5"

    async def test_says_by_default_who_asks_and_what_can_be_decoded(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        await payload(HttpSource(HttpRequest(url=upstream.script("/", answer())), client=client))
        [sent] = upstream.requests
        names = sorted(name.lower() for name, _ in sent.headers)
        assert names == ["accept", "accept-encoding", "connection", "host", "user-agent"]
        assert str(sent.header("user-agent")).startswith("refresher/")
        assert sent.header("accept-encoding") == "gzip, deflate"
        assert sent.header("accept") == "*/*"

    async def test_sends_the_urls_userinfo_as_basic_auth(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", answer()).replace("http://", "http://me:p%40ss@")
        await payload(HttpSource(HttpRequest(url=url), client=client))
        assert upstream.requests[0].header("authorization") == "Basic bWU6cEBzcw=="
        assert "me" not in str(upstream.requests[0].header("host"))

    async def test_keeps_a_cookie_for_the_redirect_that_sets_it_and_no_longer(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        cookie = {"Set-Cookie": "session=1; Path=/"}
        upstream.script("/x", answer(302, headers={**cookie, "Location": "/y"}))
        url = upstream.url("/x", host="localhost")  # a cookie jar may ignore a bare address
        upstream.script("/y", answer(200, b"[]", {"Set-Cookie": "other=1; Path=/"}))
        source = HttpSource(HttpRequest(url=url, headers={"Cookie": "own=1"}), client=client)
        await payload(source)
        await payload(source)
        sent = [each.header("cookie") for each in upstream.requests]
        assert sent == ["own=1", "own=1; session=1"] * 2

    async def test_is_sent_once_though_the_connection_is_dropped(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        await failure(client, upstream, (HANG_UP,))
        await failure(client, upstream, (RESET,))
        assert len(upstream.requests) == 2

    async def test_takes_the_connection_that_the_one_before_left(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = HttpSource(
            HttpRequest(url=upstream.script("/x", answer(503, b"x"), answer(200, b"[]"))),
            client=client,
        )
        await refusal(source)
        await payload(source)
        await payload(source)
        assert upstream.connections == 1


class TestAConditionalRequest:
    async def test_sends_the_validators_as_received_and_takes_a_304_for_an_answer(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = HttpSource(HttpRequest(url=upstream.script("/x", conditional)), client=client)
        first = await payload(source)
        second = await not_modified(source, first.revision)
        assert (second.revision, second.http_status) == (first.revision, 304)
        assert upstream.requests[0].header("if-none-match") is None
        assert upstream.requests[1].header("if-none-match") == '"a"'
        assert upstream.requests[1].header("if-modified-since") is None

    async def test_sends_the_date_where_there_is_no_etag(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", json_answer(b"[1]", {"Last-Modified": LONG_AGO}), answer(304))
        source = HttpSource(HttpRequest(url=url), client=client)
        await not_modified(source, (await payload(source)).revision)
        assert upstream.requests[1].header("if-modified-since") == LONG_AGO

    @pytest.mark.parametrize("tag", [None, '"a"', 'W/"a"', '"a-gzip"', '"b"'])
    async def test_goes_on_with_the_validators_of_the_answer_that_brought_the_bytes(
        self, tag: str | None, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script(
            "/x",
            json_answer(b"[1]", {"ETag": '"a"'}),
            answer(304, headers={"ETag": tag} if tag else {}),
            json_answer(b"[2]", {"ETag": '"c"'}),
            answer(304),
        )
        source = HttpSource(HttpRequest(url=url), client=client)
        first = await payload(source)
        if tag == '"b"':  # it confirms nothing, and is followed by a request without conditions
            second = await payload(source, first.revision)
            assert (second.body, len(upstream.requests)) == (b"[2]", 3)
            assert upstream.requests[2].header("if-none-match") is None
            await not_modified(source, second.revision)
            assert upstream.requests[3].header("if-none-match") == '"c"'
        else:
            confirmed = await not_modified(source, first.revision)
            assert (confirmed.revision, len(upstream.requests)) == (first.revision, 2)

    async def test_that_has_to_be_asked_again_is_not_answered_by_another_304(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script(
            "/x", json_answer(b"[1]", {"ETag": '"a"'}), answer(304, headers={"ETag": '"b"'})
        )
        source = HttpSource(HttpRequest(url=url), client=client)
        failed = await refusal(source, (await payload(source)).revision)
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, 304)
        assert len(upstream.requests) == 3

    async def test_is_asked_again_where_a_redirect_led_it(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script(
            "/y",
            json_answer(b"[1]", {"ETag": '"a"'}),
            answer(304, headers={"ETag": '"b"'}),
            json_answer(b"[2]"),
        )
        source = HttpSource(HttpRequest(url=upstream.script("/x", redirect("/y"))), client=client)
        again = await payload(source, (await payload(source)).revision)
        assert again.body == b"[2]"
        assert [each.target for each in upstream.requests] == ["/x", "/y", "/x", "/y", "/y"]

    async def test_is_none_once_the_answer_is_as_old_as_a_full_refresh_allows(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        clock = FakeClock()
        request = HttpRequest(
            url=upstream.script("/x", conditional), full_refresh=100.0, now=clock.now
        )
        source = HttpSource(request, client=client)
        first = await payload(source)
        await clock.advance(90)
        await not_modified(source, first.revision)
        await clock.advance(10)
        second = await payload(source, first.revision)
        await clock.advance(90)
        await not_modified(source, second.revision)

    async def test_replaces_a_condition_in_the_configured_headers(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        request = HttpRequest(
            url=upstream.script("/x", conditional), headers={"if-none-match": '"mine"'}
        )
        source = HttpSource(request, client=client)
        await not_modified(source, (await payload(source)).revision)
        assert upstream.requests[1].raw.lower().count(b"if-none-match") == 1

    @pytest.mark.parametrize("request_", [{"conditional": False}, {"method": "POST"}])
    async def test_is_none_when_switched_off_or_not_a_get(
        self, request_: dict[str, object], upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", conditional)
        marked = await payload(HttpSource(HttpRequest(url=url), client=client))
        source = HttpSource(HttpRequest(url=url, **request_), client=client)  # type: ignore[arg-type]
        found = await payload(source, marked.revision)
        assert found.revision is None
        assert upstream.requests[1].header("if-none-match") is None
        assert upstream.requests[1].header("if-modified-since") is None

    async def test_asks_only_the_url_that_issued_the_validators(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/2025", conditional)
        upstream.script("/2026", conditional)
        url = upstream.script("/latest", redirect("/2025"), redirect("/2025"), redirect("/2026"))
        source = HttpSource(HttpRequest(url=url), client=client)
        first = await payload(source)
        await not_modified(source, first.revision)
        assert (await payload(source, first.revision)).body == b"[1]"
        sent = [(sent.target, sent.header("if-none-match")) for sent in upstream.requests[2:]]
        assert sent == [
            ("/latest", None), ("/2025", '"a"'), ("/latest", None), ("/2026", None)
        ]  # fmt: skip

    async def test_is_what_a_304_must_answer_at_the_very_url_that_gives_it(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/2026", answer(304))
        source = HttpSource(
            HttpRequest(url=upstream.script("/x", conditional, redirect("/2026"))), client=client
        )
        failed = await refusal(source, (await payload(source)).revision)
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, 304)

    async def test_is_what_a_304_must_answer(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, answer(304))
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, 304)
        assert not failed.transient


class TestAFieldThatIsSentTwice:
    async def test_is_one_where_it_is_the_same(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        fields = (
            b'ETag: "a"\r\nDate: Sun, 06 Nov 1994 08:50:00 GMT\r\n'
            b"Expires: Sun, 06 Nov 1994 08:51:00 GMT\r\nContent-Type: text/plain\r\n"
            b"Content-Encoding: gzip\r\n"
        )
        body = gzip.compress(b"abc")
        head = OK_HEAD + fields * 2 + b"Content-Length: %d\r\n\r\n" % len(body)
        source = HttpSource(
            HttpRequest(url=upstream.script("/x", (head + body,), answer(304))), client=client
        )
        found = await payload(source)
        assert (found.body, found.content_type, found.fresh_for) == (b"abc", "text/plain", 60.0)
        await not_modified(source, found.revision)
        assert upstream.requests[1].header("if-none-match") == '"a"'

    @pytest.mark.parametrize(
        "lines",
        [
            b'ETag: "a"\r\nETag: "b"\r\n',
            b"".join(b"Last-Modified: Sun, 06 Nov 1994 08:49:3%d GMT\r\n" % n for n in (7, 8)),
        ],
    )
    async def test_is_no_validator_where_it_differs(
        self, lines: bytes, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", (OK_HEAD + lines + b"Content-Length: 3\r\n\r\n[1]",))
        found = await payload(HttpSource(HttpRequest(url=url), client=client))
        assert (found.body, found.revision) == (b"[1]", None)

    async def test_asks_for_the_longest_wait_where_it_differs(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        lines = b"Retry-After: 5\r\nRetry-After: 17\r\n"
        head = b"HTTP/1.1 429 Slow\r\n" + lines + b"Content-Length: 0\r\n\r\n"
        assert (await failure(client, upstream, (head,))).retry_after == 17.0


class TestAStatus:
    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
    async def test_that_may_pass_is_tried_again(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()
        failed = await failure(client, upstream, (head,))
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, status)
        assert failed.transient

    @pytest.mark.parametrize("status", [201, 204, 206, 300, 400, 401, 403, 404, 410, 451])
    async def test_that_will_stay_waits_for_the_schedule(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, answer(status))
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, status)
        assert not failed.transient
        assert str(status) in str(failed)

    @pytest.mark.parametrize("length", ["", "Content-Length: 0\r\n"])
    async def test_of_no_content_is_an_empty_body_where_it_is_taken(
        self, length: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        head = f"HTTP/1.1 204 No Content\r\n{length}\r\n".encode()
        request = HttpRequest(url=upstream.script("/x", (head,)), ok_status=frozenset({200, 204}))
        found = await payload(HttpSource(request, client=client))
        assert (found.body, found.http_status) == (b"", 204)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_of_refused_credentials_names_the_auth(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        assert "auth" in str(await failure(client, upstream, answer(status)))

    @pytest.mark.parametrize(("status", "wide"), [(429, True), (503, False), (404, False)])
    async def test_brings_its_retry_after_which_a_429_means_for_the_whole_upstream(
        self, status: int, *, wide: bool, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, answer(status, headers={"Retry-After": "17"}))
        assert (failed.retry_after, failed.upstream_wide) == (17.0, wide)

    @pytest.mark.parametrize(
        ("status", "fields", "seconds"),
        [
            (429, {"Retry-After": "40.5"}, 40.5),
            (503, {"Retry-After": "40s"}, 40.0),
            (503, {"Retry-After": "20", "retry-after": "40"}, 40.0),
            (503, {"Retry-After": "Sun, 6 Nov 1994 08:49:57 UTC"}, 20.0),
            (429, {"Retry-After": "1994-11-06T08:49:57Z"}, 20.0),
            (429, {"Retry-After": "when the moon is full"}, 30.0),
            (429, {"Retry-After": ""}, 30.0),
            (429, {}, None),
            (503, {"Retry-After": "when the moon is full"}, None),
        ],
    )
    async def test_is_waited_after_in_each_form_and_30_s_after_an_unreadable_429(
        self,
        status: int,
        fields: dict[str, str],
        seconds: float | None,
        upstream: FaultServer,
        client: httpx.AsyncClient,
    ) -> None:
        url = upstream.script("/x", answer(status, headers=fields))
        request = HttpRequest(url=url, now=lambda: 784111777.0)
        assert (await refusal(HttpSource(request, client=client))).retry_after == seconds

    async def test_may_have_32_interim_ones_before_it_and_no_more(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        early, late = b"HTTP/1.1 103 Early Hints\r\n\r\n", *json_answer(b"[1]")
        url = upstream.script("/y", (early * 32, late))
        assert (await payload(HttpSource(HttpRequest(url=url), client=client))).body == b"[1]"
        failed = await failure(client, upstream, (early * 33, late))
        assert failed.failure.stage is Stage.BODY
        assert "more than 32 interim answers" in str(failed)

    @pytest.mark.parametrize("field", ["Content-Encoding", "Transfer-Encoding"])
    async def test_is_quoted_without_parts_of_secrets(
        self, field: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, answer(200, b"[1]", {field: "zq7" * 80}))
        assert failed.failure.stage is Stage.BODY
        assert "…" in str(failed)
        assert "zq7" not in str(failed)

    async def test_of_another_origin_is_not_upstream_wide(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as stranger:
            there = stranger.script("/", answer(429, headers={"Retry-After": "17"}))
            failed = await failure(client, upstream, redirect(there))
        assert (failed.retry_after, failed.upstream_wide) == (17.0, False)

    async def test_with_a_retry_after_date_is_measured_by_the_given_clock(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", answer(503, headers={"Retry-After": LONG_AGO}))
        request = HttpRequest(url=url, now=lambda: 784111777.0 - 20)
        assert (await refusal(HttpSource(request, client=client))).retry_after == 20.0

    async def test_repeats_neither_the_reason_phrase_nor_the_query(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", (b"HTTP/1.1 500 <script>\r\nContent-Length: 0\r\n\r\n",))
        failed = await refusal(HttpSource(HttpRequest(url=f"{url}?key=SECRET"), client=client))
        assert "script" not in str(failed)
        assert "SECRET" not in str(failed)


class TestABrokenAnswer:
    @pytest.mark.parametrize(
        ("steps", "stage"),
        [
            ((HANG_UP,), Stage.CONNECT),
            ((RESET,), Stage.CONNECT),
            ((b"HTTP/1.1 2", HANG_UP), Stage.BODY),
            ((OK_HEAD + b"Content-", HANG_UP), Stage.BODY),
            ((OK_HEAD + b"Content-", RESET), Stage.BODY),
            ((OK_HEAD + b"Content-Length: 3\r\n", HANG_UP), Stage.BODY),
            ((b"HTTP/1.1 100 Continue\r\n\r\n", HANG_UP), Stage.BODY),
            ((Endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),), Stage.BODY),
            ((Endless(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100),), Stage.BODY),
            ((OK_HEAD, *(b"X-%d: %b\r\n" % (n, b"a" * 30_000) for n in range(20))), Stage.BODY),
            ((b"SSH-2.0-OpenSSH_9\r\n", HANG_UP), Stage.BODY),
            ((b"HTTP/1.1 20 Hm\r\n\r\n", HANG_UP), Stage.BODY),
            ((OK_HEAD, Endless(b"X-A: b\r\n" * 1000)), Stage.BODY),
            ((OK_HEAD + b"X: ", Endless(b"a" * 10_000)), Stage.BODY),
            ((Endless(b"a" * 10_000),), Stage.BODY),
            ((OK_HEAD + b"Content-Length: 9\r\n\r\n[1]", HANG_UP), Stage.BODY),
            ((OK_HEAD + b"Content-Length: 9\r\n\r\n[1]", RESET), Stage.BODY),
            ((OK_HEAD + b"Content-Length: 3\r\nContent-Length: 2\r\n\r\n[1]",), Stage.BODY),
            ((OK_HEAD + b"Content-Length: -3\r\n\r\n[1]", HANG_UP), Stage.BODY),
            ((OK_HEAD + b"Content-Length: 3, 3\r\n\r\n[1]", HANG_UP), Stage.BODY),
            ((OK_HEAD + b"Content-Length: %b\r\n\r\n[1]" % (b"9" * 30), HANG_UP), Stage.BODY),
            ((CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",), Stage.BODY),
            ((OK_HEAD + b"Transfer-Encoding: gzip\r\n\r\n[1]", HANG_UP), Stage.BODY),
            ((CHUNKED.replace(b"chunked", b"chunked, x") + b"0\r\n\r\n", HANG_UP), Stage.BODY),
            ((CHUNKED + b"3\r\n[1]\r\n0\r\n", Endless(b"X-A: b\r\n" * 1000)), Stage.BODY),
            ((CHUNKED + b"-3\r\n[1]\r\n0\r\n\r\n",), Stage.BODY),
            ((CHUNKED + b"f" * 17 + b"\r\n[1]\r\n", STALL), Stage.BODY),
            ((CHUNKED + b"9\r\n[1]", HANG_UP), Stage.BODY),
            ((CHUNKED + b"3\r\n[1]\r\n", HANG_UP), Stage.BODY),
            ((CHUNKED + b"zz\r\n[1]\r\n0\r\n\r\n",), Stage.BODY),
            ((CHUNKED + b"3\r\n[1]xx0\r\n\r\n",), Stage.BODY),
        ],
    )  # fmt: skip
    async def test_has_a_stage_of_its_own_and_is_transient(
        self, steps: Answer, stage: Stage, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, steps)
        assert (failed.failure.stage, failed.transient) == (stage, True)
        assert "\n" not in str(failed)
        upstream.script("/x", json_answer(b"[2]"))
        source = HttpSource(HttpRequest(url=upstream.url("/x")), client=client)
        assert (await payload(source)).body == b"[2]"
        assert upstream.connections == 2

    async def test_is_none_that_ends_before_its_bytes_do(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        cut_short = (OK_HEAD + b"Content-Length: 1\r\n\r\n[1]",)
        upstream.script("/x", cut_short, json_answer(b"[2]"))
        source = HttpSource(HttpRequest(url=upstream.url("/x")), client=client)
        assert (await payload(source)).body == b"["  # which is no JSON
        assert (await payload(source)).body == b"[2]"
        assert upstream.connections == 2

    @pytest.mark.parametrize(
        ("steps", "transient"),
        [
            (answer(200, gzip.compress(b"[1]")[:-4], {"Content-Encoding": "gzip"}), True),
            (answer(200, gzip.compress(b"[1]") + b"xxxxxxxx", {"Content-Encoding": "gzip"}), False),
            (
                answer(200, gzip.compress(b"[1]")[:-8] + bytes(8), {"Content-Encoding": "gzip"}),
                False,
            ),
            (answer(200, b"[1]", {"Content-Encoding": "gzip"}), False),
            ((CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",), True),
            (answer(200, b"[1]", {"Content-Encoding": "br"}), False),
            (answer(200, bytes(1 << 16), {"Content-Length": str(40 << 20)}), False),
            ((OK_HEAD + b"\r\n", Endless(b"x" * 65536)), False),
            ((CHUNKED, Endless(b"10000\r\n" + b"x" * 65536 + b"\r\n")), False),
            (gzip_bomb(100), False),
        ],
        ids=[
            "cut",
            "tail",
            "checksum",
            "no gzip",
            "transfer coding",
            "br",
            "length",
            "endless",
            "endless chunks",
            "bomb",
        ],
    )
    async def test_is_refused_for_its_content(
        self, steps: Answer, *, transient: bool, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, steps)
        assert (failed.failure.stage, failed.transient) == (Stage.BODY, transient)

    async def test_has_the_status_that_came_before_its_trouble(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        for steps in (answer(200, b"[1]", {"Content-Encoding": "br"}), gzip_bomb(40)):
            assert (await failure(client, upstream, steps)).http_status == 200

    @pytest.mark.parametrize(
        "steps",
        [
            gzip_bomb(100),
            answer(
                200,
                gzip.compress(gzip.compress(bytes(20 << 20))),
                {"Content-Encoding": "gzip, gzip"},
            ),
            (OK_HEAD + b"\r\n", Endless(b"x" * 65536)),
            (CHUNKED, Endless(b"10000\r\n" + b"x" * 65536 + b"\r\n")),
            (OK_HEAD, Endless(b"X-A: b\r\n" * 1000)),
            (Endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),),
        ],
        ids=["bomb", "bomb in a bomb", "endless", "endless chunks", "header flood", "endless 1xx"],
    )
    async def test_takes_no_more_memory_than_the_body_may_have(
        self, steps: Answer, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        request = HttpRequest(url=upstream.script("/x", steps), max_bytes=4 << 20)
        tracemalloc.start()
        try:
            await refusal(HttpSource(request, client=client))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20

    async def test_of_too_many_bytes_leaves_its_connection(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", (OK_HEAD + b"Content-Length: 100\r\n\r\n[1]", STALL))
        await refusal(HttpSource(HttpRequest(url=url, max_bytes=99), client=client))
        async with asyncio.timeout(5):
            await upstream.until_left()


class TestADeadline:
    @pytest.mark.parametrize(
        "steps",
        [(STALL,), (OK_HEAD, STALL), (OK_HEAD + b"Content-Length: 9\r\n\r\n[1]", STALL)],
    )
    async def test_passes_through_and_closes_the_connection(
        self, steps: Answer, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = HttpSource(HttpRequest(url=upstream.script("/x", steps)), client=client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await source.fetch(None)
        async with asyncio.timeout(5):
            await upstream.until_left()

    async def test_for_connecting_is_the_sources_own(self, client: httpx.AsyncClient) -> None:
        async with serving() as upstream:
            upstream.greeting = (STALL,)
            url = upstream.url().replace("http:", "https:")
            request = HttpRequest(url=url, connect_timeout=0.05)
            failed = await refusal(HttpSource(request, client=client))
        assert failed.failure.stage is Stage.TIMEOUT
        assert "connect_timeout" in str(failed)
        assert failed.transient

    async def test_for_connecting_does_not_bound_the_answer(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", (STALL,))
        source = HttpSource(HttpRequest(url=url, connect_timeout=0.2), client=client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await source.fetch(None)


class TestNoConnection:
    async def test_refused(self, client: httpx.AsyncClient) -> None:
        request = HttpRequest(url=f"http://127.0.0.1:{closed_port()}/x?key=SECRET")
        failed = await refusal(HttpSource(request, client=client))
        assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, True)
        assert "Connection refused" in str(failed)
        assert "SECRET" not in str(failed)

    async def test_no_such_name(self, client: httpx.AsyncClient) -> None:
        request = HttpRequest(url="http://no-such-name.invalid/")
        failed = await refusal(HttpSource(request, client=client))
        assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, True)
        assert "cannot resolve http://no-such-name.invalid" in str(failed)

    @pytest.mark.parametrize("url", ["http://a..b/", "http://127.1/", "http://localhost:99999/"])
    async def test_no_request_to_be_made(self, url: str, client: httpx.AsyncClient) -> None:
        failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
        assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, False)

    async def test_no_trust(self, client: httpx.AsyncClient) -> None:
        async with serving(tls=True) as upstream:
            source = HttpSource(HttpRequest(url=upstream.url()), client=client)
            failed = await refusal(source)
        assert (failed.failure.stage, failed.transient) == (Stage.TLS, True)
        assert "not trusted: self-signed certificate" in str(failed)
        assert upstream.requests == []

    async def test_no_tls(self, upstream: FaultServer, client: httpx.AsyncClient) -> None:
        upstream.greeting = (b"HTTP/1.1 400 Bad Request\r\n\r\n", HANG_UP)
        url = upstream.url().replace("http:", "https:")
        failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
        assert failed.failure.stage is Stage.TLS

    @pytest.mark.parametrize("end", [HANG_UP, RESET])
    async def test_no_handshake(
        self, end: Deed, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.greeting = (end,)
        url = upstream.url().replace("http:", "https:")
        failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
        assert (failed.failure.stage, failed.transient) == (Stage.TLS, True)
        assert str(failed).endswith("failed: the connection was closed during the handshake")

    async def test_no_client_certificate_after_the_handshake_of_tls_1_3(self) -> None:
        wanting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
        wanting.load_cert_chain(CERTIFICATE)
        wanting.minimum_version = ssl.TLSVersion.TLSv1_3
        wanting.verify_mode = ssl.CERT_REQUIRED
        trusting = ssl.create_default_context(cafile=CERTIFICATE)

        def refuse_late() -> None:
            connection, _ = listener.accept()
            with wanting.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as server:
                with pytest.raises(ssl.SSLError):
                    server.do_handshake()
                while socket.socket.recv(server, 4096):  # unread, it would make the end a reset
                    pass

        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            serving_late = asyncio.create_task(asyncio.to_thread(refuse_late))
            async with open_client(tls=trusting) as client:
                failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
            await serving_late
        assert (failed.failure.stage, failed.transient) == (Stage.TLS, True)
        assert "certificate required" in str(failed)


class TestARedirect:
    async def test_to_itself_with_a_cookie_is_followed_once_it_is_sent(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        def gate(request: Request) -> Answer:
            if request.header("cookie") == "seen=1":
                return json_answer(b"[1]")
            return answer(302, headers={"Set-Cookie": "seen=1", "Location": "/x"})

        source = HttpSource(HttpRequest(url=upstream.script("/x", gate)), client=client)
        assert (await payload(source)).body == b"[1]"
        assert len(upstream.requests) == 2
        url = upstream.script("/x", answer(302, headers={"Set-Cookie": "a=1", "Location": "/x"}))
        failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
        assert (failed.failure.stage, len(upstream.requests)) == (Stage.REDIRECT, 4)
        assert "in a circle" in str(failed)

    @pytest.mark.parametrize("headers", [{}, {"X-Key": "SECRET"}])
    async def test_takes_no_cookie_to_another_origin(
        self, headers: dict[str, str], upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            cookie = {"Set-Cookie": "home=1; Path=/; Domain=localhost"}
            back = {"Set-Cookie": "away=1", "Location": upstream.url("/z", host="localhost")}
            other.script("/y", answer(302, headers=back))
            upstream.script("/z", json_answer(b"[1]"))
            upstream.script(
                "/x", answer(302, headers={**cookie, "Location": other.url("/y", host="localhost")})
            )
            request = HttpRequest(url=upstream.url("/x", host="localhost"), headers=headers)
            await payload(HttpSource(request, client=client))
            assert other.requests[0].header("cookie") is None
            # Where there are credentials, it may stand for them.
            assert upstream.requests[1].header("cookie") == (None if headers else "home=1")

    @pytest.mark.parametrize("status", [401, 403])
    async def test_to_an_origin_that_wants_credentials_says_that_none_were_sent(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            url = upstream.script("/x", redirect(other.script("/y", answer(status))))
            auth = OriginHeader(origin_of(httpx.URL(url)), BearerAuth(token="SECRET"))
            failed = await refusal(HttpSource(HttpRequest(url=url, auth=auth), client=client))
        assert "auth was withheld there" in str(failed)
        assert f"away from {upstream.url('')}" in str(failed)
        assert f"{other.url('/y')} answered {status}" in str(failed)

    @pytest.mark.parametrize("place", ["/y", "http://HOST/y", "http://HOST"])
    async def test_that_is_told_twice_is_followed_once(
        self, place: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        place = place.replace("HOST", f"127.0.0.1:{upstream.port}")
        for path in ("/y", "/"):
            upstream.script(path, json_answer(b"[1]"))
        line = f"Location: {place}\r\n"
        for lines in (line * 2, f"Location: {place}, {place}\r\n"):
            head = f"HTTP/1.1 302 Found\r\n{lines}Content-Length: 0\r\n\r\n".encode()
            source = HttpSource(HttpRequest(url=upstream.script("/x", (head,))), client=client)
            assert (await payload(source)).body == b"[1]"

    async def test_to_two_places_is_followed_to_none(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/y", json_answer(b"[1]"))
        lines = b"Location: /y\r\nLocation: /z\r\n"
        head = b"HTTP/1.1 302 Found\r\n" + lines + b"Content-Length: 0\r\n\r\n"
        failed = await failure(client, upstream, (head,))
        assert (failed.failure.stage, len(upstream.requests)) == (Stage.REDIRECT, 1)
        assert "several places" in str(failed)

    async def test_is_followed_with_everything_inside_the_origin(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/y", json_answer(b"[1]"))
        url = upstream.script("/x", redirect("/y", 307))
        request = HttpRequest(
            url=url,
            method="POST",
            content=b"body",
            headers={"X-Key": "SECRET"},
            auth=OriginParameter(origin_of(httpx.URL(url)), QueryAuth(name="key", value="SECRET")),
        )
        assert (await payload(HttpSource(request, client=client))).body == b"[1]"
        last = upstream.requests[1]
        assert (last.method, last.target, last.body) == ("POST", "/y?key=SECRET", b"body")
        assert last.header("x-key") == "SECRET"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_takes_no_secret_and_no_body_to_another_origin(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            other.script("/y", answer(302, headers={"Location": upstream.url("/z")}))
            upstream.script("/z", json_answer(b"[1]"))
            url = upstream.script("/x", redirect(other.url("/y"), status))
            request = HttpRequest(
                url=url,
                method="POST",
                content=b"SECRET",
                headers={"X-Key": "SECRET", "Cookie": "id=SECRET", "User-Agent": "SECRET"},
                auth=OriginHeader(origin_of(httpx.URL(url)), BearerAuth(token="SECRET")),
            )
            assert (await payload(HttpSource(request, client=client))).body == b"[1]"
            assert b"SECRET" in upstream.requests[0].raw
            assert len(other.requests) == 1
            assert b"SECRET" not in other.requests[0].raw
            # nor back: where it leads to is a stranger's choice
            assert b"SECRET" not in upstream.requests[1].raw

    async def test_that_makes_a_get_of_a_post_drops_what_described_the_body(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/y", json_answer(b"[1]"))
        request = HttpRequest(
            url=upstream.script("/x", redirect("/y", 303)),
            method="POST",
            content=b"{}",
            headers={"content-type": "application/json", "X-Key": "1"},
        )
        await payload(HttpSource(request, client=client))
        last = upstream.requests[1]
        assert (last.method, last.body, last.header("x-key")) == ("GET", b"", "1")
        assert last.header("content-type") is None
        assert last.header("content-length") is None

    async def test_is_followed_no_further_than_allowed(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        for at in range(4):
            upstream.script(f"/{at}", redirect(f"/{at + 1}"))
        request = HttpRequest(url=upstream.url("/0"), max_redirects=2)
        failed = await refusal(HttpSource(request, client=client))
        assert failed.failure.stage is Stage.REDIRECT
        assert [sent.target for sent in upstream.requests] == ["/0", "/1", "/2"]

    @pytest.mark.parametrize(
        "location",
        [
            "/x",
            "http://[::1",
            "http://h:99999/",
            "http://a..b/",
            "mailto:me@example.org",
            "ftp://h/x",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:169.254.169.254]/",
            "http://0xa9fea9fe/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
        ],
    )
    async def test_to_where_nothing_may_be_asked_is_refused(
        self, location: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, redirect(location))
        assert failed.failure.stage is Stage.REDIRECT
        assert not failed.transient
        assert len(upstream.requests) == 1

    async def test_to_a_dead_host_is_a_failure_to_connect(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        failed = await failure(client, upstream, redirect(f"http://127.0.0.1:{closed_port()}/"))
        assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, True)

    async def test_never_leaves_https(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            assert request.url.scheme == "https"
            return httpx.Response(302, headers={"Location": "http://api.example/"})

        source = mocked(httpx.MockTransport(handler), HttpRequest(url="https://api.example/x"))
        assert (await refusal(source)).failure.stage is Stage.REDIRECT

    @pytest.mark.parametrize("location", ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/"])
    async def test_from_a_public_start_never_leads_to_a_private_address(
        self, location: str
    ) -> None:
        asked = []

        def handler(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            return httpx.Response(302, headers={"Location": location})

        for url in ("http://93.184.216.34/", "http://api.example/"):
            source = mocked(httpx.MockTransport(handler), HttpRequest(url=url))
            assert (await refusal(source)).failure.stage is Stage.REDIRECT
        assert asked == ["93.184.216.34", "api.example"]


class TestTheConfiguredAddress:
    @pytest.mark.parametrize("url", ["http://0xa9fea9fe/", "http://0.0.0.0.nip.invalid/"])
    async def test_may_not_be_hidden_behind_a_name(
        self, url: str, client: httpx.AsyncClient
    ) -> None:
        failed = await refusal(HttpSource(HttpRequest(url=url), client=client))
        assert failed.failure.stage is Stage.CONNECT

    async def test_may_be_link_local_when_the_url_says_so(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/x":
                return httpx.Response(302, headers={"Location": "/y"})
            return httpx.Response(200, json=[request.url.host])

        url = "http://169.254.169.254/x"
        source = mocked(httpx.MockTransport(handler), HttpRequest(url=url))
        assert (await payload(source)).body == b'["169.254.169.254"]'


class TestAMockTransport:
    @pytest.mark.parametrize("coding", [None, "gzip"])
    async def test_answers_from_memory(self, coding: str | None) -> None:
        headers: Mapping[str, str] = {"Content-Encoding": coding} if coding else {}
        content = gzip.compress(b"[1]") if coding else b"[1]"
        source = mocked(
            httpx.MockTransport(lambda _: httpx.Response(200, content=content, headers=headers)),
            HttpRequest(url="https://api.example/"),
        )
        assert (await payload(source)).body == b"[1]"

    @pytest.mark.parametrize(
        ("error", "stage"),
        [
            (httpx.ConnectError("no"), Stage.CONNECT),
            (httpx.ConnectTimeout("no"), Stage.TIMEOUT),
            (httpx.ReadTimeout("no"), Stage.TIMEOUT),
            (httpx.ReadError("no"), Stage.CONNECT),
            (httpx.RemoteProtocolError("no"), Stage.BODY),
            (httpx.UnsupportedProtocol("no"), Stage.CONNECT),
        ],
    )
    async def test_fails_as_a_network_would(self, error: httpx.HTTPError, stage: Stage) -> None:
        def handler(_: httpx.Request) -> httpx.Response:
            raise error

        source = mocked(httpx.MockTransport(handler), HttpRequest(url="https://api.example/"))
        assert (await refusal(source)).failure.stage is stage


class TestTheStory:
    async def test_has_a_line_for_each_exchange(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/y", json_answer(b"[1]", {"ETag": '"a"', "X-Other": "1"}))
        url = upstream.script("/x", redirect("/y?key=SECRET"))
        seen: list[Exchange] = []
        request = HttpRequest(url=f"{url}?key=SECRET")
        await payload(HttpSource(request, client=client, on_exchange=seen.append))
        first, second = seen
        assert (first.method, first.status, first.url) == ("GET", 302, f"{url}?…")
        assert first.location == upstream.url("/y?…")
        assert (second.status, second.location, second.peer) == (200, None, "127.0.0.1")
        assert dict(second.headers) == {
            "Content-Type": "application/json", "Content-Length": "3", "ETag": '"a"'
        }  # fmt: skip
        assert not second.conditional
        assert second.duration > 0
