"""Parts of foreign text for use in a sentence.

A cut never splits a word, and is marked by `…`: the half of a secret would be one that no redaction
knows, unless the mark tells where to look for it.
"""

import re

# What a token, a key or a password may consist of; all else would be escaped in JSON or a query.
_WORD = r"[^\s\"'`<>{}\[\]()]"
_LAST_WORD = re.compile(rf"{_WORD}+\Z")
_WORD_IN_BYTES = re.compile(_WORD.encode())
_FIRST_IN_BYTES = re.compile(_WORD.encode() + rb"+")
_LAST_IN_BYTES = re.compile(_WORD.encode() + rb"+\Z")

_MOST_QUOTED = 160
"""Characters."""


def quoted(text: str) -> str:
    """A foreign text in quotes and on one line, clipped to what fits in a sentence."""
    return repr(clipped(text, _MOST_QUOTED))


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
