"""Whether an answer is stale by the word of the caches that it came through (RFC 9211)."""

import math
from collections.abc import Mapping
from decimal import Decimal

from refresher.fields import structured

OUTDATED = ("content", "upstream", "expired")
"""The details by which a refresher says that its data is stale, whatever the `ttl`.

Other details (`updating`, `status-503`) count only by a `ttl` that is negative.
"""


def overdue_for(headers: Mapping[str, str]) -> float:
    """Seconds since which an answer has been stale, by the worst word of the caches on its way.

    0 where none says so, infinite where a refresher says that its data is outdated. `headers` finds
    fields by their names in lower case.
    """
    worst = 0.0
    for name, parameters in structured.members(headers.get("cache-status", "")):
        if name == "refresher" and str(parameters.get("detail")) in OUTDATED:
            return math.inf
        match parameters.get("ttl"):
            case bool():
                pass
            case int() | Decimal() as ttl:
                worst = max(worst, -float(ttl))
    return worst
