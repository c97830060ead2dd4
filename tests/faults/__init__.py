"""An upstream that misbehaves on request: scripted bytes over a real socket.

    async with serving() as upstream:
        upstream.script("/rates", answer(200, b"{}"), (b"HTTP/1.1 200 O", HANG_UP))
        ...
        assert upstream.requests[0].header("if-none-match") is None

An answer is a sequence of steps; each request to a path takes the next answer of its script, and
the last one stays. A function in place of an answer is asked with the request.
"""

import asyncio
import gzip
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http import HTTPStatus
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "loopback.pem"
"""Self-signed, for 127.0.0.1 and localhost, with its key."""


class Deed(Enum):
    """What else a server can do than send bytes."""

    HANG_UP = "close the connection in good order"
    RESET = "drop it with a RST"
    CUT = "end it with a FIN, and TLS not at all"
    STALL = "send nothing until the client leaves"


HANG_UP, RESET, CUT, STALL = Deed.HANG_UP, Deed.RESET, Deed.CUT, Deed.STALL


@dataclass(frozen=True, slots=True)
class Endless:
    """The same bytes again and again, until the client leaves."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Until:
    """A wait for the test to say go."""

    event: asyncio.Event


Step = bytes | Deed | Endless | Until
Answer = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    raw: bytes
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    """Which connection it came on, counted from 1."""

    def header(self, name: str) -> str | None:
        """A header's value; None if it was not sent."""
        return {key.lower(): value for key, value in self.headers}.get(name.lower())


Script = Answer | Callable[[Request], Answer]


def answer(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """A well-formed answer with a Content-Length, unless the headers frame it otherwise."""
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    if "Transfer-Encoding" in fields or status in {204, 304}:
        del fields["Content-Length"]
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    head += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join([*head, "", ""]).encode("latin-1") + body,)


def json_answer(body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """A 200 with JSON."""
    return answer(200, body, {"Content-Type": "application/json", **(headers or {})})


def redirect(location: str, status: int = 302) -> Answer:
    """A redirect."""
    return answer(status, b"", {"Location": location})


def gzip_bomb(megabytes: int) -> Answer:
    """Zeros, a thousand times as many as are sent."""
    return answer(200, gzip.compress(bytes(megabytes << 20)), {"Content-Encoding": "gzip"})


@dataclass(slots=True)
class FaultServer:
    """A listening upstream: what it does, and what it has seen."""

    port: int
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    most_connections: int = 0
    """How many were open at once."""
    greeting: Answer = ()
    """Steps before a connection's first request is read."""
    _scripts: dict[str, list[Script]] = field(default_factory=dict)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Where a path of it is found."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def script(self, path: str, *answers: Script) -> str:
        """Give a path its answers, and return its URL."""
        self._scripts[path] = list(answers)
        return self.url(path)

    async def until_left(self) -> None:
        """Wait until the client has closed every connection."""
        await asyncio.gather(*self.tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        self.most_connections = max(self.most_connections, len(self.tasks))
        number = self.connections
        # what the client does to its connection is the test's to assert, not ours to report
        gone = suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)
        try:
            with gone:
                if await _play(self.greeting, reader, writer):
                    while await self._answer(number, reader, writer):
                        pass
            with gone:
                writer.close()
                await writer.wait_closed()
        except asyncio.CancelledError:  # asyncio.streams would report a cancelled task as an error
            writer.transport.abort()
        finally:
            self.tasks.discard(task)

    async def _answer(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = await _read(number, reader)
        self.requests.append(request)
        script = self._scripts.get(request.target.partition("?")[0], [answer(404)])
        step = script.pop(0) if len(script) > 1 else script[0]
        return await _play(step(request) if callable(step) else step, reader, writer)


@asynccontextmanager
async def serving(*, tls: bool | ssl.SSLContext = False) -> AsyncIterator[FaultServer]:
    """Run a fault server on a free port of 127.0.0.1."""
    context = tls if isinstance(tls, ssl.SSLContext) else None
    if tls is True:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
    faults = FaultServer(port=0, scheme="https" if tls else "http")
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    faults.port = server.sockets[0].getsockname()[1]
    try:
        yield faults
    finally:
        server.close()
        for task in faults.tasks:
            task.cancel()
        await asyncio.gather(*faults.tasks, return_exceptions=True)


@cache
def closed_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, for it is ours as long as this process lives."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    held.detach()  # to stay open
    return port


async def _read(number: int, reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = tuple(
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:-2])
    )
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    body = await reader.readexactly(length)
    return Request(head + body, method, target, headers, body, number)


async def _play(steps: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Do the steps; False once the connection is over."""
    for step in steps:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Endless(data):
                while not reader.at_eof():
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0)
                return False
            case Until(event):
                await event.wait()
            case Deed.STALL:
                await reader.read()
                return False
            case Deed.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
                return False
            case Deed.CUT:
                descriptor = os.dup(writer.get_extra_info("socket").fileno())
                with socket.socket(fileno=descriptor) as same:
                    same.shutdown(socket.SHUT_WR)
                await reader.read()
                return False
            case Deed.HANG_UP:
                return False
    return True
