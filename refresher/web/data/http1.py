"""An answer as HTTP/1.1 writes it on the wire (RFC 9112)."""

from functools import lru_cache
from typing import NamedTuple

from refresher.fields.dates import http_date
from refresher.web.answer import Answer
from refresher.web.problems import PHRASES


class WireAnswer(NamedTuple):
    """The bytes of an answer; head and body are separate, so that a large body is not copied."""

    status: int
    head: bytes
    """From the status line to the empty line."""
    body: bytes


def to_wire(answer: Answer, now: float) -> WireAnswer:
    """An answer's bytes, with `now` as its Date (RFC 9110, 6.6.1); the connection stays open."""
    lines = [_status_line(answer.status), b"date: ", _date(int(now)), b"\r\n"]
    for name, value in answer.headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return WireAnswer(answer.status, b"".join(lines), answer.body)


@lru_cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {PHRASES[status]}\r\n".encode()


@lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    return http_date(second).encode()
