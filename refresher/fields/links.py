"""The Link header (RFC 8288), as far as it tells where the next page is."""

import re
from collections.abc import Callable

from refresher.security.excerpts import clipped, excerpt

# What some servers put around a relation in place of the only quotes that there are: ' and `, the
# primes, and those of typography, also as Windows-1252 has them.
_QUOTES = "'`\u00b4\u2032\u2033\u2018-\u201f\u2039\u203a\u00ab\u00bb\u0091-\u0094"
# A target, and its parameters one by one (RFC 8288, appendix B.2 and B.3). A target may hold commas
# and semicolons, and so may a quoted value: to split the field at those would lose pages.
_TARGET = re.compile(r"[\s,]*<([^>]*)>")
_PARAMETER = re.compile(
    r'\s*;\s*([^\s=;,"]*)\s*'
    rf'(?:=\s*(?:"((?:[^"\\]|\\.)*)"|[{_QUOTES}]([^"{_QUOTES};,]*)[{_QUOTES}]|([^\s;,"]*)))?'
)
_AROUND = re.compile(rf"\A[{_QUOTES}\s]+|[{_QUOTES}\s]+\Z")
# A registered relation type, or one that is a URI (section 2.1).
_RELATION = re.compile(r"[A-Za-z0-9._-]+|[A-Za-z][A-Za-z0-9+.-]*:\S+")
_SHOWN = 60
_REST = re.compile(r"[\s,;]*")


def next_link(field: str, is_page: Callable[[str], bool]) -> str | None:
    """The target of the link to the next page, not yet resolved; None where there is none.

    The relation type is compared without case, and may be one of several (section 3.3) and in wrong
    quotes. A link with an `anchor` is that of another resource (section 3.2), but where `is_page`
    says that this reference is to the page itself.

    Raises:
        ValueError: the field is malformed, so that a link may have been missed.
    """
    at = 0
    unread = None
    while target := _TARGET.match(field, at):
        at = target.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(field, at):
            at = parameter.end()
            name, quoted, misquoted, token = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else misquoted or token
            # the first `rel` counts (section 3.3)
            parameters.setdefault(name.lower(), _AROUND.sub("", value or ""))
        relations = re.split(r"[\s,]+", parameters.get("rel", "").lower())
        anchor = parameters.get("anchor")
        if "next" in relations and (anchor is None or is_page(anchor)):
            return target[1].strip()
        if any(one and not _RELATION.fullmatch(one) for one in relations):
            unread = parameters["rel"]
        if field[at:].lstrip()[:1] not in {"", ","}:
            break
    if not _REST.fullmatch(field, at):
        rest = excerpt(field.encode(errors="replace"), at, at + _SHOWN)
        raise ValueError(f"the Link header cannot be read from {rest!r} on")
    if unread is not None:
        raise ValueError(
            f"the Link header has a rel that cannot be read: {clipped(unread, _SHOWN)!r}"
        )
    return None
