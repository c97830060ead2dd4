"""Relations between a job's settings: contradictions are noted, relative values made absolute."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from cronsim import CronSim

from refresher.config.inheritance import Inherited
from refresher.config.models import JobConfig
from refresher.config.paging import OffsetPages, Paginate
from refresher.config.problems import Problems
from refresher.config.tree import Tree
from refresher.config.units import Share, written_duration

_MOST_JITTER = 0.5
_DAY = 86_400.0
_MANY = 10
"""Intervals in which only changes are asked for, by default."""

_OF_REQUESTS = (
    "method",
    "params",
    "json",
    "body",
    "ok_status",
    "conditional",
    "full_refresh",
    "max_redirects",
    "respect_cache_control",
    "max_interval",
    "paginate",
)
_OF_CLIENTS = ("headers", "auth", "connect_timeout")
"""Keys of requests in general, which the client that a function is given has too."""

_TIMES = {"interval", "cron", "jitter", "timeout", "connect_timeout"}
_WAITS = {"backoff", "backoff_max", "max_interval"}
_REQUEST = {"method", "conditional", "json", "body"}
_RULES = {"format", "charset", "delimiter", "raw", "select", "schema", "paginate", "content_time"}
_RELATED = frozenset({*_TIMES, *_WAITS, *_REQUEST, *_RULES})
"""Keys that are related to each other: while one is invalid by itself, they are not compared."""


@dataclass(frozen=True, slots=True)
class ValidatedJob:
    """A job whose keys have been validated one by one, and where they were written."""

    name: str
    tree: Tree
    written: Inherited
    config: JobConfig
    wrong: frozenset[str]
    """The invalid keys, which are left out of `config`."""
    problems: Problems

    def note(self, key: str, wrong: str, advice: str) -> None:
        """Note a problem with a key's value, where it was written."""
        got = self.written.table.get(key)
        self.problems.add(self.written.place((key,)), wrong, advice, got=got)


def resolved(job: ValidatedJob) -> JobConfig:
    """The job's settings with defaults and relative values resolved; contradictions are noted."""
    config = job.config
    file, schema = (_absolute(job, key, getattr(config, key)) for key in ("file", "schema"))
    _check_source(job)
    if job.wrong & _RELATED:
        return replace(config, file=file, schema=schema)
    _check_backoff(job)
    _check_max_interval(job)
    _check_rules(job)
    method = _method(job)
    return replace(
        config,
        file=file,
        schema=schema,
        jitter=_jitter(job),
        timeout=_within_interval(job, "timeout", config.timeout),
        connect_timeout=_within_interval(job, "connect_timeout", config.connect_timeout),
        method=method,
        conditional=_conditional(job, method),
        full_refresh=_full_refresh(config),
        paginate=_paginate(job),
    )


def _check_source(job: ValidatedJob) -> None:
    """Note the keys of a request in the job's own table where its source makes none.

    Keys that it inherits may be meant for other jobs.
    """
    if job.wrong & {"url", "file", "python"}:
        return
    unused: tuple[str, ...]
    match job.config:
        case JobConfig(url=None, file=Path()):
            source, unused = "a file", (*_OF_REQUESTS, *_OF_CLIENTS)
        case JobConfig(url=None, python=function) if function is not None:
            source, unused = "a function, which makes its own requests", _OF_REQUESTS
        case _:
            return
    for key in unused:
        if job.written.own(key) and key not in job.wrong:
            wrong = f"is for a url, and the source of jobs.{job.name} is {source}"
            job.note(key, wrong, "take it out")


def _jitter(job: ValidatedJob) -> float:
    """In seconds."""
    config = job.config
    if config.cron is not None:
        if not isinstance(config.jitter, Share):
            return config.jitter
        if job.written.own("jitter"):
            job.note("jitter", "is a share of an interval, and cron has none", 'write "30s"')
        return 0.0
    most = config.interval * _MOST_JITTER
    seconds = config.jitter * (config.interval if isinstance(config.jitter, Share) else 1)
    if seconds > most and (isinstance(config.jitter, Share) or job.written.own("jitter")):
        job.note("jitter", "is more than half the interval", 'write at most "50%"')
    return min(seconds, most)


def _within_interval(job: ValidatedJob, key: str, seconds: float) -> float:
    config = job.config
    if config.cron is not None or seconds <= config.interval:
        return seconds
    if job.written.own(key):
        wrong = f'is longer than the interval ("{written_duration(config.interval)}")'
        job.note(key, wrong, "shorten it or lengthen the interval")
    return config.interval


def _check_backoff(job: ValidatedJob) -> None:
    first, longest = job.config.backoff, job.config.backoff_max
    # A pause is cut to backoff_max in any case: a mistake only where the job sets both.
    if first > longest and job.written.own("backoff") and job.written.own("backoff_max"):
        wrong = f'is shorter than backoff ("{written_duration(first)}")'
        job.note("backoff_max", wrong, "lengthen it or shorten backoff")


def _check_max_interval(job: ValidatedJob) -> None:
    config = job.config
    if (
        config.cron is None
        and config.url is not None
        and config.max_interval < config.interval
        and job.written.own("max_interval")
    ):
        wrong = f'is shorter than the interval ("{written_duration(config.interval)}")'
        job.note("max_interval", wrong, "lengthen it or shorten the interval")


def _check_rules(job: ValidatedJob) -> None:
    config = job.config
    for key in ("select", "schema", "content_time"):
        if getattr(config, key) is not None and config.format in ("text", "bytes"):
            wrong = f'needs JSON, and the format of jobs.{job.name} is "{config.format}"'
            job.note(key, wrong, 'take it out or write format = "json"')
    if config.charset is not None and config.format == "bytes" and job.written.own("charset"):
        wrong = f'is for text, and the format of jobs.{job.name} is "bytes"'
        job.note("charset", wrong, "take it out")
    is_csv = config.format in ("auto", "csv")
    if config.delimiter is not None and not is_csv and job.written.own("delimiter"):
        wrong = f'is for csv, and the format of jobs.{job.name} is "{config.format}"'
        job.note("delimiter", wrong, 'take it out or write format = "csv"')
    if config.raw and config.select is not None:
        wrong = "serves the answer's own bytes, and select makes others"
        job.note("raw", wrong, "take out the one or the other")
    is_own = job.written.own("max_content_age")  # an inherited one may be meant for other jobs
    if config.max_content_age is not None and config.content_time is None and is_own:
        wrong = f"counts from a content_time, and jobs.{job.name} has none"
        job.note("max_content_age", wrong, "write where it stands in the data")
    least, most = config.guard.min_items, config.guard.max_items
    if least is not None and most is not None and most < least:
        place = job.written.place(("guard", "max_items"))
        wrong = f"is less than guard.min_items ({least}), so nothing could pass"
        job.problems.add(place, wrong, "raise it or lower min_items", got=most)


def _paginate(job: ValidatedJob) -> Paginate | None:
    """How a url job pages; None for others, which may inherit it."""
    config, paginate = job.config, job.config.paginate
    if paginate is None:
        return None
    if config.url is None:
        return None
    if config.format not in ("auto", "json"):
        wrong = f'needs JSON, and the format of jobs.{job.name} is "{config.format}"'
        job.note("paginate", wrong, 'take it out or write format = "json"')
    match paginate:
        case OffsetPages(limit_param=None, limit=int()):
            job.note("paginate", "has a limit and no limit_param to send it as", "write both")
        case OffsetPages(limit_param=str(), limit=None):
            job.note("paginate", "has a limit_param and no limit to send as it", "write both")
    return paginate


def _method(job: ValidatedJob) -> str:
    if "method" in job.written.table:
        return job.config.method
    has_body = job.config.json is not None or job.config.body is not None
    return "POST" if has_body else "GET"


def _conditional(job: ValidatedJob, method: str) -> bool:
    if method == "GET":
        return job.config.conditional
    if job.config.url and job.config.conditional and job.written.own("conditional"):
        job.note("conditional", f"is for GET, and the method is {method}", "leave it out")
    return False


def _full_refresh(config: JobConfig) -> float:
    if config.full_refresh is not None:
        return config.full_refresh
    many = _MANY * config.interval if config.cron is None else _many_matches(config.cron)
    return max(_DAY, many)


@lru_cache(maxsize=256)
def _many_matches(cron: str) -> float:
    """How long as many of its intervals are, from 2026 on; time zones do not matter."""
    matches = list(islice(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)), _MANY + 1))
    return (matches[-1] - matches[0]).total_seconds()


def _absolute(job: ValidatedJob, key: str, path: Path | None) -> Path | None:
    """The path made absolute, from the folder of the file that it is written in."""
    if path is None:
        return None
    return job.tree.source(job.written.place((key,))).directory / path
