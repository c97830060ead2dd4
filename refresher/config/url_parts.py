"""A URL in its parts: what of it may be shown, what is secret, what identifies it."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from refresher.config.references import Piece, unreplaced
from refresher.config.units import InvalidValue
from refresher.security.redaction import MASK

Pieces = tuple[Piece, ...]

_URL = re.compile(
    r"(?P<scheme>[a-z]+)://((?P<userinfo>[^/?#\s\\]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]\\%<>\"^`{|}]+)(:(?P<port>[0-9]{0,5}))?"
    r"(?P<rest>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HTTP_PORT = {"http": 80, "https": 443}
_REDIS_PORT = {"redis": 6379, "rediss": 6379}
_LAST_PORT = 65535
_MIN_SECRET = 8
"""Characters from which a path segment or a query value by itself counts as a secret: tokens are
longer, and masking words such as `latest` or `json` would blank half of every log."""


@dataclass(frozen=True, slots=True)
class UrlParts:
    """An absolute URL, and the offsets of its parts in it."""

    url: str
    pieces: Pieces
    origin: tuple[str, str, int]
    """Scheme, host and port (RFC 6454), the default port filled in."""
    userinfo: tuple[int, int]
    """Start and end; equal where there is none."""
    rest: int
    """Where the path, the query or the fragment begins."""

    @property
    def has_userinfo(self) -> bool:
        """Whether a user name or a password stands in it."""
        return self.userinfo[0] < self.userinfo[1]


def parse(pieces: Pieces) -> UrlParts:
    """Split an absolute http or https URL.

    Raises:
        InvalidValue: it is none that a request can be sent to.
    """
    other = InvalidValue(
        "is not an http or https URL", 'write it as "https://api.example.org/v1/x"'
    )
    return _parse(pieces, _HTTP_PORT, other)


def parse_redis(pieces: Pieces) -> UrlParts:
    """Split the URL of a Redis or Valkey server.

    Raises:
        InvalidValue: it is none that can be connected to.
    """
    advice = 'write it as "redis://USER:PASSWORD@HOST:6379/0", with % for what is special in them'
    return _parse(pieces, _REDIS_PORT, InvalidValue("is not the URL of a server", advice))


def _parse(pieces: Pieces, ports: Mapping[str, int], other: InvalidValue) -> UrlParts:
    url = text_of(pieces)
    if _CONTROL.search(url):
        raise InvalidValue("has a line break or another control character", "take it out")
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in ports:
        raise other
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or ports[scheme])
    if port > _LAST_PORT:
        raise InvalidValue("has a port that does not exist", f"ports end at {_LAST_PORT}")
    try:
        _ = IPv6Address(host[1:-1]) if host.startswith("[") else host.encode("idna")
    except ValueError:
        raise InvalidValue("has a host that nothing can be called", "correct the host") from None
    start, end = found.span("userinfo")
    return UrlParts(
        url,
        pieces,
        (scheme, host, port),
        (start, end) if start >= 0 else (0, 0),
        found.start("rest") if found["rest"] else len(url),
    )


def text_of(pieces: Pieces) -> str:
    """The text of all pieces together."""
    return "".join(piece.text for piece in pieces)


def is_relative(url: str) -> bool:
    """Whether the URL has neither scheme nor host (RFC 3986, section 4.2)."""
    return not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|//", url)


def is_loopback(host: str) -> bool:
    """Whether a URL's host names the machine itself (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def joined(base: Pieces, relative: Pieces) -> Pieces:
    """A relative URL appended to a base with exactly one slash between, as httpx does."""
    between = () if text_of(base).endswith("/") else (Piece("/"),)
    rest = list(relative)
    while rest and not (first := rest[0].text.lstrip("/")):
        del rest[0]
    if rest:
        rest[0] = Piece(first, rest[0].written, rest[0].secret)
    return (*base, *between, *rest)


def shown(parts: UrlParts) -> str:
    """The URL with `***` for its userinfo and for secrets from references, but not for its host."""
    hidden = [parts.userinfo, *_secret_spans(parts)]
    text, done = "", 0
    for start, end in sorted(span for span in hidden if span[0] < span[1]):
        if start > done or not done:
            text += parts.url[done:start] + MASK
        done = max(done, end)
    return text + parts.url[done:]


def identity(parts: UrlParts) -> str:
    """What a fingerprint has of the URL: its origin, and what follows with references unreplaced.

    The userinfo is left out: it is authentication, and a new password makes no new source.
    """
    scheme, host, port = parts.origin
    rest = []
    for piece, start, end in _placed(parts.pieces):
        if end > parts.rest:
            cut = max(0, parts.rest - start)
            rest.append(piece if piece.written else Piece(piece.text[cut:]))
    return f"{scheme}://{host}:{port}{unreplaced(rest)}"


def secrets(parts: UrlParts) -> Iterator[str]:
    """The secrets in the URL, and the forms in which parts of them may be logged alone."""
    start, end = parts.userinfo
    if start < end:
        userinfo = unquote(parts.url[start:end])
        yield from (
            parts.url[start:end],
            userinfo,
            b64encode(userinfo.encode(errors="replace")).decode(),
        )
        password = parts.url[start:end].partition(":")[2]
        yield from (password, unquote(password))
    for start, end in _secret_spans(parts):
        yield from secrets_of_part(parts.url[start:end])


def secrets_of_part(part: str) -> Iterator[str]:
    """The secrets in a part of a URL that came from a reference."""
    yield part
    split = urlsplit(part) if not part.startswith("//") else urlsplit("")
    for text in (*split.path.split("/"), *(value for _, value in parse_qsl(split.query))):
        if len(text) >= _MIN_SECRET:
            yield text


def _secret_spans(parts: UrlParts) -> Iterable[tuple[int, int]]:
    for piece, start, end in _placed(parts.pieces):
        if piece.secret:
            for least, most in (parts.userinfo, (parts.rest, len(parts.url))):
                span = max(start, least), min(end, most)
                # a slash that came with a host is no secret
                if span[0] < span[1] and parts.url[slice(*span)] != "/":
                    yield span


def _placed(pieces: Pieces) -> Iterator[tuple[Piece, int, int]]:
    start = 0
    for piece in pieces:
        yield piece, start, start + len(piece.text)
        start += len(piece.text)
