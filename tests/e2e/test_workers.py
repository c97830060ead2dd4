"""`refresher serve` with more than one worker: processes, signals, and numbers that add up."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.process import PATIENCE, Service, eventually, running, runs, serving

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

_JOB = '[jobs.a]\nfile = "a.json"\ninterval = "1h"\n'


@asynccontextmanager
async def several_workers(
    home: Path, config: str = _JOB, *, workers: int = 2
) -> AsyncIterator[Service]:
    """A service all of whose workers answer, and that keeps what they share in `home / "run"`."""
    (home / "a.json").write_text("[1]")
    (home / "run").mkdir()
    environ = {"WORKERS": str(workers), "XDG_RUNTIME_DIR": str(home / "run")}
    async with serving(
        home, config, environ=environ, program="tests.e2e.several_workers"
    ) as service:
        await eventually(
            lambda: _answering(service) == workers, f"all workers; log:\n{service.log}"
        )
        yield service


def _answering(service: Service) -> int:
    """How many workers have made an attempt of the job: each does at its start."""
    return service.log.count("a: serving version 1")


def _workers(service: Service) -> list[int]:
    pid = service.child.pid
    return [int(child) for child in (_process(pid) / f"task/{pid}/children").read_text().split()]


def _process(pid: int) -> Path:
    return Path(f"/proc/{pid}")


def _shared(home: Path) -> list[Path]:
    return _below(home / "run")


def _below(folder: Path) -> list[Path]:
    """The folders in there of what workers share."""
    return list(folder.glob("refresher-*"))


async def _metrics(service: Service) -> dict[str, float]:
    """Every sample, by name and labels, as whichever worker answers shows it."""
    async with httpx.AsyncClient(base_url=service.http.base_url, trust_env=False) as client:
        text = (await client.get("/metrics")).text
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def _read(service: Service, times: int) -> None:
    """Read on so many connections, all open at once, so that every worker has some."""
    async with httpx.AsyncClient(base_url=service.http.base_url, trust_env=False) as client:

        async def read() -> None:
            answer = await client.get("/data/a")
            assert answer.status_code == 200

        async with anyio.create_task_group() as tasks:
            for _ in range(times):
                tasks.start_soon(read)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_any_worker_tells_at_once_what_all_of_them_have_counted(tmp_path: Path) -> None:
    async with several_workers(tmp_path) as service:
        for round_ in range(1, 4):
            await _read(service, 10)
            for _ in range(3):
                found = await _metrics(service)
                assert found["refresher_reads_total 200"] == 10 * round_
        assert found["refresher_attempts_total a changed"] == 2, "each has its own memory here"
        assert found["refresher_attempt_duration_seconds_count local"] == 2
        processes = [service.child.pid, *_workers(service)]
        assert len(processes) == 3
        descriptors = [len(list((_process(pid) / "fd").iterdir())) for pid in processes]
        assert found["process_open_fds"] > max(descriptors)


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_process_speaks_http_our_way(tmp_path: Path, workers: int) -> None:
    async with several_workers(tmp_path, workers=workers) as service:
        for _ in range(4):
            refusal = await anyio.to_thread.run_sync(_refused, service.port)
            assert b"content-type: application/problem+json\r\n" in refusal
            assert b"cache-control: no-store\r\n" in refusal


def _refused(port: int) -> bytes:
    """All that is said to a request of a method that does not exist."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
        stream.sendall(b"BREW /data/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with stream.makefile("rb") as said:
            return said.read()


async def test_a_worker_that_is_killed_is_replaced_and_no_counter_falls(tmp_path: Path) -> None:
    async with several_workers(tmp_path) as service:
        await _read(service, 20)
        before = await _metrics(service)
        victim = _workers(service)[0]
        os.kill(victim, signal.SIGKILL)
        await service.logged("is replaced")
        assert (await _metrics(service))["refresher_reads_total 200"] == 20
        await eventually(lambda: _answering(service) == 3, "a worker in its place")
        assert service.log.count(f"(process {victim}) is replaced: SIGKILL") == 1
        await _read(service, 20)
        after = await _metrics(service)
        assert after["refresher_reads_total 200"] == 40
        assert after["refresher_attempts_total a changed"] == 3
        assert after["process_cpu_seconds_total"] > before["process_cpu_seconds_total"]
        assert after["process_start_time_seconds"] == before["process_start_time_seconds"]
        assert len(_workers(service)) == 2


async def test_a_signal_ends_all_of_it_and_leaves_nothing_but_a_hangup_does_not(
    tmp_path: Path,
) -> None:
    async with several_workers(tmp_path, '[server]\nshutdown_grace = "1h"\n' + _JOB) as service:
        workers = _workers(service)
        (shared,) = _shared(tmp_path)
        assert shared.stat().st_mode & 0o777 == 0o700
        # To everybody, as terminals and systemd do.
        os.killpg(service.child.pid, signal.SIGHUP)
        await _read(service, 10)
        assert _workers(service) == workers
        os.killpg(service.child.pid, signal.SIGTERM)
        await eventually(lambda: service.child.poll() is not None, "the end")
        assert service.child.returncode == 0, service.log
        assert not [pid for pid in workers if runs(pid)]
        assert _shared(tmp_path) == []
        await eventually(lambda: _is_free(service.port), "a port that nobody listens on")
        assert service.log.count("SIGTERM: closing") == 1
        assert "Traceback" not in service.log


async def test_a_worker_takes_no_ctrl_c_at_whatever_moment(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    environ = {"WORKERS": "2", "XDG_RUNTIME_DIR": str(tmp_path / "none"), "TMPDIR": str(tmp_path)}
    async with serving(
        tmp_path, _JOB, environ=environ, program="tests.e2e.several_workers"
    ) as service:
        await eventually(lambda: _workers(service), "the first worker")
        first, *_ = _workers(service)
        assert len(_below(tmp_path)) == 1, "where nothing better is known"
        while not _answering(service) and service.child.poll() is None:
            os.kill(first, signal.SIGINT)
            await anyio.sleep(0.005)
        await service.until("/data/a", 200)
        os.killpg(service.child.pid, signal.SIGINT)  # while the second starts
        assert await service.ended() == 0
        assert "Traceback" not in service.log
        assert _below(tmp_path) == []


async def test_all_workers_drain_while_they_go_on_to_accept(tmp_path: Path) -> None:
    config = '[server]\nshutdown_grace = "1h"\ndrain = "1h"\n' + _JOB
    async with several_workers(tmp_path, config) as service:
        service.send(signal.SIGTERM)
        await service.logged("closing")

        async def are_none_ready() -> bool:
            return {await _status_of_one(service, "/readyz") for _ in range(20)} == {503}

        await eventually(are_none_ready, "all workers to say so")
        for pid in _workers(service):  # as systemd does too, which is not a second signal
            os.kill(pid, signal.SIGTERM)
        await _read(service, 100)
        assert await _status_of_one(service, "/data/a") == 200
        service.send(signal.SIGTERM)
        assert await service.ended() == 0, service.log


async def _status_of_one(service: Service, path: str) -> int:
    """The answer on a connection of its own: any worker's."""
    return (await service.http.get(path, headers={"Connection": "close"})).status_code


async def test_a_service_that_is_killed_takes_its_workers_with_it(tmp_path: Path) -> None:
    async with several_workers(tmp_path) as service:
        workers = _workers(service)
        service.child.kill()
        await service.ended()
        await eventually(
            lambda: not [pid for pid in workers if runs(pid)], "the end of the workers"
        )
        await eventually(lambda: _is_free(service.port), "a port that nobody listens on")
        await eventually(lambda: _shared(tmp_path) == [], "nothing left")


async def test_a_worker_is_told_the_token_where_nobody_else_can_read(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import os\ndef path():\n    return [os.environ.get('PYTHONPATH')]\n"
    )
    config = '[jobs.a]\npython = "own:path"\ninterval = "1h"\n'
    async with several_workers(tmp_path, config) as service:
        for _ in range(6):
            answer = await service.http.post(
                "/admin/refresh",
                headers={"Authorization": f"Bearer {service.token}", "Connection": "close"},
            )
            assert answer.status_code == 202
        for pid in (service.child.pid, *_workers(service)):
            for listed in ("environ", "cmdline"):
                assert service.token.encode() not in (_process(pid) / listed).read_bytes()
        assert service.token not in service.log
        given = (_process(service.child.pid) / "environ").read_bytes().split(b"\0")
        (path,) = (await service.get("/data/a")).json()
        assert f"PYTHONPATH={path}".encode() in given, "and functions see what the service does"


_BREAKS_IN_WORKERS = """
import sys
if sys.argv[0].endswith("worker.py"):
    raise RuntimeError("not in a worker")
def data():
    return [1]
"""


async def test_a_worker_that_cannot_start_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(_BREAKS_IN_WORKERS)
    (tmp_path / "run").mkdir()
    (tmp_path / "config.toml").write_text('[jobs.a]\npython = "picky:data"\n')
    environ = {"WORKERS": "3", "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    async with running(tmp_path, environ=environ, program="tests.e2e.several_workers") as process:
        assert await process.ended() == 1
        assert process.log.count("cannot start, and so the service ends") == 1
        assert "serving" not in process.log
        assert process.log.count("worker") < 10
        assert process.log.count("raised RuntimeError: not in a worker") == 1
        assert "Traceback" not in process.log
        assert _shared(tmp_path) == []
