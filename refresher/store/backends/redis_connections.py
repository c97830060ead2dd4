"""Connections to a Redis or Valkey server, with errors that say what to do.

The only module that imports redis-py. It uses its connections and pools, but not its client: that
retries ten times by default, which hides an outage for ten seconds, and it sends and reads a value
in one piece, however large.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import anyio
from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  that is its name
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004
)

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.redis_scripts import Script

Argument = str | bytes | int
"""An argument of a command."""

_PIECE = 1 << 20
"""Bytes that are sent or read at a time, each time within `SILENCE`."""
SILENCE = 2.0
"""Seconds without an answer or progress after which the server counts as unavailable."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a script."""

    value: Any
    seconds: float
    """From sending the command to having the answer, without connecting."""


class Connections:
    """At most `size` connections to one server; a call waits until one is free.

    Every method raises `StoreUnavailable` where the call fails.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._server = server_of(url)
        self._pool = _pool(url, size)
        self._free = asyncio.Semaphore(size)

    async def ask(self, *command: Argument) -> Any:  # noqa: ANN401  as the command has it
        """The answer to one command."""
        async with self._connection() as connection:
            return await _answer(connection, command)

    async def ask_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """The answers to several commands, which are pipelined."""
        async with self._connection() as connection:
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await connection.read_response() for _ in commands]

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run a script."""
        rest = (len(keys), *keys, *arguments)
        async with self._connection() as connection:
            began = time.perf_counter()
            try:
                value = await _answer(connection, ("EVALSHA", script.digest, *rest))
            except NoScriptError:  # the server has restarted, or has never seen it
                began = time.perf_counter()
                value = await _answer(connection, ("EVAL", script.text, *rest))
            return Reply(value, time.perf_counter() - began)

    async def read(self, key: str, length: int) -> bytes | None:
        """A large value, read in pieces: server and event loop serve others in between.

        None where it does not have that length, or does not exist.
        """
        content = io.BytesIO()  # its bytes are not copied
        async with self._connection() as connection:
            for start in range(0, length, _PIECE):
                command = ("GETRANGE", key, start, start + _PIECE - 1)
                content.write(await _answer(connection, command))
        return content.getvalue() if content.tell() == length else None

    async def listen(self, channel: str, heard: Callable[[], object]) -> NoReturn:
        """Subscribe to a channel; call `heard` then, and for every message from then on."""
        async with self._connection() as connection:
            await _answer(connection, ("SUBSCRIBE", channel))
            heard()
            asked = False
            while True:
                message = await connection.read_response(timeout=SILENCE)
                if message is not None:
                    asked = False
                    if message[0] == b"message":
                        heard()
                elif asked:
                    raise TimeoutError
                else:  # quiet, or disconnected without notice, as in a failover?
                    await connection.send_command("PING")
                    asked = True

    async def close(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await self._pool.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        async with self._free:
            try:
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
                try:
                    yield connection  # it closes itself when a call is cancelled
                finally:
                    await self._pool.release(connection)
            except (RedisError, OSError) as error:
                # After a failover the name may lead elsewhere, and this connection may have unread
                # answers: the next call connects anew.
                with contextlib.suppress(RedisError, OSError):
                    await self._pool.disconnect(inuse_connections=False)
                raise StoreUnavailable(f"{self._server} {_explain(error)}") from error


def server_of(url: str) -> str:
    """The server and database that a URL names, without user and password.

    Raises:
        ServiceError: it names none.
    """
    scheme = url.partition("://")[0]
    try:
        parts = parse_url(url) if scheme in ("redis", "rediss") else None
    except ValueError:  # its message may contain the password
        parts = None
    if parts is None:
        raise ServiceError(
            "store.url is no URL of a Redis or Valkey server; write it as redis://HOST:PORT/0, "
            "with rediss:// for TLS, and percent-encode what is special in a password"
        )
    host = parts.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{parts.get('port', 6379)}/{parts.get('db', 0)}"


def _pool(url: str, size: int) -> ConnectionPool:
    return ConnectionPool.from_url(
        url,
        max_connections=size,
        socket_timeout=SILENCE,
        socket_connect_timeout=SILENCE,
        socket_read_size=1 << 18,
        # What RESP3 adds is not used here, proxies and ACLs refuse its HELLO, and with it the pool
        # hands out connections that the server has closed: it takes that for maintenance notices.
        protocol=2,
        driver_info=None,
    )


async def _answer(connection: AbstractConnection, command: Sequence[Argument]) -> Any:  # noqa: ANN401
    for part in connection.pack_command(*command):
        for start in range(0, len(part), _PIECE):
            # In pieces: asyncio copies what it is given, and a large copy blocks the loop.
            await connection.send_packed_command(part[start : start + _PIECE])
    return await connection.read_response()


def _explain(error: Exception) -> str:
    sentence = next(words for kind, words in _SENTENCES if isinstance(error, kind))
    return sentence.format(error)


_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "refuses the user or the password; check those of store.url"),
    (NoPermissionError, "does not let the user of store.url do that: {}"),
    (BusyLoadingError, "is still loading its data"),
    (ReadOnlyError, "is a read-only replica; store.url must lead to the primary"),
    (OutOfMemoryError, "is full; raise its maxmemory, or lower store.history_max_bytes"),
    (
        MovedError,
        "is in a cluster that keeps this on another node, to which store.url must lead: {}",
    ),
    (ClusterDownError, "has lost its cluster, or its primary: {}"),
    (TimeoutError, f"does not answer within {SILENCE:g} s"),
    (ConnectionError, "cannot be reached: {}"),
    (OSError, "cannot be reached: {}"),
    (RedisError, "answered: {}"),
)
