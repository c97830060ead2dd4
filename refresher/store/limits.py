"""What processes that share a store know of an upstream: when it was asked, and until when not to.

The starts of a window are counted exactly up to a hundred; above that in slots of a hundredth of
the period, each start as late as its slot ends, so that a window never has one too many.
"""

import math
from dataclasses import dataclass, replace

import msgspec

from refresher.model import Rate

_EXACT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One upstream, as the store has it."""

    held_until: float = 0.0
    """No attempt before this instant: it answered 429, or has no quota left."""
    starts: tuple[tuple[float, int], ...] = ()
    """How many attempts have started when, the earliest first."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Allowance)


def encoded(allowance: Allowance) -> bytes:
    """The allowance as stores keep it."""
    return _encoder.encode(allowance)


def decoded(document: bytes) -> Allowance:
    """The allowance that a store has kept.

    Raises:
        ValueError: it is none.
    """
    return _decoder.decode(document)


def held(allowance: Allowance, until: float) -> Allowance | None:
    """Nobody may start before `until`; None where that is so already."""
    return None if until <= allowance.held_until else replace(allowance, held_until=until)


def started(allowance: Allowance, rate: Rate, *, now: float) -> Allowance | None:
    """One attempt more has started; None where the rate allows none now."""
    if free_at(allowance, rate, now=now) > now:
        return None
    at = now
    if rate.count > _EXACT:
        slot = rate.period / _EXACT
        at = math.ceil(now / slot) * slot
    starts = dict(_recent(allowance, rate, now))
    starts[at] = starts.get(at, 0) + 1
    # Sorted, as the clocks of two processes may differ by a little.
    return replace(allowance, starts=tuple(sorted(starts.items())))


def given_back(allowance: Allowance) -> Allowance | None:
    """The last attempt has not started after all."""
    if not allowance.starts:
        return None
    at, count = allowance.starts[-1]
    rest = allowance.starts[:-1]
    return replace(allowance, starts=rest if count == 1 else (*rest, (at, count - 1)))


def free_at(allowance: Allowance, rate: Rate, *, now: float) -> float:
    """From when the rate allows one attempt more."""
    recent = _recent(allowance, rate, now)
    excess = sum(count for _, count in recent) - rate.count
    for at, count in recent:
        if excess < 0:
            break
        excess -= count
        now = at + rate.period
    return now


def not_after(allowance: Allowance, *, latest: float, now: float) -> Allowance | None:
    """The wall clock has been set back: what lies in the future is now."""
    starts = tuple((min(at, now), count) for at, count in allowance.starts)
    moved = Allowance(held_until=min(allowance.held_until, latest), starts=starts)
    return None if moved == allowance else moved


def merged(theirs: Allowance | None, ours: Allowance) -> Allowance:
    """What was known in the store and what has come to be known without it, by maximum."""
    if theirs is None:
        return ours
    starts = dict(theirs.starts)
    for at, count in ours.starts:
        starts[at] = max(count, starts.get(at, 0))
    return Allowance(
        held_until=max(theirs.held_until, ours.held_until), starts=tuple(sorted(starts.items()))
    )


def _recent(allowance: Allowance, rate: Rate, now: float) -> tuple[tuple[float, int], ...]:
    return tuple(start for start in allowance.starts if start[0] > now - rate.period)
