"""An HTTP source's revision: the validators of an answer, to make the next request conditional."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import httpx

from refresher.fields.dates import parse_http_date

# An entity tag, or what servers send that forget the quotes; `*` and lists would match anything.
_ETAG = re.compile(r'(?:W/)?"[^"\x00-\x20\x7f]*"|[^",*\x00-\x20\x7f]+')
_CODED = re.compile(r"(?:--?|;)(?:x-)?(?:gzip|deflate)$", re.IGNORECASE)
"""What Apache and Jetty add to a tag for the content coding, to that of the 200 or of the 304."""
_SAME_CLOCK = 1.0
_OTHER_CLOCK = 60.0
"""Seconds that a Last-Modified must lie before the Date of its answer, and before our own time."""
_SPREAD = 0.1
_DAY = 86_400.0
_HASHED = 2.0**64


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of one answer with a body, as received, and the URL that gave it.

    They compare representations of one resource (RFC 9110, section 8.8), so they are sent to the
    URL that issued them and to no other: a redirect that now leads elsewhere must not get a 304 for
    what it led to before. The URL is kept as a digest, for there may be a secret in its query.
    """

    etag: str | None
    last_modified: str | None
    """None where there is an ETag, which a server must go by alone (RFC 9110, section 13.1.3)."""
    issuer: str
    at: float
    """When the answer came, in seconds since the epoch."""
    unused_since: float | None = None
    """Since when none are sent: a request with them failed, and the same without them did not."""
    retried: bool = False
    """Whether the last request with them that failed was followed by one without, which failed."""

    @classmethod
    def of(cls, headers: Mapping[str, str], url: httpx.URL, *, at: float) -> "Validators | None":
        """The validators of an answer that comes `at`; None where it has none that can be used.

        `headers` finds fields by their names in lower case.
        """
        etag = _sendable(headers.get("etag"))
        if etag is not None and not _ETAG.fullmatch(etag):
            etag = None
        last_modified = _dated(headers, at=at) if etag is None else None
        if etag is None and last_modified is None:
            return None
        return cls(etag, last_modified, _digest(url), at)

    @classmethod
    def parse(cls, revision: str | None) -> "Validators | None":
        """Parse a revision; None where no HTTP source wrote it.

        Nor is one taken of a release that let a 304 replace validators: it has no `at`.
        """
        try:
            mark = json.loads(revision or "null")
        except ValueError:
            return None
        match mark:
            case {
                "etag": str() | None as etag,
                "last_modified": str() | None as last_modified,
                "issuer": str(issuer),
                "at": int() | float() as at,
                "unused_since": int() | float() | None as unused_since,
                "retried": bool(retried),
            }:
                return cls(etag, last_modified, issuer, at, unused_since, retried)
            case _:
                return None

    def dump(self) -> str:
        """The revision, as JSON."""
        return json.dumps(asdict(self))

    def conditions(self, url: httpx.URL, *, now: float, full_refresh: float) -> dict[str, str]:
        """The conditional fields of a request.

        There are none for a URL other than the issuer, nor once the answer is `full_refresh`
        seconds old, less up to a tenth by hash: jobs that started together do not go on together.
        """
        if _digest(url) != self.issuer or self.are_unused(now=now, full_refresh=full_refresh):
            return {}
        # The wall clock may have been set back since.
        if abs(now - self.at) >= full_refresh * (1 - _SPREAD * self._draw()):
            return {}
        fields = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in fields.items() if value is not None}

    def are_unused(self, *, now: float, full_refresh: float) -> bool:
        """Whether a request with them failed less than `full_refresh` ago; a day, if that is never.

        A request may have failed by chance: that is no reason to send none for ever.
        """
        span = _DAY if math.isinf(full_refresh) else full_refresh
        return self.unused_since is not None and abs(now - self.unused_since) < span

    def are_those_of(self, other: "Validators") -> bool:
        """Whether both answers had the same."""
        return (self.etag, self.last_modified) == (other.etag, other.last_modified)

    def are_confirmed_by(self, headers: Mapping[str, str]) -> bool:
        """Whether a 304 with these fields is about the answer that had these validators.

        One that names another is about another answer (RFC 9111, section 4.3.4). Weak or strong
        does not matter, nor what marks a content coding; and one that names none is about ours.
        """
        if self.etag is not None:
            etag = headers.get("etag", "").strip(" \t")
            return not etag or _opaque(etag) == _opaque(self.etag)
        named, ours = (
            parse_http_date(each or "", now=self.at)
            for each in (headers.get("last-modified"), self.last_modified)
        )
        return named is None or named == ours

    def _draw(self) -> float:
        """A number from 0 to 1, the same in every process."""
        text = f"{self.issuer}\0{self.at}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / _HASHED


def _dated(headers: Mapping[str, str], *, at: float) -> str | None:
    """Last-Modified, where content that changed after it was sent would have another one.

    For that it must be a second older than the answer (RFC 9110, section 8.8.2.2), and by more if
    there is no Date: then it is compared with another clock, our own.
    """
    written = _sendable(headers.get("last-modified"))
    modified = parse_http_date(written or "", now=at)
    if modified is None:
        return None
    date = parse_http_date(headers.get("date", ""), now=at)
    latest = at - _OTHER_CLOCK if date is None else date - _SAME_CLOCK
    return written if modified <= latest else None


def _opaque(etag: str) -> str:
    """What an entity tag compares by, weak or strong (RFC 9110, section 8.8.3.2)."""
    return _CODED.sub("", etag.removeprefix("W/").replace('"', ""))


def _sendable(value: str | None) -> str | None:
    """The value, if it can be sent back byte for byte; beyond ASCII, no encoding is agreed on."""
    return value if value and value.isascii() and value.isprintable() else None


def _digest(url: httpx.URL) -> str:
    return hashlib.sha256(str(url).encode()).hexdigest()[:16]
