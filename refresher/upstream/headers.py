"""Header fields as httpx takes them."""

from collections.abc import Mapping

import httpx


def utf8_fields(fields: Mapping[str, str]) -> httpx.Headers:
    """Fields whose values may go beyond ASCII: httpx refuses those, servers expect UTF-8."""
    return httpx.Headers([(name.encode(), value.encode()) for name, value in fields.items()])


def plain_fields(headers: httpx.Headers) -> Mapping[str, str]:
    """Fields by their names in lower case, to look up several: httpx scans all for each name."""
    return dict(headers.items())
