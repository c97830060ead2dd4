"""Entering and leaving."""

import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from refresher.store.backends.sqlite.store import SqliteStore
from tests.store.backends.sqlite.files import LARGE, wait_until


async def test_after_the_last_process_there_is_only_the_file(path: Path) -> None:
    async with SqliteStore(path) as mine:
        async with SqliteStore(path) as theirs:
            await theirs.beat("them")
            await theirs.put("body", LARGE)
            assert await theirs.write("job/a", b"1", after=0, keeps=["body"]) == 1
            await theirs.changed()
        assert await mine.changes(0)
    assert list(path.parent.iterdir()) == [path]


async def test_of_processes_that_leave_at_once_one_is_the_last(path: Path) -> None:
    async def stay(store: SqliteStore) -> None:
        async with store:
            await store.write("job/a", b"1", after=0)

    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(stay, SqliteStore(path))
        assert list(path.parent.iterdir()) == [path]


async def test_its_threads_end_with_it(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.beat("me")

    async def gone() -> bool:
        return not [each for each in threading.enumerate() if each.name.startswith("refresher st")]

    await wait_until(gone)


async def test_what_was_kept_outlives_the_process(path: Path) -> None:
    async with SqliteStore(path) as store:
        name = (await store.beat("me")).store
        await store.put("small", b"s")
        await store.put("large", LARGE)
        await store.write("job/a", b"1", after=0, publishes=True, keeps=["small", "large"])
        before = await store.changes(0)
    async with SqliteStore(path) as store:
        assert await store.changes(0) == before
        assert await store.get(["small", "large"]) == {"small": b"s", "large": LARGE}
        beat = await store.beat("me")
        assert (beat.store, beat.last, beat.now) == (name, 1, None)
