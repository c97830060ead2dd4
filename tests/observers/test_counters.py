import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import ServiceError
from refresher.observers.counters import CounterRow, SharedCounters

SLOTS = ("a", "b", "c")


def seated(directory: Path, number: int, slots: tuple[str, ...] = SLOTS) -> SharedCounters:
    return SharedCounters(slots, CounterRow(number=number, workers=3, directory=directory))


def totals(board: SharedCounters) -> list[int]:
    return list(board.totals()[: len(SLOTS)])


def test_what_one_counts_all_see_at_once(tmp_path: Path) -> None:
    boards = [seated(tmp_path, number) for number in range(3)]
    boards[0].own[1] += 2
    assert [totals(board) for board in boards] == [[0, 2, 0]] * 3
    boards[2].own[1] += 3
    boards[1].own[2] += 1
    assert [totals(board) for board in boards] == [[0, 5, 1]] * 3
    assert boards[0].column(1)[:3] == [2, 0, 3]


def test_another_process_sees_it_too(tmp_path: Path) -> None:
    board = seated(tmp_path, 0)
    board.own[0] += 1
    program = (
        "import pathlib, sys; from refresher.observers.counters import SharedCounters, CounterRow\n"
        "row = CounterRow(number=1, workers=3, directory=pathlib.Path(sys.argv[1]))\n"
        "board = SharedCounters(('a', 'b', 'c'), row)\n"
        "board.own[0] += 41; print(board.totals()[0])"
    )
    tree = str(Path(sys.modules["refresher"].__file__ or "").parent.parent)
    shown = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": tree},
        capture_output=True,
        check=True,
    )
    assert int(shown.stdout) == 42
    assert totals(board) == [42, 0, 0]


def test_a_worker_that_replaces_another_goes_on_in_its_row(tmp_path: Path) -> None:
    seated(tmp_path, 1).own[0] += 7
    heir = seated(tmp_path, 1)
    assert heir.own[0] == 7
    heir.own[0] += 1
    assert totals(heir) == [8, 0, 0]


def test_one_with_other_slots_disturbs_nobody(tmp_path: Path) -> None:
    board = seated(tmp_path, 0)
    board.own[0] += 1
    stranger = seated(tmp_path, 1, ("a", "x", "c"))
    stranger.own[1] += 5
    assert totals(board) == [1, 0, 0]
    assert totals(stranger) == [0, 5, 0]


def test_without_a_seat_each_counts_alone() -> None:
    one, other = SharedCounters(SLOTS), SharedCounters(SLOTS)
    one.own[2] += 1
    assert totals(one) == [0, 0, 1]
    assert totals(other) == [0, 0, 0]


@given(st.lists(st.lists(st.integers(0, 2**60), min_size=3, max_size=3), min_size=3, max_size=3))
def test_no_number_ever_reaches_into_the_next_one(counts: list[list[int]]) -> None:
    board = SharedCounters(SLOTS)
    for row in counts:
        for slot, count in enumerate(row):
            board.own[slot] += count
    assert totals(board) == [sum(column) for column in zip(*counts, strict=True)]


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        seated(tmp_path, 0)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_room_for_it_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"cannot keep \d+ bytes of counters in .*TMPDIR"):
        seated(tmp_path / "gone", 0)
