"""How a connection to an upstream is made: an `httpx.AsyncClient` on aiohttp's connector.

httpx's own pool is quadratic in what waits on it; aiohttp's is not (1.2 to 3.2 ms against 0.4 ms of
CPU per GET). The transport is our own, not httpx-aiohttp's, for four things that one cannot do:
send a URL as it is written (yarl turns `%2C` into `,`, which breaks a signed one), send a request
again only where the first is sure to have got nowhere, check the address of every connection, kept
ones too, and keep the reasons for a failure apart.
"""

import functools
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast
from urllib.request import getproxies

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError

from refresher.offload.threads import ThreadPool
from refresher.security.excerpts import clipped
from refresher.upstream import addresses as reaches
from refresher.upstream.addresses import Reach
from refresher.upstream.connection import Wire
from refresher.upstream.headers import utf8_fields
from refresher.upstream.urls import Origin, origin_of, sendable
from refresher.version import VERSION

_CONNECT_TIMEOUT = 5.0
_MAX_HEADERS = 256
_MAX_FIELD = 32 * 1024
_TRANSFER_CODINGS = frozenset({"", "chunked", "identity"})
_SHOWN = 40
_IDLE = 30.0
"""Seconds a connection is kept; one kept longer is more often found dead than of use."""

# Host names are looked up on few threads, by all clients of the process: ten thousand jobs that
# start at once must not be ten thousand threads.
_lookups = ThreadPool("refresher-dns", 16)

_Factory = functools.partial[ResponseHandler]

_reach: ContextVar[Reach | None] = ContextVar("reach", default=None)


@dataclass(slots=True)
class _Sending:
    """One try at sending a request, as it and the connector know it."""

    anew: bool
    """Whether it wants a connection that nothing was sent on before."""
    wire: Wire | None = None
    """What it was sent on."""


_sending: ContextVar[_Sending] = ContextVar("sending")


def open_client(
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
    connect_timeout: float = _CONNECT_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Open a client for one upstream; close it with `aclose` or leave it as a context.

    It keeps no cookies, follows no redirects, asks only for the content codings that we decode, and
    sets no bound but `connect_timeout` (seconds, from name to TLS): a deadline is its caller's. Its
    number of connections is not limited, since requests are limited before they get here. `tls`
    stands in for the default verification, and `transport` for the network; then nothing of aiohttp
    is made.
    """
    fields = utf8_fields(
        {
            "User-Agent": f"refresher/{VERSION}",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
    )
    fields.update(utf8_fields(headers or {}))
    client = httpx.AsyncClient(
        base_url=base_url,
        auth=auth,
        headers=fields,
        timeout=httpx.Timeout(None, connect=connect_timeout),
        trust_env=False,
        transport=transport or AiohttpTransport(tls=tls),
    )
    client._cookies = _NoCookies()  # noqa: SLF001
    return client


class _NoCookies(httpx.Cookies):
    """Takes none from an answer; a cookie policy would first have it dressed as urllib's."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave them."""


def new_tls(*, trusting: bool = True) -> ssl.SSLContext:
    """A client's TLS context, to be set up further.

    It verifies as httpx does, against $SSL_CERT_FILE or $SSL_CERT_DIR, else certifi's list; or, not
    `trusting`, against nobody until it is told whom to trust.
    """
    context = httpx.create_ssl_context() if trusting else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    return context


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests over an aiohttp session, made in the loop of the first request.

    `proxies` are named as `urllib.request.getproxies` names them, and are the environment's where
    none are given.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, proxies: Mapping[str, str] | None = None
    ) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._proxies = getproxies() if proxies is None else proxies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and return with the head of its answer.

        A GET on a kept connection that ends before a byte of the answer is sent once more, on a new
        one: its server has closed what it had been idle on (RFC 9112, section 9.3.1).
        """
        proxy = _proxy_for(request.url, self._proxies)
        with _connecting_for(request, through_proxy=proxy is not None), _httpx_errors():
            try:
                response = await self._send(request, proxy, anew=False)
            except _ClosedIdle:
                if request.method != "GET" or not isinstance(request.stream, httpx.ByteStream):
                    raise
                response = await self._send(request, proxy, anew=True)
        codings = ", ".join(response.headers.getall("Transfer-Encoding", ())).lower()
        if codings not in _TRANSFER_CODINGS:  # aiohttp would hand it out as it came
            response.close()
            message = f"the transfer coding {clipped(codings, _SHOWN)!r}, which was not asked for"
            raise httpx.RemoteProtocolError(message)
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response),
            extensions={"reason_phrase": (response.reason or "").encode("utf-8", "replace")},
        )

    async def _send(
        self, request: httpx.Request, proxy: str | None, *, anew: bool
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = _open_session(self._tls or _usual_tls())
        timeout = request.extensions.get("timeout", {})
        _sending.set(_Sending(anew))
        return await self._session.request(
            request.method,
            yarl.URL(str(sendable(request.url)), encoded=True),
            headers=[(name.decode("ascii"), _text(value)) for name, value in _headers(request)],
            data=_content(request),
            allow_redirects=False,
            timeout=_timeout(timeout.get("connect"), timeout.get("read")),
            server_hostname=request.extensions.get("sni_hostname"),
            proxy=proxy,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


class HomeTransport(httpx.AsyncBaseTransport):
    """Takes header fields off every request that leaves the origin they were configured for.

    A function may follow redirects with its client, and httpx takes along all but Authorization.
    """

    def __init__(
        self, carrier: httpx.AsyncBaseTransport, home: Origin, *, names: Collection[str]
    ) -> None:
        self._carrier = carrier
        self._home = home
        self._names = names

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request over what carries it, with what may be seen where it goes."""
        if origin_of(request.url) != self._home:
            for name in self._names:
                request.headers.pop(name, None)
        return await self._carrier.handle_async_request(request)


class _Body(httpx.AsyncByteStream):
    """An answer's body as it comes off the wire, its content coding left on."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with _httpx_errors():
            chunk = await self._response.content.readany()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # aiohttp keeps the connection if the whole body has come, and closes it if not
        self._response.release()


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection whose address the request must not reach, and no spoilt one."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  aiohttp's
        super().__init__(**options)
        self._factory = cast("_Factory", functools.partial(Wire, loop=self._loop))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        sending = _sending.get()
        connection = await super().connect(req, traces, timeout)
        while (wire := _wire(connection)).is_spoilt or (sending.anew and wire.is_used):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        wire.expect()
        sending.wire = wire
        reach = _reach.get()
        if reach is None:
            return connection
        peer = connection.transport and connection.transport.get_extra_info("peername")
        if not peer:  # dropped in the moment it was made
            connection.close()
            raise aiohttp.ServerDisconnectedError
        try:
            reach.connected(peer[0])
        except reaches.ForbiddenAddress as error:
            connection.release()  # another job's, and good for that one
            raise _Refused(str(error)) from error
        return connection


def _wire(connection: Connection) -> Wire:
    return cast("Wire", connection.protocol)


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


def _open_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(
            ssl=tls,
            limit=0,
            keepalive_timeout=_IDLE,
            resolver=_Resolver(),
            socket_factory=_open_socket,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        # httpx has set what is to be sent; nothing else is
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        max_field_size=_MAX_FIELD,
        max_headers=_MAX_HEADERS,
        middlewares=(_once,),
    )


def _open_socket(info: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
    """Open a socket for an address that may be connected to: the last moment to refuse it."""
    family, kind, protocol, _, address = info
    reach = _reach.get()
    if reach is not None:
        reach.admit(str(address[0]))
    return socket.socket(family, kind, protocol)


class _Refused(aiohttp.ClientError):
    """A kept connection leads to where this request must not go."""


class _Lost(aiohttp.ClientError):
    """The connection was lost before there was an answer."""


class _ClosedIdle(_Lost):
    """It was a kept one, and not a byte of an answer came."""


_LOSSES = (
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
    aiohttp.ServerDisconnectedError,
)


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again on its own: an attempt is one fetch.

    It would repeat a PUT as well, and what was answered in part.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except _LOSSES as error:
        wire = _sending.get().wire
        lost = _Lost if wire is None or not wire.is_silent else _ClosedIdle
        raise lost(str(error)) from error


@contextmanager
def _connecting_for(request: httpx.Request, *, through_proxy: bool) -> Iterator[None]:
    """Let what connects for this request know what it may connect to."""
    reach: Reach | None = request.extensions.get(reaches.EXTENSION)
    if reach is None:
        yield
        return
    # Through a proxy, the address connected to is the proxy's, and the target's is not ours to see.
    token = _reach.set(None if through_proxy else reach)
    try:
        yield
    except httpx.ConnectError as error:
        # Several addresses, each refused or dead, leave one error with no type of its own.
        if reach.refused is None:
            raise
        raise httpx.ConnectError(str(error)) from reach.refused
    finally:
        _reach.reset(token)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpx's errors for aiohttp's, as httpx's own transport would."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise httpx.ReadTimeout(str(error)) from error
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise httpx.ProxyError(str(error)) from error
    except (aiohttp.ClientConnectorError, _Refused) as error:
        raise httpx.ConnectError(str(error)) from error
    except (_Lost, aiohttp.ClientConnectionError, OSError) as error:
        raise httpx.ReadError(str(error)) from error
    except aiohttp.ClientResponseError as error:
        raise httpx.RemoteProtocolError(error.message) from error  # str(error) has the whole URL
    except aiohttp.ClientPayloadError as error:
        cause = error.__cause__
        message = cause.message if isinstance(cause, HttpProcessingError) else str(error)
        raise httpx.RemoteProtocolError(message) from error
    except (aiohttp.ClientError, ValueError) as error:  # a URL or a header that cannot be sent
        raise httpx.LocalProtocolError(str(error)) from error


@functools.lru_cache(maxsize=64)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # `connect` bounds all of it: the name, TCP and TLS. `sock_connect` would start again with every
    # address that a name has, and leaves the name out.
    return aiohttp.ClientTimeout(connect=connect, sock_read=read)


def _headers(request: httpx.Request) -> list[tuple[bytes, bytes]]:
    # aiohttp frames the body itself
    return [pair for pair in request.headers.raw if pair[0].lower() != b"transfer-encoding"]


def _text(value: bytes) -> str:
    """The header value as aiohttp wants it; it writes UTF-8."""
    return value.decode("utf-8", "replace")


def _content(request: httpx.Request) -> bytes | AsyncIterator[bytes] | None:
    if isinstance(request.stream, httpx.ByteStream):  # a redirected request is not read either
        return b"".join(request.stream) or None
    try:
        return request.content or None
    except httpx.RequestNotRead:
        return aiter(cast("httpx.AsyncByteStream", request.stream))


def _proxy_for(url: httpx.URL, proxies: Mapping[str, str]) -> str | None:
    """The proxy that is named for a URL, or for all."""
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_exempt(url.host.lower(), proxies.get("no", "")):
        return None
    proxy = named if "://" in named else f"http://{named}"
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https"}:
        raise httpx.UnsupportedProtocol(
            f"the environment's proxy for {url.scheme} is a {scheme} one; "
            "only http and https proxies are supported"
        )
    return proxy


def _is_exempt(host: str, exempt: str) -> bool:
    """Whether $NO_PROXY lists the host, a domain above it, or `*`."""
    names = [name.strip().lstrip(".").lower() for name in exempt.split(",")]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names if name)


@functools.cache
def _usual_tls() -> ssl.SSLContext:
    return new_tls()
