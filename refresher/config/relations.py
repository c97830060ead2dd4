"""A job's settings, settled against each other: what is relative to something becomes absolute."""

from dataclasses import dataclass, replace
from pathlib import Path

from refresher.config.inheritance import Inherited
from refresher.config.models import JobConfig, OffsetPages, Paginate
from refresher.config.problems import Problems
from refresher.config.tree import Tree
from refresher.config.units import Share, written_duration

_MOST_JITTER = 0.5

_OF_REQUESTS = (
    "method",
    "params",
    "json",
    "body",
    "ok_status",
    "conditional",
    "max_redirects",
    "respect_cache_control",
    "max_interval",
    "paginate",
)
_OF_CLIENTS = ("headers", "auth", "connect_timeout")
"""What describes requests in general, and so the client that a function is given too."""

_TIMES = {"interval", "cron", "jitter", "timeout", "connect_timeout"}
_WAITS = {"backoff", "backoff_max", "max_interval"}
_REQUEST = {"method", "conditional", "json", "body"}
_RELATED = frozenset({*_TIMES, *_WAITS, *_REQUEST, "format", "raw", "select", "schema", "paginate"})
"""The keys that are settled against each other: while one is wrong by itself, that comes first."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A job whose keys have been checked one by one, and where they were written."""

    name: str
    tree: Tree
    written: Inherited
    config: JobConfig
    wrong: frozenset[str]
    """The keys that are left out of `config` for what is wrong with them."""
    problems: Problems

    def note(self, key: str, wrong: str, advice: str) -> None:
        """Note a problem with a key's value, where it was written."""
        got = self.written.table.get(key)
        self.problems.add(self.written.place((key,)), wrong, advice, got=got)


def settled(draft: Draft) -> JobConfig:
    """The job's settings as they hold; what cannot hold is noted."""
    config = draft.config
    file, schema = (_absolute(draft, key, getattr(config, key)) for key in ("file", "schema"))
    _check_source(draft)
    if draft.wrong & _RELATED:
        return replace(config, file=file, schema=schema)
    _check_backoff(draft)
    _check_max_interval(draft)
    _check_rules(draft)
    method = _method(draft)
    return replace(
        config,
        file=file,
        schema=schema,
        jitter=_jitter(draft),
        timeout=_within_interval(draft, "timeout", config.timeout),
        connect_timeout=_within_interval(draft, "connect_timeout", config.connect_timeout),
        method=method,
        conditional=_conditional(draft, method),
        paginate=_paginate(draft),
    )


def _check_source(draft: Draft) -> None:
    """Note what the job says of a request that its source does not make.

    What it inherits may be meant for other jobs.
    """
    if draft.wrong & {"url", "file", "python"}:
        return
    idle: tuple[str, ...]
    match draft.config:
        case JobConfig(url=None, file=Path()):
            source, idle = "a file", (*_OF_REQUESTS, *_OF_CLIENTS)
        case JobConfig(url=None, python=function) if function is not None:
            source, idle = "a function, which makes its own requests", _OF_REQUESTS
        case _:
            return
    for key in idle:
        if draft.written.own(key) and key not in draft.wrong:
            wrong = f"is for a url, and the source of jobs.{draft.name} is {source}"
            draft.note(key, wrong, "take it out")


def _jitter(draft: Draft) -> float:
    """In seconds."""
    config = draft.config
    if config.cron is not None:
        if not isinstance(config.jitter, Share):
            return config.jitter
        if draft.written.own("jitter"):
            draft.note("jitter", "is a share of an interval, and cron has none", 'write "30s"')
        return 0.0
    most = config.interval * _MOST_JITTER
    seconds = config.jitter * (config.interval if isinstance(config.jitter, Share) else 1)
    if seconds > most and (isinstance(config.jitter, Share) or draft.written.own("jitter")):
        draft.note("jitter", "is more than half the interval", 'write at most "50%"')
    return min(seconds, most)


def _within_interval(draft: Draft, key: str, seconds: float) -> float:
    config = draft.config
    if config.cron is not None or seconds <= config.interval:
        return seconds
    if draft.written.own(key):
        wrong = f'is longer than the interval ("{written_duration(config.interval)}")'
        draft.note(key, wrong, "shorten it or lengthen the interval")
    return config.interval


def _check_backoff(draft: Draft) -> None:
    first, longest = draft.config.backoff, draft.config.backoff_max
    # A pause is cut to backoff_max in any case: only who writes both has mistaken one.
    if first > longest and draft.written.own("backoff") and draft.written.own("backoff_max"):
        wrong = f'is shorter than backoff ("{written_duration(first)}")'
        draft.note("backoff_max", wrong, "lengthen it or shorten backoff")


def _check_max_interval(draft: Draft) -> None:
    config = draft.config
    if (
        config.cron is None
        and config.url is not None
        and config.max_interval < config.interval
        and draft.written.own("max_interval")
    ):
        wrong = f'is shorter than the interval ("{written_duration(config.interval)}")'
        draft.note("max_interval", wrong, "lengthen it or shorten the interval")


def _check_rules(draft: Draft) -> None:
    config = draft.config
    for key in ("select", "schema"):
        if getattr(config, key) is not None and config.format in ("text", "bytes"):
            wrong = f'needs JSON, and the format of jobs.{draft.name} is "{config.format}"'
            draft.note(key, wrong, 'take it out or write format = "json"')
    if config.raw and config.select is not None:
        wrong = "serves the answer's own bytes, and select makes others"
        draft.note("raw", wrong, "take out the one or the other")
    least, most = config.guard.min_items, config.guard.max_items
    if least is not None and most is not None and most < least:
        place = draft.written.place(("guard", "max_items"))
        wrong = f"is less than guard.min_items ({least}), so nothing could pass"
        draft.problems.add(place, wrong, "raise it or lower min_items", got=most)


def _paginate(draft: Draft) -> Paginate | None:
    """As it is for a url job; what else there is has no pages, though it may inherit some."""
    config, paginate = draft.config, draft.config.paginate
    if paginate is None:
        return None
    if config.url is None:
        return None
    if config.format not in ("auto", "json"):
        wrong = f'needs JSON, and the format of jobs.{draft.name} is "{config.format}"'
        draft.note("paginate", wrong, 'take it out or write format = "json"')
    match paginate:
        case OffsetPages(limit_param=None, limit=int()):
            draft.note("paginate", "has a limit and no limit_param to send it as", "write both")
        case OffsetPages(limit_param=str(), limit=None):
            draft.note("paginate", "has a limit_param and no limit to send as it", "write both")
    return paginate


def _method(draft: Draft) -> str:
    if "method" in draft.written.table:
        return draft.config.method
    has_body = draft.config.json is not None or draft.config.body is not None
    return "POST" if has_body else "GET"


def _conditional(draft: Draft, method: str) -> bool:
    if method == "GET":
        return draft.config.conditional
    if draft.config.url and draft.config.conditional and draft.written.own("conditional"):
        draft.note("conditional", f"is for GET, and the method is {method}", "leave it out")
    return False


def _absolute(draft: Draft, key: str, path: Path | None) -> Path | None:
    """Relative to the file that the path stands in, which for an inherited one is another."""
    if path is None:
        return None
    return draft.tree.origin(draft.written.place((key,))).directory / path
