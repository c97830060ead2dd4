"""The header fields of a snapshot: those that stay while it does, and those that tell its age."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from refresher import freshness
from refresher.fields.dates import http_date
from refresher.fields.negotiation import IDENTITY
from refresher.freshness import Policy
from refresher.model import Record, Snapshot, State
from refresher.pipeline.representation import Representation
from refresher.state import Entry
from refresher.web.answer import RawHeaders

NEVER_RUN: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
]
"""A browser runs nothing that an upstream sent, whatever media type it claims."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """One snapshot as it goes over the wire, the fields that tell its age aside."""

    snapshot: Snapshot
    representation: Representation
    policy: Policy
    max_age: int
    private: bool
    """Whether no cache may share it: reading needs a token."""
    etags: Mapping[str, str]
    """By coding."""
    shared: Mapping[str, RawHeaders]
    """By coding: what a 200 and a 304 both have (RFC 9110, 15.4.5)."""
    content: Mapping[str, RawHeaders]
    """By coding that is not deferred: what only a 200 has."""

    def is_of(self, entry: Entry) -> bool:
        """Whether it is what `render` would make of an entry."""
        return (
            self.snapshot is entry.record.snapshot
            and self.representation is entry.representation
            and self.policy is entry.policy
        )


def render(
    snapshot: Snapshot, representation: Representation, policy: Policy, *, private: bool
) -> Rendering:
    """Write all fields of a snapshot that stay the same until it is checked again."""
    offered = (IDENTITY, *representation.codings)
    made = (IDENTITY, *representation.coded)
    max_age = freshness.max_age_of(snapshot, policy)
    visibility = "private" if private else "public"
    cache_control = f"{visibility}, max-age={max_age}"
    if policy.max_stale is not None:
        cache_control += f", stale-if-error={math.floor(policy.max_stale)}"
    common = [
        (b"cache-control", cache_control.encode()),
        (b"refresher-version", b"%d" % snapshot.version),
        *NEVER_RUN,
    ]
    if snapshot.dated:
        common.append((b"last-modified", http_date(snapshot.changed_at).encode()))
    # A coded form that has yet to be made has its ETag already, so that a 304 does not wait for
    # bytes that nobody gets. Where the form turns out to save too little, no further answer has
    # that ETag, and a client that sends it gets a 200.
    etags = {coding: representation.etag(coding) for coding in offered}
    return Rendering(
        snapshot,
        representation,
        policy,
        max_age,
        private,
        etags,
        {coding: [(b"etag", etags[coding].encode()), *common] for coding in offered},
        {coding: content_fields(representation, coding) for coding in made},
    )


def age_fields(rendering: Rendering, record: Record, state: State, now: float) -> RawHeaders:
    """How old the snapshot is now: Age (RFC 9111, 5.1) and Cache-Status (RFC 9211).

    nginx takes no notice of Age, and keeps an answer for X-Accel-Expires from when it came. It
    heeds that before `Cache-Control: private`, so that is 0 there: keep nothing.
    """
    age = math.floor(freshness.age_of(rendering.snapshot, now))
    left = rendering.max_age - age
    status = f"refresher; hit; ttl={left}"
    if left < 0 or state is not State.FRESH or record.detached:
        status += f"; detail={freshness.detail_of(record, rendering.policy, state, now)}"
    return [
        (b"age", b"%d" % age),
        (b"cache-status", status.encode()),
        (b"x-accel-expires", b"0" if rendering.private else b"%d" % max(0, left)),
    ]


def content_fields(representation: Representation, coding: str) -> RawHeaders:
    """The fields that a 200 has because of its body, and a 304 does not have."""
    fields = [
        (b"content-type", representation.content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(representation.body(coding))),
    ]
    if coding != IDENTITY:
        fields.append((b"content-encoding", coding.encode()))
    return fields
