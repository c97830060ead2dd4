"""Bodies that were put and are not kept."""

import secrets
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite.store import PIECE, SqliteStore
from tests.store.backends.sqlite.children import child, ended
from tests.store.backends.sqlite.files import LARGE, all_cleared, ask, five_seconds_pass, wait_until


async def test_small_bodies_that_are_not_kept_do_not_fill_the_memory(
    path: Path, store: SqliteStore
) -> None:
    bodies = {f"body {n}": secrets.token_bytes(PIECE) for n in range(20)}
    for name, content in bodies.items():
        await store.put(name, content)
    assert ask(path, "SELECT count(*) FROM loose") == 4
    assert await store.write("job/a", b"1", after=0, keeps=list(bodies)) == 1
    assert await store.get(list(bodies)) == bodies
    assert ask(path, "SELECT count(*) FROM loose") == 0


async def test_a_put_that_was_cancelled_leaves_nothing(path: Path, store: SqliteStore) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.put, "body", bytes(100 * PIECE))
        while not ask(path, "SELECT count(*) FROM pieces"):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await all_cleared(store, path)
    assert ask(path, "SELECT count(*) FROM pieces") == 0


async def test_what_was_put_and_not_kept_stays_while_its_process_lives(
    path: Path, store: SqliteStore
) -> None:
    await store.put("body", LARGE)
    five_seconds_pass(path)
    async with SqliteStore(path) as other:
        for _ in range(3):
            await store.beat("me")
            await other.beat("other")
    assert await store.write("job/a", b"1", after=0, keeps=["body"]) == 1
    assert await store.get(["body"]) == {"body": LARGE}


async def test_a_process_that_has_yet_to_beat_is_not_dead(path: Path, store: SqliteStore) -> None:
    async with SqliteStore(path) as newcomer:
        await newcomer.put("body", LARGE)
        await store.beat("me")
        assert await newcomer.write("job/a", b"1", after=0, keeps=["body"]) == 1


async def test_what_a_process_put_that_seemed_dead_is_to_be_put_once_more(
    path: Path, store: SqliteStore
) -> None:
    async with SqliteStore(path) as stopped:
        await stopped.put("body", LARGE)
        five_seconds_pass(path)
        await all_cleared(store, path)
        with pytest.raises(StoreUnavailable, match="no body body to keep; put it once more"):
            await stopped.write("job/a", b"1", after=0, keeps=["body"])
        await stopped.put("body", LARGE)
        assert await stopped.write("job/a", b"1", after=0, keeps=["body"]) == 1


async def test_of_a_process_killed_while_it_puts_nothing_stays(
    path: Path, store: SqliteStore
) -> None:
    program = """
        await store.beat("killed")
        while True:
            await store.put("body", bytes(512 * 1024 * 1024))
    """
    process = child(program, path)
    try:

        async def begun() -> bool:
            return bool(await anyio.to_thread.run_sync(ask, path, "SELECT count(*) FROM pieces"))

        await wait_until(begun)
    finally:
        process.kill()
        await ended(process)
    assert await store.get(["body"]) == {}
    await store.leave("killed")
    five_seconds_pass(path)
    await all_cleared(store, path)
    assert ask(path, "SELECT count(*) FROM pieces") == 0
