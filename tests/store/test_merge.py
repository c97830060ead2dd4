from dataclasses import replace

import pytest

from refresher.model import Unchanged
from refresher.store import decisions, ledger, merge
from refresher.store.ledger import (
    Ledger,
)
from tests.store.ledgers import (
    FAILED,
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
    stored,
)


def merged(
    theirs: Ledger | None,
    ours: Ledger,
    *,
    process: str = "me",
    has_body: bool = True,
    provisional: bool = False,
    lost: bool = False,
) -> Ledger:
    return merge.merged(
        theirs,
        ours,
        KEY,
        process=process,
        has_body=has_body,
        provisional=provisional,
        lost=lost,
        history=10,
    )


def test_a_store_that_comes_back_empty_is_given_what_is_served_under_its_number() -> None:
    ours = decisions.paused(grown("a", "b", "c"))
    after = merged(None, ours, lost=True)
    assert numbers(after) == [3]
    assert after.standings[KEY].current == 3
    assert after.standings[KEY].confirmation == confirmation(3)
    assert (after.counts, after.paused, after.issued) == (ours.counts, True, 3)


def test_provisional_versions_are_in_no_history_and_the_newest_is_above_them() -> None:
    theirs = grown("a")
    ours = theirs
    for at, content in enumerate("bcd", 2):
        ours = attempted(ours, published(content, at), at=at)
    after = merged(theirs, ours, provisional=True)
    assert numbers(after) == [5, 1]
    assert after.versions[0].stored == stored("d")


def test_a_newer_store_is_left_as_it_is() -> None:
    ours = grown("a")
    theirs = attempted(ours, published("b", 5), at=5)
    after = merged(theirs, ours)
    assert after.versions == theirs.versions
    assert after.standings[KEY].current == 2


@pytest.mark.parametrize(("confirmed_at", "stays"), [(3.0, True), (9.0, False)])
def test_a_candidate_stays_unless_good_data_has_come_since_whatever_its_age(
    confirmed_at: float, *, stays: bool
) -> None:
    refused = aside("b", 5)
    old = replace(refused.quarantine.confirmation, checked_at=1.0, age=4.0)
    refused = replace(refused, quarantine=replace(refused.quarantine, confirmation=old))
    theirs = attempted(grown("a"), refused, at=5)
    ours = Unchanged(confirmation=confirmation(confirmed_at))
    after = merged(theirs, attempted(grown("a"), ours, at=confirmed_at))
    assert (after.standings[KEY].quarantine is not None) is stays


def test_what_was_confirmed_last_is_current_again_under_a_new_number() -> None:
    ours = attempted(grown("a"), Unchanged(confirmation=confirmation(9)), at=9)
    theirs = attempted(grown("a"), published("b", 5), at=5)
    after = merged(theirs, ours)
    assert numbers(after) == [3, 2, 1]
    assert after.versions[0].stored == stored("a")


def test_one_number_never_has_two_contents_for_one_process() -> None:
    base = grown("a")
    ours = attempted(base, published("mine", 5), at=5)
    theirs = attempted(base, published("newer", 6), at=6)
    after = merged(theirs, ours, provisional=True)
    assert after.standings[KEY].current == 3
    assert after.versions[0].stored == stored("newer")


def test_a_write_that_succeeded_without_an_answer_makes_no_version_twice() -> None:
    ours = theirs = attempted(grown("a"), published("b", 5), at=5)
    assert merged(theirs, ours, provisional=True).versions == theirs.versions


def test_a_version_whose_bytes_are_lost_is_not_current() -> None:
    after = merged(None, grown("a"), has_body=False, lost=True)
    standing = after.standings[KEY]
    assert (standing.current, standing.confirmation, after.versions) == (None, None, ())
    assert standing.due.at is not None
    assert standing.due.at <= 1
    assert attempted(after, published("a", 2), at=2).standings[KEY].current == 2


def test_bytes_that_the_store_has_are_not_needed_here() -> None:
    ours = attempted(grown("a"), Unchanged(confirmation=confirmation(9)), at=9)
    after = merged(grown("a"), ours, has_body=False)
    assert after.standings[KEY].current == 1
    assert after.standings[KEY].confirmation == confirmation(9)


def test_counters_are_taken_by_maximum() -> None:
    base = grown("a")
    ours = attempted(attempted(base, FAILED, at=5), FAILED, at=6)
    theirs = attempted(base, Unchanged(confirmation=confirmation(5)), at=5)
    counts = merged(theirs, ours).counts
    assert (counts.changed, counts.unchanged, counts.failed) == (1, 1, 2)


def test_a_job_resumed_by_others_stays_so_and_a_pause_that_the_store_lost_does_too() -> None:
    ours, theirs = decisions.paused(grown("a")), grown("a")
    assert not merged(theirs, ours).paused
    assert merged(theirs, ours, lost=True).paused
    assert merged(decisions.paused(theirs), theirs).paused


def test_an_attempt_under_way_keeps_its_lease() -> None:
    base = grown("a")
    ours = began(base, at=5)
    assert ours is not None
    standing = merged(base, ours).standings[KEY]
    assert (standing.holder, standing.fence) == ("me", ours.standings[KEY].fence)


def test_an_attempt_that_another_process_has_under_way_keeps_its_lease_and_ours_loses_it() -> None:
    base = grown("a")
    ours = began(base, at=5)
    theirs = began(base, by="other", alive=frozenset({"other"}), at=5)
    assert ours is not None
    assert theirs is not None
    after = merged(theirs, ours)
    assert after.standings[KEY].holder == "other"
    fence = ours.standings[KEY].fence
    done = settlement(published("b", 6), at=6)
    assert ledger.settled(after, KEY, fence, done, process="me", served=0, history=10) is None
    assert ledger.settled(after, KEY, fence, done, process="other", served=0, history=10)


def test_a_lease_that_was_revoked_meanwhile_is_lost() -> None:
    ours = began(grown("a", "b"), at=5)
    assert ours is not None
    theirs = rolled_back(ours, 1)
    assert theirs is not None
    after = merged(theirs, ours)
    assert after.standings[KEY].holder is None
    assert after.standings[KEY].fence > ours.standings[KEY].fence


def test_an_attempt_on_one_side_does_not_answer_requests_on_the_other() -> None:
    base = grown("a")
    theirs = ledger.requested(base, KEY, now=5)
    ours = attempted(ledger.requested(base, KEY, now=3), FAILED, at=4)
    for mine, its in ((ours, theirs), (theirs, ours)):
        standing = merged(its, mine).standings[KEY]
        assert ledger.is_pending(standing)
        assert standing.requested == 1
    both = merged(ours, ours).standings[KEY]
    assert not ledger.is_pending(both)


def test_an_attempt_under_way_does_not_answer_requests_made_elsewhere_since_it_began() -> None:
    base = grown("a")
    for asked_at, is_answered in ((4, True), (6, False)):
        diverged = ledger.requested(base, KEY, now=asked_at)
        begun = began(ledger.requested(base, KEY, now=4), at=5)
        assert begun is not None
        for mine, its in ((begun, diverged), (diverged, begun)):
            after = merged(its, mine, process="me" if mine is begun else "other")
            fence = after.standings[KEY].fence
            done = settlement(published("b", 7), at=7, answers=1)
            ended = ledger.settled(after, KEY, fence, done, process="me", served=0, history=10)
            assert ended is not None
            assert ledger.is_pending(ended.standings[KEY]) != is_answered
