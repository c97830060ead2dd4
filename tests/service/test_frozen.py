import pytest

from refresher.config import load
from refresher.errors import RefreshFailed, UnknownJob
from refresher.freshness import Policy, state_of
from refresher.model import Record, State
from refresher.service.frozen import publish
from refresher.sources.callable import UNCHANGED
from refresher.state import Entry, StateStore

NOW = 1_800_000_000.0
DAY = 86_400.0
PLANS = load({"jobs": {"a": {"url": "http://up/a"}}}, environ={}).jobs


def states() -> StateStore:
    """Those of one job, which is pending."""
    known = StateStore()
    known.add(Entry(Record(job="a", since=NOW), Policy(timeout=10.0)))
    return known


def test_a_value_is_served_as_if_a_function_had_returned_it() -> None:
    publish("a", {"n": 1}, known := states(), PLANS, now=NOW)
    entry = known.known("a")
    snapshot = entry.record.snapshot
    assert snapshot is not None
    assert (snapshot.content.body, snapshot.content.content_type) == (
        b'{"n":1}',
        "application/json",
    )
    assert (snapshot.version, snapshot.changed_at, snapshot.checked_at) == (1, NOW, NOW)
    assert snapshot.confirmation.definition == PLANS["a"].definition
    assert entry.representation is not None
    assert entry.representation.identity_etag == snapshot.etag
    assert entry.record.paused


def test_it_stays_fresh_for_a_year_and_each_one_is_a_version_of_its_own() -> None:
    known = states()
    for number in (1, 2):
        publish("a", number, known, PLANS, now=NOW)
    entry = known.known("a")
    assert entry.record.snapshot is not None
    assert entry.record.snapshot.version == 2
    assert state_of(entry.record, entry.policy, NOW + 364 * DAY) is State.FRESH


@pytest.mark.parametrize("value", [None, object(), UNCHANGED])
def test_what_is_no_data_is_refused_and_nothing_changes(value: object) -> None:
    known = states()
    before = known.known("a")
    with pytest.raises(RefreshFailed):
        publish("a", value, known, PLANS, now=NOW)
    assert known.known("a") is before


def test_a_job_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownJob, match="no job is called 'b'"):
        publish("b", 1, states(), PLANS, now=NOW)
