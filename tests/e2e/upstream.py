"""An upstream that notes who asks when, and how many at once."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    at: float
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: JSON unless the headers say otherwise."""

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        fields = {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        fields.update(self.headers)
        head = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return head.encode() + b"\r\n" + self.body


Route = Reply | Callable[[Asked], Reply | Awaitable[Reply]]


@dataclass
class Upstream:
    """A listening upstream: what it answers, and what it has seen."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    most_connections: int = 0
    _routes: dict[str, Route] = field(default_factory=dict)
    _at_once: int = 0
    _connections: "set[asyncio.Task[None]]" = field(default_factory=set)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def route(self, path: str, route: Route) -> str:
        """Answer a path, from now on, and return its URL."""
        self._routes[path] = route
        return self.url(path)

    def at(self, path: str) -> list[Asked]:
        """The requests to a path, its query aside."""
        return [one for one in self.asked if one.target.partition("?")[0] == path]

    def instants(self, path: str) -> list[float]:
        return [one.at for one in self.at(path)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.most_connections = max(self.most_connections, len(self._connections))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._answer(reader, writer)
        except asyncio.CancelledError:  # by close(); asyncio's own callback would log it
            writer.transport.abort()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = (line.partition(":") for line in head[1:-2])
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(time.time(), method, target, headers, body)
        self.asked.append(asked)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            route = self._routes.get(target.partition("?")[0], Reply(status=404))
            reply = route if isinstance(route, Reply) else route(asked)
            if isinstance(reply, Awaitable):
                reply = await reply
        finally:
            self._at_once -= 1
        writer.write(reply.wire())
        await writer.drain()

    async def close(self) -> None:
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def upstream(held: socket.socket | None = None) -> AsyncIterator[Upstream]:
    """Run an upstream on a port of 127.0.0.1, any that is free unless one is held for it."""
    up = Upstream()
    if held is None:
        server = await asyncio.start_server(up.serve, "127.0.0.1")
    else:
        server = await asyncio.start_server(up.serve, sock=held.dup())
    up.port = server.sockets[0].getsockname()[1]
    try:
        yield up
    finally:
        server.close()
        await up.close()


def numbered() -> Callable[[Asked], Reply]:
    """Another body at each request."""
    count = 0

    def reply(_: Asked) -> Reply:
        nonlocal count
        count += 1
        return Reply(b'{"n":%d}' % count)

    return reply


def after(seconds: float, route: Callable[[Asked], Reply]) -> Route:
    """The same, a while later."""

    async def reply(asked: Asked) -> Reply:
        await asyncio.sleep(seconds)
        return route(asked)

    return reply
