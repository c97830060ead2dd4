"""The Link header (RFC 8288), as far as it tells where the next page is."""

import re

from refresher.security.excerpts import excerpt

# A target, and its parameters one by one (RFC 8288, appendix B.2 and B.3). A target may hold commas
# and semicolons, and so may a quoted value: to split the field at those would lose pages.
_TARGET = re.compile(r"[\s,]*<([^>]*)>")
_PARAMETER = re.compile(r'\s*;\s*([^\s=;,"]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')
_SHOWN = 60
_REST = re.compile(r"[\s,;]*")


def next_link(field: str) -> str | None:
    """The target of the link to the next page, not yet resolved; None where there is none.

    The relation type is compared without case, and may be one of several (section 3.3). A link
    with an `anchor` is that of another resource (section 3.2).

    Raises:
        ValueError: the field is malformed, so that a link may have been missed.
    """
    at = 0
    while target := _TARGET.match(field, at):
        at = target.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(field, at):
            at = parameter.end()
            name, quoted, token = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token or ""
            parameters.setdefault(name.lower(), value)  # the first `rel` counts (section 3.3)
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return target[1].strip()
        if field[at:].lstrip()[:1] not in {"", ","}:
            break
    if not _REST.fullmatch(field, at):
        rest = excerpt(field.encode(errors="replace"), at, at + _SHOWN)
        raise ValueError(f"the Link header cannot be read from {rest!r} on")
    return None
