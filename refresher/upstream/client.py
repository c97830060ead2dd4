"""The client of one upstream: an `httpx.AsyncClient` that adds nothing of its own to a request."""

import ssl
from collections.abc import Collection, Mapping
from http.cookiejar import CookieJar

import httpx

from refresher.upstream.headers import once, utf8_fields
from refresher.upstream.redirects import AmbiguousLocation
from refresher.upstream.transport import AiohttpTransport
from refresher.upstream.urls import Origin, origin_of
from refresher.version import VERSION

_CONNECT_TIMEOUT = 5.0


def open_client(
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    connect_timeout: float = _CONNECT_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Open a client for one upstream; close it with `aclose` or use it as a context manager.

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
    return _Client(
        base_url=base_url,
        headers=fields,
        timeout=httpx.Timeout(None, connect=connect_timeout),
        trust_env=False,
        transport=_OneLocation(transport or AiohttpTransport(tls=tls)),
    )


class _Client(httpx.AsyncClient):
    """Keeps no cookies but those that a user's function sets itself.

    An `httpx.AsyncClient` asks `cookies` to take those of each answer, which costs 55 µs: they are
    put into terms of urllib first, even for a jar that will have none.
    """

    _own_cookies: httpx.Cookies | None = None

    @property
    def cookies(self) -> httpx.Cookies:
        """What is sent with each request that the client itself builds."""
        if self._own_cookies is None:
            self._own_cookies = _NoCookies()
        return self._own_cookies

    @cookies.setter
    def cookies(
        self, cookies: httpx.Cookies | CookieJar | dict[str, str] | list[tuple[str, str]]
    ) -> None:
        self._own_cookies = httpx.Cookies(cookies)


class _NoCookies(httpx.Cookies):
    """Takes none from an answer."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave them."""


class _OneLocation(httpx.AsyncBaseTransport):
    """Takes equal repeats of Location for one, and refuses to choose between others.

    httpx joins them by a comma, and would make one URL of both, which nobody has named.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            AmbiguousLocation: the answer redirects to several places.
        """
        response = await self._transport.handle_async_request(request)
        if response.has_redirect_location:
            locations = dict.fromkeys(
                each.strip() for each in response.headers.get_list("location")
            )
            if len(locations) > 1:
                await response.aclose()
                raise AmbiguousLocation("Location is sent several times, and not the same")
            response.headers["location"] = once(*locations)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


class OriginBoundTransport(httpx.AsyncBaseTransport):
    """Takes header fields off every request that leaves the origin they were configured for.

    A function may follow redirects with its client, and httpx takes along all but Authorization.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, origin: Origin, *, names: Collection[str]
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._names = names

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request with what may be seen where it goes."""
        if origin_of(request.url) != self._origin:
            for name in self._names:
                request.headers.pop(name, None)
        return await self._transport.handle_async_request(request)
