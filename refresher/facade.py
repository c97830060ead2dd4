"""The Python API: a cache of remote data that lives and dies with an application."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack, get_type_hints

import anyio.to_thread
import httpx
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request

from refresher import freshness
from refresher.clock import Clock, SystemClock
from refresher.config import Config, load
from refresher.errors import NoSnapshot, ServiceError, UnknownJob
from refresher.model import Attempt, Snapshot, State
from refresher.service import Service
from refresher.state import Entry
from refresher.stores.memory import MemoryStore
from refresher.values import Values
from refresher.web.endpoints import Endpoints
from refresher.web.reads import retry_after
from refresher.web.router import make_router

_Function = TypeVar("_Function", bound=Callable[..., object])
_MISSING: Any = object()
_NOT_RUNNING = "{} is not running: FastAPI(lifespan=cache.lifespan), or async with cache"
# Decoding this much in the loop takes no longer than handing it to a thread and back.
_SMALL = 64 * 1024


class JobKeys(TypedDict, total=False):
    """The keys of a job table, as `@cache.job` takes them; see the configuration reference."""

    upstream: str
    auth: Mapping[str, str]
    interval: str
    cron: str
    timezone: str
    jitter: str
    timeout: str
    connect_timeout: str
    backoff: str
    backoff_max: str
    max_bytes: str
    format: Literal["auto", "json", "text", "bytes"]
    select: str
    schema: str | PathLike[str]
    guard: Mapping[str, object]
    max_age: str
    max_stale: str
    on_expired: Literal["serve", "fail"]
    required: bool
    cooldown: str
    tags: Sequence[str]
    enabled: bool


@dataclass(frozen=True, slots=True)
class View:
    """A job's snapshot as a program sees it; `age` and `state` are as of the moment of asking."""

    _entry: Callable[[], Entry]
    _snapshot: Snapshot
    _values: Values
    _type: Any
    _clock: Clock

    @property
    def value(self) -> Any:  # noqa: ANN401  what the job's data is only its author knows
        """The decoded content, one shared object a version: treat it as read-only."""
        return self._values.of(self._snapshot, self._type)

    @property
    def body(self) -> bytes:
        """The bytes that readers get."""
        return self._snapshot.content.body

    @property
    def version(self) -> int:
        """The version's number; of one job, they only grow."""
        return self._snapshot.version

    @property
    def etag(self) -> str:
        """The strong validator of the bytes, quotes included."""
        return self._snapshot.etag

    @property
    def age(self) -> float:
        """Seconds since the source last confirmed this content."""
        return freshness.age_of(self._snapshot, self._clock.now())

    @property
    def state(self) -> State:
        """How fresh the job's data is now."""
        entry = self._entry()
        return freshness.state_of(entry.record, entry.policy, self._clock.now())


class Refresher:
    """A cache of remote data, refreshed in the background while it is entered.

    As a lifespan (`FastAPI(lifespan=cache.lifespan)`), or inside one's own (`async with cache:`).
    Making one starts, opens and reads nothing; after leaving, it can be entered again.

    Args:
        config: A configuration file, the same tables as a mapping, or None: jobs in code only.
        store: Keeps snapshots over re-entry; None makes a new one at each entry.
        transport: What carries HTTP to upstreams instead of the network, for tests.
        clock: Where the time comes from.
        admin_token: Opens the admin endpoints; None takes `admin.token` of the configuration, and
            where that has none either, nothing opens them.
        name: Under which key the lifespan yields this object.
        overrides: Dotted configuration keys that come before file and environment.
    """

    def __init__(
        self,
        config: str | PathLike[str] | Mapping[str, object] | None = None,
        *,
        store: MemoryStore | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        admin_token: str | None = None,
        name: str = "refresher",
        overrides: Mapping[str, object] | None = None,
    ) -> None:
        self.name = name
        self._source = Path(config) if isinstance(config, str | PathLike) else config
        self._overrides = dict(overrides or {})
        self._store = store
        self._transport = transport
        self._clock = clock or SystemClock()
        self._admin_token = admin_token
        self._jobs: dict[str, dict[str, object]] = {}
        self._names: dict[Callable[..., object], str] = {}
        self._frozen: dict[str, object] = {}
        self._values = Values()
        self._service: Service | None = None
        self._endpoints: Endpoints | None = None
        self._entered = False

    @classmethod
    def from_toml(cls, path: str | PathLike[str], **options: Any) -> Self:  # noqa: ANN401
        """One whose jobs stand in a file; it is read on entry. `options` as of the class."""
        return cls(Path(path), **options)

    @classmethod
    def of(cls, request: Request, name: str = "refresher") -> Self:
        """The one that the application's lifespan entered under that name.

        Raises:
            ServiceError: the lifespan yielded none.
        """
        found = getattr(request.state, name, None)
        if not isinstance(found, cls):
            raise ServiceError(
                f"no {name!r} in the lifespan state: FastAPI(lifespan=cache.lifespan)"
            )
        return found

    def job(
        self, name: str | None = None, **keys: Unpack[JobKeys]
    ) -> Callable[[_Function], _Function]:
        """Make the decorated function a job, called after it or `name`; `keys` as in a job table.

        Raises:
            ServiceError: another job in code has that name.
        """

        def register(function: _Function) -> _Function:
            job = function.__name__ if name is None else name
            if job in self._jobs:
                raise ServiceError(
                    f"two jobs are called {job!r}; name one of them: @cache.job(name=…)"
                )
            self._jobs[job] = {**keys, "python": function}
            self._names[function] = job
            return function

        return register

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ServiceError(f"{self.name} is running already: it can be entered once at a time")
        self._entered = True
        try:
            service = Service(
                self._load,
                clock=self._clock,
                store=self._store or MemoryStore(),
                transport=self._transport,
                admin_token=self._admin_token,
                frozen=self._frozen,
            )
            self._service = await service.__aenter__()
            self._endpoints = Endpoints(service)
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        service = self.service
        try:
            await service.__aexit__(kind, error, trace)
        finally:
            self._service = self._endpoints = None
            self._values = Values()
            self._entered = False

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[dict[str, Self]]:
        """Run while the application does; `request.state.refresher` is this object then."""
        del app
        async with self:
            yield {self.name: self}

    @property
    def service(self) -> Service:
        """What runs while this is entered.

        Raises:
            ServiceError: it is not entered.
        """
        if self._service is None:
            raise ServiceError(_NOT_RUNNING.format(self.name))
        return self._service

    def get(self, job: str | Callable[..., object]) -> View:
        """The job's snapshot; costs a dict lookup.

        Raises:
            UnknownJob: no job has that name.
            NoSnapshot: there is none yet, or it has expired under `on_expired = "fail"`.
        """
        name, type_ = self._name_of(job), self._type_of(job)
        snapshot = self._servable(name)
        return View(partial(self._entry, name), snapshot, self._values, type_, self._clock)

    async def refresh(self, job: str | Callable[..., object], *, force: bool = False) -> Attempt:
        """Refresh now and wait for the outcome of an attempt that starts after this call.

        Raises:
            UnknownJob: no job has that name.
            NotRefreshable: the job is paused or disabled.
            TooSoon: it is under cooldown or Retry-After, and `force` does not override that.
        """
        name = self._name_of(job)
        running = self.service.jobs.get(name)
        if running is None:
            raise UnknownJob(name, f"no job is called {name!r}")
        return await running.answer_to(await running.request(force=force))

    def depends(
        self,
        job: str | Callable[..., object],
        type_: Any = None,  # noqa: ANN401  any annotation will do
        *,
        default: Any = _MISSING,  # noqa: ANN401  of that type
    ) -> Any:  # noqa: ANN401  as FastAPI's own Depends
        """A dependency that is the job's current value, validated once a version.

        The type is the return annotation of a job in code, else `type_`. Where there is nothing to
        serve it is `default`; without one, the request is answered 503 with Retry-After.
        """

        async def provide() -> Any:  # noqa: ANN401
            name, wanted = self._name_of(job), type_ or self._type_of(job)
            try:
                snapshot = self._servable(name)
            except NoSnapshot as error:
                if default is not _MISSING:
                    return default
                headers = {"Retry-After": str(round(error.retry_after))}
                raise HTTPException(503, str(error), headers) from None
            if len(snapshot.content.body) <= _SMALL or self._values.has(snapshot, wanted):
                return self._values.of(snapshot, wanted)
            return await anyio.to_thread.run_sync(self._values.of, snapshot, wanted)

        return Depends(provide)

    def router(self, *, admin: Callable[..., object] | None = None) -> APIRouter:
        """The HTTP endpoints, to be included in an application, under a prefix if one likes.

        `admin` is a dependency that decides who may use the admin endpoints, by raising where one
        may not; None asks for the admin token.
        """
        return make_router(lambda: self.endpoints, admin_guard=admin)

    @property
    def endpoints(self) -> Endpoints:
        """The HTTP face of what runs while this is entered.

        Raises:
            ServiceError: it is not entered.
        """
        if self._endpoints is None:
            raise ServiceError(_NOT_RUNNING.format(self.name))
        return self._endpoints

    def freeze(self, job: str | Callable[..., object], value: object) -> None:
        """Serve `value` as the job's data and refresh it no more, now or from the next entry on.

        For tests; `refresher.testing.freeze` is its public name.
        """
        self._frozen[self._name_of(job)] = value
        if self._service is not None:
            self._service.freeze(self._name_of(job), value)

    def redact(self, text: str) -> str:
        """The text without the secrets of what runs now."""
        return text if self._service is None else self._service.redact(text)

    def close_soon(self) -> None:
        """Say that the end is near: /readyz answers 503, and whoever waits is sent away.

        May be called from a signal handler.
        """
        if self._service is not None:
            self._service.close_soon()

    def _load(self) -> Config:
        source = self._source
        environ = os.environ if isinstance(source, Path) else {}
        return load(source, environ=environ, overrides=self._overrides, jobs=self._jobs)

    def _name_of(self, job: str | Callable[..., object]) -> str:
        if isinstance(job, str):
            return job
        name = self._names.get(job)
        if name is None:
            raise UnknownJob(
                repr(job), f"{job!r} is no job of this cache: decorate it, @cache.job()"
            )
        return name

    def _type_of(self, job: str | Callable[..., object]) -> Any:  # noqa: ANN401
        keys = self._jobs.get(self._name_of(job))
        return None if keys is None else get_type_hints(keys["python"]).get("return")

    def _entry(self, name: str) -> Entry:
        entry = self.service.states.get(name)
        if entry is None:
            raise UnknownJob(name, f"no job is called {name!r}")
        return entry

    def _servable(self, name: str) -> Snapshot:
        entry, now = self._entry(name), self._clock.now()
        snapshot = entry.record.snapshot
        if snapshot is not None and freshness.servable(entry.record, entry.policy, now):
            return snapshot
        what = "has no snapshot yet" if snapshot is None else "has only an expired snapshot"
        raise NoSnapshot(name, f"{name} {what}", retry_after=retry_after(entry.record, now))
