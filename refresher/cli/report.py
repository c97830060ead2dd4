"""What `refresher try` and `refresher check --live` print of an attempt."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from refresher.cli.table import counted, printable
from refresher.config import written_duration
from refresher.freshness import Policy
from refresher.model import Content, Failure, Outcome
from refresher.pipeline import representation
from refresher.security.redaction import Redactor
from refresher.sources import Exchange, PageRead

Echo = Callable[[str], None]
"""Prints a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How an attempt ended: with content, or with the reason why there is none."""

    job: str
    seconds: float
    http_status: int | None
    result: Content | Failure
    fresh_for: float | None = None
    """Seconds for which the source declares the content fresh."""


def echo_exchange(exchange: Exchange, *, echo: Echo) -> None:
    """Print a request and the head of its response."""
    peer = f" from {exchange.peer}" if exchange.peer else ""
    onward = f", leads to {exchange.location}" if exchange.location else ""
    echo(
        f"{exchange.method} {exchange.url}: {exchange.status}{peer} "
        f"after {milliseconds(exchange.duration)}{onward}"
    )
    for name, value in exchange.headers:
        echo(f"  {name}: {value}")


def echo_page(page: PageRead, *, echo: Echo) -> None:
    """Print what a page of an upstream has, and which one follows."""
    onward = f"next is {page.following}" if page.following else "the last one"
    items = counted(page.items, "item")
    echo(f"page {page.number}: {page.size:,} bytes with {items}, {onward}")


def echo_serving(content: Content, policy: Policy, lifetime: float, echo: Echo) -> None:
    """Print what a client would get for the next `lifetime` seconds."""
    ready = representation.prepare(content.body, content.content_type)
    coded = "".join(f", {coding} {len(body):,}" for coding, body in ready.coded.items())
    echo(f"serve: {len(content.body):,} bytes{coded}")
    echo(f"  Content-Type: {content.content_type}")
    echo(f"  ETag: {ready.identity_etag}")
    most = min(lifetime, math.inf if policy.max_age is None else policy.max_age)
    if math.isfinite(most):
        echo(f"  Cache-Control: max-age={math.floor(most)}")
    until = written_duration(lifetime) if math.isfinite(lifetime) else "ever"
    echo(f"  fresh for {until}, until the next attempt is due")


def outcome_line(trial: Trial) -> str:
    """How an attempt ended, in one line."""
    took = milliseconds(trial.seconds)
    match trial.result:
        case Content() as content:
            items = "" if content.items is None else f", {counted(content.items, 'item')}"
            status = "" if trial.http_status is None else f", HTTP {trial.http_status}"
            return (
                f"{trial.job}: {Outcome.CHANGED} in {took}: {len(content.body):,} bytes of "
                f"{content.content_type}{items}{status}"
            )
        case Failure(stage, message):
            return f"{trial.job}: {stage.outcome} at stage {stage} in {took}: {message}"
        case _:
            assert_never(trial.result)


def milliseconds(seconds: float) -> str:
    """A duration as a person reads it."""
    return f"{seconds * 1000:,.0f} ms"


def timed(echo: Echo) -> Echo:
    """Print before each line how long after this call it comes."""
    began = time.perf_counter()
    return lambda line: echo(f"{milliseconds(time.perf_counter() - began):>9}  {line}")


def without_secrets(redactor: Redactor, echo: Echo) -> Echo:
    """Print each line redacted, and without what would control the terminal."""
    return lambda line: echo(printable(redactor.redact(line)))


def no_echo(_: str) -> None:
    """Print nothing."""
