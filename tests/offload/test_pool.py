import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import anyio
import anyio.to_thread
import msgspec
import pytest

from refresher.errors import RefreshFailed
from refresher.jsontext import patch
from refresher.jsontext.pointer import NotThere
from refresher.model import Confirmation, Content, Definition, Format, Snapshot, Stage
from refresher.offload.pool import WorkerPool
from refresher.offload.tasks import RefineTask, RefusedByGuard, SameAsServed, Verdict
from refresher.payload import Payload
from refresher.pipeline import GuardRules, Reading, Rules
from refresher.pipeline.content_time import ContentTimeRule
from refresher.pipeline.pages import PageRule, read_page
from refresher.pipeline.representation import Servable
from tests.offload.workers import (
    CROWDED,
    LARGE_BODY,
    MIDDLING_BODY,
    PLAIN,
    SMALL_BODY,
    a_busy_worker,
    children,
    in_a_file,
    in_memory,
)

RAW = Rules(raw=True)


def refined_here(body: bytes, rules: Rules) -> Verdict:
    return RefineTask(content_type="application/json", rules=rules, served=None, etag=None).run(
        body
    )


@pytest.mark.parametrize("make", [in_memory, in_a_file])
@pytest.mark.parametrize("rules", [PLAIN, Rules(select="[?id > `3`]", schema='{"type": "array"}')])
async def test_a_worker_makes_of_a_large_body_what_would_be_made_of_it_here(
    pool: WorkerPool, make: Callable[[bytes], Payload], rules: Rules
) -> None:
    assert await pool.refine(make(LARGE_BODY), rules, None) == refined_here(LARGE_BODY, rules)
    assert len(children()) == 1


@pytest.mark.parametrize("body", [SMALL_BODY, MIDDLING_BODY])
async def test_a_small_body_starts_no_process(pool: WorkerPool, body: bytes) -> None:
    assert await pool.refine(in_memory(body), PLAIN, None) == refined_here(body, PLAIN)
    assert not children()


@pytest.mark.parametrize(
    "rules",
    [
        Rules(select="@"),
        Rules(schema="{}"),
        Rules(guard=GuardRules(required=("id",))),
        Rules(guard=GuardRules(duplicate_keys="reject")),
        Rules(content_time=ContentTimeRule("[0].id")),
    ],
)
async def test_what_is_to_be_parsed_is_large_sooner(pool: WorkerPool, rules: Rules) -> None:
    await pool.refine(in_memory(MIDDLING_BODY), rules, None)
    assert children()


@pytest.mark.parametrize("make", [in_memory, in_a_file])
@pytest.mark.parametrize("items", ["@", "[*].id"])
async def test_a_worker_finds_in_a_large_page_what_would_be_found_here(
    pool: WorkerPool, make: Callable[[bytes], Payload], items: str
) -> None:
    rule = PageRule(items=items)
    found = await pool.read_page(make(LARGE_BODY), rule)
    assert found == read_page(LARGE_BODY, "application/json", rule)
    assert len(children()) == 1


async def test_a_page_is_large_sooner_where_it_is_to_be_parsed(pool: WorkerPool) -> None:
    await pool.read_page(in_memory(MIDDLING_BODY), PageRule(path="a.b"))
    assert not children()
    await pool.read_page(in_memory(MIDDLING_BODY), PageRule(items="[*]"))
    assert children()


async def test_a_large_page_that_cannot_be_read_is_refused_as_it_would_be_here(
    pool: WorkerPool,
) -> None:
    with pytest.raises(RefreshFailed) as refused:
        await pool.read_page(in_memory(LARGE_BODY), PageRule(items="nothing"))
    assert refused.value.failure.stage is Stage.SELECT


async def test_a_body_in_memory_that_stays_as_it_is_is_not_copied(pool: WorkerPool) -> None:
    answer = in_memory(LARGE_BODY)
    refined = await pool.refine(answer, PLAIN, None)
    assert isinstance(refined, Servable)
    assert refined.content.body is answer.body
    assert refined.representation.identity is answer.body


@pytest.mark.parametrize("body", [SMALL_BODY, LARGE_BODY])
async def test_what_is_served_already_is_not_made_again(pool: WorkerPool, body: bytes) -> None:
    refined = await pool.refine(in_a_file(body), PLAIN, None)
    assert isinstance(refined, Servable)
    served = snapshot(refined)
    assert await pool.refine(in_a_file(body), PLAIN, served) == SameAsServed()
    assert isinstance(await pool.refine(in_a_file(body + b" "), PLAIN, served), Servable)


async def test_what_is_served_counts_for_the_guard(pool: WorkerPool) -> None:
    content = Content(body=b"[]", content_type="application/json", format=Format.JSON, items=10**9)
    first = await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    assert isinstance(first, Servable)
    served = snapshot(replace(first, content=content))
    rules = Rules(guard=GuardRules(max_shrink=0.5))
    refused = await pool.refine(in_a_file(LARGE_BODY + b" "), rules, served)
    assert isinstance(refused, RefusedByGuard)
    assert "1,000,000,000 items served" in refused.reason


async def test_what_is_served_is_not_refused_again(pool: WorkerPool) -> None:
    rules = Rules(guard=GuardRules(min_items=10**9))
    refined = await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    assert isinstance(refined, Servable)
    accepted = snapshot(refined)
    assert await pool.refine(in_a_file(LARGE_BODY), rules, accepted) == SameAsServed()
    assert isinstance(await pool.refine(in_a_file(LARGE_BODY), rules, None), RefusedByGuard)


@pytest.mark.parametrize("make", [in_memory, in_a_file])
async def test_what_the_guard_refuses_comes_back_whole_from_a_worker(
    pool: WorkerPool, make: Callable[[bytes], Payload]
) -> None:
    refused = await pool.refine(make(LARGE_BODY), CROWDED, None)
    assert isinstance(refused, RefusedByGuard)
    assert refused == refined_here(LARGE_BODY, CROWDED)
    assert refused.content.body == LARGE_BODY
    assert refused.etag == (await pool.prepare(refused.content)).identity_etag
    assert len(children()) == 1


async def test_an_answer_in_a_file_can_be_refined_again(pool: WorkerPool) -> None:
    answer = in_a_file(LARGE_BODY)
    first = await pool.refine(answer, PLAIN, None)
    assert await pool.refine(answer, PLAIN, None) == first


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/xml", b"<a>" + b"<b>1</b>" * 1024 + b"</a>"),
        ("application/yaml", b"- 1.50\n" * 1280),
        ("application/toml", b"a = [" + b"1, " * 3072 + b"]"),
        ("text/csv", b"a,b\n" + b"1,2\n" * 16_384),
        ("application/x-ndjson", b'{"a": 1}\n' * 8192),
    ],
)
async def test_what_is_slow_to_be_made_json_is_large_sooner(
    pool: WorkerPool, content_type: str, body: bytes
) -> None:
    def here(rules: Rules) -> Verdict:
        return RefineTask(content_type=content_type, rules=rules, served=None, etag=None).run(body)

    for rules in (PLAIN, RAW):
        assert await pool.refine(in_memory(body, content_type), rules, None) == here(rules)
    assert len(children()) == 1


async def test_a_format_that_is_configured_counts_whatever_the_media_type_says(
    pool: WorkerPool,
) -> None:
    body = b"- 1.50\n" * 1280
    await pool.refine(in_memory(body), Rules(reading=Reading(format="yaml")), None)
    assert len(children()) == 1
    await pool.refine(
        in_memory(body, "application/yaml"), Rules(reading=Reading(format="text")), None
    )
    assert len(children()) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/xml", b"<a>" + b"<b>1</b>" * 512 + b"</a>"),
        ("text/csv", b"a,b\n" + b"1,2\n" * 8192),
    ],
)
async def test_a_little_of_another_format_starts_no_process(
    pool: WorkerPool, content_type: str, body: bytes
) -> None:
    assert isinstance(await pool.refine(in_memory(body, content_type), PLAIN, None), Servable)
    assert not children()


@pytest.mark.parametrize("body", [SMALL_BODY, LARGE_BODY])
async def test_content_prepared_later_is_what_refining_would_have_prepared(
    pool: WorkerPool, body: bytes
) -> None:
    refined = refined_here(body, PLAIN)
    assert isinstance(refined, Servable)
    assert await pool.prepare(refined.content) == refined.representation


@pytest.mark.parametrize("body", [SMALL_BODY[:-1], LARGE_BODY[:-1]])
async def test_a_refusal_is_the_same_from_wherever_it_comes(pool: WorkerPool, body: bytes) -> None:
    with pytest.raises(RefreshFailed) as refused:
        await pool.refine(in_a_file(body), PLAIN, None)
    with pytest.raises(RefreshFailed) as here:
        refined_here(body, PLAIN)
    assert vars(refused.value) == vars(here.value)
    assert refused.value.failure.stage is Stage.DECODE


async def test_large_texts_are_compared_by_a_worker_one_pair_at_a_time(
    pool: WorkerPool,
) -> None:
    other = LARGE_BODY.replace(b'"id":7,', b'"id":8,')
    patches = await asyncio.gather(*(pool.compare(LARGE_BODY, other) for _ in range(4)))
    assert patches == [patch.patch(LARGE_BODY, other)] * 4
    assert b'"/7/id"' in patches[0]
    assert len(children()) == 1


async def test_small_texts_are_compared_here(pool: WorkerPool) -> None:
    assert await pool.compare(b"[1]", b"[1,2]") == b'[{"op":"add","path":"/1","value":2}]'
    assert not children()


async def test_a_worker_that_dies_over_a_comparison_is_replaced(pool: WorkerPool) -> None:
    async def die() -> None:
        os.kill(await a_busy_worker(), signal.SIGKILL)

    long, longer = (msgspec.json.encode(list(range(n, 400_000))) for n in (0, 1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(die)
        with pytest.raises(RefreshFailed, match=r"worker process died .*SIGKILL"):
            await pool.compare(long, longer)
    assert await pool.compare(LARGE_BODY, LARGE_BODY) == b"[]"


async def test_values_are_found_in_a_large_body(pool: WorkerPool) -> None:
    body = b'{"a": [1.50, {"b": 1e400}], "c": "' + b"x" * 2**21 + b'"}'
    found = await pool.look_up("etag", body, [("a", "0"), ("a", "1"), ("a", "2"), ("c",)])
    assert found == [b"1.50", b'{"b": 1e400}', NotThere(1), b'"' + b"x" * 2**21 + b'"']


async def test_a_large_body_is_parsed_once_for_all_values_that_are_found_in_it() -> None:
    first, same_etag = (b'{"a": {"b": %d, "c": 3}}' % n + b" " * 2**20 for n in (1, 2))
    async with WorkerPool(workers=1) as pool:
        assert await pool.look_up("x", first, [("a", "b")]) == [b"1"]
        assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None), "whatever comes between"
        found = await pool.look_up("x", same_etag, [("a", "b"), ("a", "c"), ("d",)])
        assert found == [b"1", b"3", NotThere(0)], "found in the cached text; none is sent"
        assert await pool.look_up("y", same_etag, [("a", "b")]) == [b"2"]
        assert await pool.look_up("x", same_etag, [("a", "b")]) == [b"1"], "both are cached"


async def test_after_a_worker_died_the_text_is_sent_again() -> None:
    body = b'{"a": 1}' + b" " * 2**20
    async with WorkerPool(workers=1) as pool:
        for _ in range(2):
            assert await pool.look_up("x", body, [("a",)]) == [b"1"]
            (pid,) = children()
            os.kill(pid, signal.SIGKILL)
            try:
                await pool.look_up("x", body, [("a",)])
            except RefreshFailed as failure:  # where its end has not been noticed yet
                assert "worker process died" in str(failure)  # noqa: PT017  it need not be raised


def snapshot(refined: Servable) -> Snapshot:
    return Snapshot(
        job="rates",
        content=refined.content,
        etag=refined.representation.identity_etag,
        version=1,
        change=1,
        changed_at=0.0,
        dated=True,
        confirmation=Confirmation(
            checked_at=0.0, lifetime=60.0, revision=None, definition=Definition("", "")
        ),
    )
