"""Rate limit fields: for how long an upstream will serve nothing more, by its own answer.

Read are the IETF's fields in each form that servers send (draft-ietf-httpapi-ratelimit-headers,
since -08 a list, in -07 a dictionary, up to -06 a field for each number), and those that came
before them, as `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
"""

import re
from collections.abc import Iterator, Mapping

from refresher.fields import structured
from refresher.fields.retry_after import LONGEST_WAIT

_PREFIXES = ("x-ratelimit", "ratelimit", "x-rate-limit")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_EPOCH = 1e9
"""From here on a reset is an instant (2001 and later), not a span of thirty years."""
_EPOCH_MS = 1e11
"""From here on the instant is in milliseconds: in seconds, it would be the year 5138."""


def exhausted_for(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds until the upstream serves again, at most an hour; None where there is quota left.

    Where several limits are told, the one that takes longest to recover decides. A limit that says
    nothing of its reset, and what cannot be understood, asks for no wait. `headers` finds fields by
    their names in lower case.
    """
    waits = [*_of_ratelimit(headers), *_of_plain_fields(headers, now)]
    return min(max(waits), LONGEST_WAIT) if waits and max(waits) > 0 else None


def _of_ratelimit(headers: Mapping[str, str]) -> Iterator[float]:
    """`"default";r=0;t=30`, and `limit=100, remaining=0, reset=30` as it was before."""
    written = headers.get("ratelimit", "")
    policies = structured.members(headers.get("ratelimit-policy", ""))
    windows = {name: policy.get("w") for name, policy in policies}
    for name, limit in structured.members(written):
        # Without a time, a whole window is what it takes at most.
        yield from _wait(limit.get("r"), limit.get("t", windows.get(name)))
    flat = structured.values(written)
    yield from _wait(flat.get("remaining"), flat.get("reset"))


def _of_plain_fields(headers: Mapping[str, str], now: float) -> Iterator[float]:
    for prefix in _PREFIXES:
        remaining = _number(headers.get(f"{prefix}-remaining"))
        reset = _number(headers.get(f"{prefix}-reset"))
        if reset is not None and reset >= _EPOCH:
            reset = (reset / 1000 if reset >= _EPOCH_MS else reset) - now
        yield from _wait(remaining, reset)


def _wait(remaining: object, reset: object) -> Iterator[float]:
    match remaining, reset:
        case int() | float(), int() | float() if remaining <= 0:
            yield float(reset)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip(" \t")) else None
