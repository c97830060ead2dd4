import threading
from dataclasses import replace

import pytest

from refresher.errors import UnknownJob
from refresher.model import Record
from refresher.pipeline import representation
from refresher.state import Entry, StateStore
from tests.fakes import START
from tests.shelf import PROMISE, Shelf, snapshot

JSON = "application/json"


def entry(job: str = "rates") -> Entry:
    return Entry(Record(job=job, since=START), PROMISE)


def test_jobs_are_found_by_name_in_the_order_they_came() -> None:
    states = StateStore()
    entries = [entry(name) for name in ("b", "a", "c")]
    for each in entries:
        states.add(each)
    assert list(states) == entries
    assert len(states) == 3
    assert states.get("a") is entries[1]
    assert states.known("a") is entries[1]
    assert states.get("nope") is None
    with pytest.raises(UnknownJob, match="no job is called 'nope'"):
        states.known("nope")


def test_an_update_changes_the_record_and_keeps_the_bytes() -> None:
    shelf = Shelf()
    shelf.put()
    before = shelf.states.get("rates")
    after = shelf.states.update("rates", lambda record: replace(record, paused=True))
    assert after is shelf.states.get("rates")
    assert before is not None
    assert after.record.paused
    assert not before.record.paused, "what a reader holds does not move"
    assert after.representation is before.representation


def test_a_swap_changes_record_and_bytes_at_once() -> None:
    shelf = Shelf()
    shelf.put()
    new = snapshot(b"[2]", version=2)
    ready = representation.prepare(b"[2]", JSON)
    after = shelf.states.swap("rates", lambda record: replace(record, snapshot=new), ready)
    assert after.record.snapshot is new
    assert after.representation is ready
    assert shelf.states.get("rates") is after


def test_what_is_prepared_replaces_only_the_bytes_it_was_made_of() -> None:
    shelf = Shelf()
    shelf.put()
    fuller = representation.prepare(b'{"a":1}', JSON).with_coding("gzip", b"smaller")
    shelf.states.prepare("rates", fuller)
    assert shelf.states.get("rates").representation is fuller  # type: ignore[union-attr]
    shelf.swap(snapshot(b"[2]", version=2))
    shelf.states.prepare("rates", fuller)
    shelf.states.prepare("gone", fuller)
    current = shelf.states.get("rates")
    assert current is not None
    assert current.representation is not None
    assert current.representation.identity == b"[2]"


def test_listeners_are_told_of_before_and_after() -> None:
    shelf = Shelf()
    shelf.put()
    told: list[tuple[Entry, Entry]] = []
    before = shelf.states.get("rates")
    shelf.states.listen(lambda *pair: told.append(pair))
    after = shelf.states.update("rates", lambda record: replace(record, paused=True))
    assert told == [(before, after)]


def test_a_change_that_fails_changes_nothing_and_holds_no_lock() -> None:
    shelf = Shelf()
    shelf.put()
    before = shelf.states.get("rates")

    def fail(_: Record) -> Record:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        shelf.states.update("rates", fail)
    assert shelf.states.get("rates") is before
    shelf.states.update("rates", lambda record: record)


def test_no_writer_overwrites_what_another_wrote() -> None:
    states = StateStore()
    states.add(entry())

    def more(record: Record) -> Record:
        return replace(record, consecutive_failures=record.consecutive_failures + 1)

    def write() -> None:
        for _ in range(200):
            states.update("rates", more)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert states.get("rates").record.consecutive_failures == 800  # type: ignore[union-attr]


def test_a_reader_never_sees_a_record_with_the_bytes_of_another_version() -> None:
    shelf = Shelf()
    shelf.put()
    ended = threading.Event()

    def write() -> None:
        version = 1
        while not ended.is_set():
            version += 1
            shelf.swap(snapshot(b"[%d]" % version, version=version))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        for _ in range(5000):
            current = shelf.states.get("rates")
            assert current is not None
            assert current.record.snapshot is not None
            assert current.representation is not None
            assert current.representation.identity is current.record.snapshot.content.body
    finally:
        ended.set()
        writer.join()
