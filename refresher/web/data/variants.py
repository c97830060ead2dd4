"""Which answer of those to reads of a representation a request gets (RFC 9110, 12 and 13)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from refresher.fields import conditional, negotiation
from refresher.web.cors import Cors
from refresher.web.data.headers import Rendering

Fields = dict[bytes, bytes]
"""Those header fields of a request that a read looks at; several lines of one joined by commas."""


class Request(NamedTuple):
    """What a read needs to know of a request, its target aside."""

    method: str
    fields: Fields


class Variant(NamedTuple):
    """One of the answers that there are to reads of a representation."""

    coding: str
    not_modified: bool
    """The client has these bytes: 304."""
    head: bool
    """Without its body."""
    origin: bytes | None
    """The request's Origin, where the answer names it (CORS)."""


def variant_for(request: Request, rendering: Rendering, cors: Cors) -> Variant:
    """The answer that a request gets."""
    fields = request.fields
    coding = negotiation.choose(fields.get(b"accept-encoding"), rendering.representation.codings)
    return Variant(
        coding,
        not_modified=_is_not_modified(fields, rendering, coding),
        head=request.method == "HEAD",
        origin=cors.named(fields.get(b"origin")),
    )


def _is_not_modified(fields: Fields, rendering: Rendering, coding: str) -> bool:
    match = fields.get(b"if-none-match")
    if match is None and b"if-modified-since" not in fields:
        return False
    if match == rendering.etags[coding].encode():
        return True  # what nearly all clients send, in a third of the time
    snapshot = rendering.snapshot
    last_modified = math.floor(snapshot.changed_at) if snapshot.dated else None
    return is_not_modified(fields, rendering.etags, last_modified)


def is_not_modified(
    fields: Mapping[bytes, bytes], etags: Mapping[str, str], last_modified: int | None
) -> bool:
    """Whether a request's preconditions say that its sender has the bytes already: 304, not 200.

    Args:
        fields: Of the request, by lower-case name.
        etags: By content coding; those that the request does not accept do not count.
        last_modified: Whole seconds since the epoch; None where no Last-Modified is sent.
    """
    match, since = fields.get(b"if-none-match"), fields.get(b"if-modified-since")
    accept = fields.get(b"accept-encoding")
    return conditional.not_modified(
        None if match is None else match.decode("latin-1"),
        None if since is None else since.decode("latin-1"),
        etags=[etag for coding, etag in etags.items() if negotiation.acceptable(accept, coding)],
        last_modified=last_modified,
    )
