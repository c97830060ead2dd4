"""Reads answered inside uvicorn's HTTP/1.1 protocol: no scope, no task, one write of ready bytes.

A request for a snapshot on a connection with nothing else to do is answered where its head has been
parsed; one that came before, byte for byte, is not even parsed. Everything else goes the way that
uvicorn has for it, and so does a read where that way does more: access log, a limit of connections.
"""

import logging
import re
import time
from asyncio import AbstractEventLoop, Transport
from collections.abc import Mapping, Sized
from http import HTTPStatus
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from refresher.api import Refresher
from refresher.web.data.http1 import WireAnswer, to_wire
from refresher.web.data.reads import Decision, Reads
from refresher.web.problems import problem

logger = logging.getLogger("refresher")

_KNOWN: Final = ((0, 54), (0, 55))
"""The versions of uvicorn that this was tested with: from the first to below the second."""

_RELIED_ON: Final = frozenset(
    {
        "access_log",
        "cycle",
        "flow",
        "headers",
        "limit_concurrency",
        "loop",
        "parser",
        "pipeline",
        "server_state",
        "timeout_keep_alive",
        "timeout_keep_alive_task",
        "transport",
    }
)
"""Attributes of uvicorn's protocol that this looks at."""
_OVERRIDDEN: Final = (
    "_start_asgi_task",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "send_400_response",
    "timeout_keep_alive_handler",
)

_WHOLE_SNAPSHOT: Final = re.compile(rb"/data/[a-z0-9_-]+")
"""Targets that mean a job's name and nothing more; others may, after decoding, and are not ours."""
_LONGEST_WAIT: Final = 64 * 1024
"""Bytes of a head, or of what follows a body, that may come without its end; as under h11."""
_LONGEST_TARGET: Final = 0xFFFF
"""Bytes; httptools takes none apart that is longer."""
_HOST: Final = re.compile(rb"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%\x80-\xff-]*)(?::[0-9]*)?")
"""A host and a port (RFC 9110, section 7.2), or nothing at all."""
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD"}
_BEYOND_READING: Final = frozenset(
    {b"content-length", b"expect", b"prefer", b"transfer-encoding", b"upgrade"}
)
"""Fields of requests that ask for more than a snapshot, or bring something."""


def http_protocol(version: str = uvicorn.__version__) -> type[HttpToolsProtocol]:
    """What `refresher serve` gives to uvicorn as its `http` option.

    It is uvicorn's own protocol, said in a line of the log, where `version` of uvicorn is not one
    that the short way is known to fit: then every read goes through ASGI.
    """
    mentioned = HttpToolsProtocol.__init__.__code__.co_names
    missing = [name for name in sorted(_RELIED_ON) if name not in mentioned]
    missing += [name for name in _OVERRIDDEN if not hasattr(HttpToolsProtocol, name)]
    if _KNOWN[0] <= _release(version) < _KNOWN[1] and not missing:
        return WireProtocol
    logger.warning(
        "uvicorn %s is none that reads at wire speed were tested with (from %d.%d, below %d.%d); "
        "they are served through ASGI, as correct and at a third of the speed%s",
        version,
        *_KNOWN[0],
        *_KNOWN[1],
        f"; its protocol has no {', '.join(missing)}" if missing else "",
    )
    return HttpToolsProtocol


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a short way for reads."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        is_plain = not self.access_log and self.limit_concurrency is None
        self._reads = _reads_of(app_state) if is_plain else None
        """Where the short way leads; None where it is closed."""
        self._is_between = True
        """Whether all that came so far are whole requests."""
        self._is_answered = False
        """Whether the request that is being parsed has its answer."""
        self.url = b""
        self._is_head = False
        """Whether it is in its head that the request is being parsed."""
        self._got_on = False
        """Whether what came last brought a part of a request to its end, or some of a body."""
        self._waited = 0
        """Bytes that came since something did."""
        self._begun = 0
        """Requests that began in what came last."""
        self._decision: Decision | None = None
        """What was decided for the last of them that was answered the short way."""
        self._answered_at = 0.0
        self._running: RequestResponseCycle | None = None
        """What the application was given last; of what has come, `cycle` is the last."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as there
        """Begin."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; uvicorn tells the request that came last, not the one that is being answered."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        reads = self._reads
        if reads is None or not self._is_between:
            self._take_in(data)
            return
        if self._is_idle() and (written := self._cached(reads, data)) is not None:
            self._send(written)
            return
        self._begun, self._decision = 0, None
        self._take_in(data)
        if self._decision is not None and self._begun == 1:
            reads.cache(data, self._decision)

    def on_message_begin(self) -> None:
        """Prepare for a request."""
        self._is_between = False
        self._is_head = self._got_on = True
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Answer a request, or have it answered."""
        if not self._is_for_one_host():
            raise httptools.HttpParserError  # which ends in `send_400_response`
        self._is_head, self._got_on = False, True
        reads = self._reads
        if reads is not None and self._is_idle():
            decision = self._decided(reads)
            if decision is not None:
                self._is_answered = True
                self._decision = decision
                self._send(reads.wire_answer(decision))
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take in a part of a body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        self._is_between = True
        if self._is_answered:
            self._is_answered = False
            return
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless requests were answered since the timer was set.

        Setting it anew for each of those would cost a tenth of what they cost. Nor is it closed to
        a client that is slow to read, and has asked for more before.
        """
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._wait_for_requests(left)
        elif not self._is_idle():
            self._wait_for_requests(self.timeout_keep_alive)
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; as everywhere, with a problem (RFC 9457).

        It is the answer to what came last: what came before gets its own first, and nothing more.
        """
        del msg
        if self.pipeline and not self._is_head:
            self.pipeline.popleft()  # what came last has yet to begin, and its body is broken
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]  # typed as if it were never None
            self._is_head = True  # for what comes now begins nothing
        last: RequestResponseCycle | None = self.cycle
        if self._is_head and last is not None and not last.response_complete:
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
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _take_in(self, data: bytes) -> None:
        """Parse it, unless what never ends has come for long enough: it is kept until it does."""
        self._got_on = False
        super().data_received(data)
        if self._is_between or self._got_on:
            self._waited = 0
            return
        self._waited += len(data)
        if self._waited <= _LONGEST_WAIT or self.transport.is_closing():
            return
        if not self._is_head or not self._is_idle():
            self.transport.close()
        elif len(self.url) > _LONGEST_TARGET:
            self.send_400_response("")
        else:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the header fields of a request have to end within {_LONGEST_WAIT} bytes",
            )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        refusal = problem(status, None, detail, headers={"connection": "close"})
        self.transport.writelines(to_wire(refusal, time.time())[1:])
        self.transport.close()

    def _is_for_one_host(self) -> bool:
        """Whether it is said once, and as it can be, whom the request is for (RFC 9112, 3.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if not hosts:
            return self.parser.get_http_version() != "1.1"
        return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None

    def _is_idle(self) -> bool:
        """Whether an answer may be written at once: none is on its way, and the client reads."""
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def _cached(self, reads: Reads, data: bytes) -> WireAnswer | None:
        try:
            return reads.cached(data)
        except Exception:
            logger.exception("a read broke, of a request seen before")
            return None  # the long way ends in a 500

    def _decided(self, reads: Reads) -> Decision | None:
        """What the request reads; None where there is more to it than that."""
        method = _METHODS.get(self.parser.get_method())
        if (
            method is None
            or _WHOLE_SNAPSHOT.fullmatch(self.url) is None
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
            or any(name in _BEYOND_READING for name, _ in self.headers)
            or self.transport.is_closing()
        ):
            return None
        try:
            found = reads.decide(method, self.url, self.headers)
        except Exception:
            logger.exception("a read broke: %s %a", method, self.url)
            return None  # as above
        return found if isinstance(found, Decision) else None

    def _send(self, written: WireAnswer) -> None:
        if written.body:
            self.transport.writelines((written.head, written.body))
        else:
            self.transport.write(written.head)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_requests(self.timeout_keep_alive)

    def _wait_for_requests(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )


class _Flow(FlowControl):
    """Has a client that asks on and on wait for its answers: uvicorn reads on after each of them.

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


def _reads_of(app_state: Mapping[str, object]) -> Reads | None:
    """The way of a read of the cache that the lifespan entered."""
    found = (each for each in app_state.values() if isinstance(each, Refresher))
    return next((cache.endpoints.reads for cache in found), None)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall("[0-9]+", version)[:2])
