import asyncio
import tracemalloc
from collections.abc import Sequence

import anyio

from refresher.pointer import NotThere, Path, find
from refresher.representation import Representation
from refresher.web.lookups import Lookups
from tests.shelf import snapshot

LARGE = b'{"rows": [' + b", ".join(b'{"n": %d.50}' % n for n in range(100_000)) + b"]}"
MEDIUM = b'{"rows": [' + b", ".join(b'{"n": %d.50}' % n for n in range(5000)) + b"]}"


class Elsewhere:
    """Looks values up when it is told to, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Path]] = []
        self.go_on = asyncio.Event()
        self.lookups = Lookups(self.look_up)
        self.snapshot = snapshot(LARGE)

    async def look_up(self, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
        self.asked.append(paths)
        await self.go_on.wait()
        return [find(body, path, {}) for path in paths]

    async def get(self, row: int) -> bytes:
        found = await self.lookups.later(self.snapshot, ("rows", str(row), "n"))
        assert isinstance(found, Representation)
        return found.identity


async def test_a_large_body_is_parsed_elsewhere_once_for_all_who_ask_meanwhile() -> None:
    elsewhere = Elsewhere()
    answers: dict[int, bytes] = {}

    async def ask(row: int) -> None:
        answers[row] = await elsewhere.get(row)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 0)
        await anyio.wait_all_tasks_blocked()
        for row in range(1, 40):
            tasks.start_soon(ask, row)
            tasks.start_soon(ask, row)
        await anyio.wait_all_tasks_blocked()
        elsewhere.go_on.set()
    assert answers == {row: b"%d.50" % row for row in range(40)}
    assert [len(paths) for paths in elsewhere.asked] == [1, 39]
    assert elsewhere.lookups.at_once(elsewhere.snapshot, ("rows", "7", "n")) is not None
    assert len(elsewhere.asked) == 2, "and it is kept"


async def test_who_leaves_takes_nothing_from_those_who_stay() -> None:
    elsewhere = Elsewhere()
    answers: list[bytes] = []

    async def ask(row: int) -> None:
        answers.append(await elsewhere.get(row))

    async with anyio.create_task_group() as staying:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(ask, 1)
            await anyio.wait_all_tasks_blocked()
            staying.start_soon(ask, 1)
            staying.start_soon(ask, 2)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        elsewhere.go_on.set()
    assert sorted(answers) == [b"1.50", b"2.50"]
    assert len(elsewhere.asked) == 2


async def test_a_body_of_some_size_is_parsed_in_a_thread_and_what_was_parsed_is_kept() -> None:
    elsewhere = Elsewhere()
    medium = snapshot(MEDIUM)
    assert elsewhere.lookups.at_once(medium, ("rows", "1", "n")) is None
    found = await elsewhere.lookups.later(medium, ("rows", "1", "n"))
    assert isinstance(found, Representation)
    assert found.identity == b"1.50"
    another = elsewhere.lookups.at_once(medium, ("rows", "4999", "n"))
    assert isinstance(another, Representation)
    assert another.identity == b"4999.50"
    assert elsewhere.lookups.at_once(medium, ("rows",)) is None, "it takes long to compress"
    assert elsewhere.asked == []


async def test_a_version_has_its_own_values() -> None:
    lookups = Elsewhere().lookups
    for version, body in ((1, b'{"a": 1}'), (2, b'{"a": 2}'), (3, b'{"b": 3}')):
        found = lookups.at_once(snapshot(body, version=version), ("a",))
        match found:
            case Representation():
                assert found.identity == b"%d" % version
            case _:
                assert (version, found) == (3, NotThere(0))


async def test_long_pointers_to_nothing_take_no_more_room_than_values() -> None:
    lookups, small = Elsewhere().lookups, snapshot(b'{"a": 1}')
    tracemalloc.start()
    try:
        for number in range(2000):
            assert lookups.at_once(small, (f"{number}" + "x" * 60_000,)) == NotThere(0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 48 * 1024 * 1024, "where 120 MB were asked for"
