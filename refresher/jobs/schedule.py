"""When a job runs: one pure answer from schedule, last attempt and seed, with time as an argument.

Retrying, backing off and honouring Retry-After are not wrappers around the fetch; they are part of
this answer. Chance is a hash of the job's name and of what the replicas of a service have in
common, so each of them, and the same one after a restart, comes to the same instants, and another
service with jobs of the same names does not.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, assert_never

from refresher.clock import Moments
from refresher.errors import RefreshFailed
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.model import Due, DueReason

_RETRY_PERMANENT = 3600.0
"""Seconds after which a failure that is not transient is tried again at the latest."""
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Due every `seconds`, each time delayed by less than `jitter` seconds."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Cron:
    """Due when the wall clock of `timezone` matches, delayed by less than `jitter` seconds."""

    expression: str
    timezone: str = "UTC"
    jitter: float = 0.0


Schedule: TypeAlias = Interval | Cron


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to wait after a transient failure: `backoff`, doubling, at most `backoff_max`."""

    backoff: float
    backoff_max: float


def seed_of(job: str, service: str) -> str:
    """The seed of a job's chance, from its name and the seed of its service; "" is no seed."""
    return f"{service}\0{job}" if service else job


def due_from(schedule: Schedule, seed: str, instant: float) -> float:
    """The first due moment at or after `instant`, in seconds since the epoch.

    Infinite for a cron expression that never matches again.
    """
    match schedule:
        case Interval(seconds, jitter):
            return _interval_due_from(seconds, jitter, seed, instant)
        case Cron():
            return _cron_due_from(schedule, seed, instant)
        case _:
            assert_never(schedule)


def due_after_attempt(
    schedule: Schedule, seed: str, *, started: float, now: float, fresh_until: float = 0.0
) -> float:
    """The scheduled moment that follows an attempt; moments that passed meanwhile are skipped.

    At least half an interval lies between the start and the next due, so a manual refresh just
    before a due moment does not make two. A cron job has no interval: the next match follows.
    Moments before `fresh_until` are skipped too: until then the source has nothing new.
    """
    match schedule:
        case Interval(seconds):
            return due_from(schedule, seed, max(started + seconds / 2, now, fresh_until))
        case Cron():
            past = math.nextafter(max(started, now), math.inf)
            return due_from(schedule, seed, max(past, fresh_until))
        case _:
            assert_never(schedule)


def next_due(
    scheduled: float,
    retry: Retry,
    seed: str,
    *,
    ended: float,
    trouble: RefreshFailed,
    failures: int,
) -> Due:
    """When to try again after `trouble`, the `failures`-th failure in a row, that ended at `ended`.

    Transient trouble is tried again after the backoff, all other trouble waits for `scheduled`, an
    hour at most. The upstream's Retry-After is a lower bound on either (RFC 9110, 10.2.3).
    """
    again = ended + (backoff(retry, seed, failures) if trouble.transient else _RETRY_PERMANENT)
    due = Due(again, DueReason.BACKOFF)
    if scheduled <= again:
        due = Due(scheduled, DueReason.SCHEDULE)
    earliest = held_until(trouble, ended)
    if earliest > min(again, scheduled):
        due = Due(earliest, DueReason.RETRY_AFTER)
    return due


def held_until(trouble: RefreshFailed, ended: float) -> float:
    """The instant before which the upstream wants no further request; 0 where any will do."""
    if trouble.retry_after is None:
        return 0.0
    return ended + min(trouble.retry_after, LONGEST_WAIT)


def backoff(retry: Retry, seed: str, failures: int) -> float:
    """Seconds to wait after the `failures`-th transient failure in a row."""
    doubled = retry.backoff * 2.0 ** min(failures - 1, 64)
    return min(doubled * (0.8 + 0.4 * _chance(seed, failures)), retry.backoff_max)


def _interval_due_from(interval: float, jitter: float, seed: str, instant: float) -> float:
    phase = _phase(seed, interval)
    k = math.floor((instant - phase) / interval)
    while True:
        due = phase + k * interval + jitter * _chance(seed, k)
        if due >= instant:
            return due
        k += 1


def _cron_due_from(cron: Cron, seed: str, instant: float) -> float:
    # A match up to `jitter` ago may, delayed, still lie ahead, and behind a later match's delay.
    moments = Moments(cron.expression, cron.timezone)
    earliest = math.inf
    for at in moments.after(math.ceil(instant - cron.jitter) - 1):
        if at >= earliest:
            break
        due = at + cron.jitter * _chance(seed, int(at))
        if due >= instant:
            earliest = min(earliest, due)
    return earliest


@lru_cache(maxsize=65536)
def _phase(seed: str, interval: float) -> float:
    return _hash(seed) % round(interval * _NANO) / _NANO


def _chance(seed: str, draw: int) -> float:
    """A number in [0, 1), always the same for the same seed and draw."""
    return _hash(f"{seed}\0{draw}") / 2.0**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
