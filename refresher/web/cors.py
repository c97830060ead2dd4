"""Which other origins' pages may read, by the Fetch standard's CORS protocol."""

from collections.abc import Sequence

from refresher.web.answer import RawHeaders

_EXPOSED = b"Age, ETag, Last-Modified, Cache-Status, Refresher-Version"
_PREFLIGHT: RawHeaders = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"Authorization, If-None-Match, If-Modified-Since, Prefer"),
    (b"access-control-max-age", b"600"),
]
PREFLIGHT_VARY = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class Cors:
    """The header fields for readers from other origins; none at all unless origins are named."""

    def __init__(self, origins: Sequence[str]) -> None:
        self.enabled = bool(origins)
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def fields(self, origin: bytes | None) -> RawHeaders:
        """What an answer to a request from `origin` (None: not said) carries, besides Vary."""
        if self._any:
            allowed = b"*"
        elif origin is not None and origin in self._origins:
            allowed = origin
        else:
            return []
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def preflight(self, origin: bytes) -> RawHeaders:
        """What the answer to a preflight from `origin` carries, besides Vary."""
        allowed = self.fields(origin)
        return [allowed[0], *_PREFLIGHT] if allowed else []
