"""Cookies of redirects (RFC 6265): some lead to the data only with the cookie that they set.

They are kept within an attempt, and sent to the origin that set them: whatever its Domain is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from refresher.fields.dates import parse_http_date
from refresher.upstream.urls import Origin, origin_of

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie that a redirect has set."""

    name: str
    value: str
    origin: Origin
    path: str
    private: bool
    """Whether it answers a request with credentials: it may stand for them."""

    def is_sent(self, url: httpx.URL, *, trusted: bool) -> bool:
        """Whether it goes with a request; `trusted` as in `Hop`."""
        if self.origin != origin_of(url) or (self.private and not trusted):
            return False
        path = _path(url)
        at_border = self.path.endswith("/") or path[len(self.path) :].startswith("/")
        return path == self.path or (path.startswith(self.path) and at_border)


def kept(
    cookies: Sequence[Cookie],
    headers: httpx.Headers,
    url: httpx.URL,
    *,
    private: bool,
    now: float,
) -> tuple[Cookie, ...]:
    """The cookies of an attempt once an answer of `url` with these fields has come."""
    origin, found = origin_of(url), list(cookies)
    for name, value in headers.raw:
        if name.lower() != b"set-cookie" or len(value) > _LONGEST:
            continue
        pair, *written = value.decode("latin-1").split(";")
        key, equals, content = (part.strip(" \t") for part in pair.partition("="))
        attributes = {
            attribute.strip(" \t").lower(): setting.strip(" \t")
            for attribute, _, setting in (each.partition("=") for each in written)
        }
        if not (key and equals and pair.isprintable()) or _is_elsewhere(attributes, url):
            continue
        path = attributes.get("path", "")
        path = path if path.startswith("/") else _path(url).rpartition("/")[0] or "/"
        found = [
            each for each in found if (each.name, each.origin, each.path) != (key, origin, path)
        ]
        if not _is_over(attributes, now):
            found.append(Cookie(key, content, origin, path, private))
    return tuple(found)


def cookie_field(cookies: Sequence[Cookie], url: httpx.URL, *, trusted: bool) -> str:
    """The Cookie field of a request; empty where none is to be sent."""
    sent = [each for each in cookies if each.is_sent(url, trusted=trusted)]
    sent.sort(key=lambda each: -len(each.path))
    return "; ".join(f"{each.name}={each.value}" for each in sent)


def _path(url: httpx.URL) -> str:
    return url.raw_path.partition(b"?")[0].decode("ascii")


def _is_elsewhere(attributes: dict[str, str], url: httpx.URL) -> bool:
    """Whether its Domain is not one of the host's."""
    domain = attributes.get("domain", "").removeprefix(".").lower()
    return bool(domain) and domain != url.host and not url.host.endswith(f".{domain}")


def _is_over(attributes: dict[str, str], now: float) -> bool:
    """Whether it is to be removed, by Max-Age or else by Expires."""
    age = attributes.get("max-age", "")
    if age.removeprefix("-").isdecimal():
        return age.startswith("-") or not age.strip("0")
    written = attributes.get("expires", "")
    expires = parse_http_date(written, now=now)
    if expires is None:  # `Wed, 21-Oct-2015 07:28:00 GMT`, as most write it
        expires = parse_http_date(written.replace("-", " "), now=now)
    return expires is not None and expires <= now
