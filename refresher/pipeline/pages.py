"""Pages: the items of one page of a paginated answer, and what leads to the next page.

Where an expression is a plain path (`data.items`, or `@`), no objects are built but those on the
way, and the value is kept byte for byte. Any other expression is evaluated as by `select`.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from refresher.errors import RefreshFailed
from refresher.jsontext import text as jsontext
from refresher.model import Content, Format, Stage
from refresher.pipeline import media
from refresher.pipeline.decode import Reading, decode
from refresher.pipeline.guard import guard_keys
from refresher.pipeline.select import find, select
from refresher.security.excerpts import clipped

_WHOLE = "@"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN_PATH = re.compile(rf"{_NAME}(\.{_NAME})*")
_IN_A_PAGE = Reading(format="json")
_SPACE = b" \t\r\n"
# What is false in JMESPath, as `a && b` gives it.
_FALSE = re.compile(rb'\s*(?:null|false|"\s*"|\[\s*\]|\{\s*\})\s*')
_ERRORS = frozenset({"error", "errors", "exception", "fault"})
"""Members of a root object that tell, in lower case, why there are no items."""
_LINKS = "links"
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRule:
    """What to find in a page."""

    reading: Reading = field(default=Reading())
    items: str = _WHOLE
    """The JMESPath expression of the array of items."""
    path: str | None = None
    """The one of what leads to the next page; None where that does not stand in the body."""

    duplicate_keys: Literal["accept", "reject"] = "accept"
    """Whether an object may have a key twice that will no longer be seen in the items."""

    @property
    def builds_values(self) -> bool:
        """Whether all values of a page become objects."""
        if self.duplicate_keys == "reject":
            return True
        sought = (self.items, self.path or _WHOLE)
        return any(one != _WHOLE and not _PLAIN_PATH.fullmatch(one) for one in sought)


@dataclass(frozen=True, slots=True)
class Page:
    """One page, read."""

    items: bytes
    """The items as they stand between the brackets of a JSON array; empty where there are none."""
    count: int
    following: str | None
    """The text or the digits that lead to the next page; None where nothing does."""


def read_page(body: bytes, content_type: str | None, rule: PageRule) -> Page:
    """Read one page.

    Raises:
        RefreshFailed: at stage `decode` for a page that is not JSON, `select` for one without an
            array of items, `body` for one that does not tell whether another follows, and `guard`
            for a repeated key that its items do not have any more.
    """
    page, _ = decode(body, content_type, rule.reading, None)
    if page.format is not Format.JSON:
        message = f"paginate looks into JSON, but the page is {page.format} ({page.content_type})"
        raise RefreshFailed(Stage.DECODE, message)
    array = _array(page, rule.items)
    if rule.duplicate_keys == "reject":
        _guard_keys(page, array)
    return Page(
        items=array.body.strip(_SPACE)[1:-1].strip(_SPACE),
        count=array.items or 0,
        following=None if rule.path is None else _following(page, rule.path),
    )


def _array(page: Content, expression: str) -> Content:
    """The items of a page: none where they are absent or null, and the page tells of no failure."""
    found: Content | None
    try:
        if expression == _WHOLE:
            found = page
        elif not _PLAIN_PATH.fullmatch(expression):
            found = find(page, expression)
        elif value := _at(page.body, expression):
            found, _ = decode(value, media.JSON, _IN_A_PAGE, None)
        else:
            found = None
        if found is None or found.body.strip(_SPACE) == b"null":
            if not _may_have_no_items(page, expression):
                select(page, expression)  # refuses it, and says what there is
            return replace(page, body=b"[]", items=0)
    except RefreshFailed as error:
        raise RefreshFailed(Stage.SELECT, f"paginate.items: {error}") from error
    if not found.body.lstrip(_SPACE).startswith(b"["):
        message = f"paginate.items: {expression} is no array here but {_excerpt(found.body)}"
        raise RefreshFailed(Stage.SELECT, message)
    return found


def _may_have_no_items(page: Content, expression: str) -> bool:
    """Whether a page whose array of items is absent or null can be taken for an empty one.

    It cannot where it tells of an error, or has an array that is not empty in the place of that.
    """
    if (root := _object(page.body)) is None:
        return _FALSE.fullmatch(page.body) is not None
    if any(name.lower() in _ERRORS and not _FALSE.fullmatch(root[name]) for name in root):
        return False
    holder = root
    for name in expression.split(".") if _PLAIN_PATH.fullmatch(expression) else ():
        holder = _object(holder.get(name, b"null")) or holder
    return not any(
        bytes(value).startswith(b"[") and name != _LINKS and not _FALSE.fullmatch(value)
        for name, value in holder.items()
    )


def _guard_keys(page: Content, array: Content) -> None:
    """Require that no key was twice in an object of the page outside of its items.

    Those in the items are left to the guard of the whole content, which quarantines what it
    refuses.
    """
    try:
        guard_keys(page, None)
    except RefreshFailed:
        if jsontext.repeated_key(array.body) is None:
            raise


def _following(page: Content, path: str) -> str | None:
    if _PLAIN_PATH.fullmatch(path):
        found = _at(page.body, path)
    else:
        try:
            selected = find(page, path)
            found = None if selected is None else selected.body
        except RefreshFailed as error:
            raise RefreshFailed(Stage.BODY, f"paginate.path: {error}") from error
    if found is None or _FALSE.fullmatch(found):
        return None
    if found.startswith(b'"'):
        return jsontext.read(found, _text)
    if found[:1] in b"-0123456789":  # as it is written: a cursor may have more digits than a double
        return found.decode("ascii")
    message = f"paginate.path: {path} is neither text nor a number but {_excerpt(found)}"
    raise RefreshFailed(Stage.BODY, message)


def _at(body: bytes, path: str) -> bytes | None:
    """The value at a plain path, as it came; None where there is none, or the path is no plain one.

    JMESPath would find the same: of members with one name, it sees the last one too.
    """
    if not _PLAIN_PATH.fullmatch(path):
        return None
    value: bytes | msgspec.Raw = body
    for name in path.split("."):
        members = _object(value)
        if members is None or name not in members:
            return None
        value = members[name]
    return bytes(value)


def _object(value: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The members of an object, as they came; None of anything else."""
    try:
        return jsontext.read(value, _members)
    except msgspec.ValidationError:
        return None


_text = msgspec.json.Decoder(str).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _excerpt(value: bytes) -> str:
    return clipped(value[: 2 * _SHOWN].decode(errors="replace"), _SHOWN)
