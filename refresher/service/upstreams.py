"""Upstreams as they are configured: client, limiter, certificates, credentials."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import assert_never, cast

import httpx

from refresher.clock import Clock
from refresher.config import Config, JobConfig, JobPlan, UpstreamConfig
from refresher.config.auth import (
    Auth,
    BasicAuth,
    BearerAuth,
    CustomAuth,
    HeaderAuth,
    NoAuth,
    OAuth2Auth,
    QueryAuth,
)
from refresher.config.models import TlsConfig
from refresher.config.tls_files import apply_tls
from refresher.config.units import InvalidValue
from refresher.errors import ConfigError
from refresher.fields.rate_limits import exhausted_for
from refresher.protocols import Limits
from refresher.upstream.auth import OriginAuth, OriginHeader, OriginParameter
from refresher.upstream.client import OriginBoundTransport, open_client
from refresher.upstream.limiter import Limiter
from refresher.upstream.oauth2 import TokenAuth, TokenSource
from refresher.upstream.transport import AiohttpTransport, new_tls
from refresher.upstream.urls import Origin, origin_of

_LOCAL = "local"
"""The upstream of jobs that have none: files, and callables that name no table."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the jobs of one upstream share while a service runs."""

    limiter: Limiter
    transport: httpx.AsyncBaseTransport
    client: httpx.AsyncClient
    """Has the connections, and none of the headers and credentials that are configured."""
    clock: Clock
    learn: Callable[[str], object]
    """Called with secrets that come up at run time, so that they are masked."""
    tokens: dict[OAuth2Auth, TokenSource] = field(default_factory=dict)

    def hold_for(self, seconds: float) -> None:
        """Start no attempt of its jobs for so many seconds."""
        self.limiter.hold(self.clock.now() + seconds)


def upstream_key(plan: JobPlan) -> str:
    """What identifies the job's upstream: its table's name, else its host, else the job itself.

    No table can have the name of a host or a job here. A file, and a function that names no table,
    has an upstream to itself: one that hangs must not block another.
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
    return site_of(url).netloc.decode("ascii")


def site_of(url: str) -> httpx.URL:
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
    """Open an upstream; one without a table has the defaults of a table.

    Raises:
        ConfigError: its certificate files are no longer what they were.
    """
    table = config.upstreams.get(name, UpstreamConfig())
    limiter = Limiter(
        name, max_concurrency=table.max_concurrency, rate=table.rate, clock=clock, limits=limits
    )
    transport = transport or _new_transport(name, table)
    return Upstream(limiter, transport, open_client(transport=transport), clock, learn)


def reopen(upstream: Upstream, config: Config) -> Upstream:
    """The same upstream with new connections, as they are configured now."""
    name = upstream.limiter.upstream
    transport = _new_transport(name, config.upstreams[name])
    return replace(
        upstream, transport=transport, client=open_client(transport=transport), tokens={}
    )


def tls_context(tls: TlsConfig) -> ssl.SSLContext | None:
    """How connections are secured; None for the defaults.

    Raises:
        InvalidValue: a file is no longer what it was when the configuration was read.
    """
    if tls == TlsConfig():
        return None
    context = new_tls(trusting=tls.ca is None)  # ca is trusted instead of the usual authorities
    apply_tls(context, tls)
    return context


def _new_transport(name: str, table: UpstreamConfig) -> AiohttpTransport:
    try:
        tls = tls_context(table.tls)
    except InvalidValue as error:
        raise ConfigError([f"upstreams.{name}.tls: {error}"]) from error
    match table.proxy:
        case "env":
            return AiohttpTransport(tls=tls)
        case "none":
            return AiohttpTransport(tls=tls, proxies={})
        case proxy:
            return AiohttpTransport(tls=tls, proxies={"all": proxy})


def client_of(job: JobConfig, upstream: Upstream, config: Config) -> httpx.AsyncClient:
    """The client that a callable gets: its upstream's connections, base_url, headers and auth."""
    table = config.upstreams.get(job.upstream or "", UpstreamConfig())
    transport = upstream.transport
    if table.base_url is not None:
        secret = {job.auth.name} if isinstance(job.auth, HeaderAuth) else set()
        home = origin_of(httpx.URL(table.base_url))
        transport = OriginBoundTransport(transport, home, names={*job.headers, *secret})
    client = open_client(
        base_url=table.base_url or "",
        headers=job.headers,
        connect_timeout=job.connect_timeout,
        transport=transport,
    )
    match job.auth:
        case CustomAuth(auth=custom) if table.base_url is None:
            # without a base_url there is no origin to bind it to
            client.auth = cast("httpx.Auth", custom)
        case given if table.base_url is not None:
            origin = origin_of(client.base_url)
            client.auth = auth_of(given, origin, upstream) or httpx.Auth()
            client.event_hooks = {
                "response": [partial(_hold_if_exhausted, origin=origin, upstream=upstream)]
            }
    return client


async def _hold_if_exhausted(
    response: httpx.Response, *, origin: Origin, upstream: Upstream
) -> None:
    """Hold the upstream where it answers a function that the rate limit is used up."""
    pause = exhausted_for(response.headers, now=upstream.clock.now())
    if pause is not None and origin_of(response.request.url) == origin:
        upstream.hold_for(pause)


def auth_of(given: Auth, origin: Origin, upstream: Upstream) -> httpx.Auth | None:
    """The credentials as httpx adds them to requests to `origin`; None where there are none."""
    applied: httpx.Auth | None
    match given:
        case NoAuth():
            applied = None
        case BearerAuth() | BasicAuth() | HeaderAuth():
            applied = OriginHeader(origin, given)
        case QueryAuth():
            applied = OriginParameter(origin, given)
        case OAuth2Auth():
            applied = TokenAuth(origin, _tokens(given, upstream))
        case CustomAuth(auth=custom):
            applied = OriginAuth(origin, cast("httpx.Auth", custom))
        case _:
            assert_never(given)
    return applied


def _tokens(given: OAuth2Auth, upstream: Upstream) -> TokenSource:
    """The one token source for all jobs of the upstream that have the same credentials."""
    if given not in upstream.tokens:
        upstream.tokens[given] = TokenSource(
            given, client=upstream.client, now=upstream.clock.now, learn=upstream.learn
        )
    return upstream.tokens[given]
