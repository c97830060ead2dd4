"""URLs: their origin, parameters added to them, and what of them may be shown."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

import httpx

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454, section 4)."""

Scalar = str | int | float | bool | None
Params = Mapping[str, Scalar | Sequence[Scalar]]
"""Query parameters; a sequence repeats its name."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHOWN_PATH = 200


def origin_of(url: httpx.URL) -> Origin:
    """The origin of an absolute http or https URL."""
    port = url.port if url.port is not None else _DEFAULT_PORTS.get(url.scheme, 0)
    return url.scheme, url.raw_host.decode("ascii"), port


def with_params(url: httpx.URL, params: Params) -> httpx.URL:
    """The URL with more query parameters at its end.

    The query that is there stays as it is written, byte for byte: parsed and written again, a
    signed URL would be another.
    """
    if not params:
        return url
    added = str(httpx.QueryParams(params)).encode("ascii")
    return url.copy_with(query=b"&".join(filter(None, (url.query, added))))


def with_param(url: httpx.URL, name: str, value: str) -> httpx.URL:
    """The URL with one query parameter of that name, at its end; the others stay as written."""
    others = [part for part in url.query.split(b"&") if not _is_named(part, name)]
    return with_params(url.copy_with(query=b"&".join(others)), {name: value})


def sendable(url: httpx.URL) -> httpx.URL:
    """The URL without userinfo and fragment, which are not sent; copied only where it has them."""
    if url.userinfo or url.fragment:
        return url.copy_with(userinfo=b"", fragment=None)
    return url


def resolved(base: httpx.URL, reference: str) -> httpx.URL:
    """Where a reference in an answer of `base` leads (RFC 3986, section 5).

    Without the fragment, and without userinfo: that would be sent as credentials, and those of the
    configured URL are sent as its auth.

    Raises:
        ValueError: it is no URL.
    """
    try:
        return sendable(base.join(reference))
    except httpx.InvalidURL as error:  # which is no ValueError
        raise ValueError(str(error)) from error


def shown(url: httpx.URL) -> str:
    """The URL for a message: without the userinfo and the query, where secrets stand."""
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    path = path if len(path) <= _SHOWN_PATH else f"{path[:_SHOWN_PATH]}…"
    return f"{shown_origin(url)}{path}{'?…' if url.query else ''}"


def shown_origin(url: httpx.URL) -> str:
    """The URL's origin for a message."""
    host = url.raw_host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{host}" + ("" if url.port is None else f":{url.port}")


def _is_named(part: bytes, name: str) -> bool:
    return unquote_plus(part.partition(b"=")[0].decode("ascii")) == name
