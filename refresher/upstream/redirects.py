"""The request that a redirect makes, and what must not be sent with it."""

from dataclasses import dataclass, replace

import httpx

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.upstream.cookies import Cookie, cookie_field
from refresher.upstream.urls import origin_of, resolved, shown

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FETCHED_INSTEAD = frozenset({301, 302})


class AmbiguousLocation(httpx.RemoteProtocolError):
    """A redirect names several places, and no one of them can be chosen."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of an attempt: the configured one, or what a redirect made of it."""

    method: str
    url: httpx.URL
    content: bytes | None
    trusted: bool = True
    """Whether every hop so far was of the configured origin. Once one was not, no later hop gets
    credentials, configured headers or the body, not even at the configured origin: the other origin
    would choose where they go."""
    passed: tuple[tuple[str, httpx.URL, str], ...] = ()
    """The requests before this one, with their cookies."""
    cookies: tuple[Cookie, ...] = ()
    """Those that redirects of this attempt have set."""

    @property
    def cookie(self) -> str:
        """The Cookie field of the request, but for what is configured; empty where none is sent."""
        return cookie_field(self.cookies, self.url, trusted=self.trusted) if self.cookies else ""


def follow(
    hop: Hop,
    status: int,
    location: str | None,
    *,
    max_redirects: int,
    cookies: tuple[Cookie, ...] = (),
) -> Hop:
    """The request that a redirect asks for (RFC 9110, section 15.4); `cookies` after its answer.

    The method becomes GET after a 303, and after a 301 or 302 to a POST, as in every browser.

    Raises:
        RefreshFailed: stage `redirect`, for a redirect that must not or cannot be followed.
    """
    here = shown(hop.url)
    if len(hop.passed) >= max_redirects:
        raise failed(f"{here} redirects on, and max_redirects = {max_redirects}")
    if not location:
        raise failed(f"{here} answered {status} without a Location to go to")
    url = _target(hop.url, location)
    if url.scheme not in {"http", "https"}:
        raise failed(f"{here} redirects to a {url.scheme}: URL; only http and https are followed")
    if not url.host:
        raise failed(f"{here} redirects to a URL without a host")
    if hop.url.scheme == "https" and url.scheme == "http":
        raise failed(f"{here} redirects to {shown(url)}: from https to http is not followed")
    trusted = hop.trusted and origin_of(url) == origin_of(hop.url)
    to_get = (status == 303 and hop.method != "HEAD") or (  # noqa: PLR2004  See Other
        status in _FETCHED_INSTEAD and hop.method == "POST"
    )
    method = "GET" if to_get else hop.method
    after = replace(
        hop,
        method=method,
        url=url,
        content=hop.content if trusted and not to_get else None,
        trusted=trusted,
        passed=(*hop.passed, (hop.method, hop.url, hop.cookie)),
        cookies=cookies,
    )
    if (method, url, after.cookie) in after.passed:
        raise failed(f"{here} redirects in a circle, back to {shown(url)}")
    return after


def failed(message: str) -> RefreshFailed:
    """A failure over a redirect, which the next try would meet again."""
    return RefreshFailed(Stage.REDIRECT, message)


def _target(base: httpx.URL, location: str) -> httpx.URL:
    try:
        return resolved(base, location)
    except ValueError as error:
        raise failed(f"{shown(base)} redirects to something that is not a URL: {error}") from error
