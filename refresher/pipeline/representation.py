"""Representations of a version (RFC 9110, section 3.2): its bytes in each coding, and the ETags."""

import re
import sys
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import brotli

from refresher.model import Content, Stored

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_WORTH_COMPRESSING = 1024
"""Bytes of a body; of a smaller one, a coding's own framing takes what it saves.

Promised in refresher/docs/http.md.
"""
_DEFERRED = 1024 * 1024
"""Bytes of a body; a larger one is compressed for the first request, not before it is served.

That would take 60 ms for each MiB, in all codings.
"""
_MAX_RATIO = 0.9
"""Compressed size by original size; above, a coding saves too little to be offered."""

# 132 bits, more than enough to tell versions apart, in 22 characters.
_ETAG_LENGTH = 22

_COMPRESSIBLE = re.compile(
    r"text/.+"
    r"|.+[/+](?:json|xml|yaml|x-yaml)"
    r"|application/(?:(?:x-)?javascript|toml|csv|(?:x-)?ndjson|json-seq|wasm)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """One version, ready to be sent; `identity` is the body without a coding."""

    content_type: str
    identity: bytes = field(repr=False)
    identity_etag: str
    coded: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The bytes in each coding that saves enough."""
    deferred: frozenset[str] = frozenset()
    """The codings that have not been tried yet, because the body is large."""

    @property
    def codings(self) -> tuple[str, ...]:
        """The codings on offer beside `identity`, the best first; deferred ones included."""
        return tuple(each for each in _CODINGS if each in self.coded or each in self.deferred)

    def body(self, coding: str) -> bytes:
        """The bytes in a coding on offer that is not deferred."""
        return self.identity if coding == "identity" else self.coded[coding]

    def etag(self, coding: str) -> str:
        """The strong validator of the bytes in a coding, quotes included (RFC 9110, 8.8.3)."""
        if coding == "identity":
            return self.identity_etag
        return f'{self.identity_etag[:-1]}-{coding}"'

    def with_coding(self, coding: str, coded: bytes | None) -> "Representation":
        """The same with a deferred coding done; None: it saves too little to be offered."""
        others = {} if coded is None else {coding: coded}
        return replace(self, coded={**self.coded, **others}, deferred=self.deferred - {coding})


@dataclass(frozen=True, slots=True)
class Servable:
    """Content that passed every rule, and its representation: all that a swap needs."""

    content: Content
    representation: Representation


def etag_of(body: bytes, content_type: str) -> str:
    """The strong validator of bytes under a media type, the same on every machine."""
    digest = sha256(content_type.encode())
    digest.update(b"\0")
    digest.update(body)
    return f'"{urlsafe_b64encode(digest.digest())[:_ETAG_LENGTH].decode()}"'


def prepare(body: bytes, content_type: str) -> Representation:
    """Make a version ready to be sent: hash it and, up to 1 MiB, compress it."""
    ready = Representation(
        content_type=content_type, identity=body, identity_etag=etag_of(body, content_type)
    )
    if len(body) < _WORTH_COMPRESSING or not _is_compressible(content_type):
        return ready
    if len(body) > _DEFERRED:
        return replace(ready, deferred=frozenset(_CODINGS))
    tried = {coding: compress(body, coding) for coding in _CODINGS}
    return replace(ready, coded={coding: coded for coding, coded in tried.items() if coded})


def restored(body: bytes, stored: Stored) -> Representation:
    """A version from a store, with the ETag that it has there; compressed on first request."""
    worth = len(body) >= _WORTH_COMPRESSING and _is_compressible(stored.content_type)
    return Representation(
        content_type=stored.content_type,
        identity=body,
        identity_etag=stored.etag,
        deferred=frozenset(_CODINGS) if worth else frozenset(),
    )


def compress(body: bytes, coding: str) -> bytes | None:
    """The body in a coding, the same bytes every time; None where that saves under 10 %."""
    coded = _CODINGS[coding](body)
    return coded if len(coded) <= len(body) * _MAX_RATIO else None


def _is_compressible(content_type: str) -> bool:
    return _COMPRESSIBLE.fullmatch(content_type.partition(";")[0].strip().lower()) is not None


def _zstd(body: bytes) -> bytes:
    """RFC 8878; levels below 17 stay within the window of 8 MiB that RFC 9659 allows."""
    return zstd.compress(body, 6)


def _brotli(body: bytes) -> bytes:
    """RFC 7932."""
    return brotli.compress(body, quality=4)


def _gzip(body: bytes) -> bytes:
    """RFC 1952, without a time of day."""
    # A window no larger than the body: to lay out a full one takes longer than to pack 1 KiB.
    window = max(9, min(15, (len(body) - 1).bit_length()))
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + window, window - 7)
    return packer.compress(body) + packer.flush()


# The best first: at the levels here zstd packs as tight as the others or tighter, in two thirds of
# the time, and is unpacked fastest. Of JSON is left, and takes: 10 KiB 0.19 0.20 0.21, 0.1 ms each;
# 1 MiB 0.17 0.17 0.18, 16 21 25 ms. One level more takes twice as long, for 5 % less.
_CODINGS: Mapping[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "br": _brotli, "gzip": _gzip}
