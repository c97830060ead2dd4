"""The raw path of a request, percent-encoding kept, where a framework has decoded it."""

from urllib.parse import unquote_to_bytes


def after_prefix(prefix: str, raw: bytes) -> bytes:
    """What follows `prefix`, which is decoded and ends with `/`, in a raw path that begins with it.

    Empty where a `/` of the prefix was written as `%2F`: that is part of a segment and separates
    none (RFC 3986, 2.2).
    """
    written = prefix.encode()
    if raw.startswith(written):
        return raw[len(written) :]
    slashes = prefix.count("/")
    *head, rest = raw.split(b"/", slashes)
    begins = len(head) == slashes and unquote_to_bytes(b"/".join(head)) + b"/" == written
    return rest if begins else b""


def with_query(target: bytes, query: bytes) -> bytes:
    """A raw path and its query."""
    return target + b"?" + query if query else target
