import asyncio
import tracemalloc
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from refresher.errors import RefreshFailed
from refresher.jsontext.pointer import NotThere, Path, find
from refresher.model import Stage
from refresher.pipeline.representation import Representation, etag_of
from refresher.web.data.lookups import LookupFailed, Lookups, Text

LARGE = b'{"rows": [' + b", ".join(b'{"n": %d.50}' % n for n in range(100_000)) + b"]}"
MEDIUM = b'{"rows": [' + b", ".join(b'{"n": %d.50}' % n for n in range(5000)) + b"]}"


def text(body: bytes) -> Text:
    return Text("rates", etag_of(body, "application/json"), body)


class Elsewhere:
    """Looks values up when it is told to, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Path]] = []
        self.go_on = asyncio.Event()
        self.lookups = Lookups(self.look_up)
        self.text = text(LARGE)

    async def look_up(self, _: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
        self.asked.append(paths)
        await self.go_on.wait()
        return [find(body, path, {}) for path in paths]

    async def get(self, row: int) -> bytes:
        found = await self.lookups.find(self.text, ("rows", str(row), "n"))
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
    assert elsewhere.lookups.find_now(elsewhere.text, ("rows", "7", "n")) is not None
    assert len(elsewhere.asked) == 2, "and it is kept"


async def test_a_request_that_is_cancelled_takes_nothing_from_the_others() -> None:
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
    medium = text(MEDIUM)
    assert elsewhere.lookups.find_now(medium, ("rows", "1", "n")) is None
    found = await elsewhere.lookups.find(medium, ("rows", "1", "n"))
    assert isinstance(found, Representation)
    assert found.identity == b"1.50"
    another = elsewhere.lookups.find_now(medium, ("rows", "4999", "n"))
    assert isinstance(another, Representation)
    assert another.identity == b"4999.50"
    assert elsewhere.lookups.find_now(medium, ("rows",)) is None, "it takes long to compress"
    assert elsewhere.asked == []


async def test_what_was_parsed_does_not_have_the_loop_parse_the_rest() -> None:
    elsewhere = Elsewhere()
    medium = text(b'{"x": 1, "rows": %b}' % MEDIUM)
    assert isinstance(await elsewhere.lookups.find(medium, ("x",)), Representation)
    assert isinstance(elsewhere.lookups.find_now(medium, ("x",)), Representation)
    assert elsewhere.lookups.find_now(medium, ("rows", "rows", "1")) is None


async def test_a_text_has_its_own_values() -> None:
    lookups = Elsewhere().lookups
    for body, value in ((b'{"a": 1}', b"1"), (b'{"a": 2}', b"2"), (b'{"b": 3}', None)):
        found = lookups.find_now(text(body), ("a",))
        match found:
            case Representation():
                assert found.identity == value
            case _:
                assert (value, found) == (None, NotThere(0))


async def test_a_process_that_dies_over_a_text_is_asked_once_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dying = Dying(1)
    found = await dying.lookups.find(text(LARGE), ("rows", "1", "n"))
    assert isinstance(found, Representation)
    assert (found.identity, dying.asked) == (b"1.50", 2)
    assert [each.getMessage() for each in caplog.records] == [
        "rates: it died; its values are looked up once more"
    ]


async def test_who_asks_of_a_text_that_nothing_survives_is_told_and_the_next_may_try_again() -> (
    None
):
    dying = Dying(4)
    answers: list[object] = []

    async def ask(row: int) -> None:
        answers.append(await dying.lookups.find(text(LARGE), ("rows", str(row), "n")))

    async with anyio.create_task_group() as tasks:
        for row in range(5):
            tasks.start_soon(ask, row)
    assert answers == [LookupFailed("it died")] * 5, "the first, then all others together"
    assert dying.asked == 4, "and not one death, and another, for each"
    await ask(7)
    assert isinstance(answers[-1], Representation)


class Dying:
    """Looks values up after so many deaths."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.asked = 0
        self.lookups = Lookups(self.look_up)

    async def look_up(self, _: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.asked <= self.deaths:
            raise RefreshFailed(Stage.SOURCE, "it died", transient=True)
        return [find(body, path, {}) for path in paths]


async def test_long_pointers_to_nothing_take_no_more_room_than_values() -> None:
    lookups, small = Elsewhere().lookups, text(b'{"a": 1}')
    tracemalloc.start()
    try:
        for number in range(2000):
            assert lookups.find_now(small, (f"{number}" + "x" * 60_000,)) == NotThere(0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 48 * 1024 * 1024, "where 120 MB were asked for"
