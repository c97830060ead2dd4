"""The Python API: a cache of remote data that runs while an application does."""

import inspect
import math
import os
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

import httpx
from fastapi import APIRouter, Depends, HTTPException
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from refresher import freshness
from refresher.clock import Clock, SystemClock
from refresher.config import Config, load
from refresher.errors import NoSnapshot, ServiceError, UnknownJob
from refresher.model import Attempt, Snapshot
from refresher.observers.counters import CounterRow
from refresher.service.declared import Dependency
from refresher.service.service import Service
from refresher.store.protocols import Backend
from refresher.values import Annotation, View, key_of, returned_type
from refresher.web.data.in_front import InFront
from refresher.web.endpoints import Endpoints
from refresher.web.problems import retry_after
from refresher.web.router import make_router
from refresher.web.waiting import ended

__all__ = ["JobKeys", "Options", "Refresher", "View"]

_Function = TypeVar("_Function", bound=Callable[..., object])
_MISSING: Any = object()


class JobKeys(TypedDict, total=False):
    """What `@cache.job` takes: the keys of a job table, but for its source, which is the function.

    Each is described in `refresher/docs/configuration.md`. Of those for requests, `upstream`,
    `auth`, `headers` and `connect_timeout` are for the function's `client`; the others are for a
    `url`, and refused here.
    """

    method: str
    params: Mapping[str, object]
    headers: Mapping[str, str]
    json: object
    body: str
    upstream: str
    auth: Mapping[str, str] | httpx.Auth
    interval: str
    cron: str
    timezone: str
    jitter: str
    timeout: str
    connect_timeout: str
    backoff: str
    backoff_max: str
    max_bytes: str
    ok_status: Sequence[int]
    conditional: bool
    full_refresh: str
    max_redirects: int
    respect_cache_control: bool
    max_interval: str
    format: Literal["auto", "json", "ndjson", "csv", "xml", "yaml", "toml", "text", "bytes"]
    raw: bool
    charset: str
    delimiter: str
    paginate: Mapping[str, object]
    select: str
    schema: str | PathLike[str]
    guard: Mapping[str, object]
    content_time: str
    max_content_age: str
    changes_by: str
    max_age: str
    max_stale: str
    on_expired: Literal["serve", "fail"]
    required: bool
    cooldown: str
    tags: Sequence[str]
    enabled: bool


class Options(TypedDict, total=False):
    """What a `Refresher` takes besides its configuration."""

    store: Backend | str | None
    transport: httpx.AsyncBaseTransport | None
    clock: Clock | None
    admin_token: str | None
    name: str


class Refresher:
    """A cache of remote data, refreshed in the background while it is entered.

    As a lifespan (`FastAPI(lifespan=cache.lifespan)`), or in another one (`async with cache:`).
    To make one starts, opens and reads nothing. After it is left, it can be entered again.

    Args:
        config: A configuration file, the same tables as a mapping, or None: jobs in code only.
            `REFRESHER__…` variables override what a file says, and nothing else.
        store: Where snapshots are kept, instead of the configured store: a backend, or a URL as
            `store.url` takes it.
        transport: Carries HTTP to upstreams instead of the network, for tests.
        clock: Gives the time, for tests.
        admin_token: What requests to the admin endpoints need; None: `admin.token` of the
            configuration. Where that has none either, all such requests are refused.
        name: The key under which the lifespan yields this object.
    """

    def __init__(
        self,
        config: str | PathLike[str] | Mapping[str, object] | None = None,
        *,
        store: Backend | str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        admin_token: str | None = None,
        name: str = "refresher",
    ) -> None:
        self.name = name
        self._source = Path(config) if isinstance(config, str | PathLike) else config
        self._overrides: Mapping[str, object] = {}
        if isinstance(store, str):
            self._overrides, store = {"store.url": store}, None
        self._loaded: Config | None = None
        self._row: CounterRow | None = None
        self._store = store
        self._transport = transport
        self._clock = clock or SystemClock()
        self._admin_token = admin_token
        self._jobs: dict[str, dict[str, object]] = {}
        self._names: dict[Callable[..., object], str] = {}
        self._types: dict[str, Any] = {}
        self._frozen: dict[str, object] = {}
        self._wanted: dict[Hashable, tuple[str | Callable[..., object], Annotation]] = {}
        self._service: Service | None = None
        self._endpoints: Endpoints | None = None
        self._entered = False

    @classmethod
    def from_toml(cls, path: str | PathLike[str], **options: Unpack[Options]) -> Self:
        """A cache of the jobs in a file, read on entry; `options` are those of the class."""
        return cls(Path(path), **options)

    @classmethod
    def of(cls, request: HTTPConnection, name: str = "refresher") -> Self:
        """The cache that the application's lifespan entered under that name.

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
        """Make the decorated function a job, under its own name or `name`.

        Raises:
            ServiceError: another job in code has that name, the function has no name, or the cache
                runs already.
        """
        if callable(name):
            raise ServiceError("a job is declared with parentheses: @cache.job()")
        if self._entered:
            raise ServiceError(f"{self.name} runs already: declare its jobs before it is entered")

        def register(function: _Function) -> _Function:
            job = getattr(function, "__name__", None) if name is None else name
            if job is None:  # as of a functools.partial
                raise ServiceError(f"{function!r} has no name; give it one: @cache.job(name=…)")
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
                backend=self._store,
                transport=self._transport,
                admin_token=self._admin_token,
                frozen=self._frozen,
                dependencies=[self._dependency(*each) for each in self._wanted.values()],
                row=self._row,
            )
            await service.__aenter__()
        except BaseException:
            self._entered = False
            raise
        self._service, self._endpoints = service, Endpoints(service)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            try:
                await self.endpoints.aclose()
            finally:
                await self.service.__aexit__(kind, error, trace)
        finally:
            self._service = self._endpoints = None
            self._entered = False

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Self]]:
        """Run while the application does; `request.state.refresher` is this object then."""
        del app
        async with self:
            yield {self.name: self}

    @property
    def service(self) -> Service:
        """The running service.

        Raises:
            ServiceError: the cache is not entered.
        """
        if self._service is None:
            raise self._not_running()
        return self._service

    @property
    def endpoints(self) -> Endpoints:
        """What the running service answers over HTTP.

        Raises:
            ServiceError: the cache is not entered.
        """
        if self._endpoints is None:
            raise self._not_running()
        return self._endpoints

    def get(self, job: str | Callable[..., object]) -> View:
        """The job's snapshot; costs a dict lookup.

        Raises:
            UnknownJob: no job has that name.
            NoSnapshot: there is none yet, or it has expired under `on_expired = "fail"`.
        """
        name = self._name_of(job)
        snapshot = self._served(name)
        return View(
            snapshot,
            self._type_of(name),
            states=self.service.states,
            values=self.service.values,
            clock=self.service.clock,
        )

    async def refresh(self, job: str | Callable[..., object], *, force: bool = False) -> Attempt:
        """Refresh now and wait for the outcome of an attempt that starts after this call.

        Raises:
            UnknownJob: no job has that name.
            NotRefreshable: the job is paused or disabled.
            TooSoon: it is under cooldown or Retry-After, and `force` does not override that.
            ServiceError: the cache was left before the attempt ended.
        """
        name, service = self._name_of(job), self.service
        running = service.jobs.known(name)
        answer = running.answer_to(await running.request(force=force))
        for attempt in await ended([answer], service.closing, within=math.inf):
            return attempt
        raise ServiceError(f"{self.name} was left before {name} was refreshed")

    def depends(
        self,
        job: str | Callable[..., object],
        type_: Any = None,  # noqa: ANN401  any annotation will do
        *,
        default: Any = _MISSING,  # noqa: ANN401  of that type
    ) -> Any:  # noqa: ANN401  as FastAPI's own Depends
        """A dependency that is the job's current value, validated once a version.

        Its type is `type_`, else the return annotation of a job in code. From the next entry on,
        data that is not of it is rejected; an unknown job, or what cannot be a type, is an error on
        entry. Where there is nothing of that type to serve it is `default`; without one, the
        request is answered 503 with Retry-After.

        Raises:
            ServiceError: the cache runs, and has no such job, or can have none of that type.
        """
        frame = inspect.currentframe()
        caller = None if frame is None else frame.f_back
        wanted = Annotation(type_, {} if caller is None else caller.f_globals)
        if self._service is not None:
            self._service.check(self._dependency(job, wanted))
        self._wanted.setdefault((job, key_of(type_)), (job, wanted))

        async def provide() -> Any:  # noqa: ANN401
            name = self._name_of(job)
            try:
                return self._value(name, self._type_of(name) if type_ is None else wanted.type)
            except NoSnapshot as error:
                if default is not _MISSING:
                    return default
                headers = {"Retry-After": str(round(error.retry_after))}
                raise HTTPException(503, str(error), headers) from None

        return Depends(provide)

    def router(self, *, admin: Callable[..., object] | None = None) -> APIRouter:
        """The HTTP endpoints, to be included in an application, with or without a prefix.

        `admin` is a dependency that raises unless a request may use the admin endpoints; None: they
        need the admin token.
        """
        return make_router(lambda: self.endpoints, admin_guard=admin)

    def in_front_of(self, app: ASGIApp, *, prefix: str = "") -> ASGIApp:
        """The application with reads answered before they reach it, at a third of a route's cost.

        `/data/…` below `prefix` never gets to `app`, nor to its middleware; everything else does,
        the lifespan included. Middleware that is to see reads goes around the result.

        Raises:
            ServiceError: the prefix is no path such as `/cache`.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ServiceError(
                f"in_front_of(prefix={prefix!r}): as in include_router, it is empty, or begins "
                'with "/" and does not end with it'
            )
        return InFront(app, lambda: self.endpoints.reads, prefix=prefix)

    def freeze(self, job: str | Callable[..., object], value: object) -> None:
        """Serve `value` as the job's data and refresh it no more, now or from the next entry on.

        For tests; `refresher.testing.freeze` is its public name.
        """
        name = self._name_of(job)
        if self._service is not None:
            self._service.freeze(name, value)
        self._frozen[name] = value

    def redact(self, text: str) -> str:
        """The text without the secrets of what runs now."""
        return text if self._service is None else self._service.redact(text)

    def close_soon(self) -> None:
        """Announce the shutdown: /readyz answers 503, and requests that wait are answered.

        May be called from a signal handler.
        """
        if self._service is not None:
            self._service.close_soon()

    def _load(self) -> Config:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            return loaded
        environ: Mapping[str, str] = os.environ
        if not isinstance(self._source, Path):
            # `${NAME}` is of the environment here too, but overrides are for files.
            environ = {k: v for k, v in environ.items() if not k.upper().startswith("REFRESHER__")}
        return load(self._source, environ=environ, overrides=self._overrides, jobs=self._jobs)

    def _not_running(self) -> ServiceError:
        return ServiceError(
            f"{self.name} is not running: FastAPI(lifespan=cache.lifespan), or async with cache"
        )

    def _dependency(self, job: str | Callable[..., object], wanted: Annotation) -> Dependency:
        try:
            return Dependency(self._name_of(job), wanted)
        except UnknownJob as error:
            raise ServiceError(f"depends(): {error}") from error

    def _name_of(self, job: str | Callable[..., object]) -> str:
        if isinstance(job, str):
            return job
        name = self._names.get(job)
        if name is None:
            raise UnknownJob(
                repr(job), f"{job!r} is no job of this cache: decorate it, @cache.job()"
            )
        return name

    def _type_of(self, name: str) -> Any:  # noqa: ANN401
        """The return annotation of a job in code; None for another job, and where it has none."""
        if name not in self._types:
            keys = self._jobs.get(name)
            self._types[name] = None if keys is None else returned_type(name, keys["python"])
        return self._types[name]

    def _value(self, name: str, type_: Any) -> Any:  # noqa: ANN401  any annotation will do
        """The value that is served, of that type.

        Raises:
            UnknownJob: no job has that name.
            NoSnapshot: there is none yet, it has expired, or it is not of that type.
        """
        snapshot, values = self._served(name), self.service.values
        try:
            return values.of(snapshot, type_)
        except Exception as error:  # validators that users write raise what they will
            wait = retry_after(self.service.states.known(name).record, self.service.clock.now())
            message = f"{name} has no data of the type that is asked for"
            raise NoSnapshot(name, message, retry_after=wait) from error

    def _served(self, name: str) -> Snapshot:
        entry, now = self.service.states.known(name), self.service.clock.now()
        snapshot = entry.record.snapshot
        state = freshness.state_of(entry.record, entry.policy, now)
        if snapshot is not None and freshness.is_served(state, entry.policy):
            return snapshot
        what = "has no snapshot yet" if snapshot is None else "has only an expired snapshot"
        raise NoSnapshot(name, f"{name} {what}", retry_after=retry_after(entry.record, now))


def cache_to_serve(
    path: Path,
    config: Config,
    *,
    overrides: Mapping[str, object],
    admin_token: str | None,
    row: CounterRow | None = None,
) -> Refresher:
    """The cache that a process of `refresher serve` enters.

    Args:
        path: The configuration file; read again when a secret file that it names has changed.
        config: What `path` and `overrides` have just been read as, for the first entry.
        overrides: Dotted configuration keys that come before file and environment.
        admin_token: As for a `Refresher`.
        row: The row of this process in the counters that workers share; None: it is the only one.
    """
    cache = Refresher(path, admin_token=admin_token)
    cache._overrides = overrides  # noqa: SLF001  not an argument: embedders have no use for it
    cache._loaded = config  # noqa: SLF001  the same
    cache._row = row  # noqa: SLF001  the same
    return cache
