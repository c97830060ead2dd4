"""How a job proves who it is: credentials that are shown to one origin and to no other."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

import httpx

from refresher.config.auth import BasicAuth, BearerAuth, HeaderAuth, QueryAuth
from refresher.upstream.headers import utf8_fields
from refresher.upstream.urls import Origin, origin_of, with_params


@dataclass(frozen=True)
class OriginHeader(httpx.Auth):
    """Credentials in a header field of the requests to one origin."""

    origin: Origin
    credentials: BearerAuth | BasicAuth | HeaderAuth = field(repr=False)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request once, with the field where it belongs."""
        if origin_of(request.url) == self.origin:
            name, value = self.credentials.header
            request.headers.update(utf8_fields({name: value}))
        yield request


@dataclass(frozen=True)
class OriginParameter(httpx.Auth):
    """A secret in the query of the requests to one origin, after what the URL has already."""

    origin: Origin
    credentials: QueryAuth = field(repr=False)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request once, with the parameter where it belongs and is not there yet."""
        name, value = self.credentials.name, self.credentials.value
        # The next page is often named by the whole URL that asked for this one.
        if origin_of(request.url) == self.origin and value not in request.url.params.get_list(name):
            request.url = with_params(request.url, {name: value})
        yield request


@dataclass(frozen=True)
class OriginAuth(httpx.Auth):
    """An `httpx.Auth` of the user's own, applied to the requests to one origin."""

    origin: Origin
    auth: httpx.Auth = field(repr=False)

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As the wrapped one does, or nothing at all."""
        auth = self.auth if origin_of(request.url) == self.origin else httpx.Auth()
        return auth.async_auth_flow(request)
