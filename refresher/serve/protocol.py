"""Reads answered inside uvicorn's HTTP/1.1 protocol: no ASGI scope, no task, one write.

A request for a snapshot on an idle connection is answered as soon as its head has been parsed; one
that is cached, byte for byte, is not even parsed. Everything else goes through ASGI, and so does a
read where uvicorn does more for a request: access log, a limit of connections.
"""

import logging
import re
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from refresher.api import Refresher
from refresher.serve.strict import StrictProtocol
from refresher.version import release
from refresher.web.data.http1 import WireAnswer
from refresher.web.data.reads import Decision, Reads

logger = logging.getLogger("refresher")

_TESTED: Final = ((0, 54), (0, 55))
"""The versions of uvicorn that this was tested with: from the first, below the second."""

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
"""Attributes of uvicorn's protocol that are used here and in `strict`."""
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
"""Targets that are a job's name and nothing more, without decoding."""
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD"}
_NOT_FOR_READS: Final = frozenset(
    {b"content-length", b"expect", b"prefer", b"transfer-encoding", b"upgrade"}
)
"""Fields of requests that ask for more than a snapshot, or have a body."""


def http_protocol(version: str = uvicorn.__version__) -> type[HttpToolsProtocol]:
    """What `refresher serve` gives to uvicorn as its `http` option.

    Where `version` of uvicorn is none that `WireProtocol` was tested with it is uvicorn's own
    protocol, and a line of the log says so: then every read goes through ASGI.
    """
    mentioned = HttpToolsProtocol.__init__.__code__.co_names
    missing = [name for name in sorted(_RELIED_ON) if name not in mentioned]
    missing += [name for name in _OVERRIDDEN if not hasattr(HttpToolsProtocol, name)]
    if _TESTED[0] <= release(version) < _TESTED[1] and not missing:
        return WireProtocol
    logger.warning(
        "uvicorn %s is none that reads at wire speed were tested with (from %d.%d, below %d.%d); "
        "they are served through ASGI, as correct and at a third of the speed%s",
        version,
        *_TESTED[0],
        *_TESTED[1],
        f"; its protocol has no {', '.join(missing)}" if missing else "",
    )
    return HttpToolsProtocol


class WireProtocol(StrictProtocol):
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
        """What answers the short way; None where all requests go through ASGI."""
        self._is_answered = False
        """Whether the request that is being parsed has been answered."""
        self._answered_at = 0.0
        """When a request was last answered the short way; by the loop's clock."""
        self._begun = 0
        """Requests that began in the latest bytes."""
        self._decision: Decision | None = None
        """What was decided for the last of them that was answered the short way."""

    def data_received(self, data: bytes) -> None:
        """Answer a request that is cached; parse any other, and cache what was decided for it."""
        reads = self._reads
        if reads is None or not self._between_requests:
            super().data_received(data)
            return
        if self._is_idle() and (answer := self._cached(reads, data)) is not None:
            self._send(answer)
            return
        self._begun, self._decision = 0, None
        super().data_received(data)
        if self._decision is not None and self._begun == 1:
            reads.cache(data, self._decision)

    def on_message_begin(self) -> None:
        """Prepare for a request."""
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        if self._is_answered:  # which uvicorn knows nothing of
            self._is_answered = False
            self._between_requests = True
            return
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless requests were answered since the timer was set.

        Setting it anew for each of those would cost a tenth of what they cost. Nor is it closed to
        a client that is slow to read, and has asked for more before.
        """
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._set_keep_alive_timer(left)
        elif not self._is_idle():
            self._set_keep_alive_timer(self.timeout_keep_alive)
        else:
            super().timeout_keep_alive_handler()

    def _answer_at_once(self) -> bool:
        reads = self._reads
        if reads is None or not self._is_idle():
            return False
        decision = self._decided(reads)
        if decision is None:
            return False
        self._is_answered = True
        self._decision = decision
        self._send(reads.wire_answer(decision))
        return True

    def _cached(self, reads: Reads, data: bytes) -> WireAnswer | None:
        try:
            return reads.cached(data)
        except Exception:
            logger.exception("a read broke, of a request seen before")
            return None  # through ASGI it ends in a 500

    def _decided(self, reads: Reads) -> Decision | None:
        """What answers the request that has been parsed; None where only ASGI can answer it."""
        method = _METHODS.get(self.parser.get_method())
        if (
            method is None
            or _WHOLE_SNAPSHOT.fullmatch(self.url) is None
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
            or any(name in _NOT_FOR_READS for name, _ in self.headers)
            or self.transport.is_closing()
        ):
            return None
        try:
            found = reads.decide(method, self.url, self.headers)
        except Exception:
            logger.exception("a read broke: %s %a", method, self.url)
            return None  # as above
        return found if isinstance(found, Decision) else None

    def _send(self, answer: WireAnswer) -> None:
        if answer.body:
            self.transport.writelines((answer.head, answer.body))
        else:
            self.transport.write(answer.head)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._set_keep_alive_timer(self.timeout_keep_alive)


def _reads_of(app_state: Mapping[str, object]) -> Reads | None:
    """The `Reads` of the cache that the lifespan entered."""
    found = (each for each in app_state.values() if isinstance(each, Refresher))
    return next((cache.endpoints.reads for cache in found), None)
