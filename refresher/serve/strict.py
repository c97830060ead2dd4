"""uvicorn's HTTP/1.1 protocol with limits on what has no end, and refusals that say why."""

import re
import time
from asyncio import AbstractEventLoop, Transport
from collections.abc import Sized
from http import HTTPStatus
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from refresher.web.data.http1 import to_wire
from refresher.web.problems import problem

_MOST_UNFINISHED: Final = 64 * 1024
"""Bytes of a head, or of what follows a body, that may come without its end; as under h11."""
_LONGEST_TARGET: Final = 0xFFFF
"""Bytes; httptools parses no longer one."""
_HOST: Final = re.compile(rb"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%\x80-\xff-]*)(?::[0-9]*)?")
"""A host and a port (RFC 9110, section 7.2), or nothing at all."""


class StrictProtocol(HttpToolsProtocol):
    """Refuses heads and targets without an end, several Hosts, and what is no HTTP (RFC 9112).

    Each refusal is a problem document (RFC 9457), sent after the answers to the requests before it.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self._between_requests = True
        """Whether all that has come consists of whole requests."""
        self._in_head = False
        """Whether the request that is being parsed has yet to end its head."""
        self._progressed = False
        """Whether the latest bytes ended a part of a request, or were of a body."""
        self._unfinished = 0
        """Bytes that have come since the last that did."""
        self._asked_last: RequestResponseCycle | None = None
        """The request that the application was given last; `cycle` is the last that has come."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as there
        """Begin; a connection on which nothing is ever asked is idle too."""
        super().connection_made(transport)
        self._set_keep_alive_timer(self.timeout_keep_alive)
        self.flow = _PipelineFlow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; uvicorn tells the request that came last, not the one that is being answered."""
        if self._asked_last is not None and not self._asked_last.response_complete:
            self._asked_last.disconnected = True
            self._asked_last.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; refuse it where too much has come without an end."""
        self._progressed = False
        super().data_received(data)
        if self._between_requests or self._progressed:
            self._unfinished = 0
            return
        self._unfinished += len(data)
        if self._unfinished <= _MOST_UNFINISHED or self.transport.is_closing():
            return
        if not self._in_head or not self._is_idle():
            self.transport.close()
        elif len(self.url) > _LONGEST_TARGET:
            self.send_400_response("")
        else:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the header fields of a request have to end within {_MOST_UNFINISHED} bytes",
            )

    def on_message_begin(self) -> None:
        """Prepare for a request."""
        self._between_requests = False
        self._in_head = self._progressed = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Have a request answered."""
        if not self._has_one_host():
            raise httptools.HttpParserError  # which ends in `send_400_response`
        self._in_head, self._progressed = False, True
        if not self._answer_at_once():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        self._between_requests = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP.

        It is the answer to what came last: the requests before it are answered first, and the
        connection is closed after that.
        """
        del msg
        if self.pipeline and not self._in_head:
            self.pipeline.popleft()  # what came last has yet to start, and its body is broken
            self.cycle = self.pipeline[0][0] if self.pipeline else self._asked_last  # type: ignore[assignment]  # typed as if it were never None
            self._in_head = True  # what comes now begins no request
        last: RequestResponseCycle | None = self.cycle
        if self._in_head and last is not None and not last.response_complete:
            last.keep_alive = False
            self.flow.pause_reading()
        elif last is not None and last.response_started and not last.response_complete:
            self.transport.close()  # in the middle of its own answer
        elif len(self.url) > _LONGEST_TARGET:
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"the target of a request has {_LONGEST_TARGET} bytes at most",
            )
        else:
            self._refuse(
                HTTPStatus.BAD_REQUEST,
                "this is no HTTP/1.1 request that can be understood: malformed, of a method that "
                "does not exist, or not for just one Host",
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401  its type is private
        self._asked_last = cycle
        super()._start_asgi_task(cycle, app)

    def _answer_at_once(self) -> bool:
        """Whether a request, its head parsed, has been answered without the application."""
        return False

    def _is_idle(self) -> bool:
        """Whether an answer may be written at once: none is being sent, and the client reads."""
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def _set_keep_alive_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        refusal = problem(status, None, detail, headers={"connection": "close"})
        self.transport.writelines(to_wire(refusal, time.time())[1:])
        self.transport.close()

    def _has_one_host(self) -> bool:
        """Whether Host is there once and well-formed (RFC 9112, section 3.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if not hosts:
            return self.parser.get_http_version() != "1.1"
        return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


class _PipelineFlow(FlowControl):
    """Reads on only when no pipelined request waits; uvicorn does so after every answer.

    So a client that sends requests and reads no answers is read from no further.

    Args:
        transport: The connection.
        pipeline: The requests that wait until those before them are answered.
    """

    def __init__(self, transport: Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, once nothing waits that has been read already."""
        if not self._pipeline:
            super().resume_reading()
