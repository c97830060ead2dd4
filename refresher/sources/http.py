"""The HTTP source: sends the configured request, and returns a complete answer or fails."""

import math
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Self, TypedDict, cast

import httpx

from refresher.config.auth import BasicAuth
from refresher.errors import RefreshFailed
from refresher.fields.cache_control import age, fresh_for
from refresher.fields.cache_status import overdue_for
from refresher.fields.rate_limits import exhausted_for
from refresher.model import Stage
from refresher.payload import NotModified, Payload
from refresher.sources.exchange import Exchange
from refresher.sources.validators import Validators
from refresher.upstream.addresses import EXTENSION, AddressRule, ForbiddenAddress
from refresher.upstream.auth import OriginHeader
from refresher.upstream.body import read_body
from refresher.upstream.cookies import Cookie, kept
from refresher.upstream.failures import broken_body, causes, no_answer, status_failure
from refresher.upstream.headers import plain_fields, utf8_fields
from refresher.upstream.redirects import REDIRECTS, AmbiguousLocation, Hop, failed, follow
from refresher.upstream.urls import Params, origin_of, sendable, shown, shown_origin, with_params

_NOT_MODIFIED = 304
_MEANT = frozenset({401, 403, 407, 408, 425, 429, 503})
"""Statuses that say what they are about."""
_NO_AUTH = httpx.Auth()
_BAD_LOCATION = "Invalid URL in location header"
_MAX_DIGITS = 20
"""No real Content-Length has more; int() itself refuses 4,300."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What a job asks of its upstream, with everything resolved: base_url, upstream, defaults."""

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
    full_refresh: float = math.inf
    """Seconds after an answer with a body until one is asked for again, changed or not."""
    max_redirects: int = 5
    max_bytes: int = 32 * 1024 * 1024
    """After decompression."""
    connect_timeout: float = 5.0
    """Seconds, for each connection, from its name to its TLS."""
    timeout: float = math.inf
    """Seconds that an attempt has; its deadline is the caller's."""
    now: Callable[[], float] = time.time
    """The clock that dates and rate limit resets are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete answer with an ok status."""

    payload: Payload
    hop: Hop
    """The request that it answers, after all redirects."""
    link: str
    """The Link fields of its head (RFC 8288)."""

    def without_conditions(self, unused_since: float | None, *, since: str | None = None) -> Self:
        """The same answer, whose validators are not to be sent for a while."""
        found = Validators.parse(self.payload.revision)
        revision = None if found is None else replace(found, unused_since=unused_since).dump()
        return replace(self, payload=replace(self.payload, revision=revision, since=since))


class _Doubted(Exception):
    """A conditional request did not get a complete answer, and one without conditions might.

    `failure` is what it got; None for a 304 that is about another answer.
    """

    def __init__(self, hop: Hop, failure: RefreshFailed | None) -> None:
        super().__init__()
        self.hop = hop
        self.failure = failure


class _Currency(TypedDict):
    """The freshness fields of a `Payload`, from a head that has just arrived."""

    fresh_for: float | None
    as_of: float
    overdue: float


class HttpSource:
    """Fetches over HTTP, conditionally where it can, within the bounds of its request.

    What is configured for the job is put on each request here, not by the client, and goes to the
    configured origin alone. The deadline of an attempt is the caller's. A body of `spool_from`
    bytes and more is put into a file. `on_exchange` is called for every answer; `on_exhausted` with
    the seconds for which an answer says that the rate limit is used up, whatever its status.
    `admit` counts a request that is sent once more, and waits so many seconds at most until it may
    be sent; False: it may not.
    """

    def __init__(
        self,
        request: HttpRequest,
        *,
        client: httpx.AsyncClient,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_exhausted: Callable[[float], object] | None = None,
        admit: Callable[[float], Awaitable[bool]] | None = None,
        spool_from: int | None = None,
    ) -> None:
        self._request = request
        self._client = client
        self._on_exchange = on_exchange
        self._on_exhausted = on_exhausted
        self._admit = admit
        self._repeating: Validators | None = None
        """With which a request failed whose repetition has not ended, unless by the deadline."""
        self._spool_from = spool_from
        self._conditional = request.conditional and request.method == "GET"
        self._timeout = _timeout(request.connect_timeout)
        self._start: tuple[Hop, httpx.Auth] | None = None

    @property
    def start(self) -> Hop:
        """The configured request."""
        return self._resolved()[0]

    def _resolved(self) -> tuple[Hop, httpx.Auth]:
        """The configured request, and how it is authenticated."""
        # Parsed on first use, for that takes 0.1 ms: ten thousand jobs start without. (A
        # cached_property would give each of them a dict of 400 bytes.)
        if self._start is None:
            request = self._request
            try:
                url = httpx.URL(request.url)
            except httpx.InvalidURL as error:  # longer than httpx allows, say
                raise no_answer(error, "the configured url") from error
            auth = request.auth or _auth_of(url)
            start = with_params(sendable(url), request.params)
            self._start = Hop(request.method, start, request.content), auth
        return self._start

    async def fetch(self, since: str | None) -> Payload | NotModified:
        """Ask the upstream for content other than that of the revision `since`.

        Raises:
            RefreshFailed: there was no complete answer with an ok status.
        """
        answer = await self.send(self.start, since, self.address_rule())
        return answer if isinstance(answer, NotModified) else answer.payload

    def address_rule(self) -> AddressRule:
        """A rule of what a new attempt may connect to; it follows the attempt's redirects."""
        return AddressRule(self.start.url.host)

    async def send(
        self, hop: Hop, since: str | None, rule: AddressRule, *, taken: int = 0
    ) -> Fetched | NotModified:
        """Send one request of an attempt, and follow its redirects.

        `taken` are the bytes of `max_bytes` that the attempt's earlier answers used.

        Raises:
            RefreshFailed: there was no complete answer with an ok status.
        """
        known = Validators.parse(since) if self._conditional else None
        if known is None:
            return cast("Fetched", await self._followed(hop, None, rule, taken))
        began = self._request.now()
        try:
            answer = await self._followed(hop, known, rule, taken)
        except _Doubted as doubted:
            await self._admitted(doubted.failure, known, began)
            return await self._repeated(doubted, known, rule, taken)
        self._repeating = None
        if isinstance(answer, Fetched) and self._are_unused(known):
            return answer.without_conditions(known.unused_since)
        return answer

    async def _repeated(
        self, doubted: "_Doubted", known: Validators, rule: AddressRule, taken: int
    ) -> Fetched:
        """Send a request once more, without the conditions that were no use."""
        self._repeating = known
        try:
            answer = cast("Fetched", await self._followed(doubted.hop, None, rule, taken))
        except RefreshFailed as failure:
            failure.since = replace(known, retried=True).dump()
            self._repeating = None
            raise
        self._repeating = None
        now = self._request.now()
        if doubted.failure is not None:
            unused = replace(known, unused_since=now).dump()
            return answer.without_conditions(now, since=unused)
        found = Validators.parse(answer.payload.revision)
        if found is not None and found.are_those_of(known):  # as it said: its 304s are no use
            return answer.without_conditions(now)
        return answer

    async def _admitted(
        self, failure: RefreshFailed | None, known: Validators, began: float
    ) -> None:
        """Count one more request to the upstream, if it may be sent; else the failure stands.

        A condition that was answered, if wrongly, is always repeated. What failed otherwise may
        be the upstream, which is dying: that is repeated once, and only as `rate` allows.
        """
        must = failure is None or failure.http_status == HTTPStatus.PRECONDITION_FAILED
        if failure is not None and not must and (known.retried or self._repeating == known):
            raise failure
        left = self._request.timeout - (self._request.now() - began)
        admitted = self._admit is None or await self._admit(0.0 if must else left)
        if failure is not None and not must and not admitted:
            raise failure

    async def _followed(
        self, hop: Hop, known: Validators | None, rule: AddressRule, taken: int
    ) -> Fetched | NotModified:
        """Send a request, and follow its redirects; a 304 answers only if `known` are given.

        Raises:
            RefreshFailed: there was no complete answer with an ok status.
            _Doubted: there might be one without conditions.
        """
        while True:
            conditions = self._conditions(known, hop)
            async with self._exchanged(hop, conditions, rule) as (response, fields):
                status = response.status_code
                if known and conditions:
                    if status == _NOT_MODIFIED and known.are_confirmed_by(fields):
                        # The validators stay those of the answer that brought the bytes.
                        revision = replace(known, retried=False).dump()
                        return NotModified(
                            revision=revision, http_status=status, **self._currency(fields)
                        )
                    if status == _NOT_MODIFIED:
                        raise _Doubted(hop, None)
                    if _may_be_due_to_conditions(status, fields):
                        raise _Doubted(hop, self._status_failure(response, hop))
                if status not in REDIRECTS:
                    payload = await self._payload(response, fields, hop, taken)
                    return Fetched(payload=payload, hop=hop, link=fields.get("link", ""))
                location = fields.get("location")
                most, cookies = self._request.max_redirects, self._cookies(hop, response)
                hop = follow(hop, status, location, max_redirects=most, cookies=cookies)
            rule.redirected()

    def _cookies(self, hop: Hop, response: httpx.Response) -> tuple[Cookie, ...]:
        """The cookies of the attempt after a redirect."""
        if "set-cookie" not in response.headers:
            return hop.cookies
        has_secrets = self._resolved()[1] is not _NO_AUTH or bool(self._request.headers)
        return kept(
            hop.cookies,
            response.headers,
            hop.url,
            private=hop.trusted and has_secrets,
            now=self._request.now(),
        )

    def _status_failure(self, response: httpx.Response, hop: Hop) -> RefreshFailed:
        return status_failure(
            response,
            now=self._request.now(),
            of_upstream=hop.trusted,
            withheld_of=None if hop.trusted else self.start.url,
        )

    def _are_unused(self, known: Validators) -> bool:
        request = self._request
        return known.are_unused(now=request.now(), full_refresh=request.full_refresh)

    def _conditions(self, known: Validators | None, hop: Hop) -> dict[str, str]:
        """The conditional fields of a request, by what is known of the answer before."""
        if known is None:
            return {}
        request = self._request
        return known.conditions(hop.url, now=request.now(), full_refresh=request.full_refresh)

    async def _payload(
        self, response: httpx.Response, fields: Mapping[str, str], hop: Hop, taken: int
    ) -> Payload:
        """The answer's body, if its status is an `ok_status`."""
        status, currency = response.status_code, self._currency(fields)
        arrived = self._request.now()
        if status not in self._request.ok_status:
            raise self._status_failure(response, hop)
        try:
            async with _raw_chunks(response) as chunks:
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
        found = None
        if self._conditional:
            found = Validators.of(fields, hop.url, at=arrived)
        return Payload(
            body=body,
            content_type=fields.get("content-type"),
            revision=found.dump() if found else None,
            http_status=status,
            **currency,
        )

    def _currency(self, fields: Mapping[str, str]) -> _Currency:
        now = self._request.now()
        return {
            "fresh_for": fresh_for(fields, now=now),
            "as_of": now - age(fields),
            "overdue": overdue_for(fields),
        }

    @asynccontextmanager
    async def _exchanged(
        self, hop: Hop, conditions: dict[str, str], rule: AddressRule
    ) -> AsyncIterator[tuple[httpx.Response, Mapping[str, str]]]:
        """Send one request; its connection is held until the context is left.

        Gives the answer, and its header fields by their names in lower case.
        """
        request = self._request_for(hop, conditions, rule)
        began = time.perf_counter()
        try:
            rule.check_host(hop.url.host)
        except ForbiddenAddress as error:
            raise _address_failure(error, hop) from error
        try:
            response = await self._client.send(
                request,
                auth=self._resolved()[1] if hop.trusted else _NO_AUTH,
                stream=True,
                follow_redirects=False,
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _send_failure(error, hop) from error
        try:
            fields = plain_fields(response.headers)
            pause = exhausted_for(fields, now=self._request.now())
            # The limits of another origin are not the upstream's.
            if pause is not None and hop.trusted and self._on_exhausted is not None:
                self._on_exhausted(pause)
            if self._on_exchange is not None:
                duration = time.perf_counter() - began
                exchange = Exchange.of(hop, response, conditions, peer=rule.peer, duration=duration)
                self._on_exchange(exchange)
            yield response, fields
        finally:
            await response.aclose()

    def _request_for(
        self, hop: Hop, conditions: Mapping[str, str], rule: AddressRule
    ) -> httpx.Request:
        headers = self._client.headers.copy()
        if configured := self._headers(hop):
            headers.update(utf8_fields(configured))
        if cookie := hop.cookie:
            own = headers.get("cookie")
            text = f"{own}; {cookie}" if own else cookie
            headers.update(httpx.Headers([(b"cookie", text.encode("latin-1"))]))
        for name, value in conditions.items():
            headers[name] = value
        # Not the client's build_request: that also merges cookies, params and base_url, which this
        # client has none of, and copies all fields seven times.
        return httpx.Request(
            hop.method,
            hop.url,
            headers=headers,
            content=hop.content,
            extensions={EXTENSION: rule, "timeout": self._timeout},
        )

    def _headers(self, hop: Hop) -> dict[str, str]:
        """The configured headers that this hop may have: none at another origin."""
        if not hop.trusted:
            return {}
        headers = dict(self._request.headers)
        if hop.content is None and self._request.content is not None:
            return {k: v for k, v in headers.items() if not k.lower().startswith("content-")}
        return headers


def _may_be_due_to_conditions(status: int, fields: Mapping[str, str]) -> bool:
    """Whether a status may be about the conditions of the request, and not about the upstream."""
    return status >= HTTPStatus.BAD_REQUEST and status not in _MEANT and "retry-after" not in fields


def _auth_of(url: httpx.URL) -> httpx.Auth:
    if not url.userinfo:
        return _NO_AUTH
    credentials = BasicAuth(username=url.username, password=url.password)
    return OriginHeader(origin_of(url), credentials)


@lru_cache(maxsize=64)
def _timeout(connect: float) -> dict[str, float | None]:
    return httpx.Timeout(None, connect=connect).as_dict()


def _address_failure(error: ForbiddenAddress, hop: Hop) -> RefreshFailed:
    stage = Stage.REDIRECT if hop.passed else Stage.CONNECT
    return RefreshFailed(stage, f"{shown_origin(hop.url)} must not be reached: {error}")


def _send_failure(error: httpx.TransportError | httpx.InvalidURL, hop: Hop) -> RefreshFailed:
    """The failure of a hop that got no answer, or one that httpx itself refuses."""
    for cause in causes(error):
        if isinstance(cause, ForbiddenAddress):
            return _address_failure(cause, hop)
    if isinstance(error, AmbiguousLocation):
        return failed(f"{shown(hop.url)} redirects to several places: {error}")
    # httpx parses a Location even where it does not follow it. The request's own URL is valid.
    if isinstance(error, httpx.InvalidURL) or str(error).startswith(_BAD_LOCATION):
        return failed(f"{shown(hop.url)} redirects to something that is not a URL: {error}")
    if hop.passed and isinstance(error, httpx.LocalProtocolError):
        return failed(f"redirected to {shown(hop.url)}, which cannot be requested: {error}")
    return no_answer(error, shown_origin(hop.url))


def _raw_chunks(response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """The body without decoding; `aiter_raw` refuses one that a mock transport has in memory."""
    stream = cast("AsyncIterable[bytes]", response.stream)
    return aclosing(cast("AsyncGenerator[bytes, None]", aiter(stream)))


def _length(fields: Mapping[str, str]) -> int | None:
    value = fields.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS else None
