"""The connections to upstreams: aiohttp's connector, with rules for what may be connected to."""

import functools
import logging
import socket
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection

from refresher.offload.threads import ThreadPool
from refresher.upstream.addresses import AddressRule, ForbiddenAddress
from refresher.upstream.connection import ConnectionProtocol, missing_names
from refresher.version import release

logger = logging.getLogger("refresher")

_TESTED: Final = ((3, 14), (3, 15))
"""The versions of aiohttp that this was tested with: from the first to below the second."""
_IDLE: Final = 30.0
"""Seconds a connection is kept; one kept longer is more often found dead than of use."""

# Host names are looked up on few threads, by all clients of the process: ten thousand jobs that
# start at once must not be ten thousand threads.
_lookups = ThreadPool("refresher-dns", 16)

_Factory = functools.partial[ResponseHandler]


@dataclass(slots=True)
class Sending:
    """One try at sending a request, as the transport and the connector know it."""

    rule: AddressRule | None
    """What it may connect to; None where nothing is said of that, as to a proxy."""
    on_new_connection: bool
    """Whether it wants a connection that nothing was sent on before."""
    connection: ConnectionProtocol | None = None
    """What it was sent on, where that can say how its answer ended."""


sending: ContextVar[Sending] = ContextVar("sending")
"""The try that the present task is at."""


class ForbiddenConnection(aiohttp.ClientError):
    """A kept connection leads to where this request must not go."""


def open_connector(
    tls: ssl.SSLContext, *, version: str = aiohttp.__version__
) -> aiohttp.TCPConnector:
    """Open a connector, in the loop that will use it; `version` is aiohttp's.

    Its number of connections is not limited, since requests are limited before they get here.
    """
    return _connector_class(version)(
        ssl=tls, limit=0, resolver=_Resolver(), socket_factory=_open_socket
    )


@functools.cache
def _connector_class(version: str) -> "type[_KeepingConnector | _PlainConnector]":
    """The connector that goes with `version` of aiohttp; says so in the log where it is plain."""
    missing = missing_names()
    if "_factory" not in BaseConnector.__init__.__code__.co_names:
        missing.append("_factory")
    if _TESTED[0] <= release(version) < _TESTED[1] and not missing:
        return _KeepingConnector
    logger.warning(
        "aiohttp %s is none that upstream connections were tested with (from %d.%d, below %d.%d); "
        "each request gets a new connection, and a broken answer of unknown length may pass%s",
        version,
        *_TESTED[0],
        *_TESTED[1],
        f"; aiohttp has no {', '.join(missing)}" if missing else "",
    )
    return _PlainConnector


class _KeepingConnector(aiohttp.TCPConnector):
    """Keeps connections, but hands out none that is dirty, old, or leads to a forbidden address."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  aiohttp's
        super().__init__(keepalive_timeout=_IDLE, **options)
        self._factory = cast("_Factory", functools.partial(ConnectionProtocol, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        ours = sending.get()
        connection = await super().connect(req, traces, timeout)
        while (
            (protocol := _protocol(connection)).is_dirty
            or protocol.is_aged
            or (ours.on_new_connection and protocol.is_used)
        ):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        protocol.expect()
        ours.connection = protocol
        return _checked(connection, ours.rule)


class _PlainConnector(aiohttp.TCPConnector):
    """Opens a connection for each request: all that can be done with public names of aiohttp.

    Its own protocol cannot say whether a kept connection is dirty, nor whether it ended before a
    byte of an answer.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  aiohttp's
        super().__init__(force_close=True, **options)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        return _checked(await super().connect(req, traces, timeout), sending.get().rule)


def _protocol(connection: Connection) -> ConnectionProtocol:
    return cast("ConnectionProtocol", connection.protocol)


def _checked(connection: Connection, rule: AddressRule | None) -> Connection:
    """The connection, if this request may use it.

    Raises:
        ForbiddenConnection: it must not.
        aiohttp.ServerDisconnectedError: it was lost in the moment it was made.
    """
    if rule is None:
        return connection
    peer = connection.transport and connection.transport.get_extra_info("peername")
    if not peer:
        connection.close()
        raise aiohttp.ServerDisconnectedError
    try:
        rule.connected(peer[0])
    except ForbiddenAddress as error:
        connection.release()  # another job's, and good for that one
        raise ForbiddenConnection(str(error)) from error
    return connection


_AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[str | int, ...]]


def _open_socket(info: _AddressInfo) -> socket.socket:
    """Open a socket for an address that may be connected to: the last moment to refuse it."""
    family, kind, protocol, _, address = info
    rule = sending.get().rule
    if rule is not None:
        rule.check(str(address[0]))
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Looks names up as the system does, where a dead name server holds nothing up."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        lookup = functools.partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await _lookups.run(lookup)
        ]

    async def close(self) -> None:
        """Nothing is held."""
