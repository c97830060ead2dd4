"""Names of charsets (RFC 2978), as far as Python has codecs for them."""

import codecs
import re
from functools import lru_cache

# Section 2.3 of it, before a name is handed to a registry that imports modules.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
# Python counts these among its text encodings, but they are escapes and not charsets of a body; two
# take quadratic time.
_NOT_CHARSETS = frozenset(
    {"charmap", "idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)


@lru_cache(maxsize=64)
def codec_of(charset: str) -> str | None:
    """Python's name of the codec for a charset; None where that is no charset it can read."""
    if not _NAME.fullmatch(charset):
        return None
    try:
        name = codecs.lookup(charset).name
        b"x".decode(name)  # of no bytes it would say nothing of base64, zlib and the like
    except LookupError:
        return None
    except UnicodeError:  # half a character
        pass
    return None if name in _NOT_CHARSETS else name
