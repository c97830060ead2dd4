"""What is read, and who hears of what others wrote."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from refresher.store.backends.sqlite.store import SqliteStore
from tests.store.backends.sqlite.children import child, ended
from tests.store.backends.sqlite.files import LARGE


async def test_a_process_hears_of_the_writes_of_another(path: Path, store: SqliteStore) -> None:
    program = """
        for line in iter(sys.stdin.readline, ""):
            await store.write(line.strip(), b"1", after=0)
    """
    process = child(program, path)
    assert process.stdin
    try:
        for n in range(1, 4):
            process.stdin.write(f"job/{n}\n")
            process.stdin.flush()
            with anyio.fail_after(60):
                while len(await store.changes(0)) < n:
                    await store.changed()
        process.stdin.close()
        assert await ended(process) == 0
    finally:
        process.kill()


async def test_heartbeats_and_bodies_end_no_wait_for_a_change(path: Path) -> None:
    async with SqliteStore(path) as mine, SqliteStore(path) as theirs:
        await theirs.write("job/a", b"1", after=0)
        await mine.changed()
        with anyio.move_on_after(1):
            while True:
                await mine.changed()
        with anyio.move_on_after(0.5) as quiet:
            for _ in range(3):
                await theirs.beat("them")
                await theirs.put("body", LARGE)
            await mine.changed()
        assert quiet.cancelled_caught


async def test_a_body_that_is_not_whole_is_none(path: Path, store: SqliteStore) -> None:
    await store.put("body", LARGE)
    await store.write("job/a", b"1", after=0, keeps=["body"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM pieces WHERE piece = 1")
        connection.commit()
    assert await store.get(["body"]) == {}
