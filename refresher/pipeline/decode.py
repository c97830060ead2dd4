"""Decode: determine the format of a body, and make UTF-8 text of it, or JSON where it holds data.

A body that is UTF-8 JSON or text already is checked, and kept byte for byte.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import msgspec

from refresher.errors import RefreshFailed, refuse
from refresher.jsontext import text as jsontext
from refresher.model import Content, Format
from refresher.pipeline import charsets, media
from refresher.pipeline.formats import csv, ndjson, toml, xml, yaml
from refresher.pipeline.formats.converted import Converted
from refresher.security.excerpts import excerpt

FormatRule: TypeAlias = Literal[
    "auto", "json", "ndjson", "csv", "xml", "yaml", "toml", "text", "bytes"
]

_AS_IT_CAME = frozenset({Format.JSON, Format.TEXT, Format.BYTES})
"""The formats that are served as they are in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a job says of its bodies, in place of what an upstream should have declared."""

    format: FormatRule = "auto"
    charset: str | None = None
    delimiter: str | None = None
    """The character between the fields of CSV; None for a comma, or what the body itself names."""


def pass_empty(content_type: str | None, rule: FormatRule, fixed: Format | None) -> Content:
    """Content of zero bytes, for an answer with an empty body that the guard allows."""
    declared = media.read(content_type)
    if declared.is_html:  # what some frameworks call an answer without a body; it is none
        declared = media.read(None)
    kind = (fixed or Format.BYTES) if rule == "auto" else Format(rule)
    return Content(body=b"", content_type=_served_type(kind, declared), format=kind, items=None)


def decode(
    body: bytes, content_type: str | None, reading: Reading, fixed: Format | None
) -> tuple[Content, str | None]:
    """Decode a body; under `auto`, `fixed` is the format that is served so far.

    Returns the content, and a key that was twice in one mapping where the content no longer shows
    it.

    Raises:
        RefreshFailed: at stage `decode`, for its media type, charset, syntax or depth.
    """
    if charsets.is_empty(body):
        refuse("the body is empty; guard.allow_empty = true would publish it as zero bytes")
    rule, declared = reading.format, media.read(content_type, reading.charset)
    _refuse_html(declared, rule, fixed)
    kind = _format_of(body, declared, fixed) if rule == "auto" else Format(rule)
    if rule == "auto" and fixed is not None and kind is not fixed:
        refuse(
            f"the answer is {kind} ({declared.type or 'no media type'}), but the first one was "
            f'{fixed}; if this is the right one, say so: format = "{kind}"'
        )
    found = _converted(kind, body, declared, reading.delimiter)
    served_as = _served_type(kind, declared)
    content = Content(body=found.text, content_type=served_as, format=kind, items=found.items)
    return content, found.repeated_key


def as_it_came(
    content: Content, body: bytes, content_type: str | None, charset: str | None
) -> Content:
    """The same with the bytes and the media type of the answer, where they were made JSON.

    `charset` is that of the `Reading`; the media type names the one in which the body was read.
    """
    kind = content.format
    if kind in _AS_IT_CAME:
        return content
    declared = media.read(content_type, charset)
    label = charsets.label_of(body, declared, _CHARSETS[kind](body, declared))
    served_as = media.of_own_bytes(declared, kind, label)
    return replace(content, body=body, content_type=served_as, raw=True)


def _refuse_html(declared: media.Declared, rule: FormatRule, fixed: Format | None) -> None:
    if not declared.is_html or rule == "json":  # no page can pass for it, and some servers err
        return
    expected = fixed if rule == "auto" else Format(rule)
    if expected not in {None, Format.TEXT, Format.BYTES}:
        refuse(
            f"{declared.type}: HTML where {str(expected).upper()} was expected, as a login page or "
            "an error page would be; look at what the url gives"
        )
    refuse(f"{declared.type}: HTML is never served as data; look at what the url gives")


def _served_type(kind: Format, declared: media.Declared) -> str:
    match kind:
        case Format.JSON:
            return media.of_json(declared)
        case Format.TEXT:
            return media.of_text(declared)
        case Format.BYTES:
            return media.of_bytes(declared)
        case _:
            return media.JSON


def _converted(
    kind: Format, body: bytes, declared: media.Declared, delimiter: str | None
) -> Converted:
    """The body in UTF-8, and as JSON where it holds data."""
    if kind is Format.BYTES:
        return Converted(body, None)
    text = charsets.as_utf8(body, _CHARSETS[kind](body, declared))
    if kind is Format.TEXT:
        return Converted(text, None)
    _check_first_bytes(text, kind)
    return csv.convert(text, delimiter) if kind is Format.CSV else _CONVERTERS[kind](text)


# What a browser takes for a page by its first bytes (WHATWG MIME Sniffing, section 7.1). In XML
# any name but `html` may be that of an element of data.
_PAGE = re.compile(
    rb"\s*(?:<!DOCTYPE\s+html|<(?:html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br"
    rb"|p)[\s>]|<!--)",
    re.IGNORECASE,
)
_XHTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,4096}?-->\s*)?<(?:!DOCTYPE\s+)?html[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_LOOKED_AT, _SHOWN = 1024, 24


def _check_first_bytes(text: bytes, kind: Format) -> None:
    """Refuse what looks like another format."""
    name = kind.upper()
    beginning = text[:_LOOKED_AT].lstrip()
    if (_XHTML if kind is Format.XML else _PAGE).match(text):
        refuse(
            f"HTML where {name} was expected, as a login page or an error page would be: the body "
            f"begins with {excerpt(beginning, 0, _SHOWN)!r}; look at what the url gives"
        )
    if kind is not Format.XML and beginning.startswith(b"<?xml"):
        refuse(f"XML where {name} was expected; look at what the url gives")
    if kind is Format.CSV and _holds_json(text):
        refuse("JSON where CSV was expected; look at what the url gives")


def _format_of(body: bytes, declared: media.Declared, fixed: Format | None) -> Format:
    """By the media type; where that is generic, by what is served so far, else by the body."""
    if declared.format is not None:
        return declared.format
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
        return _holds_json(charsets.as_utf8(body, charsets.of_data(body, declared)))
    except RefreshFailed:
        return False


def _holds_json(text: bytes) -> bool:
    """Whether it is a JSON object or array."""
    if text.lstrip(b" \t\r\n")[:1] not in {b"[", b"{"}:
        return False
    try:
        jsontext.read(text, _skim)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return True  # let the check of its depth say so
    return True


_skim = msgspec.json.Decoder(msgspec.Raw).decode


def _keep(text: bytes) -> Converted:
    jsontext.check(text)
    return Converted(text, jsontext.count_items(text))


_CHARSETS = {
    Format.JSON: charsets.of_data,
    Format.NDJSON: charsets.of_data,
    Format.CSV: charsets.of_text,
    Format.XML: charsets.of_xml,
    Format.YAML: charsets.of_data,
    Format.TOML: charsets.of_data,
    Format.TEXT: charsets.of_text,
}
_CONVERTERS = {
    Format.JSON: _keep,
    Format.NDJSON: ndjson.convert,
    Format.XML: xml.convert,
    Format.YAML: yaml.convert,
    Format.TOML: toml.convert,
}
