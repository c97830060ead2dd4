"""OAuth 2.0 for a client on its own behalf: tokens, and their use (RFC 6749, section 4.4)."""

import asyncio
import json
import math
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import cast
from urllib.parse import quote_plus

import httpx

from refresher.config.auth import OAuth2Auth
from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.security.excerpts import clipped
from refresher.upstream.addresses import EXTENSION, AddressRule
from refresher.upstream.body import read_body
from refresher.upstream.failures import broken_body, no_answer, status_failure
from refresher.upstream.urls import Origin, origin_of, shown

_MAX_BYTES = 64 * 1024
_RENEWED_AT = 0.8
"""The fraction of its lifetime after which a token is renewed."""
_RETRIED_EVERY = 0.05
"""The fraction of its lifetime between two tries to renew a token that is still valid."""
_FAILURE_HOLDS = 0.5
"""Seconds for which a failure is raised again without a request: four hundred jobs that wait for a
token make one request, not four hundred."""
_TOKEN = re.compile(r"[!-~]+")
_UNKNOWN_CLIENT = (": invalid_client", ": invalid_request")
"""With the latter an endpoint misses the client that the form does not name."""
_MAX_ERROR, _MAX_TYPE = 200, 40
"""Characters that are quoted of an error and of a token type."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token and its lifetime; instants in seconds since the epoch."""

    value: str = field(repr=False)
    issued_at: float
    renew_at: float
    expires_at: float


class TokenSource:
    """The token of one client at one token endpoint, for all who send it.

    It is fetched once when it is first needed, however many wait for it, and again after 80 % of
    its lifetime. While it is valid, a token endpoint that does not answer delays at most one
    attempt in every twentieth of its lifetime.

    Args:
        credentials: What the token is requested with.
        client: The client to send with; it adds nothing of its own.
        now: The clock.
        learn: Called with every token, so that it is masked wherever it might be shown.
    """

    def __init__(
        self,
        credentials: OAuth2Auth,
        *,
        client: httpx.AsyncClient,
        now: Callable[[], float],
        learn: Callable[[str], object],
    ) -> None:
        self._credentials = credentials
        self._client = client
        self._now = now
        self._learn = learn
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None
        self._failure: RefreshFailed | None = None
        self._failed_until = 0.0
        self._client_auth: str = credentials.client_auth

    async def get(self, refused: str | None = None) -> str:
        """A valid token, and not the one that was `refused`.

        Raises:
            RefreshFailed: stage `auth`, none could be fetched.
        """
        token = self._usable(refused)
        if token is not None and self._now() < token.renew_at:
            return token.value
        if token is not None:
            return (await self._renewed(token)).value
        async with self._lock:  # those who wait find what the first one fetched, or its failure
            return (self._usable(refused) or await self._fetched()).value

    def _usable(self, refused: str | None) -> AccessToken | None:
        token = self._token
        if token is None or token.value == refused or self._now() >= token.expires_at:
            return None
        return token

    async def _renewed(self, token: AccessToken) -> AccessToken:
        """A new token in place of one that is still valid; only this caller waits for it."""
        pause = (token.expires_at - token.issued_at) * _RETRIED_EVERY
        # Before the request: should it hang, others go on with the token there is.
        self._token = token = replace(token, renew_at=self._now() + pause)
        try:
            return await self._fetched()
        except RefreshFailed:
            return token

    async def _fetched(self) -> AccessToken:
        if self._failure is not None and self._now() < self._failed_until:
            raise self._repeated(self._failure)
        try:
            self._token = await self._fetch()
        except RefreshFailed as failure:
            holds = max(_FAILURE_HOLDS, failure.retry_after or 0.0)
            self._failure, self._failed_until = failure, self._now() + holds
            raise
        self._failure = None
        return self._token

    def _repeated(self, failure: RefreshFailed) -> RefreshFailed:
        """The failure once more, with what is left of its Retry-After."""
        left = None if failure.retry_after is None else self._failed_until - self._now()
        return RefreshFailed(
            failure.failure.stage,
            failure.failure.message,
            transient=failure.transient,
            retry_after=left,
        )

    async def _fetch(self) -> AccessToken:
        asked_at = self._now()
        try:
            token = _token_in(await self._answer(), asked_at)
        except RefreshFailed as failure:
            where = shown(httpx.URL(self._credentials.token_url))
            raise RefreshFailed(
                Stage.AUTH,
                f"no token from {where}: {failure.failure.message}",
                transient=failure.transient,
                retry_after=failure.retry_after,
            ) from failure
        self._learn(token.value)
        return token

    async def _answer(self) -> bytes:
        """The body of the token endpoint's answer.

        An endpoint that does not know the client by its basic authentication is asked once more
        with the form alone (RFC 6749, section 2.3.1), and from then on so, if that helps.
        """
        try:
            return await self._asked(self._client_auth)
        except _UnknownClient:
            if self._client_auth == "body":
                raise
        body = await self._asked("body")
        self._client_auth = "body"
        return body

    async def _asked(self, client_auth: str) -> bytes:
        """The body of the answer to one request.

        A redirect is a failure: following it would send the client secret to another URL.
        """
        request = self._request(client_auth)
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise no_answer(error, "it") from error
        try:
            body = await _body_of(response)
        finally:
            await response.aclose()
        if not response.is_success:
            failure = status_failure(response, now=self._now())
            told = _error_in(body)
            is_unknown = told.startswith(_UNKNOWN_CLIENT) and failure.retry_after is None
            raise (_UnknownClient if is_unknown else RefreshFailed)(
                Stage.STATUS,
                f"it answered {response.status_code}{told}",
                transient=failure.transient,
                retry_after=failure.retry_after,
            )
        return body

    def _request(self, client_auth: str) -> httpx.Request:
        asked = self._credentials
        form = {
            "grant_type": "client_credentials",
            "scope": asked.scope,
            "audience": asked.audience,
        }
        headers = {"Accept": "application/json"}
        if client_auth == "body":
            form |= {"client_id": asked.client_id, "client_secret": asked.client_secret}
        else:
            # Each of the two is form-encoded by itself, so that a colon may stand in either.
            login = f"{quote_plus(asked.client_id)}:{quote_plus(asked.client_secret)}"
            headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        return self._client.build_request(
            "POST",
            asked.token_url,
            data={name: value for name, value in form.items() if value is not None},
            headers=headers,
            extensions={EXTENSION: AddressRule(httpx.URL(asked.token_url).host)},
        )


class _UnknownClient(RefreshFailed):
    """The token endpoint did not find credentials that it knows, where it looks for them."""


class TokenAuth(httpx.Auth):
    """Sends a bearer token to one origin; after a 401 a new one, once."""

    def __init__(self, origin: Origin, tokens: TokenSource) -> None:
        self._origin = origin
        self._tokens = tokens

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request, and once more after a 401."""
        if origin_of(request.url) != self._origin:
            yield request
            return
        token = await self._tokens.get()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code != HTTPStatus.UNAUTHORIZED or not _can_be_sent_again(request):
            return
        # httpx would read the whole body of the 401 before it goes on, without a limit.
        await cast("httpx.AsyncByteStream", response.stream).aclose()
        response.stream = httpx.ByteStream(b"")
        token = await self._tokens.get(refused=token)
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


def _can_be_sent_again(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)


async def _body_of(response: httpx.Response) -> bytes:
    chunks = cast(
        "AsyncGenerator[bytes, None]", aiter(cast("AsyncIterable[bytes]", response.stream))
    )
    try:
        async with aclosing(chunks):
            return await read_body(
                chunks,
                codings=response.headers.get("content-encoding", ""),
                length=None,
                max_bytes=_MAX_BYTES,
            )
    except httpx.TransportError as error:
        raise broken_body(error, http_status=response.status_code) from error


def _token_in(body: bytes, asked_at: float) -> AccessToken:
    """The token of a successful answer (RFC 6749, section 5.1)."""
    match _json(body):
        case {"token_type": str(kind)} if kind.lower() != "bearer":
            named = repr(clipped(kind, _MAX_TYPE))
            message = f"it gave one of type {named}; only bearer tokens can be sent"
            raise RefreshFailed(Stage.DECODE, message)
        case {"access_token": str(value), **rest} if _TOKEN.fullmatch(value):
            lifetime = _seconds(rest.get("expires_in"))
            renew_at, expires_at = asked_at + lifetime * _RENEWED_AT, asked_at + lifetime
            return AccessToken(value, asked_at, renew_at, expires_at)
        case {"access_token": _}:
            raise RefreshFailed(Stage.DECODE, "its access_token is not one word of visible ASCII")
        case dict():
            raise RefreshFailed(Stage.DECODE, "its answer has no access_token")
        case _:
            raise RefreshFailed(Stage.DECODE, "its answer is not a JSON object")


def _seconds(expires_in: object) -> float:
    """A token's lifetime; infinite where none is said: then a 401 ends it."""
    match expires_in:
        case bool():
            return math.inf
        case int() | float():
            return _as_lifetime(expires_in)
        case str() if re.fullmatch("[0-9]{1,15}", expires_in):
            return float(expires_in)
        case _:
            return math.inf


def _as_lifetime(seconds: float) -> float:
    try:
        return float(seconds) if math.isfinite(seconds) else math.inf
    except OverflowError as error:  # only an integer has that many digits
        message = "its expires_in has more digits than a number of seconds can have"
        raise RefreshFailed(Stage.DECODE, message) from error


def _error_in(body: bytes) -> str:
    """The error that a token endpoint answers with (RFC 6749, section 5.2)."""
    match _json(body):
        case {"error": str(error), "error_description": str(description)}:
            text = f"{error}, {description}"
        case {"error": str(error)}:
            text = error
        case _:
            return ""
    return f": {clipped(' '.join(text.split()), _MAX_ERROR)}"


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found
