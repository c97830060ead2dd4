"""Decode: settle what an answer is, and have text and JSON as well-formed UTF-8.

What is UTF-8 already is checked and kept byte for byte; nothing is built but a count of its items.
"""

import codecs
import json
import re
from typing import Literal, NoReturn, TypeAlias, assert_never

import msgspec

from refresher.errors import RefreshFailed
from refresher.model import Content, Format, Payload, Stage
from refresher.pipeline import media

FormatRule: TypeAlias = Literal["auto", "json", "text", "bytes"]

MAX_DEPTH = 512

_MARKS = {codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
_MARKS |= {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}


def is_empty(body: bytes) -> bool:
    """Whether there is no content at all; a byte order mark alone is none."""
    return not body or body in _MARKS


def pass_empty(payload: Payload, rule: FormatRule, fixed: Format | None) -> Content:
    """Make zero bytes of content out of an answer that has none."""
    declared = media.read(payload.content_type)
    if declared.is_html:  # what some frameworks call an answer without a body; it is none
        declared = media.read(None)
    kind = (fixed or Format.BYTES) if rule == "auto" else Format(rule)
    return Content(body=b"", content_type=_served_type(kind, declared), format=kind, items=None)


def decode(payload: Payload, rule: FormatRule, fixed: Format | None) -> Content:
    """Take an answer for what it is; under `auto`, `fixed` is the format served so far.

    Raises:
        RefreshFailed: at stage `decode`; media type, charset, syntax or depth will not do.
    """
    if is_empty(payload.body):
        _refuse("the body is empty; guard.allow_empty = true would publish it as zero bytes")
    declared = media.read(payload.content_type)
    _refuse_html(declared, rule, fixed)
    kind = _format_of(payload.body, declared, fixed) if rule == "auto" else Format(rule)
    if rule == "auto" and fixed is not None and kind is not fixed:
        _refuse(
            f"the answer is {kind} ({declared.type or 'no media type'}), but the first one was "
            f'{fixed}; if this is the right one, say so: format = "{kind}"'
        )
    body, items = payload.body, None
    match kind:
        case Format.JSON:
            body = _as_utf8(body, _charset_of_json(body, declared))
            items = _count_items(body)
        case Format.TEXT:
            body = _as_utf8(body, _charset_of_text(body, declared))
        case Format.BYTES:
            pass
        case _:
            assert_never(kind)
    return Content(body=body, content_type=_served_type(kind, declared), format=kind, items=items)


def _refuse(message: str) -> NoReturn:
    raise RefreshFailed(Stage.DECODE, message)


def _refuse_html(declared: media.Declared, rule: FormatRule, fixed: Format | None) -> None:
    if not declared.is_html:
        return
    if rule == "json" or (rule == "auto" and fixed is Format.JSON):
        _refuse(
            f"{declared.type}: HTML where JSON was expected, as a login page or an error page "
            "would be; look at what the url gives"
        )
    _refuse(f"{declared.type}: HTML is never served as data; look at what the url gives")


def _served_type(kind: Format, declared: media.Declared) -> str:
    match kind:
        case Format.JSON:
            return media.of_json(declared)
        case Format.TEXT:
            return media.of_text(declared)
        case Format.BYTES:
            return media.of_bytes(declared)
        case _:
            assert_never(kind)


def _format_of(body: bytes, declared: media.Declared, fixed: Format | None) -> Format:
    """What the media type says; where it says next to nothing, what is served, else what it is."""
    if declared.is_json:
        return Format.JSON
    if declared.type not in {None, media.TEXT, media.BYTES}:
        return Format.TEXT if declared.is_text else Format.BYTES
    plain = Format.TEXT if declared.type == media.TEXT else Format.BYTES
    match fixed:
        case Format.JSON:
            return Format.JSON
        case None:
            return Format.JSON if _is_object_or_array(body, declared) else plain
        case _:
            return plain


def _is_object_or_array(body: bytes, declared: media.Declared) -> bool:
    try:
        text = _as_utf8(body, _charset_of_json(body, declared))
        if text.lstrip(b" \t\r\n")[:1] not in {b"[", b"{"}:
            return False
        msgspec.json.decode(text, type=msgspec.Raw)
    except (RefreshFailed, msgspec.DecodeError):
        return False
    except RecursionError:
        return True  # let the check of its depth say so
    return True


def _charset_of_json(body: bytes, declared: media.Declared) -> str:
    """Where the zeros fall tells UTF-16 and UTF-32 even without a mark (RFC 4627, section 3)."""
    found = json.detect_encoding(body)
    return found if found != "utf-8" else declared.charset or "utf-8"


def _charset_of_text(body: bytes, declared: media.Declared) -> str:
    """A byte order mark comes before what is declared (WHATWG Encoding, section 6)."""
    found = json.detect_encoding(body)
    return found if found in {"utf-8-sig", "utf-16", "utf-32"} else declared.charset or "utf-8"


# An IANA name (RFC 2978, section 2.3), before it is handed to a registry that imports modules.
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
# Python counts these among its text encodings, but they are escapes and not charsets of a body; two
# take quadratic time.
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"})


def _as_utf8(body: bytes, charset: str) -> bytes:
    unknown = f"the declared charset {charset[:40]!r} is not one that can be read here"
    if not _CHARSET_NAME.fullmatch(charset):
        _refuse(unknown)
    try:
        name = codecs.lookup(charset).name
        if name in _NOT_CHARSETS:
            _refuse(unknown)
        text = body.decode(name)
        return body if name == "utf-8" else text.removeprefix("\ufeff").encode()
    except LookupError:  # base64, zlib and the like too: bytes.decode takes text encodings only
        _refuse(unknown)
    except UnicodeError as error:
        _refuse(
            f'the body is not {charset} as it should be: {error}; format = "bytes" would serve it '
            "as it is"
        )


def _count_items(body: bytes) -> int | None:
    """Check that UTF-8 is JSON (RFC 8259); count its root's items, or None for a scalar."""
    too_deep = f"the body is nested deeper than {MAX_DEPTH} levels"
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        _refuse(_syntax_error(body, str(error)))
    except RecursionError:
        _refuse(too_deep)
    depth, commas = _outline(body)
    if depth > MAX_DEPTH:
        _refuse(too_deep)
    match body.lstrip(b" \t\r\n")[:1]:
        case b"{":
            return len(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
        case b"[":
            return 0 if _EMPTY_ARRAY.match(body) else commas + 1
        case _:
            return None


_EMPTY_ARRAY = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\]")
_OPENING, _COMMA = b"[,"
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NOT_OUTLINE = bytes(set(range(256)) - set(b'[]{},"'))


def _outline(body: bytes) -> tuple[int, int]:
    """Tell from its brackets how deep well-formed JSON is, and how many commas its root has.

    The values themselves, even unparsed ones, would take many times the memory of the body.
    """
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = body.translate(_ALIKE, _NOT_OUTLINE).replace(b'""', b"")
    marks = b"".join(marks.split(b'"')[::2])  # what is left between quotes stands in strings
    depth = deepest = commas = 0
    for mark in marks:
        if mark == _COMMA:
            if depth == 1:
                commas += 1
        elif mark == _OPENING:
            depth += 1
            if depth > deepest:  # noqa: PLR1730  max() takes twice as long as all the rest
                deepest = depth
        else:
            depth -= 1
    return deepest, commas


_AT_BYTE = re.compile(r"^(?:JSON is malformed: )?(.*) \(byte ([0-9]+)\)$")
_NOT_A_NUMBER = re.compile(rb"NaN|Infinity")
_EXCERPT = 24


def _syntax_error(body: bytes, reason: str) -> str:
    found = _AT_BYTE.match(reason)
    if found is None:
        return f"the body is not JSON: more was to come after {_excerpt(body[-2 * _EXCERPT :])}"
    at = int(found[2])
    near = _excerpt(body[max(0, at - _EXCERPT) : at + _EXCERPT])
    if number := _NOT_A_NUMBER.match(body, at):
        return f"the body is not JSON: {number[0].decode()} is no number there, near {near}"
    if body.lstrip()[:1] == b"<":
        return f"the body is not JSON but looks like HTML or XML: it begins with {near}"
    return f"the body is not JSON: {found[1]} at byte {at}, near {near}"


def _excerpt(part: bytes) -> str:
    return repr(part.decode(errors="replace"))
