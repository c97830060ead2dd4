"""`refresher serve` as a child process that is gone, whatever happens, when the test is over."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import httpx

import refresher

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy; nothing is measured by it."""

_UNHURRIED = {
    "REFRESHER__DEFAULTS__TIMEOUT": "5m",
    "REFRESHER__DEFAULTS__CONNECT_TIMEOUT": "5m",
    "REFRESHER__SERVER__SEED": "",  # due moments go by the names of jobs alone, and can be foreseen
}
"""No attempt is cut off by a machine that stands still, but for those that a test is about."""

_TREE = str(Path(refresher.__file__).parent.parent)
_URL = re.compile(r"http://[^\s:]+:(\d+)")


@dataclass
class Process:
    """One run of `python -m refresher`, its output in files: a pipe that is full would block it."""

    child: "subprocess.Popen[bytes]"
    home: Path
    number: int

    @property
    def out(self) -> str:
        return self._path("out").read_text("utf-8", "replace")

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return self._path("err").read_text("utf-8", "replace")

    def _path(self, kind: str) -> Path:
        return self.home / f"run{self.number}.{kind}"

    def send(self, sig: signal.Signals) -> None:
        self.child.send_signal(sig)

    async def ended(self) -> int:
        """Wait for its end, and return the exit status."""
        await eventually(lambda: self.child.poll() is not None, f"its end; log:\n{self.log}")
        return int(self.child.returncode)

    async def logged(self, text: str) -> None:
        await eventually(lambda: text in self.log, f"{text!r} in the log")

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal, and return the exit status."""
        self.send(sig)
        return await self.ended()


@dataclass
class Service(Process):
    """A service that listens."""

    port: int = 0
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    @property
    def token(self) -> str:
        return (self.home / "admin-token").read_text().strip()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(path, headers=fields)

    async def job(self, name: str) -> dict[str, Any]:
        answer = await self.get(f"/jobs/{name}")
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        return status

    async def until(self, path: str, status: int) -> httpx.Response:
        """Ask until the answer has that status."""
        answer = await self.get(path)
        with anyio.fail_after(PATIENCE):
            while answer.status_code != status:
                await anyio.sleep(0.02)
                answer = await self.get(path)
        return answer

    async def until_job(
        self, name: str, wanted: Callable[[dict[str, Any]], object]
    ) -> dict[str, Any]:
        """Ask for a job's status until it is as wanted."""
        status = await self.job(name)
        with anyio.fail_after(PATIENCE):
            while not wanted(status):
                await anyio.sleep(0.02)
                status = await self.job(name)
        return status

    async def post(
        self, path: str, body: object = None, token: str | None = None
    ) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return await self.http.post(path, json=body, headers=bearer)

    async def refresh(self, *jobs: str, **options: object) -> httpx.Response:
        return await self.post("/admin/refresh", {"jobs": list(jobs), **options})

    async def refresh_heard(
        self, heard: Callable[[], object], *jobs: str, **options: object
    ) -> httpx.Response:
        """The same, and `heard` is called once the service has begun to read what is asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps({"jobs": list(jobs), **options}).encode()
        head = (
            "POST /admin/refresh HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            heard()
            status_line = await reader.readline()
            _, _, said = (await reader.read()).partition(b"\r\n\r\n")
            return httpx.Response(int(status_line.split()[1]), content=said)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def running(
    home: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    program: str = "refresher",
) -> AsyncIterator[Process]:
    """Run the command line in a folder, with an environment that has only what is given."""
    number = len(list(home.glob("run*.err"))) + 1  # noqa: ASYNC240  a test's own folder
    with (
        (home / f"run{number}.out").open("wb") as out,
        (home / f"run{number}.err").open("wb") as err,
    ):
        child = subprocess.Popen(  # noqa: ASYNC220, S603  ours, and forking takes no time
            [sys.executable, "-m", program, *arguments],
            cwd=home,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "PYTHONPATH": _TREE,  # the tree under test, wherever it was copied to
                "PYTHONDONTWRITEBYTECODE": "1",
                **(environ or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield Process(child, home, number)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@asynccontextmanager
async def serving(
    home: Path,
    config: str,
    *,
    environ: Mapping[str, str] | None = None,
    program: str = "refresher",
) -> AsyncIterator[Service]:
    """Serve a configuration on a free port, from when it listens until the test is over."""
    (home / "config.toml").write_text(config)
    environ = {**_UNHURRIED, **(environ or {})}
    async with running(home, "serve", "--port", "0", environ=environ, program=program) as process:
        await eventually(
            lambda: _URL.search(process.log) or process.child.poll() is not None, "a start"
        )
        found = _URL.search(process.log)
        assert found is not None, process.log
        port = int(found[1])
        # A connection that is kept may be closed by a stall before the next request is read.
        http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=PATIENCE,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        async with http:
            yield Service(process.child, process.home, process.number, port, http)


async def eventually(
    is_so: Callable[[], object] | Callable[[], Awaitable[object]], what: str
) -> None:
    """Wait until something is so."""
    try:
        with anyio.fail_after(PATIENCE):
            while True:
                found = is_so()
                if isinstance(found, Awaitable):
                    found = await found
                if found:
                    return
                await anyio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE:g} s for {what}") from None


def instant(text: str) -> float:
    """Seconds since the Unix epoch, of a time in an answer; those have milliseconds."""
    return datetime.fromisoformat(text).timestamp()


def runs(pid: int) -> bool:
    """Whether a process is more than an exit status, which nobody may be there to take."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"X", "Z"}
