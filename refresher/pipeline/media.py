"""Media types as sources declare them, and as they may be sent on (RFC 9110, section 8.3.1)."""

import re
from dataclasses import dataclass

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"[ \t]*({_NAME}/{_NAME})[ \t]*(?:[;,]|$)")
_CHARSET = re.compile(r";[ \t]*charset[ \t]*=[ \t]*[\"']?([^\"'\s;,]*)", re.IGNORECASE)
_WELL_FORMED = re.compile(
    rf'{_NAME}/{_NAME}(?:[ \t]*;[ \t]*(?:{_NAME}=(?:{_NAME}|"(?:[ !#-\[\]-~]|\\[ -~])*"))?)*'
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a Content-Type says, as far as it can be read."""

    type: str | None
    """`type/subtype` in lower case; None where nothing usable was declared."""
    charset: str | None
    raw: str

    @property
    def is_html(self) -> bool:
        """Whether a browser would take it for a page."""
        return self.type in {"text/html", "application/xhtml+xml"}

    @property
    def is_json(self) -> bool:
        """Whether it names JSON: `application/json`, `text/json` or any `+json`."""
        return self.type in {JSON, "text/json"} or (self.type or "").endswith("+json")

    @property
    def is_text(self) -> bool:
        """Whether it is text of a kind with no format of its own here."""
        return (self.type or "").startswith("text/")


def read(content_type: str | None) -> Declared:
    """Read a Content-Type leniently; of several in one field, the first counts."""
    raw = content_type or ""
    found = _TYPE.match(raw)
    charset = _CHARSET.search(raw)
    return Declared(
        type=found[1].lower() if found else None,
        charset=(charset[1] or None) if charset else None,
        raw=raw,
    )


def of_json(declared: Declared) -> str:
    """The type JSON is served under: its own `…+json`, without parameters, or the plain one."""
    own = declared.is_json and declared.type != "text/json"
    return declared.type if own and declared.type else JSON


def of_text(declared: Declared) -> str:
    """The type text is served under, once its bytes are UTF-8."""
    kind = declared.type if declared.type not in {None, BYTES} else TEXT
    return f"{kind}; charset=utf-8"


def of_bytes(declared: Declared) -> str:
    """The declared type, parameters and all, where it is fit to be a header field's value."""
    value = declared.raw.strip(" \t")
    return value if _WELL_FORMED.fullmatch(value) else BYTES
