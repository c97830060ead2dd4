import asyncio
import gc
import gzip
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from refresher.config.auth import BearerAuth, QueryAuth
from refresher.config.paging import (
    CursorPages,
    LinkHeaderPages,
    NextUrlPages,
    NumberedPages,
    OffsetPages,
    Paginate,
)
from refresher.model import Stage
from refresher.payload import NotModified, Payload
from refresher.pipeline.pages import Page, PageRule
from refresher.sources import HttpRequest, HttpSource, PagedSource, PageRead
from refresher.sources.pages import read_here
from refresher.upstream.auth import OriginHeader, OriginParameter
from refresher.upstream.urls import origin_of
from tests.faults import (
    HANG_UP,
    STALL,
    Answer,
    FaultServer,
    Request,
    answer,
    json_answer,
    redirect,
    serving,
)
from tests.offload.workers import open_files
from tests.sources.fetching import not_modified, payload, refusal, spooled

LINKED = LinkHeaderPages()
NEXT = NextUrlPages(path="next")
CURSOR = CursorPages(path="next", param="after")
OFFSET = OffsetPages(param="skip", limit_param="take", limit=2)
PAGE = NumberedPages(param="page")


def paged(
    client: httpx.AsyncClient,
    request: HttpRequest | str,
    paginate: Paginate,
    *,
    items: str = "items",
    max_pages: int = 100,
    on_page: Callable[[PageRead], None] | None = None,
    spool_from: int | None = None,
) -> PagedSource:
    request = HttpRequest(url=request) if isinstance(request, str) else request
    paginate = replace(paginate, items=items, max_pages=max_pages)
    source = HttpSource(request, client=client, spool_from=spool_from)
    return PagedSource(source, paginate, on_page=on_page, spool_from=spool_from)


def with_items(*items: object, following: object = None) -> Answer:
    return json_answer(json.dumps({"items": items, "next": following}).encode())


def linked(body: bytes, link: str) -> Answer:
    return json_answer(body, {"Link": link})


def targets(upstream: FaultServer) -> list[str]:
    return [sent.target for sent in upstream.requests]


def shelf(count: int) -> Callable[[Request], Answer]:
    """Serves that many numbers by `skip` and `take`, by `page`, or by `after`, two at a time."""

    def respond(request: Request) -> Answer:
        asked = parse_qs(urlsplit(request.target).query)
        number = {name: int(asked[name][-1]) for name in ("skip", "after", "page") if name in asked}
        start = number.get("skip", number.get("after", 2 * (number.get("page", 1) - 1)))
        end = start + 2
        return with_items(*range(count)[start:end], following=end if end < count else None)

    return respond


class TestAllPages:
    async def test_lie_in_a_file_where_they_are_large_together(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        texts = ["x" * 100_000, "y" * 100_000, "z"]
        url = upstream.script(
            "/x",
            with_items(texts[0], following="x?1"),
            with_items(texts[1], following="x?2"),
            with_items(texts[2]),
        )
        with closing(await spooled(paged(client, url, NEXT, spool_from=150_000))) as found:
            assert json.loads(found.loaded()) == texts

    async def test_leave_no_file_behind_where_one_of_them_fails(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        gc.collect()
        before = len(open_files())
        url = upstream.script("/x", with_items("x" * 1000, following="x?1"), answer(404))
        ours = paged(client, url, NEXT, spool_from=100)
        failed = await refusal(ours)
        assert failed.failure.stage is Stage.STATUS
        await client.aclose()
        await upstream.until_left()
        # the two ends of the one connection came and went
        assert len(open_files()) == before
        assert failed.__traceback__ is not None

    async def test_are_looked_into_by_who_was_asked_to(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async def read(payload: Payload, rule: PageRule) -> Page:
            read_by_us.append(len(payload.body))
            return await read_here(payload, rule)

        read_by_us: list[int] = []
        url = upstream.script("/x", with_items(1, following="x?1"), with_items(2))
        paginate = replace(NEXT, items="items", max_pages=9)
        source = HttpSource(HttpRequest(url=url), client=client)
        found = await payload(PagedSource(source, paginate, read=read))
        assert (found.body, len(read_by_us)) == (b"[1,2]", 2)

    @pytest.mark.parametrize("style", [CURSOR, OFFSET, PAGE])
    @pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
    async def test_are_one_array_in_order(
        self, style: Paginate, count: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", shelf(count))
        found = await payload(paged(client, url, style))
        assert json.loads(found.loaded()) == list(range(count))
        assert (found.content_type, found.http_status) == ("application/json", 200)

    async def test_keep_every_byte_of_their_items(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        pages = [
            linked(b'[ {"n": 1.10, "n": 12345678901234567890} ]\n', '</x?2>; rel="next"'),
            linked(b"[]", '</x?3>; rel="next"'),
            linked(b'["\\u00e4"\t,2]', '</x?1>; rel="prev"'),
        ]
        url = upstream.script("/x", *pages)
        found = await payload(paged(client, url, LINKED, items="@"))
        assert found.body == b'[{"n": 1.10, "n": 12345678901234567890},"\\u00e4"\t,2]'
        assert targets(upstream) == ["/x", "/x?2", "/x?3"]

    async def test_are_the_same_where_a_large_one_comes_in_a_file(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        long = "x" * 1000
        url = upstream.script(
            "/x", with_items(1, following="/x?2"), with_items(long, following=None)
        )
        with closing(await spooled(paged(client, url, NEXT, spool_from=1000))) as found:
            assert json.loads(found.loaded()) == [1, long]

    @pytest.mark.parametrize(
        ("last", "fresh_for"), [("max-age=5", 5), ("max-age=50", 9), ("", None)]
    )
    async def test_are_current_as_long_as_each_of_them_is(
        self,
        last: str,
        fresh_for: float | None,
        upstream: FaultServer,
        client: httpx.AsyncClient,
    ) -> None:
        pages = [
            json_answer(b"[1]", {"Link": '</x?2>; rel="next"', "Cache-Control": "max-age=9"}),
            json_answer(b"[2]", {"Cache-Control": last}),
        ]
        url = upstream.script("/x", *pages)
        found = await payload(paged(client, url, LINKED, items="@"))
        assert found.fresh_for == fresh_for

    async def test_are_as_old_and_as_stale_as_the_worst_of_them(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        pages = [
            json_answer(b"[1]", {"Link": '</x?2>; rel="next"', "Age": "5"}),
            json_answer(b"[2]", {"Link": '</x?3>; rel="next"', "Age": "700"}),
            json_answer(b"[3]", {"Cache-Status": "cdn; hit; ttl=-40"}),
        ]
        url = upstream.script("/x", *pages)
        before = time.time()
        found = await payload(paged(client, url, LINKED, items="@"))
        assert found.as_of is not None
        assert before - 700 <= found.as_of <= time.time() - 700
        assert found.overdue == 40

    async def test_may_be_large_and_coded(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        body = json.dumps({"items": list(range(50_000))}).encode()
        one = answer(
            200, gzip.compress(body), {"Content-Encoding": "gzip", "Content-Type": "text/json"}
        )
        url = upstream.script("/x", one, one, with_items())
        assert len(json.loads((await payload(paged(client, url, PAGE))).loaded())) == 100_000

    async def test_are_asked_for_as_the_first_one_was(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", shelf(3))
        request = HttpRequest(
            url=f"{url}?sig=a%2Cb;c&after=0",
            method="POST",
            params={"sort": "id"},
            headers={"X-Key": "1"},
            content=b"{}",
            auth=OriginHeader(origin_of(httpx.URL(url)), BearerAuth(token="token")),
        )
        await payload(paged(client, request, CURSOR))
        assert targets(upstream) == [
            "/x?sig=a%2Cb;c&after=0&sort=id",
            "/x?sig=a%2Cb;c&sort=id&after=2",
        ]
        for sent in upstream.requests:
            assert (sent.method, sent.body, sent.header("x-key")) == ("POST", b"{}", "1")
            assert sent.header("authorization") == "Bearer token"
        assert upstream.connections == 1

    async def test_have_their_story(self, upstream: FaultServer, client: httpx.AsyncClient) -> None:
        first = with_items(1, 2, following="/x?key=SECRET")
        url = upstream.script("/x", first, with_items(3))
        seen: list[PageRead] = []
        await payload(paged(client, url, NEXT, on_page=seen.append))
        assert [(page.number, page.items, page.following) for page in seen] == [
            (1, 2, f"{url}?…"),
            (2, 1, None),
        ]
        assert seen[1].size == len(b'{"items": [3], "next": null}')


class TestTheNextPage:
    @pytest.mark.parametrize(
        ("following", "target"),
        [
            ("?page=2", "/a/x?page=2"),
            ("y", "/a/y"),
            ("/y?sig=a%2Cb;c", "/y?sig=a%2Cb;c"),
            ("{origin}/y#fragment", "/y"),
            ("//{host}/y", "/y"),
        ],
    )
    async def test_is_resolved_against_the_page_that_names_it(
        self, following: str, target: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        host = f"127.0.0.1:{upstream.port}"
        reference = following.format(origin=f"http://{host}", host=host)
        upstream.script(target.partition("?")[0], with_items(2))
        upstream.script("/a/x", with_items(1, following=reference), with_items(2))
        url = upstream.script("/from", redirect("/a/x"))
        assert (await payload(paged(client, url, NEXT))).body == b"[1,2]"
        assert targets(upstream) == ["/from", "/a/x", target]

    async def test_gets_no_credentials_that_it_names_itself(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        own = upstream.url("/y").replace("http://", "http://me:word@")
        upstream.script("/y", with_items(2))
        url = upstream.script("/x", with_items(1, following=own))
        await payload(paged(client, url, NEXT))
        assert upstream.requests[1].header("authorization") is None

    async def test_does_not_gather_the_key_that_its_url_repeats(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        def respond(request: Request) -> Answer:
            number = len(upstream.requests)
            onward = f"{request.target}&p={number}" if number < 3 else None
            return with_items(number, following=onward)

        url = upstream.script("/x", respond)
        auth = OriginParameter(origin_of(httpx.URL(url)), QueryAuth(name="key", value="a b"))
        request = HttpRequest(url=url, auth=auth)
        await payload(paged(client, request, NEXT))
        assert targets(upstream) == ["/x?key=a+b", "/x?key=a+b&p=1", "/x?key=a+b&p=1&p=2"]

    @pytest.mark.parametrize(
        "following",
        [
            "http://127.0.0.2/x",
            "http://localhost/x",
            "https://127.0.0.1/x",
            "//api.example/x",
            "http://127.0.0.1:1/x",
            "mailto:me@example.org",
            "file:///etc/passwd",
        ],
    )
    @pytest.mark.parametrize("style", [NEXT, LINKED])
    async def test_of_another_origin_is_not_asked_for(
        self, style: Paginate, following: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        body = json.dumps({"items": [], "next": following}).encode()
        url = upstream.script("/x", linked(body, f"<{following}>; rel=next"))
        failed = await refusal(paged(client, url, style))
        assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
        assert "another origin" in str(failed)
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize("following", ["http://[::1", "http://h:port/", "http://a\0b/"])
    async def test_that_is_no_url_is_a_failure(
        self, following: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1, following=following))
        failed = await refusal(paged(client, url, NEXT))
        assert failed.failure.stage is Stage.BODY
        assert "not a URL" in str(failed)

    async def test_whose_cursor_no_url_can_hold_ends_the_attempt(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1, following="c" * 70_000))
        failed = await refusal(paged(client, url, CURSOR))
        assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
        assert "as after: URL component" in str(failed)

    async def test_where_a_redirect_led_to_another_origin_goes_on_there_without_secrets(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            other.script("/x", with_items(1, following="/y"))
            other.script("/y", with_items(2))
            url = upstream.script("/x", redirect(other.url("/x")))
            request = HttpRequest(
                url=url,
                headers={"X-Key": "SECRET"},
                auth=OriginHeader(origin_of(httpx.URL(url)), BearerAuth(token="SECRET")),
            )
            assert (await payload(paged(client, request, NEXT))).body == b"[1,2]"
            assert targets(other) == ["/x", "/y"]
            assert all(b"SECRET" not in sent.raw for sent in other.requests)

    @pytest.mark.parametrize("style", [NEXT, CURSOR, PAGE])
    async def test_may_not_be_redirected_to_another_origin(
        self, style: Paginate, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            other.script("/y", with_items(2))
            url = upstream.script("/x", with_items(1, following="x?2"), redirect(other.url("/y")))
            failed = await refusal(paged(client, url, style, spool_from=1))
            assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
            assert str(failed).startswith("page 2: it was redirected to http://127.0.0.1:")

    async def test_may_be_redirected_as_the_first_one_was(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            other.script("/y", with_items(1, following=2), with_items(2))
            url = upstream.script("/x", redirect(other.url("/y")))
            assert (await payload(paged(client, url, CURSOR))).body == b"[1,2]"

    async def test_may_not_lead_back_from_where_a_redirect_led(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        async with serving() as other:
            other.script("/x", with_items(1, following=upstream.url("/y")))
            url = upstream.script("/x", redirect(other.url("/x")))
            assert "another origin" in str(await refusal(paged(client, url, NEXT)))
        assert targets(upstream) == ["/x"]

    @pytest.mark.parametrize(
        "pages",
        [
            [with_items(1, following="/x")],
            [with_items(1, following="#top")],
            [with_items(1, following="/x?2"), with_items(2, following="/x")],
            [with_items(1, following="/x?2"), with_items(2, following="/x?2")],
        ],
    )
    async def test_that_has_come_before_is_a_loop(
        self, pages: list[Answer], upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", *pages)
        failed = await refusal(paged(client, url, NEXT))
        assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
        assert "a loop" in str(failed)
        assert len(upstream.requests) == len(pages)

    async def test_of_a_cursor_that_comes_again_is_a_loop(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        cursors = ["a", "b", "a"]
        url = upstream.script("/x", *(with_items(1, following=cursor) for cursor in cursors))
        failed = await refusal(paged(client, url, CURSOR))
        assert "page 3: " in str(failed)
        assert "a loop" in str(failed)

    async def test_named_by_what_cannot_be_read_is_no_end(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", linked(b"[1]", "/x?2; rel=next"))
        failed = await refusal(paged(client, url, LINKED, items="@"))
        assert failed.failure.stage is Stage.BODY
        assert "the Link header cannot be read" in str(failed)


class TestABound:
    @pytest.mark.parametrize("style", [CURSOR, OFFSET, PAGE])
    async def test_on_the_pages_is_kept_and_makes_no_half_snapshot(
        self, style: Paginate, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", shelf(1000))
        failed = await refusal(paged(client, url, style, max_pages=3))
        assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
        assert "max_pages = 3" in str(failed)
        assert len(upstream.requests) == 3

    @pytest.mark.parametrize(("style", "pages"), [(CURSOR, 3), (OFFSET, 4), (PAGE, 4)])
    async def test_on_the_pages_may_be_met_exactly(
        self, style: Paginate, pages: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", shelf(6))
        found = await payload(paged(client, url, style, max_pages=pages))
        assert json.loads(found.loaded()) == [*range(6)]

    @pytest.mark.parametrize("coded", [False, True])
    async def test_on_the_bytes_is_one_for_all_pages(
        self, *, coded: bool, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        body = b"[%b]" % (b"1" * 398)
        packed = gzip.compress(body) if coded else body
        headers = {"Content-Type": "application/json"}
        headers |= {"Content-Encoding": "gzip"} if coded else {}
        url = upstream.script("/x", answer(200, packed, headers))
        request = HttpRequest(url=url, max_bytes=1000)
        failed = await refusal(paged(client, request, PAGE, items="@"))
        assert failed.failure.stage is Stage.BODY
        assert "page 3: " in str(failed)
        assert "max_bytes = 1000" in str(failed)
        assert "the pages before it" in str(failed)

    async def test_on_the_time_is_one_for_all_pages(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1), (STALL,))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await paged(client, url, PAGE).fetch(None)
        async with asyncio.timeout(5):
            await upstream.until_left()

    async def test_on_redirects_is_one_for_each_page(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        upstream.script("/y", shelf(5))

        def onward(request: Request) -> Answer:
            return redirect(f"/y?{urlsplit(request.target).query}")

        request = HttpRequest(url=upstream.script("/x", onward), max_redirects=1)
        assert json.loads((await payload(paged(client, request, OFFSET))).loaded()) == [*range(5)]
        assert len(upstream.requests) == 8

    async def test_on_redirects_begins_again_with_the_page_that_a_page_names(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        for at in (1, 2):
            upstream.script(f"/{at}", redirect(f"/{at}/real"))
            upstream.script(f"/{at}/real", with_items(at, following="/2" if at == 1 else None))
        request = HttpRequest(url=upstream.url("/1"), max_redirects=1)
        assert (await payload(paged(client, request, NEXT))).body == b"[1,2]"

    async def test_on_addresses_holds_for_every_page(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            if request.url.params["page"] == "2":
                return httpx.Response(302, headers={"Location": "http://10.0.0.1/"})
            return httpx.Response(200, json={"items": [1]})

        client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
        failed = await refusal(paged(client, "http://93.184.216.34/", PAGE))
        assert failed.failure.stage is Stage.REDIRECT


class TestAPageThatFails:
    @pytest.mark.parametrize(
        ("bad", "stage", "transient"),
        [
            (answer(500), Stage.STATUS, True),
            (answer(404), Stage.STATUS, False),
            (answer(304), Stage.STATUS, False),
            ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1]", HANG_UP), Stage.BODY, True),
            (json_answer(b'{"items": [1'), Stage.DECODE, False),
            (json_answer(b""), Stage.DECODE, False),
            (answer(200, b"<html>", {"Content-Type": "text/html"}), Stage.DECODE, False),
            (json_answer(b'{"error": "busy"}'), Stage.SELECT, False),
            (json_answer(b'{"items": {}}'), Stage.SELECT, False),
        ],
    )
    async def test_is_the_end_of_the_attempt(
        self,
        bad: Answer,
        stage: Stage,
        *,
        transient: bool,
        upstream: FaultServer,
        client: httpx.AsyncClient,
    ) -> None:
        url = upstream.script("/x", with_items(1), bad, with_items())
        failed = await refusal(paged(client, url, PAGE))
        assert (failed.failure.stage, failed.transient) == (stage, transient)
        assert failed.failure.message == str(failed)
        assert str(failed).startswith("page 2: ")
        assert len(upstream.requests) == 2

    async def test_keeps_what_it_says_of_a_retry(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1), answer(429, headers={"Retry-After": "17"}))
        failed = await refusal(paged(client, url, PAGE))
        assert (failed.http_status, failed.retry_after, failed.upstream_wide) == (429, 17.0, True)


class TestTheEnd:
    @pytest.mark.parametrize("following", [None, False, "", [], {}])
    @pytest.mark.parametrize("style", [NEXT, CURSOR])
    async def test_is_where_no_next_page_is_named(
        self, style: Paginate, following: object, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        last = with_items(2, following=following)
        url = upstream.script("/x", with_items(1, following="/x?2"), last, answer(500))
        assert (await payload(paged(client, url, style))).body == b"[1,2]"

    @pytest.mark.parametrize("style", [OFFSET, PAGE])
    @pytest.mark.parametrize("last", [b'{"items": null}', b"{}", b"null"])
    async def test_is_a_page_whose_items_are_null_or_absent(
        self, style: Paginate, last: bytes, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1), json_answer(last), answer(500))
        assert (await payload(paged(client, url, style))).body == b"[1]"

    @pytest.mark.parametrize("style", [NEXT, CURSOR, OFFSET, PAGE, LINKED])
    @pytest.mark.parametrize("ok_status", [{200}, {200, 204}])
    async def test_is_a_204(
        self,
        style: Paginate,
        ok_status: set[int],
        upstream: FaultServer,
        client: httpx.AsyncClient,
    ) -> None:
        first = json_answer(b'{"items": [1], "next": "/x?2"}', {"Link": "</x?2>; rel=next"})
        url = upstream.script("/x", first, answer(204), answer(500))
        request = HttpRequest(url=url, ok_status=frozenset(ok_status))
        found = await payload(paged(client, request, style))
        assert (found.body, found.http_status, found.revision) == (b"[1]", 200, None)

    @pytest.mark.parametrize("style", [NEXT, CURSOR, OFFSET, PAGE, LINKED])
    @pytest.mark.parametrize("status", [400, 404, 416])
    async def test_is_a_status_that_is_configured_as_one(
        self, style: Paginate, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        first = json_answer(
            b'{"items": [1], "next": "/x?2"}',
            {"Link": "</x?2>; rel=next", "Cache-Control": "max-age=9"},
        )
        past = answer(status, b'{"error": "no such page"}', {"Age": "99"})
        url = upstream.script("/x", first, past, answer(500))
        configured = replace(style, end_status=(404, 400, 416))
        seen: list[PageRead] = []
        found = await payload(paged(client, url, configured, on_page=seen.append))
        assert (found.body, found.http_status, found.fresh_for) == (b"[1]", 200, 9)
        assert [page.items for page in seen] == [1, 0]
        assert seen[-1].following is None

    @pytest.mark.parametrize("bad", [answer(404), answer(429), answer(500), answer(403)])
    async def test_is_no_other_status(
        self, bad: Answer, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", with_items(1), bad)
        failed = await refusal(paged(client, url, replace(PAGE, end_status=(416,))))
        assert failed.failure.stage is Stage.STATUS

    @pytest.mark.parametrize("status", [204, 404])
    async def test_is_not_before_the_first_page(
        self, status: int, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", answer(status))
        failed = await refusal(paged(client, url, replace(PAGE, end_status=(404,))))
        assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, status)

    @pytest.mark.parametrize("style", [NEXT, CURSOR])
    async def test_is_a_second_empty_page_in_a_row(
        self, style: Paginate, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        pages = [
            with_items(1, following="/x?1"),
            with_items(following="/x?2"),
            with_items(2, following="/x?3"),
            with_items(following="/x?4"),
            with_items(following="/x?5"),
        ]
        url = upstream.script("/x", *pages, answer(500))
        assert (await payload(paged(client, url, style))).body == b"[1,2]"
        assert len(upstream.requests) == 5

    @pytest.mark.parametrize("style", [NEXT, CURSOR])
    async def test_is_an_empty_page_that_leads_to_itself(
        self, style: Paginate, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        first, last = with_items(1, following="/x?1"), with_items(following="/x?1")
        url = upstream.script("/x", first, last, answer(500))
        assert (await payload(paged(client, url, style))).body == b"[1]"

    async def test_is_no_empty_page_that_leads_back_to_another(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        pages = [with_items(1, following="/x?1"), with_items(following="/x")]
        failed = await refusal(paged(client, upstream.script("/x", *pages), NEXT))
        assert "a loop" in str(failed)

    @pytest.mark.parametrize(
        "link",
        [
            "</x?2>; rel='next'",
            "</x?2>; rel=`next`",
            "</x?2>; rel=\u201cnext\u201d",
            '</x?2>; rel="next"; anchor="{url}"',
            '</x?2>; rel="next"; anchor="/x"',
            '</x?2>; rel="next"; anchor=""',
        ],
    )
    async def test_is_not_where_the_next_page_is_named_in_an_unusual_way(
        self, link: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        sent = link.format(url=upstream.url("/x")).encode().decode("latin-1")
        first = linked(b"[1]", sent)
        url = upstream.script("/x", first, linked(b"[2]", "</x>; rel='prev'"))
        assert (await payload(paged(client, url, LINKED, items="@"))).body == b"[1,2]"

    @pytest.mark.parametrize("anchor", ["/y", "#part", "/x?3"])
    async def test_is_where_the_link_is_of_another_resource(
        self, anchor: str, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", linked(b"[1]", f'</x?2>; rel="next"; anchor="{anchor}"'))
        assert (await payload(paged(client, url, LINKED, items="@"))).body == b"[1]"

    async def test_is_not_where_the_relation_cannot_be_read(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", linked(b"[1]", "</x?2>; rel=(next)"))
        failed = await refusal(paged(client, url, LINKED, items="@"))
        assert failed.failure.stage is Stage.BODY
        assert "a rel that cannot be read" in str(failed)


class TestAnEmptyAnswer:
    async def test_is_left_to_the_rules_for_those(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        request = HttpRequest(url=upstream.script("/x", answer(204)), ok_status=frozenset({204}))
        found = await payload(paged(client, request, PAGE))
        assert (found.body, found.http_status) == (b"", 204)


class TestAConditionalRequest:
    ETAG = {"ETag": '"a"', "Content-Type": "application/json"}  # noqa: RUF012

    def respond(self, request: Request) -> Answer:
        if request.header("if-none-match"):
            return answer(304)
        return answer(200, b'{"items": [1]}', self.ETAG)

    @pytest.mark.parametrize("style", [NEXT, CURSOR])
    async def test_is_made_where_one_page_was_all(
        self, style: Paginate, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = paged(client, upstream.script("/x", self.respond), style)
        first = await payload(source)
        again = await not_modified(source, first.revision)
        assert again.revision == first.revision
        assert len(upstream.requests) == 2

    async def test_is_made_for_the_first_page_alone(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = paged(client, upstream.script("/x", self.respond), NEXT)
        marked = (await payload(source)).revision
        more = json.dumps({"items": [1], "next": "/x"}).encode()
        upstream.script("/x", answer(200, more.replace(b"/x", b"/x?2"), self.ETAG), with_items(2))
        found = await source.fetch(marked)
        assert isinstance(found, Payload)
        assert (found.body, found.revision) == (b"[1,2]", None)
        conditions = [sent.header("if-none-match") for sent in upstream.requests]
        assert conditions == [None, '"a"', None]

    async def test_is_not_made_for_a_later_page_that_leads_back_to_the_first(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = paged(client, upstream.script("/x", self.respond), NEXT)
        marked = (await payload(source)).revision
        upstream.script("/y", redirect("/x"))
        body = b'{"items": [1], "next": "/y"}'
        upstream.script("/x", answer(200, body, self.ETAG), self.respond)
        assert (await payload(source, marked)).body == b"[1,1]"

    async def test_is_not_made_for_links_that_a_304_need_not_repeat(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        source = paged(client, upstream.script("/x", self.respond), LINKED)
        assert (await payload(source)).revision is None
        one_page = await payload(paged(client, upstream.url("/x"), NEXT))
        assert not isinstance(await source.fetch(one_page.revision), NotModified)

    async def test_is_not_made_where_more_pages_came(
        self, upstream: FaultServer, client: httpx.AsyncClient
    ) -> None:
        url = upstream.script("/x", self.respond, answer(200, b'{"items": []}', self.ETAG))
        assert (await payload(paged(client, url, PAGE))).revision is None
