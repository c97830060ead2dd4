"""A connection to the service without a network: one of uvicorn's protocols, fed by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from refresher import Refresher
from refresher.serve.protocol import WireProtocol
from tests.fakes import settled
from tests.web.serving import application

_PATIENCE = 60.0


@dataclass
class Reply:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport(asyncio.Transport):
    """Keeps what is written; its peer takes it in as soon as it is there, unless told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False
        self.is_read = True
        """Whether the protocol wants what comes."""
        self.on_write: Callable[[], object] = lambda: None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines([data])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if not self.is_closed:
            self.written.extend(bytes(each) for each in list_of_data)
            self.on_write()

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


@dataclass
class Connection:
    """What a client sees of a protocol."""

    protocol: HttpToolsProtocol
    transport: Transport
    asked: list[str]
    """The paths that got to the application."""
    _replies: list[Reply] = field(default_factory=list)

    def feed(self, *chunks: bytes) -> None:
        """Have data come in, as long as the connection is open."""
        for chunk in chunks:
            if chunk and not self.transport.is_closed:
                self.protocol.data_received(chunk)

    async def done(self) -> None:
        """Wait until everything that was asked for is answered."""
        with anyio.fail_after(_PATIENCE):
            while not self.transport.is_closed and self._is_busy():  # noqa: ASYNC110  uvicorn has no event for it
                await asyncio.sleep(0)

    def _is_busy(self) -> bool:
        cycle = self.protocol.cycle  # the last one that began
        return cycle is not None and not cycle.response_complete

    async def get(self, path: str, *fields: str, method: str = "GET") -> Reply:
        """Ask for something on the connection, and nothing else at a time."""
        self.transport.written.clear()
        self.feed(request(path, *fields, method=method))
        await self.done()
        (reply,) = self.replies(method)
        return reply

    def replies(self, *methods: str) -> list[Reply]:
        """All that was written, as the answers to requests with these methods."""
        return list(parsed(b"".join(self.transport.written), methods))


def request(path: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request as a client writes it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: testserver", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def parsed(text: bytes, methods: Iterable[str]) -> Iterable[Reply]:
    """The answers in a stream of bytes, to requests with these methods."""
    waiting = iter(methods)
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, code, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        status = int(code)
        pairs = [line.split(": ", 1) for line in lines]
        headers = dict(pairs)
        assert len(headers) == len(pairs), f"a field is said twice: {lines}"
        if status == 100:
            yield Reply(status, headers, b"")
            continue
        method = next(waiting, "GET")
        # What is no request has no method either, and is refused with a body.
        is_bare = (method == "HEAD" and status != 400) or status in {204, 304}
        length = 0 if is_bare else int(headers["content-length"])
        assert len(text) >= length, "cut off"
        yield Reply(status, headers, text[:length])
        text = text[length:]


@dataclass(repr=False)
class Listener:
    """A server without sockets, for a service that runs."""

    kind: type[HttpToolsProtocol]
    config: uvicorn.Config
    state: dict[str, Any]
    server: ServerState
    asked: list[str]

    def connect(self) -> Connection:
        """A new connection."""
        protocol = self.kind(self.config, self.server, self.state, asyncio.get_running_loop())
        transport = Transport()
        protocol.connection_made(transport)
        return Connection(protocol, transport, self.asked)

    async def rested(self) -> None:
        """Wait until the application has nothing to do, not even for those who have left."""
        with anyio.fail_after(_PATIENCE):
            while self.server.tasks:  # noqa: ASYNC110  as above
                await asyncio.sleep(0)


@asynccontextmanager
async def listening(
    cache: Refresher,
    kind: type[HttpToolsProtocol] = WireProtocol,
    *,
    access_log: bool = False,
    limit_concurrency: int | None = None,
    timeout_keep_alive: float = _PATIENCE,
) -> AsyncIterator[Listener]:
    """Run a cache as `refresher serve` does, but for the network; its first attempts are over."""
    app = await application(cache)
    asked: list[str] = []
    config = uvicorn.Config(
        _noting(app, asked),
        lifespan="off",
        ws="none",
        log_config=None,
        proxy_headers=False,
        access_log=access_log,
        limit_concurrency=limit_concurrency,
        timeout_keep_alive=timeout_keep_alive,  # type: ignore[arg-type] # any number will do
    )
    server = ServerState()
    server.default_headers = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")]
    async with cache:
        await settled()
        listener = Listener(kind, config, {cache.name: cache}, server, asked)
        try:
            yield listener
        finally:
            for task in list(server.tasks):
                task.cancel()


def _noting(app: ASGIApp, asked: list[str]) -> ASGIApp:
    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    return note
