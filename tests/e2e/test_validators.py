"""How a job asks for changes only: from what an upstream says of them to what it is asked next."""

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from refresher import Refresher
from refresher.fields.dates import http_date
from refresher.model import Outcome, Record
from refresher.store.backends.sqlite.store import SqliteStore
from refresher.store.protocols import Backend
from tests.fakes import FakeClock
from tests.faults import STALL, Answer, Request, answer, json_answer, serving
from tests.watching import record, until

Reply = Callable[[httpx.Request], httpx.Response]
EVERY_100_S = {"url": "http://up/a", "interval": "100s", "jitter": "0s", "timeout": "10s"}


class Upstream:
    """Answers conditional requests and others with functions of its own, and keeps their number."""

    def __init__(self, conditional: Reply, plain: Reply | None = None) -> None:
        self.conditional = conditional
        self.plain = plain or good(b"[1]")
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        is_conditional = bool({"if-none-match", "if-modified-since"} & set(request.headers))
        self.asked.append("if" if is_conditional else "all")
        return (self.conditional if is_conditional else self.plain)(request)

    def told(self) -> list[str]:
        """What it was asked for since the last time."""
        asked, self.asked = self.asked, []
        return asked


def good(body: bytes, tag: str = '"a"') -> Reply:
    headers = {"ETag": tag, "Content-Type": "application/json"}
    return lambda _: httpx.Response(200, content=body, headers=headers)


def says(status: int, headers: Mapping[str, str] | None = None) -> Reply:
    return lambda _: httpx.Response(status, headers=headers)


def cache_of(
    transport: Upstream,
    clock: FakeClock,
    tables: Mapping[str, object] | None = None,
    store: Backend | None = None,
    **keys: object,
) -> Refresher:
    config = {**(tables or {}), "jobs": {"a": {**EVERY_100_S, **keys}}}
    return Refresher(config, transport=httpx.MockTransport(transport), clock=clock, store=store)


async def attempt(cache: Refresher, clock: FakeClock) -> Record:
    """The record once the next attempt is over."""
    due = record(cache, "a").due.at
    assert due is not None
    await clock.advance(due - clock.now())
    return record(cache, "a")


async def until_attempted_at(cache: Refresher, instant: float) -> None:
    """Wait for the end of an attempt that has started then."""

    def is_over() -> bool:
        last = record(cache, "a").last_attempt
        return last is not None and last.started_at >= instant

    await until(cache, is_over)


def outcome(known: Record) -> Outcome | None:
    return None if known.last_attempt is None else known.last_attempt.outcome


class TestAStatusThatIsAboutTheCondition:
    @pytest.mark.parametrize("status", [400, 404, 405, 406, 410, 412, 500, 501, 502, 504, 520])
    async def test_is_asked_again_without_and_then_no_more_until_a_full_refresh(
        self, status: int
    ) -> None:
        clock, upstream = FakeClock(), Upstream(says(status))
        async with cache_of(upstream, clock, full_refresh="950s") as cache:
            await clock.advance(0)
            assert upstream.told() == ["all"]
            assert outcome(await attempt(cache, clock)) is Outcome.UNCHANGED
            assert upstream.told() == ["if", "all"]
            await clock.advance(850)
            assert set(upstream.told()) == {"all"}
            await clock.advance(200)
            assert "if" in upstream.told()
            assert record(cache, "a").counts.failed == 0

    async def test_counts_once_until_the_next_success_where_nothing_helps(self) -> None:
        clock, upstream = FakeClock(), Upstream(says(500))
        async with cache_of(upstream, clock, backoff="100s", full_refresh="never") as cache:
            await clock.advance(0)
            upstream.plain = says(500)
            upstream.told()
            assert outcome(await attempt(cache, clock)) is Outcome.FAILED
            assert upstream.told() == ["if", "all"]
            for _ in range(5):
                assert outcome(await attempt(cache, clock)) is Outcome.FAILED
                assert upstream.told() == ["if"]
            upstream.conditional = says(304)
            assert outcome(await attempt(cache, clock)) is Outcome.UNCHANGED
            upstream.conditional = says(500)
            upstream.told()
            for asked in (["if", "all"], ["if"]):
                await attempt(cache, clock)
                assert upstream.told() == asked

    async def test_counts_once_over_restarts_too(self, tmp_path: Path) -> None:
        clock, upstream = FakeClock(), Upstream(says(500))
        for asked in (["all"], ["if", "all"], ["if"], ["if"]):
            store = SqliteStore(tmp_path / "store.db")
            async with cache_of(upstream, clock, store=store, backoff="100s") as cache:
                await until_attempted_at(cache, clock.now())
            assert upstream.told() == asked
            upstream.plain = says(500)
            await clock.advance(150)

    @pytest.mark.parametrize("status", [401, 403, 407, 408, 425, 429, 503])
    async def test_is_none_that_says_what_it_is_about(self, status: int) -> None:
        await self._is_asked_once(says(status))

    @pytest.mark.parametrize("status", [404, 412, 429, 500])
    async def test_is_none_that_asks_for_a_wait(self, status: int) -> None:
        await self._is_asked_once(says(status, {"Retry-After": "1"}))

    async def test_is_none_that_uses_up_the_quota(self) -> None:
        await self._is_asked_once(says(500, {"RateLimit": '"a";r=0;t=5'}))

    @staticmethod
    async def _is_asked_once(reply: Reply) -> None:
        clock, upstream = FakeClock(), Upstream(reply)
        async with cache_of(upstream, clock) as cache:
            await clock.advance(0)
            upstream.told()
            assert outcome(await attempt(cache, clock)) is Outcome.FAILED
            assert upstream.told() == ["if"]

    async def test_is_not_asked_again_with_validators_because_other_rules_refuse_the_answer(
        self,
    ) -> None:
        clock, upstream = FakeClock(), Upstream(says(500))
        async with cache_of(upstream, clock) as cache:
            await clock.advance(0)
            upstream.plain = good(b"[", '"b"')
            upstream.told()
            assert outcome(await attempt(cache, clock)) is Outcome.REJECTED
            assert upstream.told() == ["if", "all"]
            assert outcome(await attempt(cache, clock)) is Outcome.REJECTED
            assert upstream.told() == ["all"]

    async def test_takes_a_token_of_the_rate_in_the_same_attempt(self) -> None:
        clock, upstream = FakeClock(), Upstream(says(500))
        at: list[float] = []
        tables = {"upstreams": {"up": {"rate": "1/5s"}}}
        async with cache_of(upstream, clock, tables, upstream="up") as cache:
            await clock.advance(0)

            def plain(request: httpx.Request) -> httpx.Response:
                at.append(clock.now())
                return good(b"[2]")(request)

            upstream.plain = plain
            await attempt(cache, clock)
            started = clock.now()
            assert at == []
            await clock.advance(5)
            assert at == [started + 5]
            assert outcome(record(cache, "a")) is Outcome.CHANGED

    async def test_stands_where_the_rate_has_no_token_in_time(self) -> None:
        clock, upstream = FakeClock(), Upstream(says(500))
        tables = {"upstreams": {"up": {"rate": "1/50s"}}}
        async with cache_of(upstream, clock, tables, upstream="up") as cache:
            await clock.advance(0)
            upstream.told()
            assert outcome(await attempt(cache, clock)) is Outcome.FAILED
            assert upstream.told() == ["if"]


class TestA304:
    async def test_of_another_answer_brings_that_one_in_the_same_attempt(self) -> None:
        clock, upstream = FakeClock(), Upstream(says(304, {"ETag": '"b"'}), good(b"[1]"))
        async with cache_of(upstream, clock) as cache:
            await clock.advance(0)
            upstream.plain = good(b"[2]", '"b"')
            assert outcome(await attempt(cache, clock)) is Outcome.CHANGED
            assert upstream.told() == ["all", "if", "all"]
            assert outcome(await attempt(cache, clock)) is Outcome.UNCHANGED
            assert upstream.told() == ["if"]

    async def test_that_never_names_the_answer_that_comes_is_asked_for_no_more(self) -> None:
        clock, upstream = FakeClock(), Upstream(says(304, {"ETag": '"node-2"'}))
        async with cache_of(upstream, clock) as cache:
            await clock.advance(0)
            for asked in (["all", "if", "all"], ["all"], ["all"]):
                assert outcome(await attempt(cache, clock)) is Outcome.UNCHANGED
                assert upstream.told() == asked

    async def test_to_the_validators_of_a_candidate_is_rejected_again_until_a_full_refresh(
        self,
    ) -> None:
        clock, upstream = FakeClock(), Upstream(good(b"[]", '"b"'))
        guard = {"min_items": 1}
        async with cache_of(upstream, clock, guard=guard, full_refresh="450s") as cache:
            await clock.advance(0)
            checked = record(cache, "a").snapshot
            assert outcome(await attempt(cache, clock)) is Outcome.REJECTED
            upstream.conditional = says(304)
            upstream.plain = good(b"[]", '"b"')
            upstream.told()
            for _ in range(3):
                assert outcome(await attempt(cache, clock)) is Outcome.REJECTED
            assert upstream.told() == ["if"] * 3
            await clock.advance(200)
            assert "all" in upstream.told()
            assert record(cache, "a").snapshot == checked


async def test_a_full_refresh_is_counted_over_restarts(tmp_path: Path) -> None:
    clock, upstream = FakeClock(), Upstream(says(304))
    asked: list[str] = []
    for _ in range(8):
        store = SqliteStore(tmp_path / "store.db")
        async with cache_of(upstream, clock, store=store, full_refresh="450s") as cache:
            await until_attempted_at(cache, clock.now())
        asked += upstream.told()
        await clock.advance(150)
    assert asked == ["all", "if", "if", "all", "if", "if", "all", "if"]


async def test_a_file_that_is_written_twice_in_a_second_is_seen_to_have_changed() -> None:
    clock = FakeClock()
    body, modified = b"[1]", clock.now()

    def static(request: httpx.Request) -> httpx.Response:
        headers = {
            "Date": http_date(clock.now()),
            "Last-Modified": http_date(modified),
            "Content-Type": "application/json",
        }
        if request.headers.get("if-modified-since") == headers["Last-Modified"]:
            return httpx.Response(304, headers=headers)
        return httpx.Response(200, content=body, headers=headers)

    upstream = Upstream(static, static)
    async with cache_of(upstream, clock) as cache:
        await clock.advance(0)
        body = b"[2]"
        assert outcome(await attempt(cache, clock)) is Outcome.CHANGED
        assert outcome(await attempt(cache, clock)) is Outcome.UNCHANGED
        assert upstream.told() == ["all", "all", "if"]


async def test_a_repetition_ends_with_the_deadline_of_its_attempt_and_is_not_made_again() -> None:
    async with serving() as server:

        def reply(request: Request) -> Answer:
            if request.header("if-none-match"):
                return answer(500)
            return json_answer(b"[1]", {"ETag": '"a"'}) if len(server.requests) == 1 else (STALL,)

        url = server.script("/x", reply)
        keys = {"url": url, "interval": "200ms", "jitter": "0s", "backoff": "10ms"}
        async with Refresher({"jobs": {"a": keys}}) as cache:
            await until(cache, lambda: record(cache, "a").counts.failed >= 3)
        conditions = [bool(each.header("if-none-match")) for each in server.requests]
        assert conditions[:3] == [False, True, False]
        assert all(conditions[3:])
