"""How a job proves who it is: credentials that are shown to one origin and to no other."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

import httpx

from refresher.upstream.headers import utf8_fields
from refresher.upstream.urls import Origin, origin_of, with_params


class _OriginBound(httpx.Auth):
    """Applies a credential to requests of its own origin, and leaves all others untouched."""

    origin: Origin

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request once, with the credential where it belongs."""
        if origin_of(request.url) == self.origin:
            self._apply(request)
        yield request

    def _apply(self, request: httpx.Request) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class BoundAuth(httpx.Auth):
    """Somebody's own `httpx.Auth`, applied to requests of one origin alone."""

    origin: Origin
    auth: httpx.Auth = field(repr=False)

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As the wrapped one does, or nothing at all."""
        auth = self.auth if origin_of(request.url) == self.origin else httpx.Auth()
        return auth.async_auth_flow(request)


@dataclass(frozen=True)
class BearerAuth(_OriginBound):
    """A token in `Authorization` (RFC 6750, section 2.1)."""

    origin: Origin
    token: str = field(repr=False)

    def _apply(self, request: httpx.Request) -> None:
        request.headers.update(utf8_fields({"Authorization": f"Bearer {self.token}"}))


@dataclass(frozen=True)
class BasicAuth(_OriginBound):
    """A user name and a password in `Authorization`, as UTF-8 (RFC 7617, section 2.1)."""

    origin: Origin
    username: str = field(repr=False)
    password: str = field(repr=False)

    def _apply(self, request: httpx.Request) -> None:
        pair = b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        request.headers.update(utf8_fields({"Authorization": f"Basic {pair}"}))


@dataclass(frozen=True)
class HeaderAuth(_OriginBound):
    """A secret in a header of the upstream's choice."""

    origin: Origin
    name: str
    value: str = field(repr=False)

    def _apply(self, request: httpx.Request) -> None:
        request.headers.update(utf8_fields({self.name: self.value}))


@dataclass(frozen=True)
class QueryAuth(_OriginBound):
    """A secret in a query parameter, added after those that the URL has, if it is not there yet."""

    origin: Origin
    name: str
    value: str = field(repr=False)

    def _apply(self, request: httpx.Request) -> None:
        # The next page is often named by the whole URL that asked for this one.
        if self.value not in request.url.params.get_list(self.name):
            request.url = with_params(request.url, {self.name: self.value})
