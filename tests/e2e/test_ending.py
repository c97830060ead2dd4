"""SIGTERM at any moment: the exit status is 0, within the grace, at once when nothing is stuck."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
import termios
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.e2e.process import PATIENCE, Service, eventually, running, serving
from tests.e2e.upstream import Asked, Reply, upstream

_LONG = '[server]\nshutdown_grace = "1h"\n'
"""Nothing that is waited for so long ends while a test has patience."""
_IDLE = f'{_LONG}[jobs.a]\nfile = "a.json"\ninterval = "1h"\n'


async def _never(_: Asked) -> Reply:
    await asyncio.Event().wait()
    return Reply()


async def _ends_at_once(service: Service, sig: signal.Signals = signal.SIGTERM) -> None:
    assert await service.stop(sig) == 0, service.log
    assert "Traceback" not in service.log
    with socket.socket() as probe:  # the port is free again
        assert probe.connect_ex(("127.0.0.1", service.port)) != 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_service_ends_at_once(tmp_path: Path, sig: signal.Signals) -> None:
    (tmp_path / "a.json").write_text("[1]")
    async with serving(tmp_path, _IDLE) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as kept:  # must not hold it
            kept.sendall(b"GET /data/a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(100).startswith(b"HTTP/1.1 ")
            await _ends_at_once(service, sig)


async def test_a_service_that_has_just_begun_to_listen_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    async with serving(tmp_path, _IDLE) as service:
        await _ends_at_once(service)


async def test_a_service_ends_at_once_while_it_fetches_connects_and_is_waited_for(
    tmp_path: Path,
) -> None:
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())  # the next to connect waits for ever
        port = full.getsockname()[1]
        async with upstream() as up:
            up.route("/never", _never)
            config = f'{_LONG}[defaults]\ninterval = "1h"\n'
            config += f'[jobs.fetching]\nurl = "{up.url("/never")}"\n'
            config += f'[jobs.connecting]\nurl = "http://127.0.0.1:{port}/"\n'
            async with serving(tmp_path, config) as service:
                await eventually(lambda: len(up.asked) == 1, "a fetch")
                answers = []

                heard = anyio.Event()

                async def ask() -> None:
                    answers.append(await service.refresh_heard(heard.set, "fetching", wait="60s"))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask)
                    await heard.wait()
                    await service.get("/livez")  # it comes after what was heard before
                    await _ends_at_once(service)
                assert answers[0].status_code == 202


_STUCK = """
import asyncio, pathlib, time

def hangs():
    pathlib.Path("hangs").touch()
    time.sleep(3600)

async def blocks():
    pathlib.Path("blocks").touch()
    time.sleep(3600)

async def clings():
    pathlib.Path("clings").touch()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


@pytest.mark.parametrize(
    ("function", "at_once"), [("hangs", True), ("blocks", False), ("clings", False)]
)
async def test_no_function_of_a_job_outlives_the_grace(
    tmp_path: Path, *, function: str, at_once: bool
) -> None:
    (tmp_path / "stuck.py").write_text(_STUCK)
    config = _LONG if at_once else _LONG.replace("1h", "2s")
    config += f'[jobs.stuck]\npython = "stuck:{function}"\ninterval = "1h"\n'
    async with serving(tmp_path, config) as service:
        await eventually((tmp_path / function).exists, "the call")
        if at_once:
            await _ends_at_once(service)
        else:
            began = time.monotonic()
            assert await service.stop() == 0
            assert time.monotonic() - began >= 2
            assert "shutdown_grace" in service.log


async def test_a_reader_that_does_not_read_is_cut_within_the_grace(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(24 << 20))
    config = _LONG.replace("1h", "2s") + '[jobs.large]\nfile = "large.bin"\n'
    async with serving(tmp_path, config) as service:
        await service.until("/jobs", 200)
        await service.until_job("large", lambda job: job["state"] == "fresh")
        with socket.create_connection(("127.0.0.1", service.port)) as reader:
            reader.sendall(b"GET /data/large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
            assert await service.stop() == 0


async def test_a_reader_in_the_middle_of_a_body_gets_the_rest(tmp_path: Path) -> None:
    body = os.urandom(24 << 20)
    (tmp_path / "large.bin").write_bytes(body)
    config = _LONG + '[jobs.large]\nfile = "large.bin"\n'
    async with serving(tmp_path, config) as service:
        await service.until_job("large", lambda job: job["state"] == "fresh")
        async with service.http.stream("GET", "/data/large") as answer:
            service.send(signal.SIGTERM)
            await service.logged("closing")
            assert await answer.aread() == body
        assert await service.ended() == 0


async def test_a_draining_service_serves_on_and_says_that_it_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    config = _IDLE.replace('"1h"', '"1h"\ndrain = "1h"', 1)
    async with serving(tmp_path, config) as service:
        await service.until("/data/a", 200)
        assert (await service.get("/readyz")).status_code == 200
        service.send(signal.SIGTERM)
        await service.until("/readyz", 503)
        async with service.http.stream("GET", "/data/a", headers={"Connection": "close"}) as one:
            assert one.status_code == 200
        assert (await service.get("/livez")).status_code == 200
        await _ends_at_once(service)  # the second signal ends the drain


async def test_signals_in_a_row_are_one_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    async with serving(tmp_path, _IDLE) as service:
        await service.until("/data/a", 200)
        while service.child.poll() is None:
            service.send(signal.SIGTERM)
            await anyio.sleep(0.01)
        assert service.child.returncode == 0, service.log


async def test_a_log_that_nobody_reads_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    config = _IDLE.replace('"1h"', '"1s"\naccess_log = true\nport = 0', 1)
    (tmp_path / "config.toml").write_text(config)
    unread, err = os.pipe()
    size = fcntl.fcntl(err, fcntl.F_SETPIPE_SZ, 4096)

    def is_full() -> bool:
        """Whether one more line hardly fits."""
        held = fcntl.ioctl(unread, termios.FIONREAD, bytes(4))
        return int.from_bytes(held, sys.byteorder) > size - 200

    try:
        child = await anyio.open_process(
            [sys.executable, "-m", "refresher", "serve"], cwd=tmp_path, stderr=err, stdout=err
        )
        os.close(err)
        async with child:
            line = b""
            while b"/jobs\n" not in line:
                more = await anyio.to_thread.run_sync(os.read, unread, 4096)
                assert more, line
                line += more
            port = int(line.split(b"127.0.0.1:")[1].split(b";")[0])
            with socket.create_connection(("127.0.0.1", port)) as reader:
                reader.sendall(b"GET /data/a HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
                await eventually(is_full, "a log that is full, and the service with it")
                child.terminate()
                with anyio.fail_after(PATIENCE):
                    assert await child.wait() == 0
    finally:
        os.close(unread)


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "config.toml").write_text(f"[server]\nport = {port}\n")
        async with running(tmp_path, "serve") as process:
            assert await process.ended() == 1
            assert len(process.log.strip().splitlines()) == 1
            assert str(port) in process.log
            assert "in use" in process.log


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_store_that_cannot_be_used_ends_it_before_it_says_that_it_serves(
    tmp_path: Path, workers: int
) -> None:
    config = '[server]\nport = 0\n[store]\nurl = "sqlite:////proc/nowhere/a.db"\n'
    (tmp_path / "config.toml").write_text(config)
    async with running(tmp_path, "serve", "--workers", str(workers)) as process:
        assert await process.ended() == 1
        assert "/proc/nowhere/a.db cannot be used" in process.log
        assert "serving" not in process.log


async def test_a_wrong_config_never_starts_and_says_every_problem(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[server]\nport = 0\nwrokers = 2\n[jobs.a]\nurl = "ftp://x/"\ninterval = 5\n'
        '[jobs.b]\npython = "nothing:here"\n'
    )
    async with running(tmp_path, "serve") as process:
        assert await process.ended() == 2
        for place in ("config.toml:3: server.wrokers", ":5: jobs.a.url", ":6: jobs.a.interval"):
            assert place in process.log
        assert "workers" in process.log
        assert "Traceback" not in process.log
    (tmp_path / "broken.py").write_text("raise RuntimeError('no ' + __import__('os').environ['S'])")
    (tmp_path / "config.toml").write_text(
        '[jobs.a]\npython = "nothing:here"\n[jobs.b]\npython = "os:here"\n'
        '[jobs.c]\npython = "broken:x"\nauth = { type = "bearer", token = "${S}" }\n'
    )
    async with running(tmp_path, "serve", environ={"S": "Imp0rtS3cret"}) as process:
        assert await process.ended() == 2
        for place in (":2: jobs.a.python", ":4: jobs.b.python", ":6: jobs.c.python"):
            assert place in process.log
        assert "Imp0rtS3cret" not in process.log
        assert "Traceback" not in process.log
    assert not [path for path in _files(tmp_path) if "admin-token" in path.name]


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())
