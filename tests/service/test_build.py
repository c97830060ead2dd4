"""What is configured, as it is put together."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import pytest

from refresher.config import load
from refresher.errors import ConfigError, RefreshFailed
from refresher.payload import Payload
from refresher.pipeline import GuardRules, Reading, Rules
from refresher.service import build
from refresher.service.build import rules_of
from refresher.sources import PageRead
from tests.config.configs import job as configured
from tests.config.configs import written
from tests.faults import Answer, Request, json_answer, serving
from tests.service.opened import opened


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
        upstream = opened("a", config)
        source = build.source_of(plan, upstream, config, now=lambda: 0.0, on_page=told.append)
        try:
            found = await source.fetch(None)
        finally:
            await upstream.transport.aclose()
    assert isinstance(found, Payload)
    assert found.body == b"[0,1,2]"
    assert [urlsplit(sent.target).query for sent in server.requests] == queries
    assert len(told) == len(queries)


async def test_a_paged_jobs_guard_sees_keys_twice_that_its_items_have_lost() -> None:
    async with serving() as server:
        url = server.script("/x", json_answer(b'{"i": [{"a": 1, "a": 2}]}'))
        paginate = {"type": "link_header", "items": "i[*].a"}
        job = {"url": url, "paginate": paginate, "guard": {"duplicate_keys": "reject"}}
        config = await anyio.to_thread.run_sync(partial(load, {"jobs": {"a": job}}, environ={}))
        plan = config.jobs["a"]
        upstream = opened("a", config)
        source = build.source_of(plan, upstream, config, now=lambda: 0.0)
        try:
            with pytest.raises(RefreshFailed, match="stands twice"):
                await source.fetch(None)
        finally:
            await upstream.transport.aclose()


def test_every_rule_of_a_job_reaches_the_pipeline() -> None:
    guard = {
        "min_items": 1,
        "max_items": 9,
        "max_shrink": "50%",
        "max_growth": "200%",
        "required": ["a"],
        "allow_empty": True,
        "duplicate_keys": "reject",
        "accept_after": 3,
    }
    assert rules_of(
        configured(format="csv", charset="Latin-1", delimiter=";", raw=True, guard=guard)
    ) == Rules(
        reading=Reading(format="csv", charset="latin-1", delimiter=";"),
        raw=True,
        guard=GuardRules(
            min_items=1,
            max_items=9,
            max_shrink=0.5,
            max_growth=2.0,
            required=("a",),
            allow_empty=True,
            duplicate_keys="reject",
            accept_after=3,
        ),
    )
    assert rules_of(configured(select="a")) == Rules(select="a")


def test_what_is_not_written_rules_nothing() -> None:
    assert rules_of(configured()) == Rules()


def test_functions_that_cannot_be_imported_are_told_with_the_file_and_the_line(
    tmp_path: Path,
) -> None:
    more = '\n[jobs.more]\npython = "no_module_there:f"\n[jobs.good]\npython = "json:dumps"\n'
    path = written(
        tmp_path,
        'include = ["jobs.d/*.toml"]\n[defaults]\npython = "json:nothing"\n'
        '[jobs.a]\n[jobs.b]\n[jobs.c]\npython = "json:none"\n[jobs.d]\nfile = "x"\n',
        more=more,
    )
    environ = {"REFRESHER__JOBS__D__PYTHON": "json:never"}
    with pytest.raises(ConfigError) as caught:
        build.import_functions(load(path, environ=environ, jobs={"e": {"python": lambda x: x}}))
    said = [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]
    assert said[:3] == [
        "config.toml:3: defaults.python: 'json' has no 'nothing'",
        "config.toml:7: jobs.c.python: 'json' has no 'none'",
        "REFRESHER__JOBS__D__PYTHON: jobs.d.python: 'json' has no 'never'",
    ]
    assert [problem.partition(".python")[0] for problem in said[3:]] == [
        "jobs.d/more.toml:3: jobs.more",
        "jobs.d/more.toml:5: jobs.good",
        "@cache.job: jobs.e",
    ]
