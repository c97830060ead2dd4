from dataclasses import replace

from refresher.model import Changed
from refresher.store import decisions, ledger
from refresher.store.ledger import Ledger
from tests.store.ledgers import (
    KEY,
    aside,
    attempted,
    began,
    confirmation,
    grown,
    numbers,
    published,
    rolled_back,
    settlement,
)


def test_a_rollback_is_a_new_version_of_old_bytes_and_pauses() -> None:
    known = rolled_back(grown("a", "b"), 1)
    assert known is not None
    assert numbers(known) == [3, 2, 1]
    assert known.versions[0].stored == known.versions[2].stored
    assert known.paused
    standing = known.standings[KEY]
    assert standing.current == 3
    assert standing.confirmation == replace(confirmation(2.0), revision=None)


def of_time(content: str, at: float, content_time: float) -> Changed:
    changed = published(content, at)
    return replace(changed, stored=replace(changed.stored, content_time=content_time))


def test_a_rollback_is_from_when_the_old_bytes_were() -> None:
    known = attempted(Ledger(), of_time("a", 1.0, 0.25), at=1.0)
    known = attempted(known, of_time("b", 2.0, 0.75), at=2.0)
    back = rolled_back(known, 1)
    assert back is not None
    confirmed = back.standings[KEY].confirmation
    assert confirmed == replace(confirmation(2.0), revision=None, content_time=0.25)


def test_what_is_accepted_is_from_when_it_says() -> None:
    older = aside("b", 2)
    stored = replace(older.quarantine.stored, content_time=0.25)
    known = attempted(Ledger(), of_time("a", 1.0, 0.75), at=1.0)
    known = attempted(
        known, replace(older, quarantine=replace(older.quarantine, stored=stored)), at=2
    )
    after = decisions.accepted(known, KEY, '"b"', served=0, now=3, history=10)
    assert after is not None
    assert after.standings[KEY].confirmation == replace(confirmation(2), content_time=0.25)


def test_a_rollback_to_what_is_served_is_a_new_version_all_the_same() -> None:
    known = rolled_back(grown("a"), 1)
    assert known is not None
    assert known.standings[KEY].current == 2


def test_a_rollback_to_what_is_not_kept_changes_nothing() -> None:
    assert rolled_back(grown("a"), 7) is None


def test_a_rollback_is_undone_neither_by_what_runs_nor_by_what_was_asked_for() -> None:
    known = began(ledger.forced(grown("a", "b"), KEY, now=3))
    assert known is not None
    after = rolled_back(known, 1)
    assert after is not None
    fence = known.standings[KEY].fence
    late = settlement(published("c", 9), at=9)
    assert ledger.settled(after, KEY, fence, late, process="me", served=0, history=10) is None
    assert not ledger.is_pending(after.standings[KEY])
    assert not ledger.is_forced(after.standings[KEY])
    assert began(after, at=99) is None
    asked = ledger.requested(after, KEY, now=60)
    assert ledger.is_pending(asked.standings[KEY])


def test_what_is_set_aside_is_accepted_as_a_new_version() -> None:
    known = attempted(grown("a"), aside("b", 2), at=2)
    assert known.standings[KEY].current == 1
    assert known.bodies == {"body of a", "body of b"}
    assert decisions.accepted(known, KEY, '"c"', served=0, now=3, history=10) is None
    after = decisions.accepted(known, KEY, '"b"', served=0, now=3, history=10)
    assert after is not None
    assert after.standings[KEY].current == 2
    assert after.standings[KEY].quarantine is None
    assert after.standings[KEY].confirmation == confirmation(2)
    assert decisions.accepted(after, KEY, '"b"', served=0, now=3, history=10) is None


def test_what_is_rejected_is_gone_and_no_attempt_under_way_brings_it_back() -> None:
    known = began(attempted(grown("a"), aside("b", 2), at=2), at=3)
    assert known is not None
    after = decisions.rejected(known, KEY, now=3)
    assert after is not None
    assert after.bodies == {"body of a"}
    again = settlement(aside("b", 4), at=4)
    fence = known.standings[KEY].fence
    assert ledger.settled(after, KEY, fence, again, process="me", served=0, history=10) is None
    assert decisions.rejected(after, KEY, now=5) is None
