# ruff: noqa: ASYNC240  the folders are a test's own
import logging
import os
import secrets
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.sqlite.store import PIECE, SqliteStore

GARBAGE = b"this is no database. " * 2000
LARGE = bytes(3 * PIECE + 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path) as opened:
        await opened.beat("me")
        yield opened


def ask(path: Path, question: str) -> object:
    """What the file itself says."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


def five_seconds_pass(path: Path) -> None:
    """Since whatever was put and not kept."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE loose SET since = since - 5.1")
        connection.commit()


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(60):
        while not await is_so():  # noqa: ASYNC110  nothing tells
            await anyio.sleep(0.02)


async def healed(store: SqliteStore) -> str:
    """Which store it is, once a heartbeat finds one."""
    with anyio.fail_after(60):
        while True:
            try:
                return (await store.beat("me")).store
            except StoreUnavailable:
                await anyio.sleep(0.02)


async def all_cleared(store: SqliteStore, path: Path) -> None:
    """Wait until no piece lies there that is of no body."""

    async def cleared() -> bool:
        await store.beat("me")
        left = "SELECT count(*) FROM pieces WHERE pieces NOT IN (SELECT pieces FROM bodies)"
        loose = "SELECT count(*) FROM loose"
        return not await anyio.to_thread.run_sync(ask, path, f"SELECT ({left}) + ({loose})")

    await wait_until(cleared)


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.corrupt-*"))


# Opening and leaving


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a" / "b" / "store.db") as store:
        assert await store.write("job/a", b"1", after=0) == 1


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


async def test_a_symbolic_link_is_followed(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with SqliteStore(link) as mine, SqliteStore(path) as theirs:
        await mine.write("job/a", b"1", after=0)
        assert await theirs.changes(0)
    assert sorted(tmp_path.iterdir()) == [link, path]


@pytest.mark.parametrize("name", ["ünï cödé.db", "50%.db", "a?mode=ro", "#.db", ":memory:"])
async def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    async with SqliteStore(tmp_path / name) as store:
        await store.write("job/a", b"1", after=0)
    assert [each.name for each in tmp_path.iterdir()] == [name]


async def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="it is a folder, where a file is expected"):
        async with SqliteStore(tmp_path):
            pass


async def test_a_file_where_its_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ServiceError, match=r"cannot be used: .*; check store\.url"):
        async with SqliteStore(tmp_path / "file" / "store.db"):
            pass


async def test_the_database_of_another_program_is_refused_and_not_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(ServiceError, match="a database of another program"):
        async with SqliteStore(path):
            pass
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_the_file_of_a_newer_release_is_refused_and_not_touched(path: Path) -> None:
    async with SqliteStore(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(ServiceError, match=r"newer release .* \(its schema is 99, .*knows 1\)"):
        async with SqliteStore(path):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_a_newer_release_has_migrated_is_unavailable(
    path: Path, store: SqliteStore
) -> None:
    other = path.with_name("other.db")
    async with SqliteStore(other):
        pass
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA user_version = 99")
    other.rename(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="newer release"):
            await store.beat("me")
    assert not asides(path)


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.write_bytes(b"")
    async with SqliteStore(path) as store:
        assert await store.write("job/a", b"1", after=0) == 1
    assert not asides(path)


# Files that are corrupt


@pytest.mark.parametrize("damage", ["garbage", "header", "middle"])
async def test_a_corrupt_file_is_set_aside_when_it_is_opened(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    async with SqliteStore(path) as store:
        for n in range(50):
            await store.write(f"job/{n}", bytes(4000), after=0)
    whole = path.read_bytes()
    corrupt = {
        "garbage": GARBAGE,
        "header": GARBAGE[:100] + whole[100:],
        "middle": whole[:100] + GARBAGE[:4000] + whole[4100:],
    }[damage]
    path.write_bytes(corrupt)
    path.with_name("store.db-wal").write_bytes(b"some of it")
    async with SqliteStore(path) as store:
        assert await store.changes(0) == []
        assert await store.write("job/a", b"1", after=0) == 1
    aside = asides(path)[0]
    assert aside.read_bytes() == corrupt
    assert aside.with_name(f"{aside.name}-wal").exists()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    assert str(aside) in record.getMessage()


async def test_a_file_that_is_overwritten_while_it_is_used_is_set_aside(
    path: Path, store: SqliteStore
) -> None:
    before = (await store.beat("me")).store
    number = 0
    for n in range(200):
        number = await store.write(f"job/{n}", bytes(4000), after=0) or 0
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")  # until then all of it lies beside the file
    with path.open("r+b") as file:
        file.write(GARBAGE * (path.stat().st_size // len(GARBAGE) + 1))

    async def another() -> bool:
        return await healed(store) != before

    await wait_until(another)
    assert number == 200
    assert await store.changes(0) == []
    assert await store.write("job/a", b"1", after=0) == 1
    assert asides(path)


async def test_damage_that_opening_does_not_find_is_found_when_it_is_read(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.write("job/a", bytes(20_000), after=0)
    root = ask(path, "SELECT rootpage FROM sqlite_master WHERE name = 'documents'")
    assert isinstance(root, int)
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(GARBAGE[:4096])
    async with SqliteStore(path) as store:
        with pytest.raises(StoreUnavailable, match="database disk image is malformed"):
            await store.changes(0)
        with pytest.raises(StoreUnavailable, match="not open; the next heartbeat tries again"):
            await store.write("job/a", b"1", after=1)
        await healed(store)
        assert await store.changes(0) == []
    assert asides(path)


async def test_a_corrupt_file_at_the_end_of_a_link_is_set_aside_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    link, path = tmp_path / "link.db", folder / "store.db"
    link.symlink_to(path)
    path.write_bytes(GARBAGE)
    async with SqliteStore(link) as store:
        await store.write("job/a", b"1", after=0)
    assert [aside.read_bytes() for aside in asides(path)] == [GARBAGE]
    assert sorted(tmp_path.iterdir()) == [folder, link]
    assert ask(link, "SELECT count(*) FROM documents") == 1


async def test_of_two_processes_that_find_it_corrupt_one_sets_it_aside(path: Path) -> None:
    path.write_bytes(GARBAGE)
    names = set()

    async def enter() -> None:
        async with SqliteStore(path) as store:
            names.add(await healed(store))
            together.set()
            await all_there.wait()

    together, all_there = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(enter)
        await together.wait()
        all_there.set()
    assert len(names) == 1
    (aside,) = asides(path)
    assert aside.read_bytes() == GARBAGE


async def test_a_second_corrupt_file_does_not_displace_the_first(path: Path) -> None:
    for n in range(3):
        path.write_bytes(GARBAGE + b"%d" % n)
        async with SqliteStore(path):
            pass
    assert {aside.read_bytes()[-1:] for aside in asides(path)} == {b"0", b"1", b"2"}


# Files that go away


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


# A file that cannot be written for a while


@contextmanager
def locked(path: Path, *, how: str = "IMMEDIATE") -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield


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


async def test_a_store_that_is_locked_at_the_start_is_opened_later(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.write("job/a", b"1", after=0)
    with locked(path):
        store = SqliteStore(path)
        await store.__aenter__()
    try:
        with pytest.raises(StoreUnavailable, match="not open; the next heartbeat tries again"):
            await store.changes(0)
        with pytest.raises(StoreUnavailable, match="not open; the next heartbeat tries again"):
            await store.write("job/b", b"1", after=0)
        await store.beat("me")
        assert await store.changes(0)
    finally:
        await store.__aexit__(None, None, None)


async def test_calls_that_were_cancelled_are_left_out(path: Path, store: SqliteStore) -> None:
    with locked(path):
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(partial(store.write, f"job/{n}", b"1", after=0))
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    beat = await store.beat("me")
    assert beat.last <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603  our own words
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607  our own words


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


async def test_a_full_disk_at_the_start_is_an_outage_and_no_error(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(20 * PIECE))
    async with SqliteStore(small_disk / "store.db") as store:
        with pytest.raises(StoreUnavailable):
            await store.beat("me")
        ballast.unlink()
        await healed(store)
        assert await store.write("job/a", b"1", after=0) == 1


async def test_a_read_only_disk_is_refused(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    await anyio.run_process(remount)
    with pytest.raises(ServiceError, match="read-only to this process"):
        async with SqliteStore(small_disk / "store.db"):
            pass
    with pytest.raises(ServiceError, match="cannot be used: Read-only file system"):
        async with SqliteStore(small_disk / "sub" / "store.db"):
            pass


# Bodies that are not kept


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


async def test_a_dropped_large_body_leaves_nothing(path: Path, store: SqliteStore) -> None:
    await store.put("body", LARGE)
    await store.write("job/a", b"1", after=0, keeps=["body"])
    assert ask(path, "SELECT count(*) FROM pieces") == 4
    await store.write("job/a", b"1", after=1, drops=["body"])

    async def cleared() -> bool:
        loose = "(SELECT count(*) FROM pieces) + (SELECT count(*) FROM loose)"
        return not await anyio.to_thread.run_sync(ask, path, f"SELECT {loose}")

    await wait_until(cleared)


async def test_a_body_that_is_not_whole_is_none(path: Path, store: SqliteStore) -> None:
    await store.put("body", LARGE)
    await store.write("job/a", b"1", after=0, keeps=["body"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM pieces WHERE piece = 1")
        connection.commit()
    assert await store.get(["body"]) == {}


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


# Other processes


def child(program: str, *arguments: object) -> "subprocess.Popen[str]":
    """A process that has the store in its hands: `store` of the path that comes first."""
    code = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from refresher.store.backends.sqlite.store import SqliteStore\n"
        "async def main():\n"
        "    async with SqliteStore(Path(sys.argv[1])) as store:\n"
        f"{textwrap.indent(textwrap.dedent(program), ' ' * 8)}\n"
        "asyncio.run(main())\n"
    )
    return subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def ended(process: "subprocess.Popen[str]") -> int:
    with process:
        return await anyio.to_thread.run_sync(process.wait)


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
