"""Attempts whose results are not stored: `refresher try` and `refresher check --live`."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import assert_never

from refresher.cli.report import (
    Echo,
    Trial,
    echo_exchange,
    echo_page,
    echo_serving,
    no_echo,
    outcome_line,
    timed,
    without_secrets,
)
from refresher.cli.table import counted
from refresher.clock import ShiftedClock, SystemClock
from refresher.config import Config, JobPlan, written_duration
from refresher.errors import RefreshFailed
from refresher.jobs.plan import Plan
from refresher.jobs.typed import check_content, name_of
from refresher.jobs.watchdog import Watchdog
from refresher.model import Content, Failure, Stage
from refresher.offload.threads import SoloThread
from refresher.payload import NotModified, Payload
from refresher.pipeline import content_time, refine_telling
from refresher.protocols import Source
from refresher.security.logs import redacted
from refresher.security.redaction import Redactor
from refresher.service import build
from refresher.service.declared import returned
from refresher.service.upstreams import Upstream, open_upstream, upstream_key
from refresher.store.backends.memory import MemoryStore
from refresher.store.store import Store
from refresher.values import Values

_CONCURRENT = 64
"""Attempts at a time, whatever the limits of the upstreams: each takes a file descriptor."""


def attempt_one(config: Config, plan: JobPlan, echo: Echo, *, verbose: bool) -> bytes | None:
    """Attempt one job; return what would be served, None where there is nothing.

    Prints how it ended; with `verbose`, every step before that too.
    """
    redactor = Redactor(config.secrets)
    echo = without_secrets(redactor, echo)
    steps = timed(echo) if verbose else no_echo

    async def attempt() -> Trial:
        async with _opened_session(config, redactor) as session:
            return await session.attempt(plan, steps)

    trial = asyncio.run(attempt())
    content = trial.result if isinstance(trial.result, Content) else None
    if content is not None and verbose:
        due = build.plan_of(plan).due_after(
            now := time.time(), now, trial.fresh_for, seed=config.server.seed or ""
        )
        echo_serving(content, build.plan_of(plan).freshness, due - now, steps)
    echo(outcome_line(trial))
    return None if content is None else content.body


def attempt_all(config: Config, echo: Echo) -> bool:
    """Attempt every enabled job, within the limits of its upstream; return whether all succeed."""
    plans = [plan for plan in config.jobs.values() if plan.config.enabled]
    redactor = Redactor(config.secrets)
    echo = without_secrets(redactor, echo)
    good = 0

    async def attempt(session: _Session, plan: JobPlan) -> None:
        nonlocal good
        trial = await session.attempt(plan, no_echo)
        good += isinstance(trial.result, Content)
        echo(outcome_line(trial))

    async def attempt_each() -> None:
        async with _opened_session(config, redactor) as session, asyncio.TaskGroup() as tasks:
            for plan in plans:
                tasks.create_task(attempt(session, plan), name=plan.name)

    asyncio.run(attempt_each())
    echo(f"{good} of {counted(len(plans), 'attempt')} brought data")
    return good == len(plans)


class _Session:
    """Makes attempts over upstreams that are opened when the first job needs them."""

    def __init__(self, config: Config, stack: AsyncExitStack, redactor: Redactor) -> None:
        self._config = config
        self._redactor = redactor
        self._stack = stack
        self._clock = SystemClock()
        self._limits = Store(MemoryStore(), clock=ShiftedClock(self._clock)).limits
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._upstreams: dict[str, Upstream] = {}
        self._values = Values()

    async def attempt(self, plan: JobPlan, echo: Echo) -> Trial:
        """Attempt a job once, as a service without a snapshot of it would."""
        upstream = self._upstream(plan)
        job = build.plan_of(plan, tuple(returned(plan, self._values)))
        source = build.source_of(
            plan,
            upstream,
            self._config,
            now=self._clock.now,
            on_exchange=partial(echo_exchange, echo=echo),
            on_page=partial(echo_page, echo=echo),
        )
        async with upstream.limiter.place(), self._slots:
            echo(f"{job.name}: {plan.kind} {plan.shown}, within {written_duration(job.timeout)}")
            began = time.perf_counter()
            fresh_for = None
            try:
                payload, content = await _attempted(source, job, self._values, echo)
                result: Content | Failure = content
                status, fresh_for = payload.http_status, payload.fresh_for
            except RefreshFailed as error:
                result, status = error.failure, error.http_status
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
async def _opened_session(config: Config, redactor: Redactor) -> AsyncIterator[_Session]:
    async with AsyncExitStack() as stack:
        session = _Session(config, stack, redactor)
        stack.enter_context(redacted(redactor.redact))
        stack.enter_context(Watchdog())
        yield session


async def _attempted(
    source: Source, job: Plan, values: Values, echo: Echo
) -> tuple[Payload, Content]:
    """What the source has, and the content made of it, within the job's timeout."""
    try:
        async with asyncio.timeout(job.timeout) as deadline:
            return await _refined(source, job, values, echo)
    except TimeoutError as error:
        if deadline.expired():
            message = f"no complete answer within the timeout of {job.timeout:g} s"
            raise RefreshFailed(Stage.TIMEOUT, message) from error
        raise _unexpected(error) from error
    except RefreshFailed:
        raise
    # As in the job's own loop: an unexpected error ends this attempt, and no other.
    except Exception as error:
        raise _unexpected(error) from error


async def _refined(
    source: Source, job: Plan, values: Values, echo: Echo
) -> tuple[Payload, Content]:
    answer = await source.fetch(None)
    match answer:
        case NotModified(http_status=status):
            message = "the source says that nothing changed, but there is nothing yet"
            raise RefreshFailed(Stage.STATUS, message, http_status=status)
        case Payload(content_type=content_type):
            body = answer.loaded()
            echo(f"body: {len(body):,} bytes, {content_type or 'nothing said of what it is'}")
            # In a thread that is abandoned at the timeout: none of this can be interrupted.
            refining = SoloThread(f"refresher-try-{job.name}")
            refine = partial(_content, body, content_type, job, values, echo)
            return answer, await refining.run(refine)
        case _:
            assert_never(answer)


def _content(
    body: bytes, content_type: str | None, job: Plan, values: Values, echo: Echo
) -> Content:
    content = refine_telling(body, content_type, job.rules, None, echo)
    too_new = content_time.refusal(content.content_time, None, time.time())
    if too_new is not None:
        raise RefreshFailed(Stage.GUARD, too_new)
    for declared in job.types:
        check_content(job.name, content, "", declared, sent_as=content_type, values=values)
        echo(f"type: it is {name_of(declared.annotation)}")
    return content


def _unexpected(error: Exception) -> RefreshFailed:
    return RefreshFailed(Stage.SOURCE, f"the refresh broke: {type(error).__name__}: {error}")
