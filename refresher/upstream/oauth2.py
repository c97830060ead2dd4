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

from refresher.config.models import OAuth2Auth
from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.security.excerpts import clipped
from refresher.upstream.addresses import EXTENSION, AddressRule
from refresher.upstream.body import read_body
from refresher.upstream.failures import broken_body, no_answer, status_failure
from refresher.upstream.urls import Origin, origin_of, shown

_MAX_BYTES = 64 * 1024
_RENEWED_AT = 0.8
"""The share of its life after which a token is renewed."""
_TRIED_EVERY = 0.05
"""The share of its life between two tries to renew a token that is still good."""
_FAILURE_HOLDS = 0.5
"""Seconds for which a failure answers all who ask: four hundred jobs that wait for a token are told
what the first one met, and do not each ask for themselves."""
_TOKEN = re.compile(r"[!-~]+")
_SAID, _TYPE = 200, 40
"""Characters that are quoted of what an endpoint says."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token, and how long it is good; instants in seconds since the epoch."""

    value: str = field(repr=False)
    issued_at: float
    renew_at: float
    expires_at: float


class TokenSource:
    """The token of one client at one token endpoint, for all who send it.

    It is fetched when it is first needed, however many wait for it then, and again after 80 % of
    its life. As long as it is good, a token endpoint that does not answer costs nobody more than
    one attempt every twentieth of its life.

    Args:
        credentials: Whom the token is for.
        client: Brings the connection, and nothing of its own.
        now: The clock.
        learn: Is told every token, so that nobody else will be.
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

    async def get(self, refused: str | None = None) -> str:
        """A token that is good, and not the one that was `refused`.

        Raises:
            RefreshFailed: stage `auth`, there is none to be had.
        """
        token = self._usable(refused)
        if token is not None and self._now() < token.renew_at:
            return token.value
        if token is not None:
            return (await self._renewed(token)).value
        async with self._lock:  # who has waited finds what the first one fetched, or met
            return (self._usable(refused) or await self._fetched()).value

    def _usable(self, refused: str | None) -> AccessToken | None:
        token = self._token
        if token is None or token.value == refused or self._now() >= token.expires_at:
            return None
        return token

    async def _renewed(self, token: AccessToken) -> AccessToken:
        """A new token in place of one that is still good, which nobody else waits for."""
        life = (token.expires_at - token.issued_at) * _TRIED_EVERY
        # First: should this try hang, others go on with what there is.
        self._token = token = replace(token, renew_at=self._now() + life)
        try:
            return await self._fetched()
        except RefreshFailed:
            return token

    async def _fetched(self) -> AccessToken:
        if self._failure is not None and self._now() < self._failed_until:
            raise self._told(self._failure)
        try:
            self._token = await self._fetch()
        except RefreshFailed as failure:
            holds = max(_FAILURE_HOLDS, failure.retry_after or 0.0)
            self._failure, self._failed_until = failure, self._now() + holds
            raise
        self._failure = None
        return self._token

    def _told(self, failure: RefreshFailed) -> RefreshFailed:
        """The failure once more, for one who did not meet it."""
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

        A redirect is a refusal: it would take the client's secret to wherever it says.
        """
        request = self._request()
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise no_answer(error, "it") from error
        try:
            body = await _body_of(response)
        finally:
            await response.aclose()
        if response.status_code != HTTPStatus.OK:
            failure = status_failure(response, now=self._now())
            raise RefreshFailed(
                Stage.STATUS,
                f"it answered {response.status_code}{_complaint(body)}",
                transient=failure.transient,
                retry_after=failure.retry_after,
            )
        return body

    def _request(self) -> httpx.Request:
        asked = self._credentials
        form = {
            "grant_type": "client_credentials",
            "scope": asked.scope,
            "audience": asked.audience,
        }
        # Each of the two is form-encoded by itself, so that a colon may stand in either.
        login = f"{quote_plus(asked.client_id)}:{quote_plus(asked.client_secret)}"
        return self._client.build_request(
            "POST",
            asked.token_url,
            data={name: value for name, value in form.items() if value is not None},
            headers={
                "Authorization": f"Basic {b64encode(login.encode()).decode()}",
                "Accept": "application/json",
            },
            extensions={EXTENSION: AddressRule(httpx.URL(asked.token_url).host)},
        )


class TokenAuth(httpx.Auth):
    """Shows a token to one origin as a bearer; where that is refused, a new one, once."""

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
        # httpx would read all of the refusal before it goes on, without a limit. Nobody needs it.
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
            named = repr(clipped(kind, _TYPE))
            message = f"it gave one of type {named}; only bearer tokens can be sent"
            raise RefreshFailed(Stage.DECODE, message)
        case {"access_token": str(value), **rest} if _TOKEN.fullmatch(value):
            life = _seconds(rest.get("expires_in"))
            return AccessToken(value, asked_at, asked_at + life * _RENEWED_AT, asked_at + life)
        case {"access_token": _}:
            raise RefreshFailed(Stage.DECODE, "its access_token is not one word of visible ASCII")
        case dict():
            raise RefreshFailed(Stage.DECODE, "its answer has no access_token")
        case _:
            raise RefreshFailed(Stage.DECODE, "its answer is not a JSON object")


def _seconds(expires_in: object) -> float:
    """A token's life; endless where it is not told: then a 401 will end it."""
    match expires_in:
        case bool():
            return math.inf
        case int() | float():
            return _as_life(expires_in)
        case str() if re.fullmatch("[0-9]{1,15}", expires_in):
            return float(expires_in)
        case _:
            return math.inf


def _as_life(seconds: float) -> float:
    try:
        return float(seconds) if math.isfinite(seconds) else math.inf
    except OverflowError as error:  # only an integer has that many digits
        message = "its expires_in has more digits than a number of seconds can have"
        raise RefreshFailed(Stage.DECODE, message) from error


def _complaint(body: bytes) -> str:
    """What a token endpoint says of a refusal (RFC 6749, section 5.2)."""
    match _json(body):
        case {"error": str(error), "error_description": str(description)}:
            said = f"{error}, {description}"
        case {"error": str(error)}:
            said = error
        case _:
            return ""
    said = " ".join(said.split())
    return f": {clipped(said, _SAID)}"


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found
