"""Which other origins' pages may read, by the Fetch standard's CORS protocol."""

from collections.abc import Sequence

from refresher.web.answer import Answer, RawHeaders

_EXPOSED = b"Age, ETag, Last-Modified, Cache-Status, Refresher-Version"
_GRANTED: RawHeaders = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"Authorization, If-None-Match, If-Modified-Since, Prefer"),
    (b"access-control-max-age", b"600"),
]


class Cors:
    """The header fields for readers from other origins; none at all unless origins are named."""

    vary = b"Origin"
    """What Vary names wherever origins are let in, whether or not this one is."""
    preflight_vary = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

    def __init__(self, origins: Sequence[str]) -> None:
        self.enabled = bool(origins)
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def fields(self, origin: bytes | None) -> RawHeaders:
        """What the answer to a request from `origin` (None: not said) carries, besides Vary."""
        allowed = b"*" if self._any else origin
        if allowed is None or not (self._any or allowed in self._origins):
            return []
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def named(self, origin: bytes | None) -> bytes | None:
        """The origin, where it is one of those that are let in by name."""
        return origin if origin in self._origins else None

    def preflight(
        self, method: str, origin: bytes | None, requested: bytes | None
    ) -> Answer | None:
        """The answer to a preflight, Vary excepted; None where the request is none.

        `requested` is its Access-Control-Request-Method. An origin that is not let in gets an
        answer without any grant: by that its browser knows.
        """
        if not self.enabled or method != "OPTIONS" or origin is None or requested is None:
            return None
        allowed = self.fields(origin)
        return Answer(204, [*allowed, *_GRANTED] if allowed else [], b"")
