"""SIGTERM at any moment: the exit status is 0, within the grace, at once when nothing is stuck."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import anyio
import pytest

from tests.e2e.process import PATIENCE, Service, eventually, running, serving
from tests.e2e.upstream import Asked, Reply, upstream

_AT_ONCE = 5.0
"""Seconds: a tenth of it on an idle machine, and far less than the grace that these jobs have."""
_IDLE = '[server]\nshutdown_grace = "40s"\n[jobs.a]\nfile = "a.json"\ninterval = "1h"\n'


async def _never(_: Asked) -> Reply:
    await asyncio.Event().wait()
    return Reply()


async def _ends_at_once(service: Service, sig: signal.Signals = signal.SIGTERM) -> None:
    status, seconds = await service.stop(sig)
    assert status == 0, service.log
    assert seconds < _AT_ONCE, service.log
    assert "Traceback" not in service.log
    with socket.socket() as probe:  # the port is free again
        assert probe.connect_ex(("127.0.0.1", service.port)) != 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_service_ends_at_once(tmp_path: Path, sig: signal.Signals) -> None:
    (tmp_path / "a.json").write_text("[1]")
    async with serving(tmp_path, _IDLE) as service:
        await service.until("/data/a", 200)  # its connection is kept alive, and must not hold it
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
            config = '[server]\nshutdown_grace = "40s"\n[defaults]\ntimeout = "30s"\n'
            config += f'[jobs.fetching]\nurl = "{up.url("/never")}"\n'
            config += f'[jobs.connecting]\nurl = "http://127.0.0.1:{port}/"\n'
            config += 'connect_timeout = "30s"\n'
            async with serving(tmp_path, config) as service:
                await eventually(lambda: len(up.asked) == 1, "a fetch")
                answers = []

                async def ask() -> None:
                    answers.append(await service.refresh("fetching", wait="60s"))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask)
                    await service.until_job(
                        "fetching", lambda job: job["due_reason"] in {"manual", "startup"}
                    )
                    await anyio.sleep(0.2)
                    await _ends_at_once(service)
                assert answers[0].status_code == 202


_STUCK = """
import asyncio, pathlib, time

def hangs():
    pathlib.Path("hangs").touch()
    time.sleep(60)

async def blocks():
    pathlib.Path("blocks").touch()
    time.sleep(60)

async def clings():
    pathlib.Path("clings").touch()
    while True:
        try:
            await asyncio.sleep(60)
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
    grace = 40 if at_once else 2
    config = f'[server]\nshutdown_grace = "{grace}s"\n'
    config += f'[jobs.stuck]\npython = "stuck:{function}"\ninterval = "1h"\n'
    async with serving(tmp_path, config) as service:
        await eventually((tmp_path / function).exists, "the call")
        if at_once:
            await _ends_at_once(service)
        else:
            status, seconds = await service.stop()
            assert status == 0
            assert 1.5 < seconds < 2 + _AT_ONCE
            assert "shutdown_grace" in service.log


async def test_a_reader_that_does_not_read_is_cut_within_the_grace(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(24 << 20))
    config = '[server]\nshutdown_grace = "2s"\n[jobs.large]\nfile = "large.bin"\n'
    async with serving(tmp_path, config) as service:
        await service.until("/jobs", 200)
        await service.until_job("large", lambda job: job["state"] == "fresh")
        with socket.create_connection(("127.0.0.1", service.port)) as reader:
            reader.sendall(b"GET /data/large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
            status, seconds = await service.stop()
        assert status == 0
        assert seconds < 2 + _AT_ONCE


async def test_a_reader_in_the_middle_of_a_body_gets_the_rest(tmp_path: Path) -> None:
    body = os.urandom(24 << 20)
    (tmp_path / "large.bin").write_bytes(body)
    config = '[server]\nshutdown_grace = "40s"\n[jobs.large]\nfile = "large.bin"\n'
    async with serving(tmp_path, config) as service:
        await service.until_job("large", lambda job: job["state"] == "fresh")
        async with service.http.stream("GET", "/data/large") as answer:
            service.send(signal.SIGTERM)
            await service.logged("closing")
            assert await answer.aread() == body
        assert await service.ended() == 0


async def test_a_draining_service_serves_on_and_says_that_it_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    config = _IDLE.replace('"40s"', '"40s"\ndrain = "30s"')
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
    (tmp_path / "config.toml").write_text(
        _IDLE.replace('"40s"', '"1s"\naccess_log = true\nport = 0')
    )
    unread, err = os.pipe()
    try:
        child = await anyio.open_process(
            [sys.executable, "-m", "refresher", "serve"], cwd=tmp_path, stderr=err, stdout=err
        )
        os.close(err)
        async with child:
            line = b""
            while b"/jobs\n" not in line:
                line += await anyio.to_thread.run_sync(os.read, unread, 4096)
            port = int(line.split(b"127.0.0.1:")[1].split(b";")[0])
            with anyio.move_on_after(3), socket.socket() as reader:
                reader.settimeout(0)  # until the pipe is full, and the service with it
                await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", port))
                for _ in range(3000):
                    await asyncio.get_running_loop().sock_sendall(
                        reader, b"GET /data/a HTTP/1.1\r\nHost: x\r\n\r\n"
                    )
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
