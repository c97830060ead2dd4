"""The raw path of a request: what was written, where a framework only knows what it means."""

from urllib.parse import unquote_to_bytes


def below(prefix: str, raw: bytes) -> bytes:
    """What follows `prefix`, decoded and ending with `/`, in a raw path whose meaning it begins.

    Empty where a `/` of the prefix was written as `%2F`: that is part of a segment and ends none
    (RFC 3986, 2.2).
    """
    written = prefix.encode()
    if raw.startswith(written):
        return raw[len(written) :]
    slashes = prefix.count("/")
    *head, rest = raw.split(b"/", slashes)
    begins = len(head) == slashes and unquote_to_bytes(b"/".join(head)) + b"/" == written
    return rest if begins else b""


def with_query(target: bytes, query: bytes) -> bytes:
    """A raw path and what was asked of it."""
    return target + b"?" + query if query else target
