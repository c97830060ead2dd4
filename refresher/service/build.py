"""The composition root: the only module that knows every kind of source, auth and schedule."""

import json
import os
import re
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar, assert_never, cast

import httpx

from refresher import freshness
from refresher.clock import Clock
from refresher.config import (
    Config,
    JobConfig,
    JobPlan,
    UpstreamConfig,
    models,
    state_directory,
)
from refresher.config.lines import locate
from refresher.config.tls_files import apply_tls
from refresher.config.tree import KeyPath, dotted
from refresher.config.units import Unfit
from refresher.errors import ConfigError
from refresher.fields.rate_limits import exhausted_for
from refresher.jobs import schedule
from refresher.jobs.attempt import Plan
from refresher.pipeline import GuardRules, Rules
from refresher.protocols import Backend, Limits, Source
from refresher.security.redaction import Redactor
from refresher.sources.callable import CallableSource, check_signature, import_callable
from refresher.sources.file import FileSource
from refresher.sources.http import Exchange, HttpRequest, HttpSource
from refresher.sources.pages import (
    Cursor,
    LinkHeader,
    NextUrl,
    Offset,
    PagedSource,
    PageNumber,
    PageRead,
    PageReader,
    Pagination,
    Style,
    read_here,
)
from refresher.store.backends.memory import MemoryStore
from refresher.store.backends.redis import RedisStore
from refresher.store.backends.sqlite import SqliteStore
from refresher.upstream import auth, oauth2
from refresher.upstream.client import AiohttpTransport, HomeTransport, new_tls, open_client
from refresher.upstream.limiter import Gate
from refresher.upstream.urls import Origin, origin_of

T = TypeVar("T")

_LOCAL = "local"
"""The upstream of jobs that have none: files, and callables that name no table."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the jobs of one upstream share while a service runs."""

    gate: Gate
    transport: httpx.AsyncBaseTransport
    client: httpx.AsyncClient
    """Carries connections, and nothing of what is configured."""
    clock: Clock
    learn: Callable[[str], object]
    """Is told the secrets that come up while it is in use."""
    tokens: dict[oauth2.ClientCredentials, oauth2.TokenSource] = field(default_factory=dict)

    def held_for(self, seconds: float) -> None:
        """Let no job ask before so many seconds are over."""
        self.gate.hold(self.clock.now() + seconds)


def backend_of(config: Config) -> Backend:
    """The store that is configured; in memory where none is.

    Raises:
        ServiceError: it needs a package that is not installed.
    """
    url = config.store.url or "memory://"
    match url.partition(":")[0]:
        case "sqlite":
            path = url.removeprefix("sqlite:///")
            return SqliteStore(state_directory(config, os.environ) / path)
        case "redis" | "rediss":
            return RedisStore(url, prefix=config.store.prefix)
        case _:
            return MemoryStore()


def upstream_key(plan: JobPlan) -> str:
    """What the job shares an upstream by: its table's name, else its host, else nothing.

    No table can have the name of a host or a job here. A file, and a function that names no table,
    has an upstream to itself: one that hangs must not be in the way of another.
    """
    if plan.config.upstream is not None:
        return plan.config.upstream
    return f"job:{plan.name}" if plan.url is None else f"//{_host(plan.url)}"


def upstream_label(plan: JobPlan) -> str:
    """The upstream as metrics name it: its table's name, else its host, else `local`."""
    if plan.config.upstream is not None:
        return plan.config.upstream
    return _LOCAL if plan.url is None else _host(plan.url)


def _host(url: str) -> str:
    return _site(url).netloc.decode("ascii")


def _site(url: str) -> httpx.URL:
    """Where a URL leads, without its path; parsed once for all its jobs, for that takes 0.1 ms."""
    site = _SITE.match(url)
    return _parsed(url if site is None else site[0])


_SITE = re.compile(r"[^:/?#]+://[^/?#]*")
_parsed = lru_cache(maxsize=1024)(httpx.URL)


def open_upstream(
    name: str,
    config: Config,
    *,
    clock: Clock,
    limits: Limits,
    transport: httpx.AsyncBaseTransport | None,
    learn: Callable[[str], object],
) -> Upstream:
    """Open the way to an upstream; one without a table has the defaults of a table.

    Raises:
        ConfigError: its certificate files are no longer what they were.
    """
    table = config.upstreams.get(name, UpstreamConfig())
    gate = Gate(
        name, max_concurrency=table.max_concurrency, rate=table.rate, clock=clock, limits=limits
    )
    carrier = transport or _carrier(name, table)
    return Upstream(gate, carrier, open_client(transport=carrier), clock, learn)


def reopened(upstream: Upstream, config: Config) -> Upstream:
    """The same upstream over connections of its own, made as is configured now."""
    name = upstream.gate.upstream
    carrier = _carrier(name, config.upstreams[name])
    return replace(upstream, transport=carrier, client=open_client(transport=carrier), tokens={})


def tls_context(tls: models.TlsConfig) -> ssl.SSLContext | None:
    """How connections are secured; None for the usual way.

    Raises:
        Unfit: a file is no longer what it was when the configuration was read.
    """
    if tls == models.TlsConfig():
        return None
    context = new_tls(trusting=tls.ca is None)  # whom it names is trusted instead of the usual
    apply_tls(context, tls)
    return context


def _carrier(name: str, table: UpstreamConfig) -> AiohttpTransport:
    try:
        tls = tls_context(table.tls)
    except Unfit as error:
        raise ConfigError([f"upstreams.{name}.tls: {error}"]) from error
    match table.proxy:
        case "env":
            return AiohttpTransport(tls=tls)
        case "none":
            return AiohttpTransport(tls=tls, proxies={})
        case proxy:
            return AiohttpTransport(tls=tls, proxies={"all": proxy})


def import_functions(config: Config) -> None:
    """Import the functions that jobs name, the configuration's folder first on the path.

    Raises:
        ConfigError: some cannot be imported, or not be called; has every problem.
    """
    folder = str(config.directory)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A function that many jobs inherit is one problem.
    if problems := list(dict.fromkeys(_problems_of_functions(config))):
        raise ConfigError(problems)


def _problems_of_functions(config: Config) -> Iterator[str]:
    lines: dict[str, Mapping[KeyPath, int]] = {}
    for plan in config.jobs.values():
        place = plan.function_place
        if place is None:
            continue
        try:
            _function(plan.config)
        except ConfigError as error:
            if place.is_file and place.origin not in lines:
                lines[place.origin] = locate(Path(place.origin).read_text("utf-8-sig"))
            line = lines.get(place.origin, {}).get(place.path)
            where = place.origin if line is None else f"{place.origin}:{line}"
            # A module that breaks on import may say anything.
            said = map(Redactor(config.secrets).redact, error.problems)
            yield from (f"{where}: {dotted(place.path)}: {each}" for each in said)


def _function(job: JobConfig) -> Callable[..., object]:
    call = job.python if callable(job.python) else import_callable(str(job.python))
    check_signature(call)
    return call


@lru_cache(maxsize=1024)
def _one(value: T) -> T:
    """The same for all that are equal: ten thousand jobs have few different ways to be refreshed.

    Half a KiB of memory a job is saved so.
    """
    return value


def plan_of(plan: JobPlan) -> Plan:
    """What the job is to do, as the job itself understands it."""
    config = plan.config
    policy = freshness.Policy(
        max_age=config.max_age,
        max_stale=config.max_stale,
        timeout=config.timeout,
        fail_when_expired=config.on_expired == "fail",
    )
    return Plan(
        name=plan.name,
        schedule=_one(schedule_of(config)),
        retry=_one(schedule.Retry(config.backoff, config.backoff_max)),
        rules=_one(rules_of(plan)),
        definition=plan.definition,
        freshness=_one(policy),
        timeout=config.timeout,
        cooldown=config.cooldown,
        accept_after=config.guard.accept_after,
        enabled=config.enabled,
        max_interval=config.max_interval if config.respect_cache_control else 0.0,
    )


def schedule_of(config: JobConfig) -> schedule.Schedule:
    """When the job is due."""
    if config.cron is not None:
        return schedule.Cron(config.cron, config.timezone, config.jitter)
    return schedule.Interval(config.interval, config.jitter)


def rules_of(plan: JobPlan) -> Rules:
    """What the job asks of its content."""
    config, guard = plan.config, plan.config.guard
    return Rules(
        format=config.format,
        raw=config.raw,
        select=config.select,
        schema=plan.schema,
        guard=GuardRules(
            min_items=guard.min_items,
            max_items=guard.max_items,
            max_shrink=guard.max_shrink,
            max_growth=guard.max_growth,
            required=guard.required,
            allow_empty=guard.allow_empty,
            duplicate_keys=guard.duplicate_keys,
        ),
    )


def source_of(
    plan: JobPlan,
    upstream: Upstream,
    config: Config,
    *,
    now: Callable[[], float],
    on_exchange: Callable[[Exchange], None] | None = None,
    on_page: Callable[[PageRead], None] | None = None,
    read_page: PageReader = read_here,
    spool_from: int | None = None,
) -> Source:
    """Where the job's data comes from; what comes over HTTP is put in a file from that size on.

    `read_page` is who looks into the pages of a paginated answer.

    Raises:
        ConfigError: it is a function that cannot be imported, or not be called.
    """
    job = plan.config
    if plan.url is not None:
        request = HttpRequest(
            url=plan.url,
            method=job.method,
            params=job.params,
            headers=_headers(job),
            content=_content(job),
            auth=_auth(job.auth, origin_of(_site(plan.url)), upstream),
            ok_status=_one(frozenset(job.ok_status)),
            conditional=job.conditional,
            max_redirects=job.max_redirects,
            max_bytes=job.max_bytes,
            connect_timeout=job.connect_timeout,
            now=now,
        )
        source = HttpSource(
            request,
            client=upstream.client,
            on_exchange=on_exchange,
            on_exhausted=upstream.held_for,
            spool_from=spool_from,
        )
        if job.paginate is None:
            return source
        return PagedSource(
            source,
            _pagination(job.paginate, job),
            read=read_page,
            on_page=on_page,
            spool_from=spool_from,
        )
    if job.file is not None:
        return FileSource(job.file, max_bytes=job.max_bytes, now=now)
    client = _client_of(job, upstream, config)
    return CallableSource(_function(job), max_bytes=job.max_bytes, client=client, now=now)


def _pagination(given: models.Paginate, job: JobConfig) -> Pagination:
    style: Style
    match given:
        case models.LinkHeaderPages():
            style = LinkHeader()
        case models.NextUrlPages(path=path):
            style = NextUrl(path)
        case models.CursorPages(path=path, param=param):
            style = Cursor(path, param)
        case models.OffsetPages(param=param, limit_param=str(limit_param), limit=int(limit)):
            style = Offset(param, (limit_param, limit))
        case models.OffsetPages(param=param):
            style = Offset(param, None)
        case models.NumberedPages(param=param, start=start):
            style = PageNumber(param, start)
        case _:
            assert_never(given)
    return Pagination(
        style=style,
        items=given.items,
        max_pages=given.max_pages,
        format=job.format,
        duplicate_keys=job.guard.duplicate_keys,
    )


def _client_of(job: JobConfig, upstream: Upstream, config: Config) -> httpx.AsyncClient:
    """The client that a callable gets: its upstream's connections, base_url, headers and auth."""
    table = config.upstreams.get(job.upstream or "", UpstreamConfig())
    carrier = upstream.transport
    if table.base_url is not None:
        secret = {job.auth.name} if isinstance(job.auth, models.HeaderAuth) else set()
        home = origin_of(httpx.URL(table.base_url))
        carrier = HomeTransport(carrier, home, names={*job.headers, *secret})
    client = open_client(
        base_url=table.base_url or "",
        headers=job.headers,
        connect_timeout=job.connect_timeout,
        transport=carrier,
    )
    match job.auth:
        case models.CustomAuth(auth=custom) if table.base_url is None:
            client.auth = cast(
                "httpx.Auth", custom
            )  # bound to nothing that we know, like the function's requests
        case given if table.base_url is not None:
            origin = origin_of(client.base_url)
            client.auth = _auth(given, origin, upstream) or httpx.Auth()
            client.event_hooks = {"response": [partial(_heed, origin=origin, upstream=upstream)]}
    return client


async def _heed(response: httpx.Response, *, origin: Origin, upstream: Upstream) -> None:
    """Hold the upstream where it says to a function's request that it has no quota left."""
    quiet = exhausted_for(response.headers, now=upstream.clock.now())
    if quiet is not None and origin_of(response.request.url) == origin:
        upstream.held_for(quiet)


def _headers(job: JobConfig) -> dict[str, str]:
    if job.json is None or any(name.lower() == "content-type" for name in job.headers):
        return job.headers
    return {**job.headers, "Content-Type": "application/json"}


def _content(job: JobConfig) -> bytes | None:
    if job.json is not None:
        return json.dumps(job.json, separators=(",", ":")).encode()
    return None if job.body is None else job.body.encode()


def _auth(given: models.Auth, origin: Origin, upstream: Upstream) -> httpx.Auth | None:
    shown: httpx.Auth | None
    match given:
        case models.NoAuth():
            shown = None
        case models.BearerAuth(token=token):
            shown = auth.BearerAuth(origin, token)
        case models.BasicAuth(username=username, password=password):
            shown = auth.BasicAuth(origin, username, password)
        case models.HeaderAuth(name=name, value=value):
            shown = auth.HeaderAuth(origin, name, value)
        case models.QueryAuth(name=name, value=value):
            shown = auth.QueryAuth(origin, name, value)
        case models.OAuth2Auth():
            shown = oauth2.OAuth2Auth(origin, _tokens(given, upstream))
        case models.CustomAuth(auth=custom):
            shown = auth.BoundAuth(origin, cast("httpx.Auth", custom))
        case _:
            assert_never(given)
    return shown


def _tokens(given: models.OAuth2Auth, upstream: Upstream) -> oauth2.TokenSource:
    """The one token source for all jobs of the upstream that have the same credentials."""
    credentials = oauth2.ClientCredentials(
        given.token_url, given.client_id, given.client_secret, given.scope, given.audience
    )
    if credentials not in upstream.tokens:
        upstream.tokens[credentials] = oauth2.TokenSource(
            credentials, client=upstream.client, now=upstream.clock.now, learn=upstream.learn
        )
    return upstream.tokens[credentials]
