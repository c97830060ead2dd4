"""A line to a Redis or Valkey server: a few connections that share the calls, and plain words.

The only module that knows redis-py. It uses its connections and pools, and leaves its client out:
that retries ten times by default, over ten seconds of an outage that the service wants to hear of
at once, and it sends and reads a value in one piece, however large.
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

Word = str | bytes | int
"""An argument of a command."""

_PIECE = 1 << 20
"""Bytes that are sent or read at a time, each time within `SILENCE`."""
SILENCE = 2.0
"""Seconds without an answer, or without progress, after which the server counts as away."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    value: Any
    seconds: float
    """From sending to having it; connecting, and waiting for a connection, came before."""


class Line:
    """At most that many connections to one server; who finds none vacant waits for one.

    Every method raises `StoreUnavailable`, with a sentence.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        self._place = place_of(url)
        self._pool = _pool(url, connections)
        self._vacant = asyncio.Semaphore(connections)

    async def ask(self, *command: Word) -> Any:  # noqa: ANN401  as the command has it
        """The answer to one command."""
        async with self._connection() as connection:
            return await _answer(connection, command)

    async def ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The answers to several commands, sent in one go."""
        async with self._connection() as connection:
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await connection.read_response() for _ in commands]

    async def run(self, script: Script, keys: Sequence[str], *arguments: Word) -> Reply:
        """The answer to a script."""
        rest = (len(keys), *keys, *arguments)
        async with self._connection() as connection:
            began = time.perf_counter()
            try:
                value = await _answer(connection, ("EVALSHA", script.digest, *rest))
            except NoScriptError:  # it has restarted, or has never seen it
                began = time.perf_counter()
                value = await _answer(connection, ("EVAL", script.text, *rest))
            return Reply(value, time.perf_counter() - began)

    async def read(self, key: str, length: int) -> bytes | None:
        """A large value, in pieces: the server answers others between them, and so does the loop.

        None where it is not there in that length.
        """
        content = io.BytesIO()  # which gives its bytes away without copying them
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
                else:  # is it quiet, or has it gone without a word, as in a failover?
                    await connection.send_command("PING")
                    asked = True

    async def close(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await self._pool.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        async with self._vacant:
            try:
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
                try:
                    yield connection  # which closes itself where a call is cancelled half-way
                finally:
                    await self._pool.release(connection)
            except (RedisError, OSError) as error:
                # After a failover the name may lead elsewhere, and this one may have more to say:
                # whoever comes next connects anew.
                with contextlib.suppress(RedisError, OSError):
                    await self._pool.disconnect(inuse_connections=False)
                raise StoreUnavailable(f"{self._place} {_what_is_wrong(error)}") from error


def place_of(url: str) -> str:
    """Which server and database a URL names, without the user and the password.

    Raises:
        ServiceError: it names none.
    """
    scheme = url.partition("://")[0]
    try:
        parts = parse_url(url) if scheme in ("redis", "rediss") else None
    except ValueError:  # which quotes parts of the URL, the password among them
        parts = None
    if parts is None:
        raise ServiceError(
            "store.url is no URL of a Redis or Valkey server; write it as redis://HOST:PORT/0, "
            "with rediss:// for TLS, and percent-encode what is special in a password"
        )
    host = parts.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{parts.get('port', 6379)}/{parts.get('db', 0)}"


def _pool(url: str, connections: int) -> ConnectionPool:
    return ConnectionPool.from_url(
        url,
        max_connections=connections,
        socket_timeout=SILENCE,
        socket_connect_timeout=SILENCE,
        socket_read_size=1 << 18,
        # What RESP3 adds is not used here, proxies and ACLs refuse its HELLO, and with it the pool
        # hands out connections that the server has closed, taking them for notices of maintenance.
        protocol=2,
        driver_info=None,
    )


async def _answer(connection: AbstractConnection, command: Sequence[Word]) -> Any:  # noqa: ANN401
    for part in connection.pack_command(*command):
        for start in range(0, len(part), _PIECE):
            # In pieces: asyncio copies what it is given, and a large copy stops the loop.
            await connection.send_packed_command(part[start : start + _PIECE])
    return await connection.read_response()


def _what_is_wrong(error: Exception) -> str:
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
