"""One request and the head of its answer, as a trial of a job shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from refresher.upstream.redirects import Hop
from refresher.upstream.urls import shown

_SHOWN_FIELDS = (
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Expires",
    "Age",
    "Date",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and the head of its answer; URLs are without userinfo and query."""

    method: str
    url: str
    conditional: bool
    status: int
    headers: tuple[tuple[str, str], ...]
    """The fields that decide on freshness, validators, limits and decoding."""
    location: str | None
    """Where a redirect leads."""
    peer: str | None
    """The address that answered, where it is known."""
    duration: float
    """Seconds until the head of the answer had come."""

    @classmethod
    def of(
        cls,
        hop: Hop,
        response: httpx.Response,
        conditions: Mapping[str, str],
        *,
        peer: str | None,
        duration: float,
    ) -> "Exchange":
        """The exchange of a request, sent with these conditional fields, and its answer."""
        target = response.next_request.url if response.next_request else None
        return cls(
            method=hop.method,
            url=shown(hop.url),
            conditional=bool(conditions),
            status=response.status_code,
            headers=tuple(
                (name, response.headers[name]) for name in _SHOWN_FIELDS if name in response.headers
            ),
            location=shown(target) if target else None,
            peer=peer,
            duration=duration,
        )
