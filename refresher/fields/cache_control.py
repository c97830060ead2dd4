"""How old an answer is, and how long it stays fresh, by its header fields (RFC 9111, 4.2)."""

import re
from collections.abc import Mapping

from refresher.fields.dates import parse_http_date

_DIRECTIVE = re.compile(r'([a-z-]+)(?:=(?:"([^"]*)"|([^",\s]*)))?', re.IGNORECASE)
_MAX_SECONDS = 3_650 * 86_400.0
"""Ten years; a number of any length is cut to it."""


def fresh_for(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that an answer which arrives now stays fresh; None where it is not, or does not say.

    That is its max-age, else Expires minus Date, less the Age that it has from caches on the way.
    `s-maxage` is ignored: it is for caches that the origin can purge.
    `headers` finds fields by their names in lower case.
    """
    directives: dict[str, str] = {}
    for name, quoted, bare in _DIRECTIVE.findall(headers.get("cache-control", "")):
        directives.setdefault(name.lower(), quoted or bare)
    if "no-store" in directives or "no-cache" in directives:
        return None
    if "max-age" in directives:
        lifetime = _seconds(directives["max-age"])
    else:
        lifetime = _until_expires(headers, now)
    if lifetime is None:
        return None
    left = lifetime - age(headers)
    return left if left > 0 else None


def age(headers: Mapping[str, str]) -> float:
    """Seconds for which an answer has been in caches on the way (RFC 9111, section 5.1).

    Of a list the first member counts; what is not a number of seconds says nothing.
    """
    return _seconds(headers.get("age", "").partition(",")[0]) or 0.0


def _until_expires(headers: Mapping[str, str], now: float) -> float | None:
    expires = parse_http_date(headers.get("expires", ""), now=now)
    if expires is None:  # `0` and the like mean that it has expired already
        return None
    date = parse_http_date(headers.get("date", ""), now=now)
    return expires - (now if date is None else date)


def _seconds(text: str) -> float | None:
    text = text.strip(" \t")
    return min(float(text), _MAX_SECONDS) if text.isascii() and text.isdigit() else None
