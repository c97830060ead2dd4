"""Reads over real connections: clients that are slow, that ask ahead, and that stay."""

import socket
from pathlib import Path

import anyio.to_thread

from tests.e2e.process import PATIENCE, Service, serving

_LARGE = b'"' + b"0123456789abcdef" * 2**16 + b'"'
_AHEAD = 40
_ASK = b"GET /data/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _files(home: Path) -> str:
    (home / "large.json").write_bytes(_LARGE)
    (home / "small.json").write_bytes(b'{"a": 1.50}')
    jobs = '[jobs.large]\nfile = "large.json"\n[jobs.small]\nfile = "small.json"\n'
    return f'[server]\nshutdown_grace = "1h"\n{jobs}'


def _connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)


def _memory(service: Service) -> int:
    fields = Path(f"/proc/{service.child.pid}/statm").read_text("ascii").split()
    return int(fields[1]) * 4096


def _read_answers(stream: socket.socket, count: int) -> list[bytes]:
    bodies = []
    with stream.makefile("rb") as lines:
        for _ in range(count):
            assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := lines.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            bodies.append(lines.read(length))
    return bodies


async def test_who_asks_for_much_and_reads_nothing_gets_it_when_he_reads(tmp_path: Path) -> None:
    async with serving(tmp_path, _files(tmp_path)) as service:
        await service.until("/data/large", 200)
        await service.until("/data/small", 200)
        before = _memory(service)
        with _connect(service) as stream:
            stream.sendall(_ASK % b"large" * _AHEAD)
            for _ in range(50):
                assert (await service.get("/data/small")).status_code == 200
            assert _memory(service) - before < _AHEAD / 2 * len(_LARGE), "it is not all in memory"
            bodies = await anyio.to_thread.run_sync(_read_answers, stream, _AHEAD)
            assert set(bodies) == {_LARGE}


async def test_a_connection_that_is_kept_ends_with_the_service(tmp_path: Path) -> None:
    async with serving(tmp_path, _files(tmp_path)) as service:
        await service.until("/data/small", 200)
        with _connect(service) as stream:
            stream.sendall(_ASK % b"small" * 3)
            answers = await anyio.to_thread.run_sync(_read_answers, stream, 3)
            assert answers == [b'{"a": 1.50}'] * 3
            assert await service.stop() == 0
            assert stream.recv(1) == b""


async def test_an_answer_on_its_way_is_finished_when_the_service_ends(tmp_path: Path) -> None:
    async with serving(tmp_path, _files(tmp_path)) as service:
        await service.until("/data/large", 200)
        with _connect(service) as stream:
            stream.sendall(_ASK % b"large" * 2)
            first = stream.recv(1)
            assert first == b"H"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.stop)
                await service.logged("closing")
                rest = await anyio.to_thread.run_sync(_read_to_end, stream)
            assert rest.count(b"TTP/1.1 200 OK") >= 1
            assert rest.partition(b"\r\n\r\n")[2].startswith(_LARGE)


def _read_to_end(stream: socket.socket) -> bytes:
    parts = []
    while part := stream.recv(2**16):
        parts.append(part)
    return b"".join(parts)
