"""One connection to an upstream: aiohttp's protocol, stricter in what it accepts."""

import random
import re
import ssl
import time
from typing import Final

from aiohttp import EMPTY_PAYLOAD, ClientPayloadError, StreamReader, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

_LARGEST_HEAD = 256 * 1024
"""Bytes. aiohttp bounds each field and their number, but no sum, and reads 1xx answers for ever."""
_HEAD_END = re.compile(rb"\n\r?\n")
_LONGEST_PART_OF_IT = 2
_VERSION = b"HTTP/"
"""What every answer begins with."""
_EMPTY_LINES = b"\r\n"
_SWITCHING = 101
_FINAL = 200
_MOST_INTERIM = 32
_PIECE = 4 * 1024
"""Bytes parsed between two looks at the clock: of heads and chunks of no size, 2 ms of work."""
_TURN = 0.002
"""Seconds of parsing after which the event loop gets a turn: one read brings 256 KiB, of which
chunks of one byte take 60 ms and interim answers 85 ms."""


_LONGEST_USE = 300.0
"""Seconds from the first request on a connection to its last: a name may lead elsewhere by then."""
_SPREAD = 0.2
"""The part of that by which a connection may have less: what began together ends apart."""

_RELIED_ON: Final = ("_loop", "_parser", "_reading_paused", "exception", "is_eof", "transport")
"""Attributes of aiohttp's protocol that this looks at, beside `_payload`."""
_OVERRIDDEN: Final = (
    "_pause_reading_for_buffer",
    "_resume_reading_for_buffer",
    "abort",
    "close",
    "connection_lost",
    "data_received",
    "eof_received",
    "feed_data",
    "force_close",
    "resume_reading",
    "set_exception",
    "should_close",
)
"""Methods of aiohttp's protocol that this calls or extends."""


def missing_names() -> list[str]:
    """The names relied on here, most of them private, that the installed aiohttp lacks."""
    missing = [name for name in (*_RELIED_ON, *_OVERRIDDEN) if not hasattr(ResponseHandler, name)]
    if "_payload" not in ResponseHandler.__init__.__code__.co_names:
        missing.append("_payload")
    return missing


class ConnectionProtocol(ResponseHandler):
    """Bounds the head of an answer, with the interim ones before it (RFC 9110, section 15.2).

    Bytes that come after an answer are no part of it (RFC 9112, section 6.3): the answer is whole,
    and the connection is used no more. aiohttp's parser would refuse an answer that comes in one
    read with such bytes, so it gets the head by itself, and of the body no more than that tells of.

    It also tells how a connection ended: before the first byte of an answer there is none, inside
    the head it is broken. A body without a length is whole only where the server has closed the
    connection in order (RFC 9112, section 8); aiohttp takes it for whole however that ends.
    """

    _used = _kept = False
    _aged_at = 0.0
    """By the clock of the loop; from then on no request is sent on it."""
    _awaiting = True
    _came = 0
    """Bytes of the head that is awaited."""
    _before = b""
    """The last bytes of the head that is awaited, in which its end may begin."""
    _left: int | None = None
    """Bytes of the answer's body that are still to come; None where only the parser can tell."""
    _interim = 0
    """How many answers came before the one that is awaited."""
    _stray_bytes = False
    _backlog = b""
    """What has come and is not parsed yet."""
    _until: float | None = None
    """When the present turn of the event loop has parsed enough; None between turns."""
    _lost: tuple[BaseException | None] | None = None
    """The argument of `connection_lost`, kept until the backlog has been parsed."""
    _until_closed = False
    """Whether the body ends where the connection ends."""
    _in_order = False
    """Whether the server has closed the connection itself, under TLS with a closure alert."""

    @property
    def is_dirty(self) -> bool:
        """Whether something has come on it after the answer to the last request.

        aiohttp would take it for the answer to the next one: a 408, say, of a server that has
        waited too long.
        """
        return self._used and (self._stray_bytes or self.should_close or bool(self._backlog))

    @property
    def is_used(self) -> bool:
        """Whether it has been handed out for a request before."""
        return self._used

    @property
    def is_aged(self) -> bool:
        """Whether it has been used for so long that its name is to be looked up again."""
        return self._used and self._loop.time() >= self._aged_at

    @property
    def is_silent(self) -> bool:
        """Whether it was kept from an earlier request, and not a byte has come since the last."""
        return self._kept and self._awaiting and not (self._came or self._backlog)

    def expect(self) -> None:
        """Wait for the answer to a request that is about to be sent."""
        if not self._used:
            spread = random.uniform(1 - _SPREAD, 1)  # noqa: S311  not a secret
            self._aged_at = self._loop.time() + _LONGEST_USE * spread
        self._kept = self._used
        self._used = self._awaiting = True
        self._came = self._interim = 0
        self._before, self._left = b"", None

    def data_received(self, data: bytes) -> None:
        """Parse what has come; aiohttp passes no data to go on with what the parser holds."""
        if not data:
            self._feed(data)
        self._parse_for_a_turn(data)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's
        """Read on, where reading is paused: the reader of a body calls this for every chunk."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def close(self) -> None:
        """Close the connection, and drop what has not been parsed."""
        super().close()
        self._drop()

    def abort(self) -> None:
        """Drop the connection."""
        super().abort()
        self._drop()

    def _drop(self) -> None:
        if self._backlog:
            self._backlog = b""
            self._parse_for_a_turn(b"")

    def _parse_for_a_turn(self, data: bytes) -> None:
        """Parse what has come for `_TURN` seconds, the rest in later turns of the event loop."""
        if self._until is None:  # a turn may bring 32 reads
            self._until = time.monotonic() + _TURN
            self._loop.call_soon(self._end_turn)
        held_back, backlog = bool(self._backlog), self._backlog + data
        at = 0
        while at < len(backlog) and not self._reading_paused and time.monotonic() < self._until:
            self._feed(backlog[at : at + _PIECE])
            at += _PIECE
            if self.exception() is not None or self._stray_bytes:
                at = len(backlog)
        self._backlog = backlog[at:]
        if self._backlog and not held_back:
            self._pause_reading_for_buffer()
        elif held_back and not self._backlog:
            self._resume_reading_for_buffer()
        if self._lost is not None and not self._backlog:
            (how,), self._lost = self._lost, None
            self.connection_lost(how)

    def _end_turn(self) -> None:
        self._until = None
        if self._backlog and not self._reading_paused:  # else it goes on when that ends
            self._parse_for_a_turn(b"")

    def _feed(self, data: bytes) -> None:
        """Pass what belongs to the answer to the parser."""
        if not data:  # it is aiohttp that calls, to go on with what the parser holds
            self._parse(data)
        while data and self.exception() is None and not self._stray_bytes:
            if self._awaiting:
                data = self._feed_head(data)
            elif self._is_complete if self._left is None else not self._left:
                self._drop_strays(data)
                return
            else:
                count = len(data) if self._left is None else min(self._left, len(data))
                self._left = None if self._left is None else self._left - count
                self._parse(data[:count])
                data = data[count:]

    def _parse(self, data: bytes) -> None:
        """Have the parser go on, and tell the reader of a body that it refused.

        aiohttp tells that to who waits for a head alone, and a reader would wait for ever.
        """
        super().data_received(data)
        error, body = self.exception(), self._payload
        if error is not None and body is not None and not body.is_eof():
            refused = ClientPayloadError(str(error))
            refused.__cause__ = error
            body.set_exception(refused)

    def _feed_head(self, data: bytes) -> bytes:
        """Pass on what belongs to the head that is awaited; the rest is returned."""
        if self._kept and not self._came and not _may_begin_answer(data):
            self._drop_strays(data)
            return b""
        seen = self._before + data
        end = _HEAD_END.search(seen)
        count = end.end() - len(self._before) if end else len(data)
        self._before = b"" if end else seen[-_LONGEST_PART_OF_IT:]
        self._came += count
        self._parse(data[:count])
        if self._interim > _MOST_INTERIM:
            self._fail(f"more than {_MOST_INTERIM} interim answers before the one asked for")
        elif self._awaiting and self._came > _LARGEST_HEAD:
            self._fail(f"no end of its head within {_LARGEST_HEAD} bytes")
        return data[count:]

    @property
    def _is_complete(self) -> bool:
        """Whether all of the answer's body has been parsed."""
        return self._payload is None or self._payload.is_eof()

    def _drop_strays(self, data: bytes) -> None:
        """Use the connection no more, on which this has come after an answer."""
        if not data.strip(_EMPTY_LINES):  # as some servers end their answers
            return
        self._stray_bytes = True
        self.force_close()
        if self.transport is not None and self._is_complete:
            self.transport.close()

    def _fail(self, message: str) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.set_exception(HttpProcessingError(message=message))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a complete head."""
        if not self._awaiting:  # one that follows an answer whose end only the parser could tell
            self._stray_bytes = True
            self.force_close()
            return
        head, body = data
        self._awaiting = head.code < _FINAL and head.code != _SWITCHING
        if not self._awaiting:
            self._left = _length_of(head, body)
        self._interim += self._awaiting
        self._until_closed = not head.chunked and hdrs.CONTENT_LENGTH not in head.headers
        if self._interim <= _MOST_INTERIM:
            super().feed_data(data, size)

    def eof_received(self) -> None:
        """Note an end in order; uvloop does not call this where TLS ended without an alert."""
        transport = self.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        self._in_order = tls is None or _has_closed(tls)
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell a broken answer from none and from a whole one, once all of it has been parsed."""
        if self._backlog:
            self._lost = (exc,)
            return
        if self._awaiting and self._came and not self.is_eof():
            self.set_exception(HttpProcessingError(message="its head breaks off"))
        body, in_order = self._payload, exc is None and self._in_order
        if self._until_closed and not in_order and body is not None and not body.is_eof():
            how = "without a closure alert of TLS" if exc is None else "by a reset"
            body.set_exception(ClientPayloadError(f"its connection ended {how}"))
            self._parser = None  # which would take this for the end of the body
        super().connection_lost(exc)


def _may_begin_answer(data: bytes) -> bool:
    """Whether an answer can begin like this; an empty line before it is overlooked."""
    beginning = data.lstrip(_EMPTY_LINES)[: len(_VERSION)]
    return _VERSION.startswith(beginning)


def _length_of(head: RawResponseMessage, body: StreamReader) -> int | None:
    """The bytes of a body, where its head alone tells them (RFC 9112, section 6.3)."""
    if body is EMPTY_PAYLOAD:
        return 0
    length = head.headers.get(hdrs.CONTENT_LENGTH, "")
    return int(length) if not head.chunked and length.isdecimal() else None


def _has_closed(tls: ssl.SSLObject) -> bool:
    """Whether the other side has said that it will send no more (RFC 8446, section 6.1)."""
    try:
        return not tls.read(1)
    except ssl.SSLError:  # it wants to read on
        return False
