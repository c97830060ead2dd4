"""A forward proxy over a real socket: tunnels, and passes plain requests on."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_GONE = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)


@dataclass(slots=True)
class Proxy:
    """A listening proxy, and what it was asked for; whatever host that is, it leads to `to`."""

    to: int
    """A port of 127.0.0.1."""
    login: str | None = None
    """What it asks of its users, as `name:password`."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The request lines, without the version."""
    refused: int = 0
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, login: str | None = None) -> str:
        return f"http://{'' if login is None else f'{login}@'}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with suppress(*_GONE):
                await self._pass_on(reader, writer)
        except asyncio.CancelledError:  # asyncio.streams would report a cancelled task as an error
            pass
        finally:
            writer.transport.abort()
            self.tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        if not self._is_welcome(rest):
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        self.asked.append(line.decode().rpartition(" ")[0])
        server_reader, server = await asyncio.open_connection("127.0.0.1", self.to)
        if line.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Go On\r\n\r\n")
        else:
            method, target, version = line.split(b" ")
            path = b"/" + target.split(b"/", 3)[3]
            server.write(b" ".join((method, path, version)) + b"\r\n" + rest)
        try:
            await asyncio.gather(_pump(reader, server), _pump(server_reader, writer))
        finally:
            server.transport.abort()

    def _is_welcome(self, fields: bytes) -> bool:
        if self.login is None:
            return True
        shown = b"Proxy-Authorization: Basic " + base64.b64encode(self.login.encode())
        return shown in fields


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.close()


@asynccontextmanager
async def proxying(to: int, *, login: str | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port of 127.0.0.1, in front of another one."""
    proxy = Proxy(to, login)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
