"""Rate limit fields: for how long an upstream will serve nothing more, by its own answer.

Read are the IETF's fields in each form that servers send (draft-ietf-httpapi-ratelimit-headers,
since -08 a list, in -07 a dictionary, up to -06 a field for each number), and those that came
before them, as `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from refresher.fields import structured
from refresher.fields.retry_after import LONGEST_WAIT
from refresher.fields.waits import number, waits

_UNLIMITED = -1.0
"""What remains where nothing is limited; less than that is a quota that was overdrawn."""
_FIELDS = tuple(
    tuple(f"{prefix}-{name}{kind}" for name in ("remaining", "limit", "reset-after", "reset"))
    for prefix in ("x-ratelimit", "ratelimit", "x-rate-limit")
    for kind in ("", "-requests", "-tokens")
)
_PAIR = re.compile(r"\b(limit|remaining|reset)=([^,;]+)")


def exhausted_for(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds until the upstream serves again, at most an hour; None where there is quota left.

    Where several limits are told, the one that takes longest to recover decides; of a field that
    was sent several times, the least that remains and the latest reset. A limit of 0, one that says
    nothing of its reset, and what cannot be understood, asks for no wait; what remains of no limit
    at all is -1. `headers` finds fields by their names in lower case.
    """
    longest = max([*_of_ratelimit(headers, now), *_of_plain_fields(headers, now)], default=0.0)
    return min(longest, LONGEST_WAIT) if longest > 0 else None


def _of_ratelimit(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """`"default";r=0;t=30`, and `limit=100, remaining=0, reset=30` as it was before."""
    written = headers.get("ratelimit")
    if not written:
        return
    policies = dict(structured.members(headers.get("ratelimit-policy", "")))
    for name, limit in structured.members(written):
        policy = policies.get(name, {})
        if _is_used_up(_numbers(limit.get("r")), _numbers(policy.get("q"))):
            # Without a time, a whole window is what it takes at most.
            yield from _numbers(limit.get("t", policy.get("w")))
    flat: dict[str, list[str]] = {"remaining": [], "limit": [], "reset": []}
    for name, value in _PAIR.findall(written):
        flat[name].append(value)
    remaining, limits, resets = (",".join(values) for values in flat.values())
    if _is_used_up(_numbers_in(remaining), _numbers_in(limits)):
        yield from waits(resets, now=now)


def _of_plain_fields(headers: Mapping[str, str], now: float) -> Iterator[float]:
    for remaining, limit, reset_after, reset in _FIELDS:
        left = headers.get(remaining)
        if left and _is_used_up(_numbers_in(left), _numbers_in(headers.get(limit, ""))):
            # A span does not depend on the two clocks.
            spans = waits(headers.get(reset_after, ""), now=now)
            yield from spans or waits(headers.get(reset, ""), now=now)


def _is_used_up(remaining: Iterable[float], limits: Iterable[float]) -> bool:
    left = min((count for count in remaining if count != _UNLIMITED), default=1.0)
    return left <= 0 and max(limits, default=1.0) > 0


def _numbers_in(text: str) -> list[float]:
    found = (number(member) for member in text.split(","))
    return [each for each in found if each is not None]


def _numbers(value: object) -> list[float]:
    return [float(value)] if isinstance(value, int | float) else []
