"""Conditional GET: whether the client has the current bytes already (RFC 9110, section 13)."""

import re
from collections.abc import Collection

from refresher.fields.dates import parse_http_date

# One element of a list: an entity-tag, its opaque part captured, or anything else up to a comma.
_ELEMENT = re.compile(r'[ \t]*(?:(?:W/)?("[^"]*")[ \t]*|[^,]*)(?:,|$)')


def not_modified(
    if_none_match: str | None,
    if_modified_since: str | None,
    *,
    etags: Collection[str],
    last_modified: int | None,
) -> bool:
    """Decide between 304 and 200 for a resource that exists (RFC 9110, section 13.2.2).

    Args:
        if_none_match: The field's value; several lines of it joined by commas. While it is there,
            readable or not, the date is not looked at.
        if_modified_since: The field's value; ignored where it is not exactly one date.
        etags: The current ETags, in every coding that the request accepts.
        last_modified: Whole seconds since the epoch; None where no Last-Modified is sent.
    """
    if if_none_match is not None:
        return if_none_match.strip(" \t") == "*" or not etags_in(if_none_match).isdisjoint(etags)
    if if_modified_since is None or last_modified is None:
        return False
    since = parse_http_date(if_modified_since)
    return since is not None and last_modified <= since


def etags_in(if_none_match: str) -> frozenset[str]:
    """The opaque tags of a list of entity-tags, weak or strong alike (weak comparison, 8.8.3.2)."""
    return frozenset(tag for tag in _ELEMENT.findall(if_none_match) if tag)
