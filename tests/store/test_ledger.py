import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from refresher.model import (
    Changed,
    Confirmation,
    Definition,
    Due,
    DueReason,
    Unchanged,
)
from refresher.store import decisions, ledger, merge
from refresher.store.ledger import (
    Ledger,
    Standing,
    key_of,
)
from tests.store.ledgers import (
    FAILED,
    KEY,
    ONE,
    OTHER_RULES,
    OTHER_SOURCE,
    aside,
    attempted,
    began,
    confirmation,
    grown,
    numbers,
    published,
    settlement,
)


def test_versions_count_from_one_and_up() -> None:
    assert numbers(grown("a", "b", "c")) == [3, 2, 1]


def test_equal_bytes_make_no_version_but_a_new_confirmation() -> None:
    known = attempted(grown("a"), published("a", 9.0), at=9.0)
    assert numbers(known) == [1]
    assert known.standings[KEY].confirmation == confirmation(9.0)
    assert known.versions[0].changed_at == 1


def test_what_is_unchanged_has_been_confirmed_now_and_is_no_new_version() -> None:
    known = attempted(grown("a"), Unchanged(confirmation=confirmation(7)), at=7)
    standing = known.standings[KEY]
    assert (standing.confirmation, standing.current) == (confirmation(7), 1)
    assert numbers(known) == [1]


def of_a_cache(at: float, age: float, *, stale: bool = False) -> Confirmation:
    """A confirmation of an answer that came `at`, out of a cache, due after 100 s."""
    return replace(
        confirmation(at),
        checked_at=at - age,
        lifetime=100 + age,
        age=age,
        stale_since=at if stale else None,
    )


@pytest.mark.parametrize("same", [Unchanged, lambda **said: replace(published("a", 0), **said)])
def test_the_same_bytes_from_an_older_cache_are_no_older_than_they_are_known_to_be(
    same: Callable[..., Unchanged | Changed],
) -> None:
    known = attempted(grown("a"), same(confirmation=of_a_cache(50.0, 20.0)), at=50.0)
    assert known.standings[KEY].confirmation == of_a_cache(50.0, 20.0)
    known = attempted(known, same(confirmation=of_a_cache(60.0, 45.0)), at=60.0)
    assert known.standings[KEY].confirmation == of_a_cache(60.0, 30.0)
    known = attempted(known, same(confirmation=of_a_cache(70.0, 0.0)), at=70.0)
    assert known.standings[KEY].confirmation == of_a_cache(70.0, 0.0)


def test_other_bytes_are_as_old_as_their_cache_says() -> None:
    known = attempted(grown("a"), Unchanged(confirmation=confirmation(50.0)), at=50.0)
    older = replace(published("b", 60.0), confirmation=of_a_cache(60.0, 45.0))
    known = attempted(known, older, at=60.0)
    assert known.standings[KEY].confirmation == of_a_cache(60.0, 45.0)


def test_bytes_changed_when_they_came_whatever_their_age() -> None:
    known = attempted(
        grown("a"), replace(published("b", 5.0), confirmation=of_a_cache(5.0, 900.0)), at=5.0
    )
    assert [each.changed_at for each in known.versions] == [5.0, 1.0]
    assert known.versions[0].dated


def test_after_the_clock_was_set_back_nothing_was_known_before() -> None:
    known = attempted(grown("a"), Unchanged(confirmation=confirmation(9000.0)), at=9000.0)
    known = attempted(known, Unchanged(confirmation=of_a_cache(50.0, 20.0)), at=50.0)
    assert known.standings[KEY].confirmation == of_a_cache(50.0, 20.0)


def test_a_source_is_stale_since_its_first_answer_that_said_so_until_one_that_does_not() -> None:
    known = grown("a")
    for at in (10.0, 20.0):
        stale = Unchanged(confirmation=of_a_cache(at, 0.0, stale=True))
        known = attempted(known, stale, at=at)
        assert known.standings[KEY].confirmation == replace(stale.confirmation, stale_since=10.0)
    known = attempted(known, Unchanged(confirmation=of_a_cache(30.0, 0.0)), at=30.0)
    assert known.standings[KEY].confirmation == confirmation(30.0)
    known = attempted(known, Unchanged(confirmation=of_a_cache(40.0, 0.0, stale=True)), at=40.0)
    assert known.standings[KEY].confirmation == of_a_cache(40.0, 0.0, stale=True)


def of_time(content: str, at: float, content_time: float | None) -> Changed:
    changed = published(content, at)
    return replace(changed, stored=replace(changed.stored, content_time=content_time))


def test_a_version_is_from_when_its_content_says_and_so_while_it_is_confirmed() -> None:
    known = attempted(grown("a"), of_time("b", 5.0, 3.0), at=5.0)
    for at in (6.0, 7.0):
        assert known.standings[KEY].confirmation == replace(confirmation(at - 1), content_time=3.0)
        known = attempted(known, Unchanged(confirmation=confirmation(at)), at=at)
    known = attempted(known, of_time("c", 8.0, None), at=8.0)
    assert known.standings[KEY].confirmation == confirmation(8.0)


def test_the_same_bytes_read_by_other_rules_are_from_when_those_say() -> None:
    known = attempted(Ledger(), of_time("a", 5.0, 3.0), at=5.0)
    known = ledger.with_definition(known, OTHER_RULES, now=6.0)
    begun = known.standings[key_of(OTHER_RULES)].confirmation
    assert begun is not None
    assert begun.content_time is None
    again = replace(of_time("a", 7.0, 4.0), confirmation=confirmation(7.0, OTHER_RULES))
    known = attempted(known, again, at=7.0, definition=OTHER_RULES)
    assert numbers(known) == [1]
    confirmed = {key: each.confirmation for key, each in known.standings.items()}
    assert confirmed[KEY] == replace(confirmation(5.0), content_time=3.0)
    assert confirmed[key_of(OTHER_RULES)] == replace(again.confirmation, content_time=4.0)


def test_a_document_of_an_earlier_release_says_nothing_of_caches() -> None:
    written = msgspec.msgpack.decode(ledger.encoded(grown("a")))
    for standing in written["standings"].values():
        del standing["confirmation"]["age"], standing["confirmation"]["stale_since"]
        del standing["confirmation"]["content_time"]
    for version in written["versions"]:
        del version["stored"]["content_time"]
    assert ledger.decoded(msgspec.msgpack.encode(written)) == grown("a")


def test_a_new_version_is_above_what_the_process_has_served() -> None:
    known = attempted(grown("a"), published("b", 2.0), at=2.0, served=41)
    assert numbers(known) == [42, 1]


def test_equal_bytes_under_a_number_below_what_was_served_are_a_new_version() -> None:
    known = attempted(grown("a"), published("a", 2.0), at=2.0, served=5)
    assert known.standings[KEY].current == 6


def test_history_keeps_so_many_versions() -> None:
    assert numbers(grown(*"abcdef", history=3)) == [6, 5, 4]


def test_history_keeps_what_is_current_under_any_definition() -> None:
    known = grown("a")
    for at, content in enumerate("bcdefg", 2):
        known = attempted(
            known,
            published(content, at, OTHER_SOURCE),
            at=at,
            definition=OTHER_SOURCE,
            history=2,
        )
    assert numbers(known) == [7, 6, 1]


def test_a_lease_that_is_held_is_granted_to_nobody_else() -> None:
    known = began(ledger.with_definition(Ledger(), ONE, now=0))
    assert known is not None
    assert began(known, by="other", alive=frozenset({"me", "other"})) is None


def test_the_lease_of_a_dead_process_is_granted_to_another() -> None:
    known = began(ledger.with_definition(Ledger(), ONE, now=0))
    assert known is not None
    taken = began(known, by="other", alive=frozenset({"other"}))
    assert taken is not None
    assert taken.standings[KEY].holder == "other"


@pytest.mark.parametrize("process", ["me", "other"])
def test_a_settlement_under_an_old_fence_changes_nothing(process: str) -> None:
    known = began(ledger.with_definition(Ledger(), ONE, now=0))
    assert known is not None
    old = known.standings[KEY].fence
    taken = began(known, by="other", alive=frozenset({"other"}))
    assert taken is not None
    late = settlement(published("late", 5), at=5)
    assert ledger.settled(taken, KEY, old, late, process=process, served=0, history=10) is None


def test_a_settlement_of_a_process_without_the_lease_changes_nothing() -> None:
    known = began(ledger.with_definition(Ledger(), ONE, now=0))
    assert known is not None
    fence = known.standings[KEY].fence
    same = settlement(published("x", 5), at=5)
    assert ledger.settled(known, KEY, fence, same, process="x", served=0, history=10) is None
    done = ledger.settled(known, KEY, fence, same, process="me", served=0, history=10)
    assert done is not None
    assert ledger.settled(done, KEY, fence, same, process="me", served=0, history=10) is None


def test_nothing_is_begun_before_it_is_due() -> None:
    known = grown("a")
    assert (
        ledger.acquired(known, KEY, process="me", alive={"me"}, due_now_since=None, now=50.0)
        is None
    )
    assert ledger.acquired(known, KEY, process="me", alive={"me"}, due_now_since=None, now=101.0)


def test_an_attempt_since_a_job_was_due_now_is_not_made_twice() -> None:
    known = attempted(Ledger(), published("a", 10), at=10)
    assert ledger.acquired(known, KEY, process="b", alive={"b"}, due_now_since=9.0, now=11) is None
    assert ledger.acquired(known, KEY, process="b", alive={"b"}, due_now_since=11.0, now=11)


def test_a_paused_job_begins_what_was_asked_for_and_nothing_else() -> None:
    known = decisions.paused(grown("a"))
    assert (
        ledger.acquired(known, KEY, process="a", alive={"a"}, due_now_since=math.inf, now=1e9)
        is None
    )
    asked = ledger.requested(known, KEY, now=5)
    assert ledger.acquired(asked, KEY, process="a", alive={"a"}, due_now_since=None, now=5)
    assert not decisions.resumed(known).paused


def test_an_attempt_answers_what_was_asked_before_it_began_and_nothing_after() -> None:
    known = ledger.requested(ledger.with_definition(Ledger(), ONE, now=0), KEY, now=0)
    begun = began(known)
    assert begun is not None
    answers = begun.standings[KEY].requested
    later = ledger.forced(begun, KEY, now=1)
    after = ledger.settled(
        later,
        KEY,
        begun.standings[KEY].fence,
        settlement(FAILED, at=2, answers=answers),
        process="me",
        served=0,
        history=10,
    )
    assert after is not None
    assert ledger.is_pending(after.standings[KEY])
    assert ledger.is_forced(after.standings[KEY])
    last = attempted(after, FAILED, at=3).standings[KEY]
    assert not ledger.is_pending(last)
    assert not ledger.is_forced(last)


def test_another_source_begins_with_nothing_and_the_old_data_is_history() -> None:
    known = ledger.with_definition(grown("a"), OTHER_SOURCE, now=5)
    standing = known.standings[key_of(OTHER_SOURCE)]
    assert (standing.current, standing.confirmation) == (None, None)
    assert standing.due == Due(5, DueReason.STARTUP)
    assert numbers(known) == [1]


def test_other_rules_begin_with_what_is_served_at_once_and_without_validators() -> None:
    known = ledger.with_definition(grown("a", "b"), OTHER_RULES, now=5)
    standing = known.standings[key_of(OTHER_RULES)]
    assert standing.current == 2
    assert standing.due == Due(5, DueReason.DEFINITION)
    assert standing.confirmation == replace(confirmation(2.0), revision=None)
    assert ledger.with_definition(known, OTHER_RULES, now=9) is known


def test_two_definitions_never_overwrite_each_others_current_version() -> None:
    known = Ledger()
    for at in range(1, 30):
        definition = (ONE, OTHER_SOURCE)[at % 2]
        content = f"{definition.source} {at // 8}"
        known = attempted(known, published(content, at, definition), at=at, definition=definition)
        for each in (ONE, OTHER_SOURCE):
            standing = known.standings.get(key_of(each))
            if standing is not None:
                version = known.version(standing.current)
                assert version is not None
                assert version.stored.etag.startswith(f'"{each.source} ')
    assert len(set(numbers(known))) == len(known.versions)


def test_what_another_definition_has_published_already_is_no_new_version() -> None:
    known = attempted(
        grown("a", "b"), published("b", 3, OTHER_SOURCE), at=3, definition=OTHER_SOURCE
    )
    assert numbers(known) == [2, 1]
    assert known.standings[key_of(OTHER_SOURCE)].current == 2


def test_a_definition_unused_for_a_day_is_forgotten() -> None:
    known = ledger.with_definition(grown("a"), OTHER_SOURCE, now=5)
    known = attempted(known, FAILED, at=80_000.0)
    assert len(known.standings) == 2
    known = attempted(known, FAILED, at=90_000.0)
    assert list(known.standings) == [KEY]


def test_definitions_do_not_pile_up() -> None:
    known = Ledger()
    for n in range(40):
        definition = Definition(f"source {n}", "rules")
        known = attempted(known, published(f"{n}", n, definition), at=n, definition=definition)
    assert len(known.standings) == 8


def test_a_change_within_the_second_of_the_one_before_is_not_dated() -> None:
    known = Ledger()
    for content, at in (("a", 5.0), ("b", 5.9), ("c", 6.1)):
        known = attempted(known, published(content, at), at=at)
    assert [each.dated for each in known.versions] == [True, False, True]


def test_good_data_ends_the_quarantine_and_a_run_of_failures() -> None:
    known = attempted(attempted(grown("a"), aside("b", 2), at=2), FAILED, at=3)
    assert known.standings[KEY].consecutive_failures == 2
    assert known.standings[KEY].failing_since == 2
    known = attempted(known, Unchanged(confirmation=confirmation(4)), at=4)
    standing = known.standings[KEY]
    assert (standing.quarantine, standing.failing_since, standing.consecutive_failures) == (
        None,
        None,
        0,
    )


def test_a_failure_may_tell_what_to_ask_with_from_then_on() -> None:
    told = replace(FAILED, since="other")
    known = attempted(grown("a"), told, at=2)
    assert known.standings[KEY].confirmation == replace(confirmation(1), revision="other")
    assert attempted(Ledger(), told, at=2).standings[KEY].confirmation is None
    held = attempted(attempted(grown("a"), aside("b", 2), at=2), told, at=3).standings[KEY]
    assert held.quarantine is not None
    assert held.quarantine.confirmation.revision == "other"
    assert held.confirmation == confirmation(1)


def test_what_is_current_is_never_evicted_and_nothing_is_evicted_twice() -> None:
    known = grown("a", "b", "c")
    assert [each.version for each in ledger.evictable(known)] == [2, 1]
    assert ledger.without(known, 3) is None
    after = ledger.without(known, 1)
    assert after is not None
    assert numbers(after) == [3, 2]
    assert ledger.without(after, 1) is None


def test_a_version_whose_bytes_are_gone_is_forgotten_and_due_at_once() -> None:
    known = grown("a", "b")
    assert ledger.current_lost(known, KEY, 1, now=50) is None
    after = ledger.current_lost(known, KEY, 2, now=50)
    assert after is not None
    assert numbers(after) == [1]
    assert after.standings[KEY].current is None
    assert after.standings[KEY].due == Due(50, DueReason.STARTUP)
    assert attempted(after, published("b", 51), at=51).standings[KEY].current == 3


def test_no_due_moment_and_no_hold_is_further_away_than_it_can_be() -> None:
    known = grown("a")
    assert ledger.not_after(known, KEY, latest=101, held=0, now=1) is None
    after = ledger.not_after(known, KEY, latest=50, held=0, now=1)
    assert after is not None
    assert after.standings[KEY].due == Due(50, DueReason.SCHEDULE)


def test_a_due_moment_that_another_seed_has_spread_stays() -> None:
    known = grown("a")
    assert ledger.not_after(known, KEY, latest=50, slack=51, held=0, now=1) is None
    after = ledger.not_after(known, KEY, latest=50, slack=50, held=0, now=1)
    assert after is not None
    assert after.standings[KEY].due == Due(50, DueReason.SCHEDULE)


def test_a_ledger_reads_as_it_was_written() -> None:
    known = attempted(ledger.forced(grown("a", "b"), KEY, now=2), aside("c", 3), at=3)
    known = ledger.with_definition(decisions.paused(known), OTHER_RULES, now=4)
    assert ledger.decoded(ledger.encoded(known)) == known


def test_a_moment_that_never_comes_reads_as_it_was_written() -> None:
    standing = Standing(due=Due(math.inf, DueReason.SCHEDULE), used_at=0, since=0)
    known = Ledger(standings={KEY: standing})
    assert ledger.decoded(ledger.encoded(known)) == known


def test_what_a_later_release_adds_is_ignored() -> None:
    known = grown("a")
    document = msgspec.msgpack.decode(ledger.encoded(known))
    document["colour"] = {"of": ["later"]}
    document["standings"][KEY]["mood"] = 3
    document["versions"][0]["stored"]["coding"] = "zstd"
    assert ledger.decoded(msgspec.msgpack.encode(document)) == known


def test_a_document_keeps_the_names_of_the_release_that_wrote_it() -> None:
    document = msgspec.msgpack.decode(ledger.encoded(grown("a")))
    document["standings"][KEY]["apart"] = 3
    known = ledger.decoded(msgspec.msgpack.encode(document))
    assert known.standings[KEY].unanswering == 3
    assert msgspec.msgpack.decode(ledger.encoded(known)) == document


@pytest.mark.parametrize("rubbish", [b"", b"\xc1", b"{}", b"\x81\xa6issued\xa1x", bytes(100)])
def test_what_is_no_ledger_is_a_value_error(rubbish: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ledger.decoded(rubbish)


@given(st.binary(max_size=200))
def test_rubbish_is_a_ledger_or_a_value_error(rubbish: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(ledger.decoded(rubbish), Ledger)


CONTENTS = st.sampled_from("abcd")


@dataclass
class Process:
    """A process over a ledger that it shares, or goes on with by itself."""

    name: str
    known: Ledger | None = None
    provisional: bool = False
    fence: int | None = None
    seen: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    """Requests: by number, the attempt (counted over all) after which they came."""
    answers: int = 0


class Sharing(RuleBasedStateMachine):
    """Processes that change one ledger, are cut off from it, and come back; it gets lost, too."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.begun = 0
        self.store: Ledger | None = Ledger()
        self.processes = {name: Process(name) for name in ("p", "q", "r")}

    def known(self, process: Process) -> Ledger:
        """What it goes by: the store, or its own."""
        known = process.known if process.known is not None else self.store
        return ledger.with_definition(known or Ledger(), ONE, now=900.0)

    def keep(self, process: Process, after: Ledger) -> None:
        before = self.known(process)
        assert after.issued >= before.issued
        if process.known is not None:
            process.known = after
            process.provisional |= after.issued != before.issued
        else:
            self.store = after
        self.everyone_reads()

    def everyone_reads(self) -> None:
        for process in self.processes.values():
            known = self.known(process)
            version = known.version(known.standings[KEY].current)
            last = max(process.seen, default=0)
            if version is None or version.version < last:
                assert version is None, "what is current here is below what was served"
                continue
            assert process.seen.setdefault(version.version, version.stored.etag) == (
                version.stored.etag
            )

    @rule(name=st.sampled_from("pqr"))
    def begin(self, name: str) -> None:
        process = self.processes[name]
        cut_off = process.known is not None
        alive = (
            {name}
            if cut_off
            else set("pqr")
            - {each.name for each in self.processes.values() if each.known is not None}
        )
        after = ledger.acquired(
            self.known(process),
            KEY,
            process=name,
            alive=alive,
            due_now_since=math.inf,
            now=self.now,
        )
        if after is not None:
            self.begun += 1
            process.fence = after.standings[KEY].fence
            process.answers = after.standings[KEY].requested
            self.keep(process, after)

    @rule(name=st.sampled_from("pqr"), content=CONTENTS)
    def end(self, name: str, content: str) -> None:
        process = self.processes[name]
        if process.fence is None:
            return
        self.now += 1
        after = ledger.settled(
            self.known(process),
            KEY,
            process.fence,
            settlement(published(content, self.now), at=self.now, answers=process.answers),
            process=name,
            served=max(process.seen, default=0),
            history=3,
        )
        process.fence = None
        if after is not None:
            self.keep(process, after)

    @rule(name=st.sampled_from("pqr"))
    def ask(self, name: str) -> None:
        process = self.processes[name]
        after = ledger.requested(self.known(process), KEY, now=self.now)
        process.waiting[after.standings[KEY].requested] = self.begun
        self.keep(process, after)

    @rule(name=st.sampled_from("pqr"))
    def cut_off(self, name: str) -> None:
        process = self.processes[name]
        if process.known is None:
            process.known = self.known(process)

    @precondition(lambda self: any(each.known is not None for each in self.processes.values()))
    @rule(name=st.sampled_from("pqr"))
    def come_back(self, name: str) -> None:
        process = self.processes[name]
        if process.known is None:
            return
        self.store = merge.merged(
            self.store,
            process.known,
            KEY,
            process=name,
            has_body=True,
            provisional=process.provisional,
            lost=self.store is None,
            history=3,
        )
        process.known, process.provisional = None, False
        self.everyone_reads()

    @rule()
    def lose(self) -> None:
        """The store comes back empty: all are cut off from it until they have come back."""
        for process in self.processes.values():
            if process.known is None:
                process.known = self.known(process)
        self.store = None

    @invariant()
    def no_request_is_lost(self) -> None:
        for process in self.processes.values():
            standing = self.known(process).standings[KEY]
            for number in list(process.waiting):
                if number <= standing.answered:
                    asked_after = process.waiting.pop(number)
                    assert self.begun > asked_after, "answered by an attempt from before"
                else:
                    assert standing.requested >= number
                    assert ledger.is_pending(standing)

    @invariant()
    def what_is_current_is_kept(self) -> None:
        for process in self.processes.values():
            known = self.known(process)
            current = known.standings[KEY].current
            assert current is None or known.version(current) is not None
            assert len(set(numbers(known))) == len(known.versions)
            assert numbers(known) == sorted(numbers(known), reverse=True)


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
