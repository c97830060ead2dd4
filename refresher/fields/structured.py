"""Structured fields (RFC 9651): one that is malformed is as if it were absent."""

from collections.abc import Iterator, Mapping

import http_sf


def members(text: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The items of a list, each with its parameters (RFC 9651, section 3.1)."""
    found = _parsed(text, "list")
    for member in found if isinstance(found, list) else ():
        match member:
            case (name, dict() as parameters):
                yield str(name), parameters


def values(text: str) -> dict[str, object]:
    """The values of a dictionary, without their parameters (RFC 9651, section 3.2)."""
    found = _parsed(text, "dictionary")
    if not isinstance(found, dict):
        return {}
    return {name: member[0] for name, member in found.items() if isinstance(member, tuple)}


def _parsed(text: str, kind: str) -> object:
    if not text:
        return None
    try:
        return http_sf.parse(text.encode(), tltype=kind)
    except (
        http_sf.StructuredFieldError
    ):  # a malformed field is ignored as a whole (RFC 9651, section 4.2)
        return None
