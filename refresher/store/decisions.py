"""What people decide of a job: to pause, resume or roll it back, to accept or reject a candidate.

Each is a pure function from one ledger to the next, as those in `refresher.store.ledger` are.
"""

import dataclasses

from msgspec.structs import replace

from refresher.model import Attempt, Confirmation, Definition
from refresher.store.ledger import (
    Ledger,
    dated,
    is_pending,
    key_of,
    pruned,
    published,
    renewed,
    revoked,
    with_standing,
    with_version,
)


def paused(ledger: Ledger) -> Ledger:
    """The job no longer follows its schedule."""
    return replace(ledger, paused=True)


def resumed(ledger: Ledger) -> Ledger:
    """The job follows its schedule again."""
    return replace(ledger, paused=False)


def rolled_back(
    ledger: Ledger,
    definition: Definition,
    number: int,
    *,
    discarded: Attempt,
    served: int,
    now: float,
    history: int,
) -> Ledger | None:
    """The content of a kept version is published again, and the job paused; None: it is not kept.

    An attempt under way loses its lease, as its content would replace that version. Requests that
    are pending are answered by `discarded`, an attempt without a version, which gets that of the
    rollback. The source has confirmed nothing, so the age of the data does not change.
    """
    old = ledger.version(number)
    if old is None:
        return None
    key = key_of(definition)
    standing = ledger.standings[key]
    confirmation = standing.confirmation or Confirmation(
        checked_at=old.changed_at, lifetime=0.0, revision=None, definition=definition
    )
    ledger, version = with_version(ledger, old.stored, now=now, served=served)
    standing = replace(
        revoked(standing),
        current=version,
        confirmation=dataclasses.replace(
            dated(confirmation, old.stored.content_time), revision=None
        ),
    )
    if is_pending(standing):
        answer = dataclasses.replace(discarded, version=version)
        standing = replace(standing, answered=standing.requested, last_attempt=answer)
    return pruned(with_standing(replace(ledger, paused=True), key, standing, now), history)


def accepted(
    ledger: Ledger, key: str, etag: str, *, served: int, now: float, history: int
) -> Ledger | None:
    """The candidate of that ETag becomes a new version; None where it is not in quarantine.

    An attempt under way loses its lease, as it would be settled without knowing of this.
    """
    standing = ledger.standings[key]
    held = standing.quarantine
    if held is None or held.stored.etag != etag:
        return None
    ledger, version = published(ledger, standing, held.stored, now=now, served=served)
    confirmation = dated(held.confirmation, held.stored.content_time)
    standing = renewed(standing, confirmation, version, now)
    return pruned(with_standing(ledger, key, revoked(standing), now), history)


def rejected(ledger: Ledger, key: str, *, now: float) -> Ledger | None:
    """The candidate in quarantine is dropped; None where there is none.

    An attempt under way loses its lease, as its request has the validators of the candidate.
    """
    standing = ledger.standings[key]
    if standing.quarantine is None:
        return None
    return with_standing(ledger, key, replace(revoked(standing), quarantine=None), now)
