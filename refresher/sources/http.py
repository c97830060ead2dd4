"""The HTTP source: one GET, or what was configured, and an answer that is whole or a failure."""

import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import httpx

from refresher.config.models import BasicAuth
from refresher.errors import RefreshFailed
from refresher.fields.cache_control import fresh_for
from refresher.fields.rate_limits import exhausted_for
from refresher.model import Stage
from refresher.payload import NotModified, Payload
from refresher.sources.validators import Validators
from refresher.upstream.addresses import EXTENSION, AddressRule, ForbiddenAddress
from refresher.upstream.auth import OriginHeader
from refresher.upstream.body import read_body
from refresher.upstream.failures import broken_body, causes, no_answer, status_failure
from refresher.upstream.headers import plain_fields, utf8_fields
from refresher.upstream.redirects import REDIRECTS, Hop, failed, follow
from refresher.upstream.urls import Params, origin_of, sendable, shown, shown_origin, with_params

_NOT_MODIFIED = 304
_NO_AUTH = httpx.Auth()
_BAD_LOCATION = "Invalid URL in location header"
_DIGITS = 20
"""No honest length has more; int() itself gives up at 4,300."""
_TOLD = (
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Expires",
    "Age",
    "Date",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What a job asks of its upstream, resolved: nothing in it is looked up later."""

    url: str
    """Absolute; its userinfo is sent as basic auth where there is no `auth`."""
    method: str = "GET"
    params: Params = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    auth: httpx.Auth | None = None
    ok_status: frozenset[int] = frozenset({200})
    conditional: bool = True
    """Whether validators are sent; for GET only."""
    max_redirects: int = 5
    max_bytes: int = 32 * 1024 * 1024
    """After decompression."""
    connect_timeout: float = 5.0
    """Seconds, for each connection, from its name to its TLS."""
    now: Callable[[], float] = time.time
    """The clock that dates and resets of limits are measured by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and the head of its answer, for the story of an attempt."""

    method: str
    url: str
    """Without userinfo and query."""
    conditional: bool
    status: int
    headers: tuple[tuple[str, str], ...]
    """Those that matter here."""
    location: str | None
    """Where a redirect leads, without userinfo and query."""
    peer: str | None
    """The address that answered, where it is known."""
    duration: float
    """Seconds until the head of the answer was there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer with an ok status."""

    payload: Payload
    hop: Hop
    """The request that it answers, after all redirects."""
    link: str
    """The Link fields of its head (RFC 8288)."""


class HttpSource:
    """Fetches over HTTP, conditionally where it can, within the bounds of its request.

    The client brings the connection only: what is configured for the job is put on each request
    here, and is withheld from every origin but the configured one. There is no deadline over the
    whole; that is the caller's. A body of `spool_from` bytes and more is put into a file.
    `on_exhausted` is called with the seconds for which the upstream says it has no quota left,
    whatever else it answers.
    """

    def __init__(
        self,
        request: HttpRequest,
        *,
        client: httpx.AsyncClient,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_exhausted: Callable[[float], object] | None = None,
        spool_from: int | None = None,
    ) -> None:
        self._request = request
        self._client = client
        self._on_exchange = on_exchange
        self._on_exhausted = on_exhausted
        self._spool_from = spool_from
        self._conditional = request.conditional and request.method == "GET"
        self._timeout = _timeout(request.connect_timeout)
        self._known: tuple[Hop, httpx.Auth] | None = None

    @property
    def start(self) -> Hop:
        """What is asked for as it is configured."""
        return self._resolved()[0]

    def _resolved(self) -> tuple[Hop, httpx.Auth]:
        """What is asked for, and how that is authenticated."""
        # Parsing a URL takes 0.1 ms: ten thousand jobs that are not due yet do not wait for it. (A
        # cached_property would give each of them a dict, of 400 bytes, to be cached in.)
        if self._known is None:
            request = self._request
            try:
                url = httpx.URL(request.url)
            except httpx.InvalidURL as error:  # longer than httpx allows, say
                raise no_answer(error, "the configured url") from error
            auth = request.auth or _auth_of(url)
            start = with_params(sendable(url), request.params)
            self._known = Hop(request.method, start, request.content), auth
        return self._known

    async def fetch(self, since: str | None) -> Payload | NotModified:
        """Ask the upstream for content other than that of the revision `since`.

        Raises:
            RefreshFailed: there was no complete answer with an ok status.
        """
        answer = await self.ask(self.start, since, self.address_rule())
        return answer if isinstance(answer, NotModified) else answer.payload

    def address_rule(self) -> AddressRule:
        """What a new attempt may connect to."""
        return AddressRule(self.start.url.host)

    async def ask(
        self, hop: Hop, since: str | None, rule: AddressRule, *, taken: int = 0
    ) -> Answer | NotModified:
        """Send one request of an attempt, and those that redirects make of it.

        `taken` are the bytes that the attempt's earlier answers took of `max_bytes`.

        Raises:
            RefreshFailed: there was no complete answer with an ok status.
        """
        known = Validators.parse(since) if self._conditional else None
        while True:
            conditions = known.conditions(hop.url) if known else {}
            async with self._ask(hop, conditions, rule) as (response, fields):
                status = response.status_code
                if known and conditions and status == _NOT_MODIFIED:
                    fresh = known.freshened(fields, hop.url)
                    return NotModified(
                        revision=fresh.dump(), http_status=status, fresh_for=self._fresh(fields)
                    )
                if status not in REDIRECTS:
                    payload = await self._payload(response, fields, hop, taken)
                    return Answer(payload=payload, hop=hop, link=fields.get("link", ""))
                location = fields.get("location")
                hop = follow(hop, status, location, max_redirects=self._request.max_redirects)
            rule.redirected()

    async def _payload(
        self, response: httpx.Response, fields: Mapping[str, str], hop: Hop, taken: int
    ) -> Payload:
        """The answer's body, if its status is one that is taken for data."""
        status, fresh = response.status_code, self._fresh(fields)
        if status not in self._request.ok_status:
            raise status_failure(response, now=self._request.now(), of_upstream=hop.trusted)
        try:
            async with _raw(response) as chunks:
                body = await read_body(
                    chunks,
                    codings=fields.get("content-encoding", ""),
                    length=_length(fields),
                    max_bytes=self._request.max_bytes,
                    taken=taken,
                    spool_from=self._spool_from,
                )
        except httpx.TransportError as error:
            raise broken_body(error, http_status=status) from error
        except RefreshFailed as error:
            error.http_status = status
            raise
        found = Validators.of(fields, hop.url) if self._conditional else None
        return Payload(
            body=body,
            content_type=fields.get("content-type"),
            revision=found.dump() if found else None,
            http_status=status,
            fresh_for=fresh,
        )

    def _fresh(self, fields: Mapping[str, str]) -> float | None:
        return fresh_for(fields, now=self._request.now())

    @asynccontextmanager
    async def _ask(
        self, hop: Hop, conditions: dict[str, str], rule: AddressRule
    ) -> AsyncIterator[tuple[httpx.Response, Mapping[str, str]]]:
        """Send one request, and keep its connection until the answer has been dealt with.

        Beside the answer come its header fields, by their names in lower case.
        """
        headers = self._client.headers.copy()
        if configured := self._headers(hop):
            headers.update(utf8_fields(configured))
        for name, value in conditions.items():
            headers[name] = value
        # Not the client's build_request: besides these it merges what this client has none of, and
        # copies all fields seven times to do so.
        request = httpx.Request(
            hop.method,
            hop.url,
            headers=headers,
            content=hop.content,
            extensions={EXTENSION: rule, "timeout": self._timeout},
        )
        began = time.perf_counter()
        try:
            rule.check_host(hop.url.host)
        except ForbiddenAddress as error:
            raise _forbidden(error, hop) from error
        try:
            response = await self._client.send(
                request,
                auth=self._resolved()[1] if hop.trusted else _NO_AUTH,
                stream=True,
                follow_redirects=False,
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _unanswered(error, hop) from error
        try:
            fields = plain_fields(response.headers)
            quiet = exhausted_for(fields, now=self._request.now())
            # A stranger's limits are not the upstream's.
            if quiet is not None and hop.trusted and self._on_exhausted is not None:
                self._on_exhausted(quiet)
            if self._on_exchange is not None:
                duration = time.perf_counter() - began
                self._on_exchange(_exchange(hop, response, conditions, rule.peer, duration))
            yield response, fields
        finally:
            await response.aclose()

    def _headers(self, hop: Hop) -> dict[str, str]:
        """The configured headers, as far as they belong to this hop."""
        if not hop.trusted:
            return {}
        headers = dict(self._request.headers)
        if hop.content is None and self._request.content is not None:
            return {k: v for k, v in headers.items() if not k.lower().startswith("content-")}
        return headers


def _auth_of(url: httpx.URL) -> httpx.Auth:
    if not url.userinfo:
        return _NO_AUTH
    credentials = BasicAuth(username=url.username, password=url.password)
    return OriginHeader(origin_of(url), credentials)


@lru_cache(maxsize=64)
def _timeout(connect: float) -> dict[str, float | None]:
    return httpx.Timeout(None, connect=connect).as_dict()


def _forbidden(error: ForbiddenAddress, hop: Hop) -> RefreshFailed:
    stage = Stage.REDIRECT if hop.passed else Stage.CONNECT
    return RefreshFailed(stage, f"{shown_origin(hop.url)} must not be reached: {error}")


def _unanswered(error: httpx.TransportError | httpx.InvalidURL, hop: Hop) -> RefreshFailed:
    """Why a hop brought no answer, or one that httpx itself would not take."""
    for cause in causes(error):
        if isinstance(cause, ForbiddenAddress):
            return _forbidden(cause, hop)
    # httpx reads a Location even when it is not to follow it. Our own URL has been parsed before.
    if isinstance(error, httpx.InvalidURL) or str(error).startswith(_BAD_LOCATION):
        return failed(f"{shown(hop.url)} redirects to something that is not a URL: {error}")
    if hop.passed and isinstance(error, httpx.LocalProtocolError):
        return failed(f"redirected to {shown(hop.url)}, which cannot be requested: {error}")
    return no_answer(error, shown_origin(hop.url))


def _raw(response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """The body as it came: `aiter_raw` refuses one that a mock transport has in memory."""
    stream = cast("AsyncIterable[bytes]", response.stream)
    return aclosing(cast("AsyncGenerator[bytes, None]", aiter(stream)))


def _length(fields: Mapping[str, str]) -> int | None:
    value = fields.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < _DIGITS else None


def _exchange(
    hop: Hop,
    response: httpx.Response,
    conditions: Mapping[str, str],
    peer: str | None,
    duration: float,
) -> Exchange:
    target = response.next_request.url if response.next_request else None
    return Exchange(
        method=hop.method,
        url=shown(hop.url),
        conditional=bool(conditions),
        status=response.status_code,
        headers=tuple((name, response.headers[name]) for name in _TOLD if name in response.headers),
        location=shown(target) if target else None,
        peer=peer,
        duration=duration,
    )
