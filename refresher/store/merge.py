"""Two ledgers of one job that went apart while a store was away, made one again."""

from msgspec.structs import replace

from refresher.model import Confirmation, Counts, Due, DueReason, Version
from refresher.store.ledger import Ledger, Standing, is_pending, pruned, with_standing, with_version


def reunited(
    theirs: Ledger | None,
    ours: Ledger,
    key: str,
    *,
    process: str,
    at_hand: bool,
    provisional: bool,
    lost: bool,
    history: int,
) -> Ledger:
    """The ledger of a store that was away, with what this process has come to know meanwhile.

    `theirs` is None where the store came back without the job, and `lost` says that it came back
    with less than it had. Counters, and pauses that it has lost, are taken by maximum. The newest
    content is current, under a number above all that this process has served, `provisional`
    numbers being those that it has issued by itself. `at_hand` says whether the process has the
    bytes of what it served last.
    """
    mine = ours.standings[key]
    other = None if theirs is None else theirs.standings.get(key)
    if theirs is None:
        theirs = Ledger(paused=ours.paused)
    own = ours.version(mine.current)
    known = None if other is None else theirs.version(other.current)
    has_own = own is not None and (at_hand or own.stored.body in theirs.bodies)
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
    """The ledger with that content, and its number: none that had other content here.

    `own` is what was served here last, `known` what the store has; where `may_keep`, the number of
    the one is as good as the store's, whose own have come to `last`.
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
    """How it stands, but for what is served: no request is lost, no lease that is still good."""
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
        leased = replace(leased, apart=fence if is_late else leased.apart)
    # Where they are numbered apart, one side's answer is none to what was asked on the other.
    pending = [each for each in both if is_pending(each)]
    answered = [each.answered for each in pending] or [max(each.answered for each in both)]
    aside = None if other is None else other.quarantine
    if aside and mine.confirmation and mine.confirmation.checked_at > aside.confirmation.checked_at:
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
    """Whether the last attempt of the one came after that of the other."""
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
    """The content that its source confirmed last, the store's where both did at the same time."""
    ours = mine.confirmation if own is not None else None
    theirs = other.confirmation if other is not None and known is not None else None
    if ours is None or (theirs is not None and theirs.checked_at >= ours.checked_at):
        return known, theirs
    return own, ours


def _same(one: Version, other: Version) -> bool:
    return one.stored.etag == other.stored.etag
