"""An HTTP source's revision: the validators of an answer, to make the next request conditional."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx

# An entity tag, or what servers send that forget the quotes; `*` and lists would match anything.
_ETAG = re.compile(r'(?:W/)?"[^"\x00-\x20\x7f]*"|[^",*\x00-\x20\x7f]+')


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of one answer, as received, and the URL that gave it.

    They compare representations of one resource (RFC 9110, section 8.8), so they are sent to the
    URL that issued them and to no other: a redirect that now leads elsewhere must not get a 304 for
    what it led to before. The URL is kept as a digest, for there may be a secret in its query.
    """

    etag: str | None
    last_modified: str | None
    issuer: str

    @classmethod
    def of(cls, headers: Mapping[str, str], url: httpx.URL) -> "Validators | None":
        """The validators of an answer; None where it has none that can be sent back.

        `headers` finds fields by their names in lower case.
        """
        etag = _sendable(headers.get("etag"))
        if etag is not None and not _ETAG.fullmatch(etag):
            etag = None
        last_modified = _sendable(headers.get("last-modified"))
        if etag is None and last_modified is None:
            return None
        return cls(etag, last_modified, _digest(url))

    @classmethod
    def parse(cls, revision: str | None) -> "Validators | None":
        """Parse a revision; None where no HTTP source wrote it."""
        try:
            mark = json.loads(revision or "null")
        except ValueError:
            return None
        match mark:
            case {"etag": etag, "last_modified": last_modified, "issuer": str(issuer)}:
                return cls(etag, last_modified, issuer)
            case _:
                return None

    def dump(self) -> str:
        """The revision, as JSON."""
        mark = {"etag": self.etag, "last_modified": self.last_modified, "issuer": self.issuer}
        return json.dumps(mark)

    def conditions(self, url: httpx.URL) -> dict[str, str]:
        """The conditional fields of a request; none for a URL other than the issuer."""
        if _digest(url) != self.issuer:
            return {}
        fields = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in fields.items() if value is not None}

    def freshened(self, headers: Mapping[str, str], url: httpx.URL) -> "Validators":
        """Updated by those that a 304 has (RFC 9111, section 4.3.4)."""
        new = Validators.of(headers, url)
        if new is None:
            return self
        return replace(
            self,
            etag=new.etag or self.etag,
            last_modified=new.last_modified or self.last_modified,
        )


def _sendable(value: str | None) -> str | None:
    """The value, if it can be sent back byte for byte; beyond ASCII, no encoding is agreed on."""
    return value if value and value.isascii() and value.isprintable() else None


def _digest(url: httpx.URL) -> str:
    return hashlib.sha256(str(url).encode()).hexdigest()[:16]
