"""Writes that have to wait, fail or compete with those of other processes."""

from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite.store import PIECE, SqliteStore
from tests.store.backends.sqlite.children import child, ended
from tests.store.backends.sqlite.files import LARGE, all_cleared, ask, locked, wait_until


async def test_a_lock_of_another_program_fails_writes_until_it_is_released(
    path: Path, store: SqliteStore
) -> None:
    await store.write("job/a", b"1", after=0)
    await store.put("body", b"x")
    with locked(path):
        with pytest.raises(StoreUnavailable) as told:
            await store.write("job/a", b"2", after=1, keeps=["body"])
        assert str(told.value) == f"store: {path}: writing job/a failed: database is locked"
        with pytest.raises(StoreUnavailable, match="the heartbeat of me failed"):
            await store.beat("me")
        assert await store.changes(0)  # who reads does not wait
    assert await store.write("job/a", b"2", after=1, keeps=["body"]) == 2
    assert await store.get(["body"]) == {"body": b"x"}


async def test_calls_that_were_cancelled_are_left_out(path: Path, store: SqliteStore) -> None:
    with locked(path):
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(partial(store.write, f"job/{n}", b"1", after=0))
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    beat = await store.beat("me")
    assert beat.last <= 1


async def fill(store: SqliteStore, size: int) -> list[str]:
    """Keep bodies until one does not fit any more; returns those that do."""
    names: list[str] = []
    number: int | None = 0
    while True:
        name = f"body {len(names)}"
        try:
            await store.put(name, bytes(size))
            number = await store.write("job/a", b"1", after=number or 0, keeps=[name])
        except StoreUnavailable as error:
            assert "full" in str(error)  # noqa: PT017  of many calls the last one fails
            return names
        names.append(name)


@pytest.mark.parametrize("size", [PIECE // 2, 5 * PIECE])
async def test_a_disk_that_was_full_is_written_as_soon_as_there_is_room(
    small_disk: Path, size: int
) -> None:
    path = small_disk / "store.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 * PIECE))
    async with SqliteStore(path) as store:
        names = await fill(store, size)
        assert names
        assert await store.get(names) == dict.fromkeys(names, bytes(size))
        (change,) = await store.changes(0)
        assert change.number == len(names)
        with pytest.raises(StoreUnavailable, match="full"):
            await store.put("large", bytes(20 * PIECE))
        ballast.unlink()
        number = await store.write("job/a", b"2", after=change.number, drops=names[1:])
        assert number == change.number + 1
        await all_cleared(store, path)
        await store.put("new", bytes(size))
        assert await store.write("job/a", b"3", after=number, keeps=["new"]) == number + 1
        assert await store.get([names[0], "new"]) == dict.fromkeys([names[0], "new"], bytes(size))
        assert ask(path, "PRAGMA integrity_check") == "ok"


async def test_a_dropped_large_body_leaves_nothing(path: Path, store: SqliteStore) -> None:
    await store.put("body", LARGE)
    await store.write("job/a", b"1", after=0, keeps=["body"])
    assert ask(path, "SELECT count(*) FROM pieces") == 4
    await store.write("job/a", b"1", after=1, drops=["body"])

    async def cleared() -> bool:
        loose = "(SELECT count(*) FROM pieces) + (SELECT count(*) FROM loose)"
        return not await anyio.to_thread.run_sync(ask, path, f"SELECT {loose}")

    await wait_until(cleared)


async def test_increments_of_two_processes_are_all_counted(path: Path) -> None:
    program = """
        done = 0
        while done < 200:
            (number, count) = next(
                ((c.number, int(c.document)) for c in await store.changes(0)), (0, 0)
            )
            if await store.write("count", b"%d" % (count + 1), after=number):
                done += 1
    """
    processes = [child(program, path) for _ in range(2)]
    try:
        assert [await ended(process) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    async with SqliteStore(path) as store:
        (change,) = await store.changes(0)
    assert (change.number, change.document) == (400, b"400")
