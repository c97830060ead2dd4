"""The composition root: the only module that knows every kind of source, auth and schedule."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import httpx

from refresher import auth, freshness, schedule
from refresher.clock import Clock
from refresher.config import Config, JobConfig, JobPlan, UpstreamConfig, models
from refresher.config.lines import locate
from refresher.errors import ConfigError
from refresher.gate import Gate
from refresher.job import Plan
from refresher.pipeline import GuardRules, Rules
from refresher.protocols import Source
from refresher.redaction import Redactor
from refresher.sources.callable import CallableSource, check_signature, import_callable
from refresher.sources.file import FileSource
from refresher.sources.http import Exchange, HttpRequest, HttpSource
from refresher.transport import AiohttpTransport, open_client
from refresher.urls import origin_of

_LOCAL = "local"
"""The upstream of jobs that have none: files, and callables that name no table."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the jobs of one upstream share while a service runs."""

    gate: Gate
    transport: httpx.AsyncBaseTransport
    client: httpx.AsyncClient
    """Carries connections, and nothing of what is configured."""


def upstream_key(plan: JobPlan) -> str:
    """The name of the job's upstream: its table's, else its host's, else `local`."""
    if plan.config.upstream is not None:
        return plan.config.upstream
    if plan.url is None:
        return _LOCAL
    return httpx.URL(plan.url).netloc.decode("ascii")


def open_upstream(
    name: str, config: Config, *, clock: Clock, transport: httpx.AsyncBaseTransport | None
) -> Upstream:
    """Open the way to an upstream; one without a table has the defaults of a table."""
    table = config.upstreams.get(name, UpstreamConfig())
    gate = Gate(name, max_concurrency=table.max_concurrency, rate=table.rate, clock=clock)
    carrier = transport or AiohttpTransport()
    return Upstream(gate, carrier, open_client(transport=carrier))


def import_functions(config: Config) -> None:
    """Import the functions that jobs name, the configuration's folder first on the path.

    Raises:
        ConfigError: some cannot be imported, or not be called; has every problem.
    """
    folder = str(config.directory)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if problems := list(_problems_of_functions(config)):
        raise ConfigError(problems)


def _problems_of_functions(config: Config) -> Iterator[str]:
    for plan in config.jobs.values():
        if plan.kind != "python":
            continue
        try:
            _function(plan.config)
        except ConfigError as error:
            place = _place(config.path, plan.name)
            # A module that breaks on import may say anything.
            said = map(Redactor(config.secrets).redact, error.problems)
            yield from (f"{place}jobs.{plan.name}.python: {each}" for each in said)


def _place(path: Path | None, job: str) -> str:
    """Where the job's function is named: a line of the main file, unless it is in another."""
    if path is None:
        return ""
    line = locate(path.read_text("utf-8")).get(("jobs", job, "python"))
    return f"{path}: " if line is None else f"{path}:{line}: "


def _function(job: JobConfig) -> Callable[..., object]:
    call = job.python if callable(job.python) else import_callable(str(job.python))
    check_signature(call)
    return call


def plan_of(plan: JobPlan) -> Plan:
    """What the job is to do, as the job itself understands it."""
    config = plan.config
    return Plan(
        name=plan.name,
        schedule=schedule_of(config),
        retry=schedule.Retry(config.backoff, config.backoff_max),
        rules=rules_of(plan),
        definition=plan.definition,
        freshness=freshness.Policy(
            max_age=config.max_age,
            max_stale=config.max_stale,
            timeout=config.timeout,
            fail_when_expired=config.on_expired == "fail",
        ),
        timeout=config.timeout,
        cooldown=config.cooldown,
        enabled=config.enabled,
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
        select=config.select,
        schema=plan.schema,
        guard=GuardRules(
            min_items=guard.min_items,
            max_shrink=guard.max_shrink,
            required=guard.required,
            allow_empty=guard.allow_empty,
        ),
    )


def source_of(
    plan: JobPlan,
    upstream: Upstream,
    config: Config,
    *,
    now: Callable[[], float],
    on_exchange: Callable[[Exchange], None] | None = None,
    spool_from: int | None = None,
) -> Source:
    """Where the job's data comes from; what comes over HTTP is put in a file from that size on.

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
            auth=_auth(job.auth, httpx.URL(plan.url)),
            ok_status=frozenset(job.ok_status),
            conditional=job.conditional,
            max_redirects=job.max_redirects,
            max_bytes=job.max_bytes,
            connect_timeout=job.connect_timeout,
            now=now,
        )
        return HttpSource(
            request, client=upstream.client, on_exchange=on_exchange, spool_from=spool_from
        )
    if job.file is not None:
        return FileSource(job.file, max_bytes=job.max_bytes, now=now)
    client = _client_of(job, upstream, config)
    return CallableSource(_function(job), max_bytes=job.max_bytes, client=client, now=now)


def _client_of(job: JobConfig, upstream: Upstream, config: Config) -> httpx.AsyncClient:
    """The client that a callable gets: its upstream's connections, base_url, headers and auth."""
    table = config.upstreams.get(job.upstream or "", UpstreamConfig())
    return open_client(
        base_url=table.base_url or "",
        headers=job.headers,
        auth=None if table.base_url is None else _auth(job.auth, httpx.URL(table.base_url)),
        connect_timeout=job.connect_timeout,
        transport=upstream.transport,
    )


def _headers(job: JobConfig) -> dict[str, str]:
    headers = dict(job.headers)
    if job.json is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    return headers


def _content(job: JobConfig) -> bytes | None:
    if job.json is not None:
        return json.dumps(job.json, separators=(",", ":")).encode()
    return None if job.body is None else job.body.encode()


def _auth(given: models.Auth, url: httpx.URL) -> httpx.Auth | None:
    origin = origin_of(url)
    match given:
        case models.NoAuth():
            return None
        case models.BearerAuth(token=token):
            return auth.BearerAuth(origin, token)
        case models.BasicAuth(username=username, password=password):
            return auth.BasicAuth(origin, username, password)
        case models.HeaderAuth(name=name, value=value):
            return auth.HeaderAuth(origin, name, value)
        case models.QueryAuth(name=name, value=value):
            return auth.QueryAuth(origin, name, value)
        case _:
            assert_never(given)
