"""The composition root: the only module that knows every kind of source, store and schedule."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from refresher import freshness
from refresher.clock import Moments
from refresher.config import (
    Config,
    JobConfig,
    JobPlan,
    state_directory,
)
from refresher.config.lines import locate
from refresher.config.tree import KeyPath, dotted
from refresher.errors import ConfigError
from refresher.jobs import schedule
from refresher.jobs.plan import Plan
from refresher.pipeline import Reading, Rules
from refresher.pipeline.content_time import ContentTimeRule
from refresher.protocols import Source
from refresher.security.redaction import Redactor
from refresher.service.upstreams import Upstream, auth_of, client_of, site_of
from refresher.sources.callable import CallableSource, check_signature, import_callable
from refresher.sources.exchange import Exchange
from refresher.sources.file import FileSource
from refresher.sources.http import HttpRequest, HttpSource
from refresher.sources.pages import PagedSource, PageRead, PageReader, read_here
from refresher.store.backends.memory import MemoryStore
from refresher.store.backends.redis import RedisStore
from refresher.store.backends.sqlite.store import SqliteStore
from refresher.store.protocols import Backend
from refresher.upstream.urls import origin_of
from refresher.values import DeclaredType

T = TypeVar("T")


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
            function_of(plan.config)
        except ConfigError as error:
            if place.is_file and place.source not in lines:
                lines[place.source] = locate(Path(place.source).read_text("utf-8-sig"))
            line = lines.get(place.source, {}).get(place.path)
            where = place.source if line is None else f"{place.source}:{line}"
            # A module that breaks on import may say anything.
            said = map(Redactor(config.secrets).redact, error.problems)
            yield from (f"{where}: {dotted(place.path)}: {each}" for each in said)


def function_of(job: JobConfig) -> Callable[..., object]:
    """The function that is the source of a `python` job, imported where it is named.

    Raises:
        ConfigError: it cannot be imported, or not be called.
    """
    call = job.python if callable(job.python) else import_callable(str(job.python))
    check_signature(call)
    return call


@lru_cache(maxsize=1024)
def _interned(value: T) -> T:
    """The same for all that are equal: ten thousand jobs have few different ways to be refreshed.

    Half a KiB of memory a job is saved so.
    """
    return value


def plan_of(plan: JobPlan, types: tuple[DeclaredType, ...] = ()) -> Plan:
    """What the job is to do, as the job itself understands it; its data must be of all `types`."""
    config = plan.config
    policy = freshness.Policy(
        max_age=config.max_age,
        max_stale=config.max_stale,
        timeout=config.timeout,
        fail_when_expired=config.on_expired == "fail",
        max_content_age=config.max_content_age,
        changes_by=None
        if config.changes_by is None
        else Moments(config.changes_by, config.timezone),
    )
    return Plan(
        name=plan.name,
        schedule=_interned(schedule_of(config)),
        retry=_interned(schedule.Retry(config.backoff, config.backoff_max)),
        rules=_interned(rules_of(plan)),
        definition=plan.definition,
        freshness=_interned(policy),
        timeout=config.timeout,
        types=types,
        cooldown=config.cooldown,
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
    config = plan.config
    return Rules(
        reading=reading_of(config),
        raw=config.raw,
        select=config.select,
        schema=plan.schema,
        guard=config.guard,
        content_time=_content_time(config),
    )


def _content_time(config: JobConfig) -> ContentTimeRule | None:
    if config.content_time is None:
        return None
    return ContentTimeRule(config.content_time, config.timezone)


def reading_of(config: JobConfig) -> Reading:
    """What the job says of its bodies."""
    said = Reading(format=config.format, charset=config.charset, delimiter=config.delimiter)
    reading: Reading = _interned(said)
    return reading


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
    """The job's source; `on_exchange`, `on_page`, `read_page` and `spool_from` are for a url job.

    Bodies of `spool_from` bytes and more are put into files, and `read_page` reads their pages.

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
            auth=auth_of(job.auth, origin_of(site_of(plan.url)), upstream),
            ok_status=_interned(frozenset(job.ok_status)),
            conditional=job.conditional,
            full_refresh=math.inf if job.full_refresh is None else job.full_refresh,
            max_redirects=job.max_redirects,
            max_bytes=job.max_bytes,
            connect_timeout=job.connect_timeout,
            timeout=job.timeout,
            now=now,
        )
        source = HttpSource(
            request,
            client=upstream.client,
            on_exchange=on_exchange,
            on_exhausted=upstream.hold_for,
            admit=upstream.limiter.admit_another,
            spool_from=spool_from,
        )
        if job.paginate is None:
            return source
        return PagedSource(
            source,
            job.paginate,
            reading=reading_of(job),
            duplicate_keys=job.guard.duplicate_keys,
            read=read_page,
            on_page=on_page,
            spool_from=spool_from,
        )
    if job.file is not None:
        return FileSource(job.file, max_bytes=job.max_bytes, now=now)
    client = client_of(job, upstream, config)
    return CallableSource(function_of(job), max_bytes=job.max_bytes, client=client, now=now)


def _headers(job: JobConfig) -> dict[str, str]:
    if job.json is None or any(name.lower() == "content-type" for name in job.headers):
        return job.headers
    return {**job.headers, "Content-Type": "application/json"}


def _content(job: JobConfig) -> bytes | None:
    if job.json is not None:
        return json.dumps(job.json, separators=(",", ":")).encode()
    return None if job.body is None else job.body.encode()
