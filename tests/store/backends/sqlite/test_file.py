# ruff: noqa: ASYNC240  the folders are a test's own
"""How the file of a store is opened, refused and set aside."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.sqlite.store import PIECE, SqliteStore
from tests.store.backends.sqlite.files import GARBAGE, asides, ask, healed, locked, wait_until


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a" / "b" / "store.db") as store:
        assert await store.write("job/a", b"1", after=0) == 1


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
