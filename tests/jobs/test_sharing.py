"""Jobs of several processes over one store: services in one loop, on one clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pytest

from refresher import Refresher
from refresher.errors import NotRefreshable, StoreUnavailable, TooSoon
from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.jobs.schedule import due_from
from refresher.model import DueReason, Record, State
from tests.fakes import START, FakeClock, settled
from tests.store.fake_backend import FakeBackend, FakeStorage

PUNCTUAL: Mapping[str, object] = {"url": "http://up/a", "jitter": "0%"}
# The timeout is of the machine's time, which passes while the clock stands.
EVERY_100_S: Mapping[str, object] = {**PUNCTUAL, "interval": "100s", "timeout": "100s"}


@dataclass
class Upstream:
    """Answers with another body each time, unless told what to say, and notes when it was asked."""

    clock: FakeClock
    asked_at: list[float] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    says: Callable[[int], httpx.Response] = lambda n: httpx.Response(200, json={"n": n})
    hold: asyncio.Event | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked_at.append(self.clock.now())
        self.requests.append(request)
        answer = self.says(len(self.asked_at))
        if self.hold is not None:
            await self.hold.wait()
        return answer


@dataclass
class Process:
    """One running service, and its way to the store."""

    cache: Refresher
    backend: FakeBackend

    @property
    def job(self) -> Job:
        job = self.cache.service.jobs.get("a")
        assert job is not None
        return job

    @property
    def record(self) -> Record:
        return self.job.record

    @property
    def version(self) -> int | None:
        snapshot = self.record.snapshot
        return None if snapshot is None else snapshot.version

    @property
    def body(self) -> bytes | None:
        snapshot = self.record.snapshot
        return None if snapshot is None else snapshot.content.body

    def has_lease(self) -> bool:
        store = self.cache.service.store
        return store.standing("a").holder == store.presence.process

    def skips(self) -> int:
        """How many due moments it has counted that another process had."""
        service = self.cache.service
        told = service.metrics.of_jobs(list(service.states), 0.0)
        lines = [line for line in told if 'outcome="skipped"' in line]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def kill(self, storage: FakeStorage) -> None:
        """Have it do nothing any more, without a word."""
        self.cache.service.jobs.stop("a")
        storage.alive.discard(self.cache.service.store.presence.process)

        async def still(process: str) -> None:
            del process
            raise StoreUnavailable("it is dead")

        self.backend.beat = still  # type: ignore[assignment,method-assign]


@dataclass
class Cluster:
    """What processes share."""

    storage: FakeStorage = field(default_factory=FakeStorage)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.up = Upstream(self.clock)

    @asynccontextmanager
    async def process(
        self,
        job: Mapping[str, object] = EVERY_100_S,
        upstreams: Mapping[str, object] | None = None,
    ) -> AsyncIterator[Process]:
        backend = self.storage.backend()
        cache = Refresher(
            {
                "server": {"seed": ""},
                "jobs": {"a": dict(job)},
                "upstreams": dict(upstreams or {}),
            },
            store=backend,
            transport=httpx.MockTransport(self.up),
            clock=self.clock,
        )
        async with cache:
            await settled()
            yield Process(cache, backend)

    @asynccontextmanager
    async def processes(
        self,
        count: int,
        job: Mapping[str, object] = EVERY_100_S,
        upstreams: Mapping[str, object] | None = None,
    ) -> AsyncIterator[list[Process]]:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(self.process(job, upstreams)) for _ in range(count)
            ]


def moments(process: Process, after: float, before: float) -> list[float]:
    """The due moments of the job in that time."""
    found, at = [], after
    while (at := due_from(process.job.plan.schedule, "a", at)) < before:
        found.append(at)
        at += 1
    return found


async def test_each_due_moment_is_fetched_once_and_all_serve_what_came() -> None:
    cluster = Cluster()
    async with cluster.processes(3) as processes:
        await cluster.clock.advance(450)
        due = moments(processes[0], START + 50, START + 450)
        assert cluster.up.asked_at[0] == START
        assert cluster.up.asked_at[1:] == pytest.approx(due, abs=0.01)
        versions = {each.version for each in processes}
        assert versions == {len(cluster.up.asked_at)}
        assert len({each.body for each in processes}) == 1


async def test_a_moment_that_another_process_has_is_counted_once_by_each_that_lost_it() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.hold = asyncio.Event()
        (due, *_) = moments(one, START + 50, START + 200)
        await cluster.clock.advance(due - START + 5)
        assert len(cluster.up.asked_at) == 2
        assert sorted([one.skips(), other.skips()]) == [0, 1]
        cluster.up.hold.set()
        await settled()
        assert one.record.counts == other.record.counts
        assert one.record.counts.changed == 2


async def test_all_processes_tell_the_same_of_a_job() -> None:
    cluster = Cluster()
    cluster.up.says = lambda n: httpx.Response(200 if n < 3 else 500, json={"n": n})
    async with cluster.processes(2) as (one, other):
        await cluster.clock.advance(300)
        for name in ("counts", "last_attempt", "consecutive_failures", "failing_since", "due"):
            assert getattr(one.record, name) == getattr(other.record, name), name
        assert one.record.consecutive_failures > 0


async def test_a_process_that_starts_while_others_run_makes_no_attempt() -> None:
    cluster = Cluster()
    async with cluster.process() as one:
        await cluster.clock.advance(10)
        async with cluster.process() as other:
            await cluster.clock.advance(5)
            assert len(cluster.up.asked_at) == 1
            assert (other.version, other.body) == (one.version, one.body)


async def test_two_that_start_at_once_make_one_attempt() -> None:
    cluster = Cluster()
    cluster.up.hold = asyncio.Event()
    async with cluster.processes(2) as (one, other):
        assert len(cluster.up.asked_at) == 1
        cluster.up.hold.set()
        await cluster.clock.advance(3)
        assert len(cluster.up.asked_at) == 1
        assert one.version == other.version == 1


async def test_a_restart_within_the_lifetime_fetches_nothing_and_serves_at_once() -> None:
    cluster = Cluster()
    async with cluster.process() as before:
        served = before.record.snapshot
    await cluster.clock.advance(20)
    async with cluster.process() as after:
        await cluster.clock.advance(5)
        assert len(cluster.up.asked_at) == 1
        snapshot = after.record.snapshot
        assert served is not None
        assert snapshot is not None
        assert (snapshot.version, snapshot.etag, snapshot.changed_at, snapshot.confirmation) == (
            served.version,
            served.etag,
            served.changed_at,
            served.confirmation,
        )


async def test_what_is_overdue_at_a_restart_is_fetched_at_once_with_its_validators() -> None:
    cluster = Cluster()
    cluster.up.says = lambda n: httpx.Response(200, json={"n": n}, headers={"ETag": f'"{n}"'})
    async with cluster.process():
        pass
    await cluster.clock.advance(1000)
    async with cluster.process():
        assert cluster.up.asked_at == [START, START + 1000]
        assert cluster.up.requests[1].headers["if-none-match"] == '"1"'


async def test_what_failed_before_a_restart_is_fetched_at_once_when_nothing_is_served() -> None:
    cluster = Cluster()
    cluster.up.says = lambda n: httpx.Response(404 if n == 1 else 200, json={"n": n})
    async with cluster.process({**EVERY_100_S, "interval": "1d"}):
        assert len(cluster.up.asked_at) == 1
    async with cluster.process({**EVERY_100_S, "interval": "1d"}) as after:
        assert len(cluster.up.asked_at) == 2
        assert after.version == 1


async def test_an_interval_shortened_between_restarts_holds_at_once() -> None:
    cluster = Cluster()
    async with cluster.process({**EVERY_100_S, "interval": "1d"}):
        pass
    async with cluster.process({**PUNCTUAL, "interval": "10s"}):
        await cluster.clock.advance(60)
        assert len(cluster.up.asked_at) >= 5


async def test_a_holder_that_dies_is_replaced() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.hold = asyncio.Event()
        await cluster.clock.advance(150)
        assert len(cluster.up.asked_at) == 2
        holder, heir = (one, other) if one.has_lease() else (other, one)
        holder.kill(cluster.storage)
        cluster.up.hold = None
        await cluster.clock.advance(2)
        assert len(cluster.up.asked_at) == 3
        assert heir.version == 2


async def test_a_late_holders_answer_is_discarded() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.hold = late = asyncio.Event()
        await cluster.clock.advance(150)
        holder, heir = (one, other) if one.has_lease() else (other, one)
        cluster.storage.alive.discard(holder.cache.service.store.presence.process)
        holder.backend.broken = frozenset({"beat"})
        beat = holder.backend.beat
        cluster.up.hold = None
        await cluster.clock.advance(0.5)
        await heir.cache.service.store._sync.beat()  # noqa: SLF001
        await settled()
        served = heir.body
        assert heir.version == 2
        holder.backend.broken = frozenset()
        await beat(holder.cache.service.store.presence.process)
        late.set()
        await cluster.clock.advance(3)
        assert one.body == other.body == served
        assert one.version == other.version == 2
        assert one.record.counts.changed == 2


async def test_a_request_is_answered_wherever_the_attempt_runs() -> None:
    cluster = Cluster()
    async with cluster.processes(3) as processes:
        answers = [each.job.answer_to(await each.job.request()) for each in processes]
        with anyio.fail_after(60):
            attempts = await asyncio.gather(*answers)
        assert 2 <= len(cluster.up.asked_at) <= 4
        assert all(attempt.version in {2, 3, 4} for attempt in attempts)


async def test_many_requests_on_all_processes_during_an_attempt_make_one_more() -> None:
    cluster = Cluster()
    async with cluster.processes(3) as processes:
        cluster.up.hold = asyncio.Event()
        first = processes[0].job.answer_to(await processes[0].job.request())
        await settled()
        assert len(cluster.up.asked_at) == 2
        numbers = [(each.job, await each.job.request()) for each in processes * 10]
        answers = [job.answer_to(number) for job, number in numbers]
        await settled()
        cluster.up.hold.set()
        await settled()
        assert len(cluster.up.asked_at) == 3
        assert (await first).version == 2
        assert {answer.result().version for answer in answers} == {3}


async def test_a_request_of_a_process_whose_attempt_dies_is_answered_by_another() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.hold = asyncio.Event()
        answer = other.job.answer_to(await one.job.request())
        await settled()
        busy, idle = (one, other) if one.has_lease() else (other, one)
        answer = idle.job.answer_to(idle.cache.service.store.standing("a").requested)
        busy.kill(cluster.storage)
        cluster.up.hold = None
        await cluster.clock.advance(3)
        assert answer.done()
        assert answer.result().version == 2


async def test_a_pause_holds_everywhere_and_over_restarts() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        await actions.pause(one.job)
        await settled()
        assert other.record.paused
        assert other.record.due.reason is DueReason.PAUSED
        with pytest.raises(NotRefreshable):
            await other.job.request()
        await cluster.clock.advance(500)
        assert len(cluster.up.asked_at) == 1
    async with cluster.process() as after:
        assert after.record.paused
        await cluster.clock.advance(500)
        assert len(cluster.up.asked_at) == 1
        await actions.resume(after.job)
        await settled()
        assert len(cluster.up.asked_at) == 2


async def test_a_rollback_elsewhere_discards_the_attempt_under_way_and_sticks() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        await one.job.answer_to(await one.job.request())
        await settled()
        cluster.up.hold = asyncio.Event()
        waiter = one.job.answer_to(await one.job.request())
        await settled()
        busy, idle = (one, other) if one.has_lease() else (other, one)
        snapshot = await actions.roll_back(idle.job, 1)
        assert snapshot.version == 3
        cluster.up.hold.set()
        await cluster.clock.advance(300)
        for each in (busy, idle):
            assert (each.version, each.body) == (3, b'{"n":1}')
            assert each.record.paused
        assert len(cluster.up.asked_at) == 3
        failure = waiter.result().failure
        assert failure is not None
        assert "rolled back" in failure.message


async def test_a_pause_during_an_attempt_elsewhere_lets_it_end() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.hold = asyncio.Event()
        await cluster.clock.advance(150)
        await actions.pause(one.job)
        await actions.pause(other.job)
        cluster.up.hold.set()
        await settled()
        assert one.version == other.version == 2
        assert one.record.paused
        assert other.record.paused


async def test_what_is_in_quarantine_can_be_accepted_on_any_process() -> None:
    cluster = Cluster()
    cluster.up.says = lambda n: httpx.Response(200, json=[0] * (10 if n == 1 else 1))
    job = {**EVERY_100_S, "guard": {"max_shrink": "50%"}}
    async with cluster.processes(2, job) as (one, other):
        await cluster.clock.advance(150)
        assert one.record.quarantine == other.record.quarantine
        assert one.record.quarantine is not None
        snapshot = await actions.accept(other.job)
        await settled()
        assert snapshot.version == one.version == 2
        assert one.body == b"[0]"
        assert one.record.quarantine is None


async def test_a_cooldown_holds_for_all_processes() -> None:
    cluster = Cluster()
    async with cluster.processes(2, {**EVERY_100_S, "cooldown": "60s"}) as (one, other):
        await one.job.answer_to(await one.job.request())
        await settled()
        with pytest.raises(TooSoon):
            await other.job.request()


async def test_retry_after_holds_for_all_processes_and_over_a_restart() -> None:
    cluster = Cluster()
    cluster.up.says = lambda _: httpx.Response(503, headers={"Retry-After": "90"})
    async with cluster.processes(2) as (one, other):
        for each in (one, other):
            assert each.record.due.reason is DueReason.RETRY_AFTER
            with pytest.raises(TooSoon):
                await each.job.request()
        await cluster.clock.advance(80)
        assert len(cluster.up.asked_at) == 1
    async with cluster.process():
        assert len(cluster.up.asked_at) == 1
        await cluster.clock.advance(11)
        assert len(cluster.up.asked_at) == 2


async def test_a_429_holds_its_upstream_on_all_processes() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        cluster.up.says = lambda _: httpx.Response(429, headers={"Retry-After": "1000"})
        await one.job.answer_to(await one.job.request())
        await settled()
        for each in (one, other):
            assert each.job.limiter.held_until == START + 1000
        await cluster.clock.advance(900)
        assert len(cluster.up.asked_at) == 2


async def test_a_rate_holds_for_the_attempts_of_all_processes() -> None:
    cluster = Cluster()
    job = {**PUNCTUAL, "upstream": "up", "interval": "1s"}
    upstreams = {"up": {"base_url": "http://up", "rate": "3/60s"}}
    async with cluster.processes(2, job, upstreams=upstreams):
        await cluster.clock.advance(400)
    starts = cluster.up.asked_at
    assert len(starts) >= 18
    for early, late in zip(starts, starts[3:], strict=False):
        assert late - early >= 60


async def test_other_definitions_are_left_alone() -> None:
    cluster = Cluster()
    async with (
        cluster.process() as old,
        cluster.process({**EVERY_100_S, "url": "http://up/b"}) as new,
    ):
        assert len(cluster.up.asked_at) == 2
        assert (old.body, new.body) == (b'{"n":1}', b'{"n":2}')
        for _ in range(5):
            await cluster.clock.advance(100)
            assert old.body != new.body
            assert old.version != new.version
        assert [each.path for each in (r.url for r in cluster.up.requests[:2])] == ["/a", "/b"]
        asked = [request.url.path for request in cluster.up.requests]
        assert asked.count("/a") == asked.count("/b")


async def test_going_back_to_a_source_serves_its_data_at_once_and_no_version_falls() -> None:
    cluster = Cluster()
    other = {**EVERY_100_S, "url": "http://up/b"}
    async with cluster.process():
        pass
    async with cluster.process(other) as other_source:
        assert (other_source.body, other_source.version) == (b'{"n":2}', 2)
    cluster.up.hold = asyncio.Event()
    for _ in range(2):  # the second time there is no other in between
        async with cluster.process() as again:
            assert (again.body, again.version) == (b'{"n":1}', 3)


async def test_other_rules_are_served_the_old_data_until_their_own_has_come() -> None:
    cluster = Cluster()
    cluster.up.says = lambda n: httpx.Response(200, json={"n": n}, headers={"ETag": f'"{n}"'})
    async with cluster.process():
        pass
    cluster.up.hold = asyncio.Event()
    async with cluster.process({**EVERY_100_S, "select": "n"}) as after:
        assert after.body == b'{"n":1}'
        assert after.record.outdated
        assert "if-none-match" not in cluster.up.requests[-1].headers
        cluster.up.hold.set()
        await settled()
        assert after.body == b"2"
        assert not after.record.outdated


async def test_reads_and_refreshes_go_on_while_the_store_is_away_and_meet_again_after() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        seen: list[list[int]] = [[], []]
        for away in (False, True, False, True, False):
            one.backend.away = other.backend.away = away
            for _ in range(3):
                await cluster.clock.advance(70)
                for process, versions in zip((one, other), seen, strict=True):
                    assert process.version is not None
                    versions.append(process.version)
                    assert process.cache.get("a").state is State.FRESH
        assert all(versions == sorted(versions) for versions in seen)
        assert one.version == other.version
        assert one.body == other.body


def with_etag(request: httpx.Request, n: int) -> httpx.Response:
    """An upstream that keeps to what it is asked."""
    if request.headers.get("if-none-match") == f'"{n}"':
        return httpx.Response(304)
    return httpx.Response(200, json={"n": n}, headers={"ETag": f'"{n}"'})


async def test_a_process_that_follows_late_asks_with_the_validators_of_what_is_current() -> None:
    cluster = Cluster()
    say = {"n": 1}
    cluster.up.says = lambda _: with_etag(cluster.up.requests[-1], say["n"])
    async with cluster.processes(2) as (one, other):
        other.backend.gate = asyncio.Event()  # it will learn of a version, and not come to read it
        say["n"] = 2
        await one.job.answer_to(await one.job.request())
        await settled()
        assert (one.version, other.version) == (2, 1)
        one.kill(cluster.storage)
        await cluster.clock.advance(2)
        say["n"] = 1
        number = await other.job.request()
        await settled()
        other.backend.gate.set()
        attempt = await other.job.answer_to(number)
        assert cluster.up.requests[-1].headers["if-none-match"] == '"2"'
        assert attempt.version == 3
        assert (other.version, other.body) == (3, b'{"n":1}')


async def test_a_process_that_cannot_read_what_is_current_does_not_confirm_it() -> None:
    cluster = Cluster()
    say = {"n": 1}
    cluster.up.says = lambda _: with_etag(cluster.up.requests[-1], say["n"])
    async with cluster.processes(2) as (one, other):
        other.backend.broken = frozenset({"get"})
        say["n"] = 2
        await one.job.answer_to(await one.job.request())
        await settled()
        assert (one.version, other.version) == (2, 1)
        assert other.record.detached
        await cluster.clock.advance(0.5)
        say["n"] = 1
        attempt = await other.job.answer_to(await other.job.request())
        assert "if-none-match" not in cluster.up.requests[-1].headers
        assert (attempt.version, other.body) == (3, b'{"n":1}')
        other.backend.broken = frozenset()
        await cluster.clock.advance(3)
        assert one.version == other.version
        assert one.body == other.body == b'{"n":1}'


async def test_bytes_that_the_store_has_lost_are_fetched_anew() -> None:
    cluster = Cluster()
    cluster.up.says = lambda _: httpx.Response(200, json={"n": 1})
    async with cluster.processes(2) as (one, other):
        assert one.version == other.version == 1
    cluster.storage.bodies.clear()
    async with cluster.process() as after:
        assert (after.version, after.body) == (2, b'{"n":1}')
    async with cluster.process() as again:
        assert again.body == b'{"n":1}'
        assert len(cluster.up.asked_at) == 2


async def test_bytes_that_are_not_those_that_were_stored_are_not_served() -> None:
    cluster = Cluster()
    async with cluster.process() as one:
        (body,) = cluster.storage.bodies
        cluster.storage.bodies[body] = b'{"n":666}'
        backend = cluster.storage.backend()
        other = Refresher(
            {"jobs": {"a": dict(EVERY_100_S)}},
            store=backend,
            transport=httpx.MockTransport(cluster.up),
            clock=cluster.clock,
        )
        backend.broken = frozenset({"get"})
        await cluster.clock.advance(0.5)
        async with other:
            backend.broken = frozenset()
            await cluster.clock.advance(3)
            assert one.body == other.get("a").body
            assert one.body not in {b'{"n":1}', b'{"n":666}'}


async def test_a_secret_that_is_rotated_is_used_at_once_by_all(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("old")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[jobs.a]\nurl = "http://up/a"\ninterval = "1d"\n'
        f'auth = {{ type = "bearer", token = "${{file:{secret}}}" }}\n'
    )
    cluster = Cluster()
    caches = [
        Refresher.from_toml(
            config,
            store=cluster.storage.backend(),
            transport=httpx.MockTransport(cluster.up),
            clock=cluster.clock,
        )
        for _ in range(2)
    ]
    async with caches[0], caches[1]:
        await settled()
        assert len(cluster.up.asked_at) == 1
        await anyio.Path(secret).write_text("new")
        with anyio.fail_after(60):
            while len(cluster.up.asked_at) < 2:
                await cluster.clock.advance(2.1)
                await anyio.sleep(0.01)
        await cluster.clock.advance(10)
        assert {r.headers["authorization"] for r in cluster.up.requests[1:]} == {"Bearer new"}
        assert len(cluster.up.asked_at) <= 3


async def test_a_pause_elsewhere_is_known_to_a_request_before_there_is_a_notice() -> None:
    cluster = Cluster()
    async with cluster.processes(2) as (one, other):
        await one.job.answer_to(await one.job.request())
        await settled()
        cluster.storage.news.clear()  # no notice reaches any process any more
        await actions.pause(one.job)
        with pytest.raises(NotRefreshable):
            await other.job.request()
        assert other.cache.service.store.ledger("a").paused


async def test_a_cooldown_holds_for_two_that_ask_at_once() -> None:
    cluster = Cluster()
    async with cluster.processes(2, {**EVERY_100_S, "cooldown": "30s"}) as (one, other):
        await cluster.clock.advance(1)
        cluster.storage.news.clear()  # no notice reaches any process any more
        await one.job.request()
        with pytest.raises(TooSoon):
            await other.job.request()
