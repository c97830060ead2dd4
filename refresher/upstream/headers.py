"""Header fields as httpx takes them."""

from collections.abc import Mapping

import httpx

_JOIN = ", "
_SINGLE = (
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
)


def utf8_fields(fields: Mapping[str, str]) -> httpx.Headers:
    """Fields whose values may go beyond ASCII: httpx refuses those, servers expect UTF-8."""
    return httpx.Headers([(name.encode(), value.encode()) for name, value in fields.items()])


def plain_fields(headers: httpx.Headers) -> Mapping[str, str]:
    """Fields by their names in lower case, to look up several: httpx scans all for each name.

    Of a field that must be single, equal repeats are one. Unequal ones stay joined by commas: so
    they are no ETag, date or number, and are not used.
    """
    fields = dict(headers.items())
    for name in _SINGLE:
        if (value := fields.get(name)) and ", " in value:
            fields[name] = once(value)
    return fields


def once(value: str) -> str:
    """The value that is repeated, joined by commas as a proxy may have done; else all of it."""
    for times in (2, 3):
        size = (len(value) - len(_JOIN) * (times - 1)) // times
        if size > 0 and _JOIN.join([value[:size]] * times) == value:
            return value[:size]
    return value
