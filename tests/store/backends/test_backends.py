"""What every backend promises in `refresher.store.protocols`, whatever it keeps things in."""

import itertools
import random
import time
from collections.abc import AsyncIterator

import anyio
import pytest

from refresher.errors import StoreUnavailable
from refresher.store.backends.memory import MemoryStore
from refresher.store.protocols import Backend, Change
from tests.store.backends.all_backends import BACKENDS, Opener

MIB = 1024 * 1024
SIZES = [0, 1, 1024, MIB - 1, MIB, MIB + 1, 3 * MIB, 20 * MIB + 7]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Opener:
    opening: Opener = request.param(request)
    return opening


@pytest.fixture
async def store(backend: Opener) -> AsyncIterator[Backend]:
    async with backend() as opened:
        yield opened


def content_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311  not a secret


async def written(store: Backend, key: str, document: bytes, *, after: int = 0) -> int:
    number = await store.write(key, document, after=after)
    assert number is not None
    return number


async def test_an_empty_store_has_no_documents(store: Backend) -> None:
    assert await store.changes(0) == []
    assert (await store.beat("me")).last == 0


@pytest.mark.parametrize("document", [b"", b"x", b"\x00\xff", bytes(6000), content_of(200_000)])
async def test_a_document_reads_as_it_was_written(store: Backend, document: bytes) -> None:
    number = await written(store, "job/a", document)
    assert await store.changes(0) == [
        Change(key="job/a", number=number, published=0, document=document)
    ]


async def test_numbers_grow_by_one_over_all_documents(store: Backend) -> None:
    a = await written(store, "job/a", b"1")
    b = await written(store, "job/b", b"2")
    assert (a, b, await written(store, "job/a", b"3", after=a)) == (1, 2, 3)
    assert (await store.beat("me")).last == 3


async def test_a_document_counts_once_under_its_last_number(store: Backend) -> None:
    first = await written(store, "job/a", b"1")
    await written(store, "job/b", b"2")
    await written(store, "job/a", b"3", after=first)
    assert [(c.key, c.number, c.document) for c in await store.changes(0)] == [
        ("job/b", 2, b"2"),
        ("job/a", 3, b"3"),
    ]


async def test_changes_are_those_after_a_number_in_order(store: Backend) -> None:
    for n in range(30):
        await written(store, f"job/{n * 7 % 30}", b"%d" % n)
    assert [change.number for change in await store.changes(17)] == list(range(18, 31))
    assert await store.changes(30) == []
    assert await store.changes(31) == []


@pytest.mark.parametrize("after", [1, 7])
async def test_a_write_after_a_number_that_never_was_changes_nothing(
    store: Backend, after: int
) -> None:
    assert await store.write("job/a", b"1", after=after) is None
    assert await store.changes(0) == []


async def test_a_write_after_that_of_another_process_changes_nothing(backend: Opener) -> None:
    async with backend() as mine, backend() as theirs:
        first = await written(mine, "job/a", b"1")
        second = await written(theirs, "job/a", b"2", after=first)
        for after in (0, first):
            assert await mine.write("job/a", b"3", after=after) is None
        assert [(c.number, c.document) for c in await mine.changes(0)] == [(second, b"2")]
        assert await written(mine, "job/a", b"3", after=second) == 3


async def test_a_write_that_fails_keeps_and_drops_no_bodies(store: Backend) -> None:
    await store.put("old", b"old")
    first = await store.write("job/a", b"1", after=0, keeps=["old"])
    await store.put("new", b"new")
    assert await store.write("job/a", b"2", after=0, keeps=["new"], drops=["old"]) is None
    assert await store.get(["old"]) == {"old": b"old"}
    assert first
    await store.write("job/a", b"2", after=first, keeps=["new"], drops=["old"])
    assert await store.get(["old", "new"]) == {"new": b"new"}


async def test_published_is_the_number_of_the_last_write_that_published(store: Backend) -> None:
    seen = []
    number: int | None = 0
    for publishes in (False, True, False, True, True, False):
        assert number is not None
        number = await store.write("job/a", b"", after=number, publishes=publishes)
        seen += [change.published for change in await store.changes(0)]
    assert seen == [0, 2, 2, 4, 5, 5]


async def test_of_many_writers_at_once_one_gets_each_number(backend: Opener) -> None:
    wins: list[int] = []

    async def increment(store: Backend, times: int) -> None:
        done = 0
        while done < times:
            changes = await store.changes(0)
            after = changes[0].number if changes else 0
            count = int(changes[0].document) if changes else 0
            number = await store.write("count", b"%d" % (count + 1), after=after)
            if number is not None:
                wins.append(number)
                done += 1

    async with backend() as one, backend() as other, anyio.create_task_group() as tasks:
        for store in (one, one, other, other):
            tasks.start_soon(increment, store, 10)
    assert sorted(wins) == list(range(1, 41))


async def test_a_wait_ends_with_a_write_of_another_process(backend: Opener) -> None:
    async with backend() as mine, backend() as theirs:
        await written(theirs, "job/a", b"1")
        number = 0
        for n in range(1, 4):
            while (await mine.changes(number)) == []:
                with anyio.fail_after(60):
                    await mine.changed()
            number = n
            await written(theirs, "job/a", b"again", after=n)


async def test_a_cancelled_wait_loses_nothing(backend: Opener) -> None:
    async with backend() as mine, backend() as theirs:
        with anyio.move_on_after(0.5):  # whatever there was to tell at the start
            while True:
                await mine.changed()
        number = 0
        for n in range(3):
            with anyio.move_on_after(0):
                await mine.changed()
            number = await written(theirs, "job/a", b"%d" % n, after=number)
            while not await mine.changes(number - 1):
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(60):
                await mine.changed()


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_reads_as_it_was_put(backend: Opener, size: int) -> None:
    content = content_of(size)
    async with backend() as mine, backend() as theirs:
        await mine.put("body", content)
        assert await mine.write("job/a", b"1", after=0, keeps=["body"]) == 1
        assert await mine.get(["body"]) == {"body": content}
        assert await theirs.get(["body"]) == {"body": content}


async def test_bodies_that_are_not_there_are_left_out(store: Backend) -> None:
    await store.put("a", b"1")
    await store.put("b", b"2")
    await store.write("job/a", b"", after=0, keeps=["a", "b"])
    assert await store.get([]) == {}
    assert await store.get(["a", "none", "b", "a"]) == {"a": b"1", "b": b"2"}


async def test_many_bodies_are_read_at_once(store: Backend) -> None:
    bodies = {f"body {n}": content_of(n * 100, n) for n in range(100)}
    for name, content in bodies.items():
        await store.put(name, content)
    assert await store.write("job/a", b"", after=0, keeps=list(bodies)) == 1
    assert await store.get(list(bodies)) == bodies


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_dropped_bodies_are_gone_for_all_processes(backend: Opener, size: int) -> None:
    async with backend() as mine, backend() as theirs:
        await mine.put("old", content_of(size))
        assert await mine.write("job/a", b"1", after=0, keeps=["old"]) == 1
        await theirs.put("new", b"new")
        assert await theirs.write("job/a", b"2", after=1, keeps=["new"], drops=["old"]) == 2
        for store in (mine, theirs):
            assert await store.get(["old", "new"]) == {"new": b"new"}


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_body_may_be_dropped_before_it_was_kept(store: Backend, size: int) -> None:
    await store.put("body", content_of(size))
    assert await store.write("job/a", b"1", after=0, drops=["body", "none"]) == 1
    assert await store.get(["body"]) == {}


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_body_may_be_put_again_under_its_name(store: Backend, size: int) -> None:
    number: int | None = 0
    for seed in range(3):
        content = content_of(size, seed)
        await store.put("body", content_of(size, 9))
        await store.put("body", content)
        assert number is not None
        number = await store.write("job/a", b"1", after=number, keeps=["body"])
        assert await store.get(["body"]) == {"body": content}


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_kept_body_may_be_kept_again(store: Backend, size: int) -> None:
    await store.put("body", content_of(size))
    assert await store.write("job/a", b"1", after=0, keeps=["body"]) == 1
    assert await store.write("job/a", b"1", after=1, keeps=["body"]) == 2
    assert await store.get(["body"]) == {"body": content_of(size)}


async def test_a_write_that_keeps_what_is_not_there_is_refused_whole(store: Backend) -> None:
    await store.put("a", b"1")
    with pytest.raises(StoreUnavailable, match="no body none"):
        await store.write("job/a", b"", after=0, keeps=["a", "none"])
    assert await store.changes(0) == []
    assert await store.write("job/a", b"", after=0, keeps=["a"]) == 1


async def test_small_writes_come_through_while_a_large_body_is_put(backend: Opener) -> None:
    async with backend() as mine, backend() as theirs:
        if isinstance(mine, MemoryStore):
            pytest.skip("what takes no time holds nothing up")
        done = anyio.Event()
        written_meanwhile = []

        async def write_on(store: Backend, key: str) -> None:
            number = 0
            while not done.is_set():
                number = await written(store, key, b"lease", after=number)
                written_meanwhile.append(key)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_on, mine, "mine")
            tasks.start_soon(write_on, theirs, "theirs")
            await mine.put("large", content_of(40 * MIB))
            done.set()
        assert {"mine", "theirs"} <= set(written_meanwhile[: len(written_meanwhile) // 2])


async def test_a_process_is_alive_for_all_from_its_heartbeat_until_it_leaves(
    backend: Opener,
) -> None:
    async with backend() as mine, backend() as theirs:
        assert (await mine.beat("me")).alive == {"me"}
        assert (await theirs.beat("them")).alive == {"me", "them"}
        assert (await mine.beat("me")).alive == {"me", "them"}
        await theirs.leave("them")
        assert (await mine.beat("me")).alive == {"me"}
        await theirs.leave("them")


async def test_a_process_without_heartbeats_is_dead_after_about_five_seconds(
    backend: Opener,
) -> None:
    async with backend() as mine, backend() as theirs:
        began = time.time()
        await theirs.beat("them")
        with anyio.fail_after(60):
            while "them" in (await mine.beat("me")).alive:  # noqa: ASYNC110  nothing tells
                await anyio.sleep(0.1)
        assert time.time() - began > 4.9


async def test_all_processes_know_the_store_by_one_name(backend: Opener) -> None:
    async with backend() as mine, backend() as theirs:
        names = {(await store.beat("p")).store for store in (mine, theirs, mine)}
    assert len(names) == 1


async def test_a_store_can_be_entered_again(backend: Opener) -> None:
    store = backend()
    for n in itertools.islice(itertools.count(), 2):
        async with store, backend() as other:
            await other.beat("other")
            assert await store.write(f"job/{n}", b"", after=0)


async def test_what_a_persistent_store_holds_outlives_its_last_process(
    backend: Opener,
) -> None:
    async with backend() as store:
        await written(store, "job/a", b"1")
    assert store.persistent == (not isinstance(store, MemoryStore))
    if store.persistent:
        async with backend() as reopened:
            assert [change.key for change in await reopened.changes(0)] == ["job/a"]
