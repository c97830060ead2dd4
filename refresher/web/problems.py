"""Every problem document that a client may get (RFC 9457)."""

import json
import math
from collections.abc import Mapping
from http.client import responses

from refresher.errors import GoneVersion, ReadError, StoreUnavailable, UnknownVersion
from refresher.model import Record
from refresher.web.answer import Answer

PHRASES = responses | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Reason phrases of statuses (RFC 9110, section 15), some of which Python before 3.13 has not."""

_STORE_RETRY = 1
"""Seconds after which a store that is unavailable has been tried again."""
_LOOKUP_RETRY = 1
"""Seconds after which to ask again for a value that could not be looked up."""
_NOTHING_IS_DUE = 60
"""Seconds after which to ask again for a job that has no next moment: somebody may resume it."""
_MOST_SHOWN = 100
"""Characters of what a client asked for that are repeated to it."""


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
    phrase = PHRASES.get(status, "Error")
    body = json.dumps(
        {
            "type": "about:blank" if kind is None else f"urn:refresher:{kind}",
            "title": phrase if kind is None else kind.replace("-", " ").capitalize(),
            "status": status,
            "detail": detail,
            **extra,
        }
    ).encode()
    fields = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **{name.lower(): value for name, value in (headers or {}).items()},
    }
    return Answer(status, [(k.encode(), v.encode("latin-1")) for k, v in fields.items()], body)


def unauthorized(what: str) -> Answer:
    """The answer to a request without the token that `what` needs (RFC 9110, 11.6.1)."""
    detail = f"{what} needs a token: Authorization: Bearer …"
    return problem(
        401, "unauthorized", detail, headers={"www-authenticate": 'Bearer realm="refresher"'}
    )


def unknown_job(*names: str) -> Answer:
    """The answer to a request for jobs that do not exist."""
    shown = ", ".join(repr(shortened(name)) for name in names)
    return problem(404, "unknown-job", f"no job is called {shown}; GET /jobs has all names")


def nothing_to_serve(record: Record, now: float) -> Answer:
    """The answer to a read of a job that has no snapshot, or none that may be served."""
    if record.snapshot is None:
        kind, detail = "pending", f"{record.job} has no snapshot yet"
    else:
        kind, detail = "expired", f"the snapshot of {record.job} is too old to be served"
    if record.last_attempt is not None and record.last_attempt.failure is not None:
        detail += f"; the last attempt ended at {record.last_attempt.failure.stage}"
    return problem(503, kind, detail, headers={"retry-after": str(retry_after(record, now))})


def retry_after(record: Record, now: float) -> int:
    """In how many seconds a client that got nothing should ask again (RFC 9110, 10.2.3)."""
    if record.running_since is not None:
        return 1
    if record.due.at is None or math.isinf(record.due.at):
        return _NOTHING_IS_DUE
    return max(1, math.ceil(record.due.at - now))


def no_json(job: str, content_type: str) -> Answer:
    """The answer to a request for a value in a snapshot that is not JSON."""
    detail = f"{job} is {content_type}, not JSON: there is nothing to point into; GET /data/{job}"
    return problem(404, "no-value", detail)


def no_value(job: str, pointer: bytes, depth: int) -> Answer:
    """The answer to a JSON Pointer without a value; `depth` of its segments were found."""
    segments = pointer.decode("latin-1").split("/")[1:]
    where = "".join(f"/{segment}" for segment in segments[:depth])
    detail = f"{job} has no {shortened(segments[depth])!r} at {shortened(where) or 'its root'}"
    return problem(404, "no-value", detail)


def no_lookup(job: str, why: str) -> Answer:
    """The answer to a request for a value where it could not be found out whether there is one.

    The whole snapshot can be read all the same.
    """
    detail = f"no value of {job} could be looked up: {why}; ask again, or GET /data/{job}"
    return problem(503, "lookup-failed", detail, headers={"retry-after": str(_LOOKUP_RETRY)})


def unknown_path(path: str) -> Answer:
    """The answer to a request for a path that does not exist."""
    return problem(404, None, f"nothing is at {shortened(path)}")


def no_version(error: UnknownVersion | GoneVersion | StoreUnavailable) -> Answer:
    """The answer to a request for a version that cannot be read (gone: RFC 9110, 15.5.11)."""
    match error:
        case UnknownVersion():
            return problem(404, "unknown-version", _with_history(error))
        case GoneVersion():
            return problem(410, "gone-version", _with_history(error))
        case StoreUnavailable():
            return store_unavailable("the store does not answer, and only it has the versions")


def store_unwritable() -> Answer:
    """The answer to a request that has to write to the store, while that is unavailable."""
    return store_unavailable("the store cannot be told, and nothing has been changed; ask again")


def store_unavailable(detail: str) -> Answer:
    """The answer to a request that needs the store, while that is unavailable."""
    headers = {"retry-after": str(_STORE_RETRY)}
    return problem(503, "store-unavailable", detail, headers=headers)


def not_allowed(path: str, method: str, *allowed: str) -> Answer:
    """The answer to a method that a path does not take (RFC 9110, 15.5.6)."""
    detail = f"{shortened(path)} takes {' or '.join(allowed)}, not {shortened(method)}"
    return problem(405, None, detail, headers={"allow": ", ".join(allowed)})


def shortened(text: str) -> str:
    """The part of what a client asked for that is repeated to it."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _with_history(error: ReadError) -> str:
    return f"{error}; GET /jobs/{error.job}/history has those that are kept"
