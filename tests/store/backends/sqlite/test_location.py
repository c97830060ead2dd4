# ruff: noqa: ASYNC240  the folders are a test's own
"""Files that are deleted or replaced while they are used."""

from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite.store import SqliteStore
from tests.store.backends.sqlite.files import LARGE, ask


async def test_a_file_that_was_deleted_is_made_anew_by_a_beat(
    path: Path, store: SqliteStore
) -> None:
    before = (await store.beat("me")).store
    await store.write("job/a", b"1", after=0)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.write("job/a", b"2", after=1)
    beat = await store.beat("me")
    assert (beat.store != before, beat.last) == (True, 0)
    assert await store.changes(0) == []
    assert await store.write("job/a", b"2", after=0) == 1


async def test_its_whole_folder_may_be_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with SqliteStore(folder / "store.db") as store:
        await store.beat("me")
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
        await store.beat("me")
        assert await store.write("job/a", b"2", after=0) == 1


async def test_all_processes_go_on_with_the_one_new_file(path: Path) -> None:
    async with SqliteStore(path) as mine, SqliteStore(path) as theirs:
        await theirs.write("job/a", b"1", after=0)
        path.unlink()
        first = (await mine.beat("me")).store
        assert await mine.write("job/b", b"2", after=0) == 1
        # The other one has not noticed yet: it reads what it knew, and must not write.
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await theirs.write("job/a", b"1", after=1)
        assert (await theirs.beat("them")).store == first
        assert [change.key for change in await theirs.changes(0)] == ["job/b"]
        with anyio.fail_after(60):
            await theirs.changed()
        # Leaving the old file behind, it must not take what lies beside the new one with it.
        assert await mine.write("job/b", b"3", after=1) == 2
        assert ask(path, "SELECT max(number) FROM documents") == 2


async def test_a_new_process_shares_nothing_with_those_that_use_a_deleted_file(path: Path) -> None:
    async with SqliteStore(path) as mine:
        for n in range(20):
            await mine.write(f"job/{n}", bytes(9000), after=0)
        assert await mine.changes(0)
        path.unlink()
        async with SqliteStore(path) as newcomer:
            assert await newcomer.changes(0) == []
            assert len(await mine.changes(0)) == 20
            assert await newcomer.write("job/new", b"1", after=0) == 1
            assert (await mine.beat("me")).last == 1
            assert [change.key for change in await mine.changes(0)] == ["job/new"]
            assert ask(path, "PRAGMA integrity_check") == "ok"


async def test_a_file_that_was_replaced_is_used_from_the_next_beat_on(
    path: Path, store: SqliteStore
) -> None:
    other = path.with_name("other.db")
    async with SqliteStore(other) as another:
        name = (await another.beat("another")).store
        await another.write("job/other", b"1", after=0)
    other.rename(path)
    beat = await store.beat("me")
    assert (beat.store, beat.last) == (name, 1)
    assert [change.key for change in await store.changes(0)] == ["job/other"]


async def test_what_waited_in_memory_can_be_kept_by_the_new_file(
    path: Path, store: SqliteStore
) -> None:
    await store.put("small", b"s")
    await store.put("large", LARGE)
    path.unlink()
    await store.beat("me")
    with pytest.raises(StoreUnavailable, match="no body large to keep; put it once more"):
        await store.write("job/a", b"1", after=0, keeps=["small", "large"])
    await store.put("large", LARGE)
    assert await store.write("job/a", b"1", after=0, keeps=["small", "large"]) == 1
    assert await store.get(["small", "large"]) == {"small": b"s", "large": LARGE}
