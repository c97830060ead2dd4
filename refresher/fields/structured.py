"""Lists of structured fields (RFC 9651): one that is malformed is as if it were absent."""

from collections.abc import Iterator, Mapping

import http_sf


def members(text: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The items of a list, each with its parameters (RFC 9651, section 3.1)."""
    found = _parsed(text)
    for member in found if isinstance(found, list) else ():
        match member:
            case (name, dict() as parameters):
                yield str(name), parameters


def _parsed(text: str) -> object:
    if not text:
        return None
    try:
        return http_sf.parse(text.encode(), tltype="list")
    except (
        http_sf.StructuredFieldError
    ):  # a malformed field is ignored as a whole (RFC 9651, section 4.2)
        return None
