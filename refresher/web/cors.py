"""Which other origins' pages may read: the CORS protocol of the Fetch standard."""

from collections.abc import Sequence

from refresher.web.answer import Answer, RawHeaders

_EXPOSED = b"Age, ETag, Last-Modified, Cache-Status, Refresher-Version, Retry-After"
_GRANTED: RawHeaders = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (
        b"access-control-allow-headers",
        # The last two are Trace Context's: scripts that trace their requests add them.
        b"Authorization, If-None-Match, If-Modified-Since, Prefer, traceparent, tracestate",
    ),
    (b"access-control-max-age", b"600"),
]


class Cors:
    """The header fields for readers from other origins; none at all unless origins are named."""

    vary = b"Origin"
    """What Vary names where any origin is allowed, whether or not the request's own is."""
    preflight_vary = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

    def __init__(self, origins: Sequence[str]) -> None:
        self.enabled = bool(origins)
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        vary = b"Accept-Encoding, " + self.vary if self.enabled else b"Accept-Encoding"
        self._read_vary: RawHeaders = [(b"vary", vary)]

    def fields(self, origin: bytes | None) -> RawHeaders:
        """The fields of an answer to a request with that Origin (None: without), Vary aside."""
        allowed = b"*" if self._any else origin
        if allowed is None or not (self._any or allowed in self._origins):
            return []
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def read_fields(self, origin: bytes | None) -> RawHeaders:
        """The fields that every answer to a read has, whatever it is: Vary and those for CORS."""
        return self._read_vary + self.fields(origin) if self.enabled else self._read_vary

    def named(self, origin: bytes | None) -> bytes | None:
        """The origin, if it is allowed by name: answers to it differ from those to others."""
        return origin if origin in self._origins else None

    def preflight(
        self, method: str, origin: bytes | None, requested: bytes | None
    ) -> Answer | None:
        """The answer to a preflight, Vary excepted; None where the request is none.

        `requested` is its Access-Control-Request-Method. An origin that is not allowed gets an
        answer without the fields that allow it, which its browser takes for a refusal.
        """
        if not self.enabled or method != "OPTIONS" or origin is None or requested is None:
            return None
        allowed = self.fields(origin)
        return Answer(204, [*allowed, *_GRANTED] if allowed else [], b"")
