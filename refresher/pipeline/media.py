"""Media types as sources declare them, and as they may be sent on (RFC 9110, section 8.3.1)."""

import re
from dataclasses import dataclass

from refresher.model import Format

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"[ \t]*({_NAME}/{_NAME})[ \t]*(?:[;,]|$)")
_CHARSET = re.compile(r";[ \t]*charset[ \t]*=[ \t]*[\"']?([^\"'\s;,]*)", re.IGNORECASE)
_WELL_FORMED = re.compile(
    rf'{_NAME}/{_NAME}(?:[ \t]*;[ \t]*(?:{_NAME}=(?:{_NAME}|"(?:[ !#-\[\]-~]|\\[ -~])*"))?)*'
)


_NAMED = {
    Format.JSON: ("application/json", "text/json"),
    # It has never been registered; these are all in use.
    Format.NDJSON: (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "text/x-ndjson",
    ),
    Format.CSV: ("text/csv", "application/csv", "text/x-csv"),
    Format.XML: ("application/xml", "text/xml"),
    Format.YAML: (
        "application/yaml",
        "application/x-yaml",
        "text/yaml",
        "text/x-yaml",
        "text/vnd.yaml",
    ),
    Format.TOML: ("application/toml", "application/x-toml", "text/toml", "text/x-toml"),
}
"""The media types of each format, the one to send first."""
_FORMATS = {name: kind for kind, names in _NAMED.items() for name in names}
_SUFFIXES = {"json": Format.JSON, "xml": Format.XML, "yaml": Format.YAML}


@dataclass(frozen=True, slots=True)
class Declared:
    """A Content-Type, as far as it can be parsed."""

    type: str | None
    """`type/subtype` in lower case; None where nothing usable was declared."""
    charset: str | None
    raw: str
    configured: str | None = None
    """The charset that the job says the body is in, whatever is declared."""

    @property
    def is_html(self) -> bool:
        """Whether a browser would show it as a page."""
        return self.type in {"text/html", "application/xhtml+xml"}

    @property
    def format(self) -> Format | None:
        """The format that it names, by itself or by its suffix (RFC 6839); None for any other."""
        if self.type is None:
            return None
        if self.type in _FORMATS:
            return _FORMATS[self.type]
        if self.type.startswith("image/"):  # SVG is requested as a picture, not as data
            return None
        return _SUFFIXES.get(self.type.rpartition("+")[2]) if "+" in self.type else None

    @property
    def is_text(self) -> bool:
        """Whether it is text of a kind with no format of its own here."""
        return (self.type or "").startswith("text/")


def read(content_type: str | None, charset: str | None = None) -> Declared:
    """Read a Content-Type leniently; of several in one field, the first counts.

    `charset` is what the job says that the body is in.
    """
    raw = content_type or ""
    found = _TYPE.match(raw)
    found_charset = _CHARSET.search(raw)
    return Declared(
        type=found[1].lower() if found else None,
        charset=(found_charset[1] or None) if found_charset else None,
        raw=raw,
        configured=charset,
    )


def of_json(declared: Declared) -> str:
    """The type JSON is served under: its own `…+json`, without parameters, or the plain one."""
    own = declared.format is Format.JSON and declared.type != "text/json"
    return declared.type if own and declared.type else JSON


def of_text(declared: Declared) -> str:
    """The type text is served under, once its bytes are UTF-8."""
    kind = declared.type if declared.type not in {None, BYTES} else TEXT
    return f"{kind}; charset=utf-8"


def of_bytes(declared: Declared) -> str:
    """The declared type, parameters and all, where it is fit to be a header field's value."""
    value = declared.raw.strip(" \t")
    return value if _WELL_FORMED.fullmatch(value) else BYTES


def of_own_bytes(declared: Declared, kind: Format, charset: str | None) -> str:
    """The type a body of a format is served under as it came: what it was declared as, if as that.

    A `charset` that it is in is part of it in any case; None: the one of the format's standard.
    """
    is_own = declared.format is kind
    if is_own and charset == declared.charset and (own := of_bytes(declared)) != BYTES:
        return own
    named = declared.type if is_own and declared.type else _NAMED[kind][0]
    with_charset = f"{named}; charset={charset}"
    return with_charset if charset and _WELL_FORMED.fullmatch(with_charset) else named
