"""What goes over the wire for one version: its bytes in every content coding, and their ETags."""

import gzip
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from refresher.model import Stored

# Below, a coding's own framing eats what it saves; contract 3.1.
_WORTH_COMPRESSING = 1024
# Above, compressing at the swap would delay it: 17 ms for each MiB.
_AT_ONCE = 1024 * 1024
_MOST_KEPT = 0.9
_LEVEL = 6

# 132 bits, more than enough to tell versions apart, in 22 characters.
_ETAG_LENGTH = 22

_COMPRESSIBLE = re.compile(
    r"text/.+"
    r"|.+[/+](?:json|xml|yaml|x-yaml)"
    r"|application/(?:(?:x-)?javascript|toml|csv|(?:x-)?ndjson|json-seq|wasm)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """One version, ready to be sent; `identity` is the coding that codes nothing."""

    content_type: str
    identity: bytes = field(repr=False)
    identity_etag: str
    coded: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The bytes in each coding that saves enough, the best first."""
    gzip_deferred: bool = False
    """Whether gzip would be worth trying but has not been, the body being large."""

    @property
    def codings(self) -> tuple[str, ...]:
        """The codings on offer beside `identity`, the best first."""
        return tuple(self.coded)

    def body(self, coding: str) -> bytes:
        """The bytes in a coding on offer."""
        return self.identity if coding == "identity" else self.coded[coding]

    def etag(self, coding: str) -> str:
        """The strong validator of the bytes in a coding, quotes included (RFC 9110, 8.8.3)."""
        if coding == "identity":
            return self.identity_etag
        return f'{self.identity_etag[:-1]}-{coding}"'

    def with_gzip(self, compressed: bytes | None) -> "Representation":
        """The same with a gzip form, or with none (for good) where it saves too little."""
        coded = {**self.coded} if compressed is None else {**self.coded, "gzip": compressed}
        return replace(self, coded=coded, gzip_deferred=False)


def etag_of(body: bytes, content_type: str) -> str:
    """The strong validator of bytes under a media type, the same on every machine."""
    digest = sha256(content_type.encode())
    digest.update(b"\0")
    digest.update(body)
    return f'"{urlsafe_b64encode(digest.digest())[:_ETAG_LENGTH].decode()}"'


def prepare(body: bytes, content_type: str) -> Representation:
    """Make a version ready to be sent: hash it and, up to 1 MiB, compress it."""
    plain = Representation(
        content_type=content_type, identity=body, identity_etag=etag_of(body, content_type)
    )
    if len(body) < _WORTH_COMPRESSING or not _is_compressible(content_type):
        return plain
    if len(body) > _AT_ONCE:
        return replace(plain, gzip_deferred=True)
    return plain.with_gzip(compress(body))


def restored(body: bytes, stored: Stored) -> Representation:
    """A version out of a store, where it was hashed before; compressed when first asked for."""
    return Representation(
        content_type=stored.content_type,
        identity=body,
        identity_etag=stored.etag,
        gzip_deferred=len(body) >= _WORTH_COMPRESSING and _is_compressible(stored.content_type),
    )


def compress(body: bytes) -> bytes | None:
    """The gzip form (RFC 1952) of a body, the same at any time; None where it saves under 10 %."""
    compressed = gzip.compress(body, _LEVEL, mtime=0)
    return compressed if len(compressed) <= len(body) * _MOST_KEPT else None


def _is_compressible(content_type: str) -> bool:
    return _COMPRESSIBLE.fullmatch(content_type.partition(";")[0].strip().lower()) is not None
