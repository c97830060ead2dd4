"""Services in a row, each the upstream of the next, with other caches between them."""

import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from refresher import freshness
from refresher.jobs.job import Job
from refresher.model import State
from refresher.sources import HttpRequest, HttpSource
from tests.e2e.process import Service, eventually, instant, serving
from tests.e2e.upstream import Reply, upstream
from tests.fakes import FakeClock
from tests.jobs.builder import Scene, plan_of, running
from tests.shelf import Shelf
from tests.web.data.reading import Reader

Handler = Callable[[httpx.Request], httpx.Response]
_TIMEOUT = 10.0


@dataclass
class Known:
    """Data that a hop has, and the last moment at which the origin called it good."""

    body: bytes = b""
    good_at: float = -math.inf

    def learn(self, other: "Known") -> None:
        good_at = max(self.good_at, other.good_at) if self.body == other.body else other.good_at
        self.body, self.good_at = other.body, good_at


@dataclass
class Origin:
    """Where the data is made."""

    clock: FakeClock
    number: int = 0
    is_up: bool = True

    @property
    def known(self) -> Known:
        return Known(b"[%d]" % self.number, self.clock.now())

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not self.is_up:
            return httpx.Response(503)
        etag = f'"{self.number}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers={"ETag": etag})
        return httpx.Response(
            200, headers={"ETag": etag, "Content-Type": "application/json"}, content=self.known.body
        )


@dataclass
class Cdn:
    """A shared cache that keeps an answer for some seconds, and says its Age in whole ones."""

    clock: FakeClock
    origin: Origin
    keeps: float = 40.0
    known: Known = field(default_factory=Known)
    _stored: httpx.Response | None = None
    _stored_at: float = -math.inf

    def __call__(self, request: httpx.Request) -> httpx.Response:
        now = self.clock.now()
        if self._stored is None or now > self._stored_at + self.keeps:
            if not self.origin.is_up:
                return httpx.Response(504)
            self._stored = self.origin(httpx.Request("GET", request.url))
            self._stored_at = now
            self.known = self.origin.known
        fields = {**self._stored.headers, "Age": str(math.floor(now - self._stored_at))}
        if request.headers.get("if-none-match") == fields["etag"]:
            return httpx.Response(304, headers={"ETag": fields["etag"], "Age": fields["Age"]})
        return httpx.Response(200, headers=fields, content=self._stored.content)


class Hop:
    """A service that has the one before it for its upstream, over HTTP and without a network."""

    def __init__(self, name: str, clock: FakeClock, before: "Origin | Cdn | Hop") -> None:
        self.known = Known()
        self._name = name
        self._before = before
        self.scene = Scene(clock=clock)
        self._reader = Reader(Shelf(clock, self.scene.states))
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._ask))
        source = HttpSource(HttpRequest(url="http://up/data/x", now=clock.now), client=client)
        plan = plan_of(name, timeout=_TIMEOUT)
        self.scene.store.register(name, plan.definition)
        self.job = Job(plan, source, self.scene.limiter(), self.scene.environment)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        reply = self._reader.get(f"/data/{self._name}", list(request.headers.items()))
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

    def _ask(self, request: httpx.Request) -> httpx.Response:
        found = self._before(request)
        if found.status_code in {200, 304}:
            self.known.learn(self._before.known)
        return found

    @property
    def state(self) -> State:
        entry = self.scene.entry(self._name)
        return freshness.state_of(entry.record, entry.policy, self.scene.clock.now())

    def read(self) -> tuple[int, str, str] | None:
        """The Age, Cache-Status and Last-Modified that readers are told; None while pending."""
        found = self(httpx.Request("GET", "http://up/"))
        if found.status_code != 200:
            return None
        assert found.content == self.known.body
        return int(found.headers["age"]), found.headers["cache-status"], self._changed()

    def _changed(self) -> str:
        snapshot = self.scene.record(self._name).snapshot
        assert snapshot is not None
        return f"{snapshot.changed_at:.6f}"


@asynccontextmanager
async def chained(*, with_cdn: bool) -> AsyncIterator[tuple[Origin, list[Hop]]]:
    clock = FakeClock()
    origin = Origin(clock)
    before: Origin | Cdn | Hop = Cdn(clock, origin) if with_cdn else origin
    hops: list[Hop] = []
    for name in ("a", "b", "c"):
        before = Hop(name, clock, before)
        hops.append(before)
    async with running(*(hop.job for hop in hops)):
        await clock.advance(20)
        yield origin, hops


def check(hops: list[Hop], *, caches: int, changed: dict[int, str]) -> None:
    """Require of each hop that the age it tells is right, within a second for each cache."""
    for number, hop in enumerate(hops):
        told = hop.read()
        if told is None:
            continue
        age, status, changed_at = told
        exact = hop.scene.clock.now() - hop.known.good_at
        assert exact - (caches + number) < age <= exact + 0.001, (number, age, exact)
        assert changed_at >= changed.get(number, ""), "Last-Modified does not run backwards"
        changed[number] = changed_at
        assert hop.state is State.FRESH or "detail=" in status


EVENTS = st.lists(
    st.tuples(st.sampled_from(["wait", "change", "fail", "mend", "ask"]), st.floats(0.0, 130.0)),
    min_size=2,
    max_size=5,
)


@given(EVENTS, st.booleans())
@settings(max_examples=1000)
def test_an_age_is_right_over_any_number_of_caches(
    events: list[tuple[str, float]],
    with_cdn: bool,  # noqa: FBT001  hypothesis gives it by position
) -> None:
    async def history() -> None:
        async with chained(with_cdn=with_cdn) as (origin, hops):
            clock, changed = origin.clock, dict[int, str]()
            for event, seconds in events:
                match event:
                    case "change":
                        origin.number += 1
                    case "fail" | "mend":
                        origin.is_up = event == "mend"
                    case "ask":
                        await hops[round(seconds) % 3].job.request()
                await clock.advance(seconds)
                check(hops, caches=2 if with_cdn else 1, changed=changed)

    anyio.run(history)


async def test_nobody_calls_fresh_what_has_died_at_its_origin() -> None:
    async with chained(with_cdn=False) as (origin, hops):
        await origin.clock.advance(400)
        died = origin.clock.now()
        origin.is_up = False
        await origin.clock.advance(1000)
        for hop in hops:
            told = hop.read()
            assert told is not None
            assert told[0] >= origin.clock.now() - died - 3
            assert hop.state is State.STALE
        assert [_detail(hop) for hop in hops] == ["status-503", "upstream", "upstream"]
        origin.is_up = True
        await origin.clock.advance(800)
        assert [hop.state for hop in hops] == [State.FRESH] * 3
        assert [_detail(hop) for hop in hops] == [None] * 3


async def test_nobody_calls_stale_what_is_refreshed_on_time() -> None:
    async with chained(with_cdn=True) as (origin, hops):
        await origin.clock.advance(100)
        for _ in range(600):
            await origin.clock.advance(1.7)
            assert [hop.state for hop in hops] == [State.FRESH] * 3


async def test_an_age_moves_no_due_moment() -> None:
    async with chained(with_cdn=True) as (origin, hops):
        for _ in range(30):
            await origin.clock.advance(37)
            for hop in hops:
                record, plan = hop.scene.record(hop.job.name), hop.job.plan
                assert record.snapshot is not None
                assert record.last_attempt is not None
                started = record.last_attempt.started_at
                due = plan.due_after(started, started, seed="")
                assert record.due.at is not None
                assert abs(record.due.at - due) < 0.001
                assert abs(record.snapshot.checked_at + record.snapshot.lifetime - due) < 0.001


def _detail(hop: Hop) -> str | None:
    told = hop.read()
    assert told is not None
    found = re.search(r"detail=(.+)", told[1])
    return None if found is None else found[1]


def _job_of(url: str) -> str:
    return f'[jobs.x]\nurl = "{url}"\ninterval = "1s"\ntimeout = "1s"\nbackoff_max = "1s"\n'


async def test_three_services_in_a_row_are_as_old_as_what_they_serve(tmp_path: Path) -> None:
    async with upstream() as origin, AsyncExitStack() as stack:
        url = origin.route("/x", Reply(b"[1]", headers={"Age": "3000"}))
        services: list[Service] = []
        for name in "abc":
            home = tmp_path / name
            home.mkdir()
            service = await stack.enter_async_context(serving(home, _job_of(url)))
            await service.until("/data/x", 200)
            url = f"http://127.0.0.1:{service.port}/data/x"
            services.append(service)
        for service in services:
            answer = await service.get("/data/x")
            assert 3000 <= int(answer.headers["age"]) < 3500

        origin.route("/x", Reply(status=503))
        first, *others = services
        await first.until_job("x", lambda job: job["state"] == "stale")
        for service in others:
            await service.until_job("x", lambda job: job["state"] == "stale")
            await eventually(partial(_says, service, "detail=upstream"), "detail=upstream")
        checked = [instant((await each.job("x"))["checked_at"]) for each in services]
        assert max(checked) - min(checked) < 300, "none is younger than what it was made of"

        origin.route("/x", Reply(b"[2]"))
        for service in services:
            await service.until_job("x", lambda job: job["version"] == 2)
            await service.until_job("x", lambda job: job["state"] == "fresh")


async def _says(service: Service, words: str) -> bool:
    return words in (await service.get("/data/x")).headers["cache-status"]
