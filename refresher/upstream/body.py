"""Reads a body under a limit, and takes its content codings off as it comes.

httpx's own decoder hands out 194 KB of gzip as one chunk of 200 MB; here each step gives 64 KiB.
"""

import asyncio
import zlib
from collections.abc import AsyncIterable, Iterator, Sequence
from typing import overload

from refresher.errors import RefreshFailed
from refresher.fields.charsets import codec_of
from refresher.model import Stage
from refresher.payload import BodyBuffer, Spool
from refresher.security.excerpts import clipped

_PIECE = 64 * 1024
_PAUSE = 256 * 1024
"""Bytes decoded before the event loop gets a turn: under a millisecond of work."""
_PIECE_COST = 1024
"""What a piece counts for however short it is, so that empty gzip members add up too."""
_MOST_CODINGS = 4
_NO_CODINGS = frozenset(
    {"identity", "none", "null", "aws-chunked", "chunked", "binary", "7bit", "8bit"}
)
"""What servers write there that is no coding of a body's bytes; charsets are more of it.

S3 keeps `aws-chunked` of how a body was uploaded; others belong into Transfer-Encoding or MIME.
"""
_SHOWN = 40
_TOGETHER = " together with the pages before it"
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_ZLIB_METHOD = 8
_GZIP_MAGIC = 0x1F
"""The first byte of all gzip data (RFC 1952, section 2.3.1), and of no text."""


@overload
async def read_body(
    chunks: AsyncIterable[bytes],
    *,
    codings: str,
    length: int | None,
    max_bytes: int,
    taken: int = 0,
) -> bytes: ...


@overload
async def read_body(
    chunks: AsyncIterable[bytes],
    *,
    codings: str,
    length: int | None,
    max_bytes: int,
    taken: int = 0,
    spool_from: int | None,
) -> bytes | Spool: ...


async def read_body(
    chunks: AsyncIterable[bytes],
    *,
    codings: str,
    length: int | None,
    max_bytes: int,
    taken: int = 0,
    spool_from: int | None = None,
) -> bytes | Spool:
    """Read a body and take its content codings off (RFC 9110, section 8.4).

    Args:
        chunks: The body as it comes off the wire.
        codings: The Content-Encoding field, in the order in which they were applied.
        length: The Content-Length, where one is known.
        max_bytes: The most bytes after decoding.
        taken: Bytes of `max_bytes` that the bodies of earlier pages used.
        spool_from: The size in bytes from which the body is put into a file; None: never.

    Raises:
        RefreshFailed: stage `body`, for more than `max_bytes`, a coding that is unknown, and data
            that is not what its coding says. What `chunks` raises passes through.
    """
    decoders = _decoders(codings)
    together = _TOGETHER if taken else ""
    if length is not None and taken + length > max_bytes and not decoders:
        message = f"the body has {length} bytes, more than max_bytes = {max_bytes}{together}"
        raise _failure(message)
    buffer = BodyBuffer(spool_from)
    try:
        await _fill(buffer, chunks, decoders, max_bytes=max_bytes, taken=taken)
    except BaseException:
        buffer.discard()
        raise
    return buffer.body()


async def _fill(
    buffer: BodyBuffer,
    chunks: AsyncIterable[bytes],
    decoders: Sequence["_Decoder"],
    *,
    max_bytes: int,
    taken: int,
) -> None:
    unpaused = 0
    async for chunk in chunks:
        for piece in _through(decoders, chunk):
            unpaused += _PIECE_COST + len(piece)
            if unpaused >= _PAUSE:
                unpaused = 0
                await asyncio.sleep(0)
            if taken + buffer.size + len(piece) > max_bytes:
                after = " after decompression" if decoders else ""
                together = _TOGETHER if taken else ""
                message = f"the body has more than max_bytes = {max_bytes} bytes{together}{after}"
                raise _failure(message)
            buffer.write(piece)
    for decoder in decoders:
        decoder.finish()


def _through(decoders: Sequence["_Decoder"], data: bytes) -> Iterator[bytes]:
    """Take the codings off one after the other, a piece at a time."""
    if not decoders:
        yield data
        return
    for piece in decoders[0].feed(data):
        yield from _through(decoders[1:], piece)


class _Decoder:
    """Takes one content coding off."""

    def __init__(self, coding: str, *, members: bool, repeats: bool = False) -> None:
        self._coding = coding
        self._repeats = repeats
        """Whether it is named twice in a row: mostly it was applied once, and told twice."""
        self._is_off = False
        self._members = members
        """Whether one stream may follow another, as in a gzip file (RFC 1952, section 2.2)."""
        self._stream: zlib._Decompress | None = None
        self._ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode some more, at most a piece at a time."""
        if self._repeats and self._stream is None and data and data[0] != _GZIP_MAGIC:
            self._is_off = True
        if self._is_off:
            yield data
            return
        while data:
            if self._members and self._stream is not None and self._stream.eof:
                data = data.lstrip(b"\0")  # padding, which gzip skips as well
                if not data:
                    return
            if self._stream is None or self._stream.eof:
                self._stream = self._open(data[0])
            piece = self._decode(self._stream, data)
            yield piece
            # zlib may have taken in all there was, and still hold back what did not fit the piece
            while len(piece) == _PIECE and not self._stream.eof:
                piece = self._decode(self._stream, self._stream.unconsumed_tail)
                yield piece
            data = self._stream.unused_data

    def finish(self) -> None:
        """Require that the data had an end; no data at all is an empty body, coded or not."""
        if self._stream is not None and not self._stream.eof:
            raise _failure(f"the body breaks off inside its {self._coding} data", transient=True)

    def _open(self, first: int) -> "zlib._Decompress":
        self._ended = self._stream is not None
        if self._ended and not self._members:
            raise _failure(f"bytes follow the end of the body's {self._coding} data")
        if self._members:
            return zlib.decompressobj(_GZIP)
        # `deflate` means the zlib format (RFC 9110, section 8.4.1.2), and some send the bare data,
        # which no encoder begins with zlib's method in the low bits of the first byte.
        return zlib.decompressobj(_ZLIB if first & 0x0F == _ZLIB_METHOD else _RAW_DEFLATE)

    def _decode(self, stream: "zlib._Decompress", data: bytes) -> bytes:
        try:
            return stream.decompress(data, _PIECE)
        except zlib.error as error:
            if self._ended:
                raise _failure(f"bytes follow the end of the body's {self._coding} data") from error
            raise _failure(f"the body is not valid {self._coding}: {error}") from error


def _is_identity(coding: str) -> bool:
    """Whether what is called a coding stands for the bytes as they are."""
    return coding in _NO_CODINGS or codec_of(coding) is not None


def _decoders(codings: str) -> list[_Decoder]:
    names = [name for part in codings.split(",") if (name := part.strip().lower())]
    names = [name for name in names if not _is_identity(name)]
    if len(names) > _MOST_CODINGS:
        raise _failure(f"the body has {len(names)} content codings on top of each other")
    decoders = []
    names.reverse()  # listed as they were applied, so the last comes off first
    for after, name in zip(["", *names], names, strict=False):
        match name:
            case "gzip" | "x-gzip":
                decoders.append(_Decoder(name, members=True, repeats=name == after))
            case "deflate":
                decoders.append(_Decoder(name, members=False))
            case _:
                named = repr(clipped(name, _SHOWN))
                raise _failure(
                    f"the body has the content coding {named}, which was not asked for; "
                    "only gzip and deflate are"
                )
    return decoders


def _failure(message: str, *, transient: bool = False) -> RefreshFailed:
    return RefreshFailed(Stage.BODY, message, transient=transient)
