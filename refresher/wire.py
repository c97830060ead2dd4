"""What comes over one connection to an upstream: aiohttp's protocol, stricter about heads."""

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

_LARGEST_HEAD = 256 * 1024
"""Bytes. aiohttp bounds each field and their number, but no sum, and reads 1xx answers for ever."""
_SWITCHING = 101
_FINAL = 200


class Wire(ResponseHandler):
    """Bounds the head of an answer, with the interim ones before it (RFC 9110, section 15.2).

    It also knows what ended too early: a connection that closes before the first byte of an answer
    has brought none, and one that closes inside the head has brought a broken one.
    """

    _used = _kept = False
    _awaiting = True
    _came = 0
    """Bytes of the head that is awaited."""
    _strayed = False

    @property
    def is_spoilt(self) -> bool:
        """Whether something came on it after the answer that it was kept for.

        aiohttp would take it for the answer to the next request: a 408, say, that a server sends
        when it tires of waiting for one.
        """
        return self._used and (self._strayed or self.should_close)

    @property
    def is_used(self) -> bool:
        """Whether it has been handed out for a request before."""
        return self._used

    @property
    def is_silent(self) -> bool:
        """Whether it was kept from an earlier request, and not a byte has come since the last."""
        return self._kept and self._awaiting and not self._came

    def expect(self) -> None:
        """Begin to wait for an answer."""
        self._kept = self._used
        self._used = self._awaiting = True
        self._came = 0

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        # Without data it is aiohttp that calls, to go on with what the parser holds.
        if data and not self._awaiting and (self._payload is None or self._payload.is_eof()):
            self._strayed = True
        super().data_received(data)
        if not self._awaiting:
            return
        self._came += len(data)
        if self._came > _LARGEST_HEAD and self.transport is not None:
            self.transport.abort()
            message = f"no end of its head within {_LARGEST_HEAD} bytes"
            self.set_exception(HttpProcessingError(message=message))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Pass a head on that is complete."""
        code = data[0].code
        self._awaiting = code < _FINAL and code != _SWITCHING
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell a broken answer from none."""
        if self._awaiting and self._came and not self.is_eof():
            self.set_exception(HttpProcessingError(message="its head breaks off"))
        super().connection_lost(exc)
