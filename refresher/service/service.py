"""A running service: jobs, their upstreams and what readers see, from entry to exit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

import anyio
import anyio.to_thread
import httpx
from anyio.abc import TaskGroup

from refresher import freshness
from refresher.clock import Clock, ShiftedClock
from refresher.config import Config, JobPlan
from refresher.errors import ConfigError
from refresher.jobs.environment import Environment
from refresher.jobs.job import Job
from refresher.jobs.scheduler import Scheduler
from refresher.jobs.watchdog import Watchdog
from refresher.model import Attempt, Record
from refresher.observers.counters import CounterRow
from refresher.observers.log import LogObserver
from refresher.observers.metrics import Metrics
from refresher.offload.pool import LARGE, WorkerPool
from refresher.protocols import Observer, Source
from refresher.security.logs import redacted
from refresher.security.redaction import Redactor
from refresher.security.tokens import Access, Tokens
from refresher.service import build, frozen, secrets
from refresher.service.declared import Dependency, declarations, type_read
from refresher.service.following import follow_others, restore
from refresher.service.own_task import OwnTask
from refresher.service.upstreams import (
    Upstream,
    open_upstream,
    reopen,
    upstream_key,
    upstream_label,
)
from refresher.state import StateStore
from refresher.store.protocols import Backend
from refresher.store.retention import Retention
from refresher.store.store import Store
from refresher.values import Values

logger = logging.getLogger("refresher")

_UNVERIFIED = (
    "upstreams.%s: tls.verify = false: whoever stands in between can read its credentials and "
    "change its data; name its authority as tls.ca instead"
)

_HEARTBEAT_TIMEOUT = 10.0
"""Seconds without a heartbeat after which the scheduler counts as dead."""


class Service:
    """Everything that runs between entry and exit; entered once.

    `load` reads the configuration, at entry and whenever a secret file has changed; `backend` is a
    store to use instead of the one that is configured. `row` is its row in the counters that the
    workers of an instance share; without one it counts alone.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        *,
        clock: Clock,
        backend: Backend | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        admin_token: str | None = None,
        frozen: Mapping[str, object] = MappingProxyType({}),
        dependencies: Sequence[Dependency] = (),
        row: CounterRow | None = None,
    ) -> None:
        self.clock = ShiftedClock(clock)
        self.states = StateStore()
        self.values = Values()
        self.access = Access(Tokens())
        self._load = load
        self._backend = backend
        self._transport = transport
        self._admin_token = admin_token
        self._frozen = frozen
        self._dependencies = dependencies
        self._row = row
        self._redactor = Redactor(() if admin_token is None else (admin_token,))
        self._upstreams: dict[str, Upstream] = {}
        self._was_ready = False

    async def __aenter__(self) -> Self:
        self._task = OwnTask(self._running(), name="refresher")
        await self._task.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        # What went wrong inside is the embedder's: the task group would wrap it in a group.
        await self._task.leave()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            self._stack = stack
            self.closing = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            self.config = await anyio.to_thread.run_sync(self._load)
            plans = self.config.jobs.values()
            self.metrics = Metrics({plan.name: upstream_label(plan) for plan in plans}, self._row)
            self._apply_secrets(self.config)
            stack.enter_context(redacted(self.redact))
            for name, table in self.config.upstreams.items():
                if not table.tls.verify:
                    logger.warning(_UNVERIFIED, name)
            if any(plan.kind == "python" for plan in plans):
                build.import_functions(self.config)
                stack.enter_context(Watchdog())
            self._declared = declarations(self.config, self._dependencies, self.values)
            self.config = self._declared.defined(self.config)
            self.pool = await stack.enter_async_context(WorkerPool())
            self.store = self._new_store()  # before it is entered: it may find itself detached
            await stack.enter_async_context(self.store)
            jobs = self._new_jobs()
            await self._publish_known(jobs)
            # Nothing raises from here on: an error would come out of the group in a group.
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            self._start(jobs, tasks)
            yield

    def close_soon(self) -> None:
        """Set `closing`, from wherever: a signal handler runs between two steps of the loop."""
        self._loop.call_soon_threadsafe(self.closing.set)

    def redact(self, text: str) -> str:
        """The text without any secret that this service knows, and such as can be written."""
        return self._redactor.redact(text.encode(errors="backslashreplace").decode())

    def check(self, dependency: Dependency) -> None:
        """Require that the job of a dependency is known, and what it wants can be a type.

        Raises:
            ServiceError: they are not.
        """
        type_read(dependency, self.config, self.values)

    def freeze(self, job: str, value: object) -> None:
        """Serve `value` as the job's data, and refresh it no more; from any thread.

        Raises:
            UnknownJob: no job has that name.
            RefreshFailed: the value is not data.
        """
        running = self.jobs.get(job)
        if running is not None:
            running.freeze()
        self._publish_frozen(job, value)
        self._loop.call_soon_threadsafe(self.jobs.stop, job)

    def missing(self) -> list[str]:
        """The required jobs without a snapshot; always empty once it has been empty."""
        if self._was_ready:
            return []
        without = [
            entry.record.job
            for entry in self.states
            if entry.record.snapshot is None and self.config.jobs[entry.record.job].config.required
        ]
        self._was_ready = not without
        return without

    def not_fresh(self) -> dict[str, str]:
        """The required jobs that are not fresh, or are late, and why."""
        now = self.clock.now()
        reasons = {
            entry.record.job: freshness.complaint(entry.record, entry.policy, now)
            for entry in self.states
            if self.config.jobs[entry.record.job].config.required
        }
        return {job: reason for job, reason in reasons.items() if reason is not None}

    def is_alive(self) -> bool:
        """Whether the scheduler's tasks still run."""
        return self.jobs.since_heartbeat() < _HEARTBEAT_TIMEOUT

    def crashed(self) -> dict[str, str]:
        """The jobs whose loop broke at their last attempt, with what broke it."""
        return {job.name: job.crash for job in self.jobs if job.crash is not None}

    def _apply_secrets(self, config: Config) -> None:
        """Redact the secrets that are configured, and accept the tokens among them."""
        self._redactor.add(config.secrets)  # what they replace stays: it may still be echoed
        admin = config.admin.token if self._admin_token is None else (self._admin_token,)
        self.access.tokens = Tokens(admin=tuple(admin), read=tuple(config.server.read_tokens))

    def _new_store(self) -> Store:
        return Store(
            self._backend or build.backend_of(self.config),
            clock=self.clock,
            retention=Retention(
                versions=self.config.store.history, bytes=self.config.store.history_max_bytes
            ),
            served_body=self._served_body,
            failed=self.metrics.store_failed,
            availability_changed=self._show_availability,
        )

    def _seed(self) -> str:
        seed = self.config.server.seed
        return self.store.identity if seed is None else seed

    def _new_jobs(self) -> list[Job]:
        environment = Environment(
            states=self.states,
            store=self.store,
            pool=self.pool,
            clock=self.clock,
            values=self.values,
            observer=_Observers(self.metrics, LogObserver()),
            seed=self._seed,
            redact=self.redact,
        )
        return [
            Job(
                build.plan_of(plan, self._declared.of(plan.name)),
                self._source_of(plan),
                self._upstream_of(plan).limiter,
                environment,
            )
            for plan in self.config.jobs.values()
        ]

    async def _publish_known(self, jobs: Sequence[Job]) -> None:
        """Serve what there is of the jobs already: stored, or frozen."""
        for upstream in self._upstreams.values():
            await upstream.limiter.look_again()
        known = [job for job in jobs if await job.register()]
        if self.store.detached:  # which it was found to be before there were any jobs
            self._show_availability()
        await restore(known, self.store)
        for name, value in self._frozen.items():
            self._publish_frozen(name, value)
        for job in jobs:
            if job.name in self._frozen:
                job.freeze()

    def _publish_frozen(self, job: str, value: object) -> None:
        frozen.publish(job, value, self.states, self.config.jobs, now=self.clock.now())

    def _start(self, jobs: Sequence[Job], tasks: TaskGroup) -> None:
        self.jobs = Scheduler(tasks, self.clock)
        self.jobs.start(jobs, frozen=self._frozen)
        tasks.start_soon(follow_others, self.jobs, self.store, name="refresher followers")
        if self.config.secret_files:
            tasks.start_soon(
                secrets.watch,
                self.config.secret_files,
                self.clock,
                self._reload_secrets,
                name="refresher secrets",
            )

    def _upstream_of(self, plan: JobPlan) -> Upstream:
        key = upstream_key(plan)
        if key not in self._upstreams:
            self._use(
                key,
                open_upstream(
                    key,
                    self.config,
                    clock=self.clock,
                    limits=self.store.limits,
                    transport=self._transport,
                    learn=self._redactor.learn,
                ),
            )
        return self._upstreams[key]

    def _use(self, key: str, upstream: Upstream) -> None:
        """Have the jobs of that key share this upstream; its connections are closed at the end."""
        self._upstreams[key] = upstream
        self._stack.push_async_callback(upstream.transport.aclose)

    def _source_of(self, plan: JobPlan) -> Source:
        return build.source_of(
            plan,
            self._upstream_of(plan),
            self.config,
            now=self.clock.now,
            read_page=self.pool.read_page,
            spool_from=LARGE,
        )

    def _served_body(self, job: str, etag: str) -> bytes | None:
        entry = self.states.get(job)
        snapshot = None if entry is None else entry.record.snapshot
        return snapshot.content.body if snapshot and snapshot.etag == etag else None

    def _show_availability(self) -> None:
        """Show in every record whether the store is available."""
        detached = self.store.detached
        for entry in self.states:
            self.states.update(entry.record.job, partial(replace, detached=detached))

    async def _reload_secrets(self) -> None:
        """Use what a secret file has changed to; what was used before, where that cannot be."""
        old = self.config
        try:
            reread = await anyio.to_thread.run_sync(self._load)
            renewed = secrets.renewed(old, self._declared.defined(reread))
            renewed_keys = secrets.renewed_upstreams(old, renewed)
            reopened = {
                key: reopen(upstream, renewed)
                for key, upstream in self._upstreams.items()
                if self._transport is None and key in renewed_keys
            }
        except ConfigError as error:
            logger.error(  # noqa: TRY400  its sentences say all; a traceback would add nothing
                "a secret file has changed, but cannot be used: %s", error
            )
            return
        self.config = renewed
        self._apply_secrets(renewed)
        for key, upstream in reopened.items():
            self._use(key, upstream)
        for job in self.jobs:
            plan = renewed.jobs[job.name]
            if plan != old.jobs[job.name] or upstream_key(plan) in reopened:
                job.replace_source(self._source_of(plan))
        logger.info("a secret file has changed; its new value is in use")


class _Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def attempted(self, attempt: Attempt, before: Record) -> None:
        for observer in self._observers:
            observer.attempted(attempt, before)

    def skipped(self, job: str) -> None:
        for observer in self._observers:
            observer.skipped(job)

    def crashed(self, job: str, error: Exception) -> None:
        for observer in self._observers:
            observer.crashed(job, error)
