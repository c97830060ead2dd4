"""An HTTP answer as plain values, independent of ASGI."""

import json
from dataclasses import dataclass

import msgspec

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, header fields and body, ready to be written."""

    status: int
    headers: RawHeaders
    body: bytes

    def without_body(self) -> "Answer":
        """The answer to HEAD: that to GET without its body (RFC 9110, 9.3.2)."""
        return Answer(self.status, self.headers, b"")


def json_answer(value: object, status: int = 200) -> Answer:
    """A value as JSON that no cache may keep."""
    return json_body_answer(json_bytes(value), status)


def json_bytes(value: object) -> bytes:
    """A value as compact JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A lone surrogate, from a file's name or an error, has no UTF-8; `\\udc80` is JSON.
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="backslashreplace")


def json_body_answer(body: bytes, status: int = 200) -> Answer:
    """JSON that no cache may keep."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, headers, body)
