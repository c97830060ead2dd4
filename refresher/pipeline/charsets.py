"""Charsets: what encoding a body is in, and the same text in UTF-8."""

import codecs
import json
import re

from refresher.errors import refuse
from refresher.pipeline.media import Declared
from refresher.security.excerpts import clipped

_MARKS = {codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
_MARKS |= {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}

# An IANA name (RFC 2978, section 2.3), before it is handed to a registry that imports modules.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
# Python counts these among its text encodings, but they are escapes and not charsets of a body; two
# take quadratic time.
_NOT_CHARSETS = frozenset(
    {"charmap", "idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)

_XML_DECLARATION = re.compile(
    rb"<\?xml[ \t\r\n][^>]{0,200}?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*[\"']([A-Za-z0-9._-]+)"
)


def is_empty(body: bytes) -> bool:
    """Whether there is no content at all; a byte order mark alone is none."""
    return not body or body in _MARKS


def of_data(body: bytes, declared: Declared) -> str:
    """The charset of JSON and YAML, which begin with ASCII.

    Where the zeros fall tells UTF-16 and UTF-32 even without a mark (RFC 4627, section 3; YAML 1.2,
    section 5.2).
    """
    found = json.detect_encoding(body)
    return found if found != "utf-8" else declared.charset or "utf-8"


def of_text(body: bytes, declared: Declared) -> str:
    """The charset of text; a mark comes before what is declared (WHATWG Encoding, section 6)."""
    found = json.detect_encoding(body)
    return found if found in {"utf-8-sig", "utf-16", "utf-32"} else declared.charset or "utf-8"


def of_xml(body: bytes, declared: Declared) -> str:
    """The charset of XML: its mark, then what is declared, then what it says (RFC 7303, 3.2)."""
    found = json.detect_encoding(body)
    if found != "utf-8" or declared.charset:
        return found if found != "utf-8" else declared.charset or found
    own = _XML_DECLARATION.match(body)
    return own[1].decode() if own else "utf-8"


def as_utf8(body: bytes, charset: str) -> bytes:
    """The text of `body` in UTF-8, without a mark; UTF-8 itself is checked and kept.

    Raises:
        RefreshFailed: at stage `decode`; there is no such charset, or the body is not in it.
    """
    unknown = f"the declared charset {clipped(charset, 40)!r} is not one that can be read here"
    if not _NAME.fullmatch(charset):
        refuse(unknown)
    try:
        name = codecs.lookup(charset).name
        if name in _NOT_CHARSETS:
            refuse(unknown)
        text = body.decode(name)
        return body if name == "utf-8" else text.removeprefix("\ufeff").encode()
    except LookupError:  # base64, zlib and the like too: bytes.decode takes text encodings only
        refuse(unknown)
    except UnicodeError as error:
        refuse(
            f'the body is not {charset} as it should be: {error}; format = "bytes" would serve it '
            "as it is"
        )
