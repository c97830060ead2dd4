"""Services on one store, and a store that goes wrong under them."""

import random
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pytest

from refresher.jobs.schedule import Interval, due_from
from tests.e2e.process import PATIENCE, Service, eventually, instant, serving
from tests.e2e.upstream import Asked, Reply, Upstream, numbered, upstream
from tests.valkey import Valkey

# Nothing but the schedule has it tried again.
_CHANGE = 'interval = "1s"\njitter = "0%"\nbackoff = "1m"\n'


def sqlite(test: pytest.FixtureRequest) -> str:
    folder: Path = test.getfixturevalue("tmp_path")
    return f"sqlite:///{folder / 'shared.db'}"


def valkey(test: pytest.FixtureRequest) -> str:
    server: Valkey = test.getfixturevalue("own_valkey")
    return server.url


@pytest.fixture(params=[sqlite, valkey])
def store(request: pytest.FixtureRequest) -> str:
    url: str = request.param(request)
    return url


@asynccontextmanager
async def service(
    folder: Path, store: str, jobs: str, *, name: str = "one"
) -> AsyncIterator[Service]:
    """A service with a folder of its own, over a store that it shares."""
    home = folder / name
    home.mkdir(exist_ok=True)
    config = f'[store]\nurl = "{store}"\n{jobs}'
    async with serving(home, config, environ={"WHO": name}) as running:
        yield running


@dataclass
class Reader:
    """Reads a job all the time, and notes what would be wrong."""

    services: list[Service]
    path: str = "/data/a"
    reads: int = 0
    wrong: list[str] = field(default_factory=list)

    async def read_on(self) -> None:
        last: dict[int, tuple[int, str]] = {}
        while True:
            for each in self.services:
                answer = await each.get(self.path)
                self.reads += 1
                if answer.status_code != 200:
                    self.wrong.append(f"{answer.status_code}: {answer.text}")
                    continue
                seen = int(answer.headers["refresher-version"]), answer.headers["etag"]
                before = last.setdefault(each.port, seen)
                if seen[0] < before[0] or (seen[0] == before[0] and seen != before):
                    self.wrong.append(f"{before} and then {seen}")
                last[each.port] = seen
            await anyio.sleep(0.02)


@asynccontextmanager
async def reading(*services: Service) -> AsyncIterator[Reader]:
    """Read these services for as long as the test goes on; nothing may be wrong with any read."""
    for each in services:
        await each.until("/data/a", 200)
    reader = Reader(list(services))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.read_on)
        yield reader
        tasks.cancel_scope.cancel()
    assert reader.reads > 0
    assert reader.wrong == []


async def fetched(up: Upstream, more: int = 2) -> None:
    """Wait until the upstream has been asked so many times more."""
    before = len(up.at("/a"))
    await eventually(lambda: len(up.at("/a")) >= before + more, f"{more} more fetches")


async def test_two_services_on_one_store_fetch_each_due_moment_once(
    tmp_path: Path, store: str
) -> None:
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", numbered())}"\n{_CHANGE}'
        async with (
            service(tmp_path, store, jobs) as one,
            service(tmp_path, store, jobs, name="two") as two,
            reading(one, two),
        ):
            before = await one.until_job("a", lambda job: job["last_attempt"])
            asked = len(up.at("/a"))
            await fetched(up, 8)
            requests = up.instants("/a")[asked:]
            # A busy machine may be late for a moment, or skip it; nobody comes a second time.
            due = due_from(Interval(1.0), "a", instant(before["last_attempt"]["at"]) + 0.5)
            for at in requests:
                assert at > due - 0.05, "more requests than due moments"
                due = due_from(Interval(1.0), "a", due + 0.5)
            counted = (await one.job("a"))["attempts"]["changed"]
            assert counted <= len(up.at("/a"))
            await two.until_job("a", lambda job: job["attempts"]["changed"] >= counted)
            await two.until_job("a", lambda job: job["version"] >= before["version"] + 7)


async def test_a_service_killed_in_the_middle_of_a_fetch_is_replaced(
    tmp_path: Path, store: str
) -> None:
    async with upstream() as up:
        hanging: list[Asked] = []

        async def hang(asked: Asked) -> Reply:
            up.route("/a", Reply(b'{"n":2}'))
            hanging.append(asked)
            await anyio.sleep_forever()
            raise AssertionError

        jobs = (
            f'[jobs.a]\nurl = "{up.route("/a", Reply())}"\ninterval = "1h"\n'
            'headers = { x-who = "${WHO}" }\n'  # no part of what a job is
        )
        async with (
            service(tmp_path, store, jobs) as one,
            service(tmp_path, store, jobs, name="two") as two,
        ):
            await one.until("/data/a", 200)
            await two.until("/data/a", 200)
            before = await one.job("a")
            asked = len(up.at("/a"))
            up.route("/a", hang)
            await one.refresh("a")
            await eventually(lambda: hanging, "a fetch that hangs")
            runs, rests = (one, two) if hanging[0].headers["x-who"] == "one" else (two, one)
            runs.send(signal.SIGKILL)
            status = await rests.until_job("a", lambda job: job["version"] > before["version"])
            assert status["attempts"]["changed"] == before["attempts"]["changed"] + 1
            assert (await rests.get("/data/a")).content == b'{"n":2}'
            assert len(up.at("/a")) == asked + 2


async def test_a_restart_serves_what_was_served_and_fetches_nothing_that_is_fresh(
    tmp_path: Path, store: str
) -> None:
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", numbered())}"\ninterval = "1h"\n'
        async with service(tmp_path, store, jobs) as before:
            first = await before.until("/data/a", 200)
            await before.refresh("a", wait="60s")
            served = await before.get("/data/a")
            assert served.headers["refresher-version"] == "2"
            assert first.content != served.content
            status = await before.job("a")
            before.send(signal.SIGKILL)
            await before.ended()
        async with service(tmp_path, store, jobs) as after:
            answer = await after.get("/data/a")
            assert answer.status_code == 200, "the first request finds it"
            same = ("etag", "refresher-version", "content-type", "cache-control")
            assert {name: answer.headers[name] for name in same} == {
                name: served.headers[name] for name in same
            }
            assert answer.headers.get("last-modified") == served.headers.get("last-modified")
            assert int(answer.headers["age"]) >= int(served.headers["age"])
            restored = await after.job("a")
            for name in ("checked_at", "changed_at", "version", "attempts", "due_at"):
                assert restored[name] == status[name], name
            assert answer.content == served.content
            assert len(up.at("/a")) == 2


async def test_killed_at_any_moment_it_comes_back_with_whole_data_and_versions_that_grow(
    tmp_path: Path, store: str
) -> None:
    dice = random.Random(7)  # noqa: S311  no secret

    async with upstream() as up:

        def answer(asked: Asked) -> Reply:
            del asked
            n = len(up.at("/a"))
            return Reply(b'{"n":%d,"x":"%s"}' % (n, b"x" * (1024 << n % 12)))

        jobs = f'[jobs.a]\nurl = "{up.route("/a", answer)}"\ninterval = "50ms"\n'
        version, seen = 0, 0
        for _ in range(4):
            async with service(tmp_path, store, jobs) as running:
                answer_at_once = await running.get("/data/a")
                more = dice.randint(1, 8)
                if version and not _is_detached(answer_at_once):
                    assert answer_at_once.status_code == 200
                    data = answer_at_once.json()
                    assert len(data["x"]) == 1024 << data["n"] % 12, "whole"
                    assert int(answer_at_once.headers["refresher-version"]) >= version - 1
                    assert data["n"] >= seen - 1
                with anyio.fail_after(PATIENCE):
                    while more:
                        answer_now = await running.get("/data/a")
                        # What a machine that stands still makes it go on with alone is not kept.
                        if answer_now.status_code == 200 and not _is_detached(answer_now):
                            now = int(answer_now.headers["refresher-version"])
                            assert now >= version
                            more -= now > version
                            version, seen = now, answer_now.json()["n"]
                        await anyio.sleep(0.01)
                await anyio.sleep(dice.uniform(0.0, 0.05))
                running.send(signal.SIGKILL)
                await running.ended()


def _is_detached(answer: httpx.Response) -> bool:
    return "detail=detached" in answer.headers.get("cache-status", "")


async def test_a_server_that_stops_starts_and_is_flushed_fails_no_read(
    tmp_path: Path, own_valkey: Valkey
) -> None:
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", numbered())}"\n{_CHANGE}'
        async with (
            service(tmp_path, own_valkey.url, jobs) as one,
            service(tmp_path, own_valkey.url, jobs, name="two") as two,
            reading(one, two),
        ):
            await fetched(up)
            own_valkey.stop()
            for each in (one, two):
                await each.logged("this process goes on by itself")
            await fetched(up, 4)
            await anyio.to_thread.run_sync(own_valkey.start)
            for each in (one, two):
                await each.logged("the store is there again")
            await fetched(up)
            own_valkey.do("FLUSHALL")
            await eventually(
                lambda: all(each.log.count("there again") >= 2 for each in (one, two)),
                "that it is filled again",
            )
            await fetched(up)
            own_valkey.do("CLIENT", "PAUSE", "3000", "ALL")
            await fetched(up)
            served = await one.job("a")
        async with service(tmp_path, own_valkey.url, jobs, name="three") as three:
            await three.until_job("a", lambda job: (job["version"] or 0) >= served["version"])


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a database as another program may."""
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def test_a_file_that_is_locked_deleted_or_overwritten_fails_no_read(tmp_path: Path) -> None:
    file = tmp_path / "shared.db"
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", numbered())}"\n{_CHANGE}'
        store = f"sqlite:///{file}"

        def there_again(times: int) -> Callable[[], bool]:
            return lambda: all(
                each.log.count("the store is there again") >= times for each in (one, two)
            )

        async with (
            service(tmp_path, store, jobs) as one,
            service(tmp_path, store, jobs, name="two") as two,
            reading(one, two),
        ):
            await fetched(up)
            with locked(file):
                for each in (one, two):
                    await each.logged("this process goes on by itself")
                await fetched(up, 4)
            await eventually(there_again(1), "that it is unlocked")
            await fetched(up)
            file.unlink()
            await eventually(there_again(2), "a file in place of the one deleted")
            await fetched(up)
            assert file.exists()
            file.write_bytes(b"rubbish" * 10_000)  # of which SQLite may know only later
            await fetched(up, 3)
            async with service(tmp_path, store, jobs, name="three") as three, reading(three):
                await fetched(up)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607


async def test_a_full_disk_fails_no_read_and_no_refresh(tmp_path: Path, small_disk: Path) -> None:
    async with upstream() as up:

        def answer(asked: Asked) -> Reply:
            del asked
            return Reply(b'{"n":%d,"x":"%s"}' % (len(up.at("/a")), b"x" * 100_000))

        jobs = f'[jobs.a]\nurl = "{up.route("/a", answer)}"\n{_CHANGE}'
        async with (
            service(tmp_path, f"sqlite:///{small_disk / 'shared.db'}", jobs) as one,
            reading(one),
        ):
            await fetched(up)
            ballast = small_disk / "ballast"
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(bytes(17 << 20))
            await one.logged("this process goes on by itself")
            await fetched(up, 3)
            ballast.unlink()
            await one.logged("the store is there again")
            await fetched(up)


async def test_a_start_on_a_full_disk_serves_what_is_stored(
    tmp_path: Path, small_disk: Path
) -> None:
    store = f"sqlite:///{small_disk / 'shared.db'}"
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", Reply(b"[1]"))}"\ninterval = "1h"\n'
        async with service(tmp_path, store, jobs) as one:
            await one.until("/data/a", 200)
            with pytest.raises(OSError, match="No space left"):
                (small_disk / "ballast").write_bytes(bytes(17 << 20))
            await one.logged("this process goes on by itself")
    async with service(tmp_path, store, jobs) as again:
        assert (await again.get("/data/a")).content == b"[1]"


async def test_a_server_that_is_down_at_the_start_is_joined_later(
    tmp_path: Path, own_valkey: Valkey
) -> None:
    own_valkey.stop()
    async with upstream() as up:
        jobs = f'[jobs.a]\nurl = "{up.route("/a", numbered())}"\n{_CHANGE}'
        async with service(tmp_path, own_valkey.url, jobs) as one, reading(one):
            await fetched(up)
            await anyio.to_thread.run_sync(own_valkey.start)
            await one.logged("the store is there again")
            metrics = (await one.get("/metrics")).text
            assert "refresher_store_errors_total{" in metrics
