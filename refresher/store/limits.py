"""The document of an upstream: when attempts have started, and until when none may.

A rate is enforced over a sliding window. Up to a hundred starts are kept one by one; above that
they are counted in slots of a hundredth of the period, as if each were at the end of its slot, so
that no window has more starts than the rate allows.
"""

import math
from dataclasses import dataclass, replace

import msgspec

from refresher.model import Rate

_EXACT = 100
"""Starts in a period, up to which they are kept one by one, and slots in it above that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The document of one upstream."""

    held_until: float = 0.0
    """No attempt before this instant: the upstream answered 429, or has no quota left."""
    starts: tuple[tuple[float, int], ...] = ()
    """Instants, and how many attempts have started at each, the earliest first."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Allowance)


def encoded(allowance: Allowance) -> bytes:
    """The document that stores keep (MessagePack)."""
    return _encoder.encode(allowance)


def decoded(document: bytes) -> Allowance:
    """The allowance of a document.

    Raises:
        ValueError: it is not the document of an allowance.
    """
    return _decoder.decode(document)


def held(allowance: Allowance, until: float) -> Allowance | None:
    """No attempt may start before `until`; None where that is so already."""
    return None if until <= allowance.held_until else replace(allowance, held_until=until)


def started(allowance: Allowance, rate: Rate, *, now: float) -> Allowance | None:
    """One more attempt has started; None where the rate allows none now."""
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
    """The last start is not counted: the attempt was not made. None where there is none."""
    if not allowance.starts:
        return None
    at, count = allowance.starts[-1]
    rest = allowance.starts[:-1]
    return replace(allowance, starts=rest if count == 1 else (*rest, (at, count - 1)))


def free_at(allowance: Allowance, rate: Rate, *, now: float) -> float:
    """From when on the rate allows one more attempt."""
    recent = _recent(allowance, rate, now)
    excess = sum(count for _, count in recent) - rate.count
    for at, count in recent:
        if excess < 0:
            break
        excess -= count
        now = at + rate.period
    return now


def not_after(allowance: Allowance, *, latest: float, now: float) -> Allowance | None:
    """The wall clock has been set back: no hold after `latest`, no start after `now`.

    None where there is none.
    """
    starts = tuple((min(at, now), count) for at, count in allowance.starts)
    moved = Allowance(held_until=min(allowance.held_until, latest), starts=starts)
    return None if moved == allowance else moved


def merged(theirs: Allowance | None, ours: Allowance) -> Allowance:
    """The store's allowance and the local one merged, by maximum; `theirs` None: it has none."""
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
