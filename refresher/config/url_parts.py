"""A URL in its parts: what may be shown of it, what is secret in it, what it is known by."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from refresher.config.references import Piece, unreplaced
from refresher.config.units import Unfit
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
_TELLING = 8
"""Characters from which a path segment or a query value by itself is taken for a secret: tokens are
longer, and words such as `latest` or `json` would blank half of every log."""


@dataclass(frozen=True, slots=True)
class Address:
    """An absolute URL, and where its parts stand in it."""

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


def parse(pieces: Pieces) -> Address:
    """Take an absolute http or https URL apart.

    Raises:
        Unfit: it is none that can be asked.
    """
    other = Unfit("is not an http or https URL", 'write it as "https://api.example.org/v1/x"')
    return _parse(pieces, _HTTP_PORT, other)


def parse_redis(pieces: Pieces) -> Address:
    """Take the URL of a Redis or Valkey server apart.

    Raises:
        Unfit: it is none that can be reached.
    """
    advice = 'write it as "redis://USER:PASSWORD@HOST:6379/0", with % for what is special in them'
    return _parse(pieces, _REDIS_PORT, Unfit("is not the URL of a server", advice))


def _parse(pieces: Pieces, ports: Mapping[str, int], other: Unfit) -> Address:
    url = text_of(pieces)
    if _CONTROL.search(url):
        raise Unfit("has a line break or another control character", "take it out")
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in ports:
        raise other
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or ports[scheme])
    if port > _LAST_PORT:
        raise Unfit("has a port that does not exist", f"ports end at {_LAST_PORT}")
    try:
        _ = IPv6Address(host[1:-1]) if host.startswith("[") else host.encode("idna")
    except ValueError:
        raise Unfit("has a host that nothing can be called", "correct the host") from None
    start, end = found.span("userinfo")
    return Address(
        url,
        pieces,
        (scheme, host, port),
        (start, end) if start >= 0 else (0, 0),
        found.start("rest") if found["rest"] else len(url),
    )


def text_of(pieces: Pieces) -> str:
    """The text that the pieces make up."""
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
    """A relative URL appended to a base, as httpx does: one slash between, whatever they have."""
    between = () if text_of(base).endswith("/") else (Piece("/"),)
    rest = list(relative)
    while rest and not (first := rest[0].text.lstrip("/")):
        del rest[0]
    if rest:
        rest[0] = Piece(first, rest[0].written, rest[0].secret)
    return (*base, *between, *rest)


def shown(address: Address) -> str:
    """The URL with `***` for its userinfo and for what references brought, but not for its host."""
    hidden = [address.userinfo, *_secret_spans(address)]
    text, done = "", 0
    for start, end in sorted(span for span in hidden if span[0] < span[1]):
        if start > done or not done:
            text += address.url[done:start] + MASK
        done = max(done, end)
    return text + address.url[done:]


def identity(address: Address) -> str:
    """What the URL is known by in a fingerprint: its origin and, unreplaced, what follows it.

    The userinfo is left out: it is authentication, and a new password makes no new source.
    """
    scheme, host, port = address.origin
    rest = []
    for piece, start, end in _placed(address.pieces):
        if end > address.rest:
            cut = max(0, address.rest - start)
            rest.append(piece if piece.written else Piece(piece.text[cut:]))
    return f"{scheme}://{host}:{port}{unreplaced(rest)}"


def secrets(address: Address) -> Iterator[str]:
    """What must not be shown of the URL, and the forms in which parts of it turn up alone."""
    start, end = address.userinfo
    if start < end:
        userinfo = unquote(address.url[start:end])
        yield from (
            address.url[start:end],
            userinfo,
            b64encode(userinfo.encode(errors="replace")).decode(),
        )
        password = address.url[start:end].partition(":")[2]
        yield from (password, unquote(password))
    for start, end in _secret_spans(address):
        yield from secrets_of_part(address.url[start:end])


def secrets_of_part(part: str) -> Iterator[str]:
    """The same of a part of a URL that a reference brought."""
    yield part
    split = urlsplit(part) if not part.startswith("//") else urlsplit("")
    for text in (*split.path.split("/"), *(value for _, value in parse_qsl(split.query))):
        if len(text) >= _TELLING:
            yield text


def _secret_spans(address: Address) -> Iterable[tuple[int, int]]:
    for piece, start, end in _placed(address.pieces):
        if piece.secret:
            for least, most in (address.userinfo, (address.rest, len(address.url))):
                span = max(start, least), min(end, most)
                # A slash that came with a host tells nothing.
                if span[0] < span[1] and address.url[slice(*span)] != "/":
                    yield span


def _placed(pieces: Pieces) -> Iterator[tuple[Piece, int, int]]:
    start = 0
    for piece in pieces:
        yield piece, start, start + len(piece.text)
        start += len(piece.text)
