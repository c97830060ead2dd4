"""An HTTP answer as plain bytes, for whatever carries it; problems among them (RFC 9457)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Send

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, header fields and body, ready to be written."""

    status: int
    headers: RawHeaders
    body: bytes

    async def send(self, send: Send) -> None:
        """Write the answer to an ASGI server."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def problem(
    status: int,
    kind: str | None,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **extra: object,
) -> Answer:
    """An error as `application/problem+json`.

    `kind` names a problem of this service (`urn:refresher:KIND`); None says that the status code is
    all there is to it (`about:blank`). `extra` become members of the problem object.
    """
    body = json.dumps(
        {
            "type": "about:blank" if kind is None else f"urn:refresher:{kind}",
            "title": HTTPStatus(status).phrase if kind is None else kind.replace("-", " "),
            "status": status,
            "detail": detail,
            **extra,
        }
    ).encode()
    fields = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **(headers or {}),
    }
    return Answer(status, [(k.encode(), v.encode("latin-1")) for k, v in fields.items()], body)


def json_answer(value: object, status: int = 200) -> Answer:
    """A value as JSON that no cache may keep."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, headers, body)


UNAUTHORIZED = {"www-authenticate": 'Bearer realm="refresher"'}
"""What a 401 has to bring (RFC 9110, 11.6.1)."""
