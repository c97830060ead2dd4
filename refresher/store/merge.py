"""Two ledgers of one job that diverged while a process was detached from its store, merged."""

from msgspec.structs import replace

from refresher.model import Confirmation, Counts, Due, DueReason, Version
from refresher.store.ledger import Ledger, Standing, is_pending, pruned, with_standing, with_version


def merged(
    theirs: Ledger | None,
    ours: Ledger,
    key: str,
    *,
    process: str,
    has_body: bool,
    provisional: bool,
    lost: bool,
    history: int,
) -> Ledger:
    """The ledger of a store that is available again, with what has happened here while it was not.

    Counters are taken by maximum, and a pause that the store has lost is set again. The content
    that was confirmed last is current, under a number above all that this process has served.

    Args:
        theirs: The store's ledger; None where the store has none of this job.
        ours: The ledger of the local copy.
        key: Of this process's definition of the job.
        process: The name of this process in leases.
        has_body: Whether this process has the bytes of the version that it served last.
        provisional: Whether this process has issued version numbers while it was detached.
        lost: Whether the store has lost changes of the ledger.
        history: How many versions are kept.
    """
    mine = ours.standings[key]
    other = None if theirs is None else theirs.standings.get(key)
    if theirs is None:
        theirs = Ledger(paused=ours.paused)
    own = ours.version(mine.current)
    known = None if other is None else theirs.version(other.current)
    has_own = own is not None and (has_body or own.stored.body in theirs.bodies)
    newest, confirmation = _newest(own if has_own else None, mine, known, other)
    ledger = replace(
        theirs,
        issued=max(theirs.issued, ours.issued),
        paused=theirs.paused or (lost and ours.paused),
        counts=_most(theirs.counts, ours.counts),
    )
    version = None
    if newest is not None:
        ledger, version = _renumbered(
            ledger, newest, own=own, known=known, may_keep=not provisional, last=theirs.issued
        )
    base = mine if other is None or _is_later(mine, other) else other
    standing = replace(
        _reconciled(base, mine, other, process),
        current=version,
        confirmation=confirmation,
        due=Due(base.since, DueReason.STARTUP) if newest is None and own else base.due,
    )
    return pruned(with_standing(ledger, key, standing, standing.used_at), history)


def _renumbered(
    ledger: Ledger,
    newest: Version,
    *,
    own: Version | None,
    known: Version | None,
    may_keep: bool,
    last: int,
) -> tuple[Ledger, int]:
    """The ledger with that content, and its version: under that number no other was served here.

    `own` is the version that this process served last, `known` that of the store. `may_keep` says
    that the number of `own` was issued by the store; `last` is the highest that the store knows of.
    """
    served = 0 if own is None else own.version
    if known is not None and _same(known, newest):
        as_served = own is not None and own.version == known.version and _same(own, known)
        if known.version > served or as_served:
            return ledger, known.version
    if may_keep and newest is own and served > last:
        return replace(ledger, versions=(newest, *ledger.versions)), served
    return with_version(ledger, newest.stored, now=newest.changed_at, served=served)


def _reconciled(base: Standing, mine: Standing, other: Standing | None, process: str) -> Standing:
    """Both standings in one, but for the version: no request is lost, and no lease in force."""
    both = [mine] if other is None else [mine, other]
    fence = max(each.fence for each in both)
    leased = replace(base, fence=fence + 1, holder=None, running_since=None)
    if (
        mine.holder == process
        and mine.fence == fence
        and (other is None or other.holder in {None, process})
    ):
        leased = replace(base, fence=fence, holder=process, running_since=mine.running_since)
    elif other is not None and other.fence == fence and other.holder not in {None, process}:
        leased = replace(base, fence=fence, holder=other.holder, running_since=other.running_since)
    asks = other if leased.holder == process else mine
    if leased.running_since is not None and asks is not None:
        is_late = is_pending(asks) and asks.requested_at >= leased.running_since
        leased = replace(leased, unanswering=fence if is_late else leased.unanswering)
    # Each side numbers its requests itself: the answer on one does not answer those on the other.
    pending = [each for each in both if is_pending(each)]
    answered = [each.answered for each in pending] or [max(each.answered for each in both)]
    aside = None if other is None else other.quarantine
    if aside and mine.confirmation and mine.confirmation.came_at > aside.confirmation.came_at:
        aside = None
    return replace(
        leased,
        requested=max(each.requested for each in both),
        answered=min(answered),
        forced=max((each.forced for each in pending), default=0),
        requested_at=max(each.requested_at for each in both),
        held_until=max(each.held_until for each in both),
        quarantine=aside,
    )


def _is_later(one: Standing, other: Standing) -> bool:
    """Whether the last attempt of `one` started after that of `other`."""
    if one.last_attempt is None:
        return False
    return other.last_attempt is None or one.last_attempt.started_at > other.last_attempt.started_at


def _most(one: Counts, other: Counts) -> Counts:
    return Counts(
        max(one.changed, other.changed),
        max(one.unchanged, other.unchanged),
        max(one.failed, other.failed),
        max(one.rejected, other.rejected),
    )


def _newest(
    own: Version | None, mine: Standing, known: Version | None, other: Standing | None
) -> tuple[Version | None, Confirmation | None]:
    """The content that its source confirmed last, in doubt that of the store."""
    ours = mine.confirmation if own is not None else None
    theirs = other.confirmation if other is not None and known is not None else None
    if ours is None or (theirs is not None and theirs.checked_at >= ours.checked_at):
        return known, theirs
    return own, ours


def _same(one: Version, other: Version) -> bool:
    return one.stored.etag == other.stored.etag
