"""Parts of foreign text, fit for a sentence.

A cut never goes through a word, and is marked by `…`: half a secret would be one that no redaction
knows, unless it knows where to look for it.
"""

import re

# What a token, a key or a password may consist of; the rest, JSON or a query would escape.
_WORD = r"[^\s\"'`<>{}\[\]()]"
_LAST_WORD = re.compile(rf"{_WORD}+\Z")
_WORD_IN_BYTES = re.compile(_WORD.encode())
_FIRST_IN_BYTES = re.compile(_WORD.encode() + rb"+")
_LAST_IN_BYTES = re.compile(_WORD.encode() + rb"+\Z")

_SHOWN = 160
"""Characters of a foreign text that stand in a sentence."""


def shown(text: str) -> str:
    """As much of a foreign text as belongs in a sentence, on one line."""
    return repr(clipped(text, _SHOWN))


def clipped(text: str, most: int) -> str:
    """The text; where it is longer than `most` characters, the whole words in those, and `…`."""
    if len(text) <= most:
        return text
    return _LAST_WORD.sub("", text[: most + 1])[:most] + "…"


def excerpt(body: bytes, start: int, stop: int) -> str:
    """`body[start:stop]`, as far as it is text, without the words that are cut at either end."""
    start = max(0, start)
    part = body[start:stop]
    if _WORD_IN_BYTES.match(body, stop):
        part = _LAST_IN_BYTES.sub(b"", part)
    if start and _WORD_IN_BYTES.match(body, start - 1) and (cut := _FIRST_IN_BYTES.match(part)):
        part = part[cut.end() :]
    before, after = "…" if start else "", "…" if stop < len(body) else ""
    return f"{before}{part.decode(errors='replace')}{after}"
