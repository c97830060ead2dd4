"""What is configured, as it is put together."""

import json
from collections.abc import Mapping
from functools import partial
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import pytest

from refresher import build
from refresher.clock import SystemClock
from refresher.config import load
from refresher.model import Payload
from refresher.sources import PageRead
from tests.faults import Answer, Request, json_answer, serving


def three_numbers(request: Request) -> Answer:
    """One a page, with every way to lead on to the next."""
    asked = parse_qs(urlsplit(request.target).query)
    at = int(next((asked[name][0] for name in ("skip", "after", "page") if name in asked), "0"))
    items = [at] if at < 3 else []
    onward = {"cursor": at + 1, "url": f"?after={at + 1}"} if at < 2 else {}
    headers = {"Link": f'<?after={at + 1}>; rel="next"'} if at < 2 else {}
    return json_answer(json.dumps({"data": items, "next": onward}).encode(), headers)


@pytest.mark.parametrize(
    ("paginate", "queries"),
    [
        ({"type": "link_header"}, ["", "after=1", "after=2"]),
        ({"type": "next_url", "path": "next.url"}, ["", "after=1", "after=2"]),
        (
            {"type": "cursor", "path": "next.cursor", "param": "after"},
            ["", "after=1", "after=2"],
        ),
        (
            {"type": "offset", "param": "skip", "limit_param": "n", "limit": 1},
            ["n=1&skip=0", "n=1&skip=1", "n=1&skip=2", "n=1&skip=3"],
        ),
        ({"type": "offset", "param": "skip"}, ["skip=0", "skip=1", "skip=2", "skip=3"]),
        (
            {"type": "page", "param": "page", "start": 0},
            ["page=0", "page=1", "page=2", "page=3"],
        ),
    ],
)
async def test_a_paged_job_asks_as_its_table_says(
    paginate: Mapping[str, object], queries: list[str]
) -> None:
    told: list[PageRead] = []
    async with serving() as server:
        url = server.script("/x", three_numbers)
        job = {"url": url, "paginate": {**paginate, "items": "data", "max_pages": len(queries)}}
        config = await anyio.to_thread.run_sync(partial(load, {"jobs": {"a": job}}, environ={}))
        plan = config.jobs["a"]
        upstream = build.open_upstream("a", config, clock=SystemClock(), transport=None, learn=str)
        source = build.source_of(plan, upstream, config, now=lambda: 0.0, on_page=told.append)
        try:
            found = await source.fetch(None)
        finally:
            await upstream.transport.aclose()
    assert isinstance(found, Payload)
    assert found.body == b"[0,1,2]"
    assert [urlsplit(sent.target).query for sent in server.requests] == queries
    assert len(told) == len(queries)
