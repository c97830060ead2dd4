"""Attempts that nothing is kept of: `refresher try`, and `refresher check --live`."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from refresher.cli.table import counted, printable
from refresher.clock import ShiftedClock, SystemClock
from refresher.config import Config, JobPlan, written_duration
from refresher.errors import RefreshFailed
from refresher.freshness import Policy
from refresher.jobs.plan import Plan
from refresher.jobs.watchdog import Watchdog
from refresher.model import Content, Failure, Outcome, Stage
from refresher.offload.threads import SoloThread
from refresher.payload import NotModified, Payload
from refresher.pipeline import refine_telling, representation
from refresher.protocols import Source
from refresher.security.logs import redacted
from refresher.security.redaction import Redactor
from refresher.service import build
from refresher.service.upstreams import Upstream, open_upstream, upstream_key
from refresher.sources import Exchange, PageRead
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store

Tell = Callable[[str], None]

_AT_ONCE = 64
"""Attempts under way at a time, whatever the upstreams would bear: each takes a descriptor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attempt, over: with content, or with the reason why there is none."""

    job: str
    seconds: float
    http_status: int | None
    result: Content | Failure
    fresh_for: float | None = None
    """Seconds that the source itself calls the content current."""


def attempt_one(config: Config, plan: JobPlan, tell: Tell, *, verbose: bool) -> bytes | None:
    """Attempt one job; what would be served, None where there is nothing.

    How it ended is told in a line; `verbose` tells all that leads there.
    """
    redactor = Redactor(config.secrets)
    tell = _without_secrets(redactor, tell)
    story = _timed(tell) if verbose else _tell_nobody

    async def attempt() -> Trial:
        async with _opened(config, redactor) as bench:
            return await bench.attempt(plan, story)

    trial = asyncio.run(attempt())
    content = trial.result if isinstance(trial.result, Content) else None
    if content is not None and verbose:
        due = build.plan_of(plan).due_after(now := time.time(), now, trial.fresh_for)
        _tell_serving(content, build.plan_of(plan).freshness, due - now, story)
    tell(_outcome(trial))
    return None if content is None else content.body


def attempt_all(config: Config, tell: Tell) -> bool:
    """Attempt every enabled job, within the limits of its upstream; whether all went well."""
    plans = [plan for plan in config.jobs.values() if plan.config.enabled]
    redactor = Redactor(config.secrets)
    tell = _without_secrets(redactor, tell)
    good = 0

    async def attempt(bench: _Bench, plan: JobPlan) -> None:
        nonlocal good
        trial = await bench.attempt(plan, _tell_nobody)
        good += isinstance(trial.result, Content)
        tell(_outcome(trial))

    async def attempt_each() -> None:
        async with _opened(config, redactor) as bench, asyncio.TaskGroup() as tasks:
            for plan in plans:
                tasks.create_task(attempt(bench, plan), name=plan.name)

    asyncio.run(attempt_each())
    tell(f"{good} of {counted(len(plans), 'attempt')} brought data")
    return good == len(plans)


class _Bench:
    """Makes attempts over upstreams that are opened when the first job needs them."""

    def __init__(self, config: Config, stack: AsyncExitStack, redactor: Redactor) -> None:
        self._config = config
        self._redactor = redactor
        self._stack = stack
        self._clock = SystemClock()
        self._limits = Store(MemoryStore(), clock=ShiftedClock(self._clock)).limits
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._upstreams: dict[str, Upstream] = {}

    async def attempt(self, plan: JobPlan, tell: Tell) -> Trial:
        """Attempt a job once, as a service that has nothing of it would."""
        upstream = self._upstream(plan)
        job = build.plan_of(plan)
        source = build.source_of(
            plan,
            upstream,
            self._config,
            now=self._clock.now,
            on_exchange=partial(_tell_exchange, tell=tell),
            on_page=partial(_tell_page, tell=tell),
        )
        async with upstream.limiter.place(), self._places:
            tell(f"{job.name}: {plan.kind} {plan.shown}, within {written_duration(job.timeout)}")
            began = time.perf_counter()
            fresh_for = None
            try:
                payload, content = await _bounded(source, job, tell)
                result: Content | Failure = content
                status, fresh_for = payload.http_status, payload.fresh_for
            except RefreshFailed as trouble:
                result, status = trouble.failure, trouble.http_status
            return Trial(
                job=job.name,
                seconds=time.perf_counter() - began,
                http_status=status,
                result=result,
                fresh_for=fresh_for,
            )

    def _upstream(self, plan: JobPlan) -> Upstream:
        key = upstream_key(plan)
        if key not in self._upstreams:
            upstream = open_upstream(
                key,
                self._config,
                clock=self._clock,
                limits=self._limits,
                transport=None,
                learn=self._redactor.learn,
            )
            self._upstreams[key] = upstream
            self._stack.push_async_callback(upstream.transport.aclose)
        return self._upstreams[key]


@asynccontextmanager
async def _opened(config: Config, redactor: Redactor) -> AsyncIterator[_Bench]:
    async with AsyncExitStack() as stack:
        bench = _Bench(config, stack, redactor)
        stack.enter_context(redacted(redactor.redact))
        stack.enter_context(Watchdog())
        yield bench


async def _bounded(source: Source, job: Plan, tell: Tell) -> tuple[Payload, Content]:
    """What the source has and what it is refined to, within the job's timeout."""
    try:
        async with asyncio.timeout(job.timeout) as deadline:
            return await _fetched(source, job, tell)
    except TimeoutError as error:
        if deadline.expired():
            message = f"no complete answer within the timeout of {job.timeout:g} s"
            raise RefreshFailed(Stage.TIMEOUT, message) from error
        raise _broken(error) from error
    except RefreshFailed:
        raise
    # As in the job's own loop: what nobody foresaw is the end of this attempt, not of the others.
    except Exception as error:
        raise _broken(error) from error


async def _fetched(source: Source, job: Plan, tell: Tell) -> tuple[Payload, Content]:
    answer = await source.fetch(None)
    match answer:
        case NotModified(http_status=status):
            message = "the source says that nothing changed, but there is nothing yet"
            raise RefreshFailed(Stage.STATUS, message, http_status=status)
        case Payload(content_type=content_type):
            body = answer.loaded()
            tell(f"body: {len(body):,} bytes, {content_type or 'nothing said of what it is'}")
            # In a thread that is left behind if the time is over: none of this can be interrupted.
            refining = SoloThread(f"refresher-try-{job.name}")
            refine = partial(refine_telling, body, content_type, job.rules, None, tell)
            return answer, await refining.run(refine)
        case _:
            assert_never(answer)


def _broken(error: Exception) -> RefreshFailed:
    return RefreshFailed(Stage.SOURCE, f"the refresh broke: {type(error).__name__}: {error}")


def _tell_exchange(exchange: Exchange, *, tell: Tell) -> None:
    peer = f" from {exchange.peer}" if exchange.peer else ""
    onward = f", leads to {exchange.location}" if exchange.location else ""
    tell(
        f"{exchange.method} {exchange.url}: {exchange.status}{peer} "
        f"after {_milliseconds(exchange.duration)}{onward}"
    )
    for name, value in exchange.headers:
        tell(f"  {name}: {value}")


def _tell_page(page: PageRead, *, tell: Tell) -> None:
    onward = f"next is {page.following}" if page.following else "the last one"
    items = counted(page.items, "item")
    tell(f"page {page.number}: {page.size:,} bytes with {items}, {onward}")


def _tell_serving(content: Content, policy: Policy, lifetime: float, tell: Tell) -> None:
    """Say what a reader would get."""
    ready = representation.prepare(content.body, content.content_type)
    coded = "".join(f", {coding} {len(body):,}" for coding, body in ready.coded.items())
    tell(f"serve: {len(content.body):,} bytes{coded}")
    tell(f"  Content-Type: {content.content_type}")
    tell(f"  ETag: {ready.identity_etag}")
    most = min(lifetime, math.inf if policy.max_age is None else policy.max_age)
    if math.isfinite(most):
        tell(f"  Cache-Control: max-age={math.floor(most)}")
    until = written_duration(lifetime) if math.isfinite(lifetime) else "ever"
    tell(f"  fresh for {until}, until the next attempt is due")


def _outcome(trial: Trial) -> str:
    took = _milliseconds(trial.seconds)
    match trial.result:
        case Content() as content:
            items = "" if content.items is None else f", {counted(content.items, 'item')}"
            status = "" if trial.http_status is None else f", HTTP {trial.http_status}"
            return (
                f"{trial.job}: {Outcome.CHANGED} in {took}: {len(content.body):,} bytes of "
                f"{content.content_type}{items}{status}"
            )
        case Failure(stage, message):
            return f"{trial.job}: {stage.outcome} at stage {stage} in {took}: {message}"
        case _:
            assert_never(trial.result)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _timed(tell: Tell) -> Tell:
    """Each line with the milliseconds since now before it."""
    began = time.perf_counter()
    return lambda line: tell(f"{_milliseconds(time.perf_counter() - began):>9}  {line}")


def _without_secrets(redactor: Redactor, tell: Tell) -> Tell:
    return lambda line: tell(printable(redactor.redact(line)))


def _tell_nobody(_: str) -> None:
    pass
