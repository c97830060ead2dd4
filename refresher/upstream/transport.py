"""How a request is sent to an upstream: httpx's transport, on a session of aiohttp's.

httpx's own pool is quadratic in the requests that wait on it; aiohttp's is not (1.2 to 3.2 ms
against 0.4 ms of CPU per GET). The transport is our own, not httpx-aiohttp's, for four things that
one cannot do: send a URL as it is written (yarl turns `%2C` into `,`, which breaks a signed one),
resend a request only where it cannot have been processed, check the address of every connection,
kept ones too, and tell the reasons for a failure apart.
"""

import functools
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import cast
from urllib.request import getproxies

import aiohttp
import httpx
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from refresher.security.excerpts import clipped
from refresher.upstream.addresses import EXTENSION, AddressRule
from refresher.upstream.connector import ForbiddenConnection, Sending, open_connector, sending
from refresher.upstream.proxies import Proxy, proxy_for
from refresher.upstream.urls import sendable

_MAX_HEADERS = 256
_MAX_FIELD = 32 * 1024
_TRANSFER_CODINGS = frozenset({"", "chunked", "identity"})
_SHOWN = 40


def new_tls(*, trusting: bool = True) -> ssl.SSLContext:
    """A client's TLS context, to be set up further.

    It verifies as httpx does, against $SSL_CERT_FILE or $SSL_CERT_DIR, else certifi's list; where
    not `trusting`, it trusts no authority yet.
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
        """Send one request, and return once the head of its answer has come.

        A GET on a kept connection that ends before a byte of the answer is sent once more, on a new
        one: its server has closed it as idle (RFC 9112, section 9.3.1).
        """
        rule: AddressRule | None = request.extensions.get(EXTENSION)
        try:
            with _httpx_errors():
                response = await self._send_safely(request, rule)
        except httpx.ConnectError as error:
            # Several addresses, each refused or dead, leave one error with no type of its own.
            if rule is None or rule.refused is None:
                raise
            raise httpx.ConnectError(str(error)) from rule.refused
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

    async def _send_safely(
        self, request: httpx.Request, rule: AddressRule | None
    ) -> aiohttp.ClientResponse:
        proxy = proxy_for(request.url, self._proxies)
        # Through a proxy, the address connected to is the proxy's, and the target's is hidden.
        rule = rule if proxy is None else None
        try:
            return await self._send(request, proxy, Sending(rule, on_new_connection=False))
        except _IdleConnectionClosed:
            if request.method != "GET" or not isinstance(request.stream, httpx.ByteStream):
                raise
            return await self._send(request, proxy, Sending(rule, on_new_connection=True))

    async def _send(
        self, request: httpx.Request, proxy: Proxy | None, ours: Sending
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = _open_session(self._tls or _usual_tls())
        timeout = request.extensions.get("timeout", {})
        headers = [(name.decode("ascii"), _text(value)) for name, value in _headers(request)]
        login = {} if proxy is None else proxy.headers
        if login and request.url.scheme == "http":  # the proxy gets the request itself
            headers = [pair for pair in headers if pair[0].title() not in login] + [*login.items()]
        sending.set(ours)
        return await self._session.request(
            request.method,
            yarl.URL(str(sendable(request.url)), encoded=True),
            headers=headers,
            data=_content(request),
            allow_redirects=False,
            timeout=_timeout(timeout.get("connect"), timeout.get("read")),
            server_hostname=request.extensions.get("sni_hostname"),
            proxy=None if proxy is None else proxy.url,
            proxy_headers=login if request.url.scheme == "https" else None,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


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


def _open_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=open_connector(tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        # httpx has set what is to be sent; nothing else is
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        max_field_size=_MAX_FIELD,
        max_headers=_MAX_HEADERS,
        middlewares=(_send_once,),
    )


class _ConnectionLost(aiohttp.ClientError):
    """The connection was lost before there was an answer."""


class _IdleConnectionClosed(_ConnectionLost):
    """The connection was a kept one, and was lost before a byte of an answer."""


_LOSSES = (
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
    aiohttp.ServerDisconnectedError,
)


async def _send_once(
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
        connection = sending.get().connection
        was_idle = connection is not None and connection.is_silent
        raise (_IdleConnectionClosed if was_idle else _ConnectionLost)(str(error)) from error


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
    except (aiohttp.ClientConnectorError, ForbiddenConnection) as error:
        raise httpx.ConnectError(str(error)) from error
    except (_ConnectionLost, aiohttp.ClientConnectionError, OSError) as error:
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


@functools.cache
def _usual_tls() -> ssl.SSLContext:
    return new_tls()
