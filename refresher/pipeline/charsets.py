"""Charsets: what encoding a body is in, and the same text in UTF-8."""

import codecs
import json
import re

from refresher.errors import refuse
from refresher.fields.charsets import codec_of
from refresher.pipeline.media import Declared
from refresher.security.excerpts import clipped

_MARKS = {codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
_MARKS |= {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}

# Codecs of charsets that write all characters with the bytes of ASCII.
_OF_ASCII_BYTES = re.compile(r"iso2022.*|hz")

_XML_DECLARATION = re.compile(
    rb"<\?xml[ \t\r\n][^>]{0,200}?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*[\"']([A-Za-z0-9._-]+)"
)


def is_empty(body: bytes) -> bool:
    """Whether there is no content at all; a byte order mark alone is none."""
    return not body or body in _MARKS


def of_data(body: bytes, declared: Declared) -> str:
    """The charset of JSON, YAML and TOML, which begin with ASCII and are UTF-8 by their standards.

    Where the zeros fall tells UTF-16 and UTF-32 even without a mark (RFC 4627, section 3; YAML 1.2,
    section 5.2). Else it is what the job says; then UTF-8 where the body is that (RFC 8259, section
    8.1), for many servers name a charset that they do not send; then what is declared.
    """
    found = json.detect_encoding(body)
    if found != "utf-8":
        return found
    if declared.configured is not None or declared.charset is None:
        return declared.configured or "utf-8"
    return "utf-8" if _is_utf8(body, declared.charset) else declared.charset


def _is_utf8(body: bytes, charset: str) -> bool:
    """Whether a body that was declared to be in `charset` is UTF-8."""
    if body.isascii():
        return not _OF_ASCII_BYTES.fullmatch(codec_of(charset) or "")
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def of_text(body: bytes, declared: Declared) -> str:
    """The charset of text; a mark comes before what is declared (WHATWG Encoding, section 6)."""
    found = json.detect_encoding(body)
    if found in {"utf-8-sig", "utf-16", "utf-32"}:
        return found
    return declared.configured or declared.charset or "utf-8"


def of_xml(body: bytes, declared: Declared) -> str:
    """The charset of XML: its mark, then what is declared, then what it says (RFC 7303, 3.2).

    What the job says stands for what is declared.
    """
    found = json.detect_encoding(body)
    if found != "utf-8":
        return found
    if said := declared.configured or declared.charset:
        return said
    own = _XML_DECLARATION.match(body)
    return own[1].decode() if own else "utf-8"


def label_of(body: bytes, declared: Declared, charset: str) -> str | None:
    """The charset to declare of a body that was read as `charset`; None where none need be.

    What was declared stays where it says the same of this body.
    """
    own = "utf-8" if charset == "utf-8-sig" else charset
    label = codec_of(declared.charset) if declared.charset else None
    if label is None:
        return declared.configured and own
    try:
        return declared.charset if body.decode(label) == body.decode(charset) else own
    except UnicodeError:
        return own


def as_utf8(body: bytes, charset: str) -> bytes:
    """The text of `body` in UTF-8, without a mark; UTF-8 itself is checked and kept.

    Raises:
        RefreshFailed: at stage `decode`; there is no such charset, or the body is not in it.
    """
    name = codec_of(charset)
    if name is None:
        refuse(
            f"the declared charset {clipped(charset, 40)!r} is not one that can be read here; "
            "charset = would say in its place what the body is in"
        )
    try:
        text = body.decode(name)
        return body if name == "utf-8" else text.removeprefix("\ufeff").encode()
    except UnicodeError as error:
        refuse(
            f"the body is not {charset} as it should be: {error}; charset = would say what it is "
            'in, and format = "bytes" serve it as it is'
        )
