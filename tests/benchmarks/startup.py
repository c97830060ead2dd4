"""What a start takes, from the command to the first answer: `python -m tests.benchmarks.startup`.

`refresher serve` with one job, nothing stored and then with its snapshot stored; beside it a bare
ASGI function under uvicorn, and the loop that people write today, in modules that import no more
than they need. They start in turns. Told are time and CPU of the quickest start of each, the one
least disturbed, with the spread of all. What ends without serving, `refresher --help` and
`refresher check`, is told to its end. The figures go to a JSON file that
`python -m tests.benchmarks.compare` can compare with another. Linux only.
"""

import argparse
import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.figures import Figures, cpu_of, machine
from tests.benchmarks.reads import body_of, free_port

_PATIENCE = 60.0
_WORK = "start to the first answer"
_CONFIG = '[jobs.k1]\nfile = "k1.json"\ninterval = "1h"\n'
_BARE = """
from pathlib import Path
BODY = Path("k1.json").read_bytes()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
START = {"type": "http.response.start", "status": 200, "headers": HEADERS}
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send(START)
        await send({"type": "http.response.body", "body": BODY})
"""
_TODAY = """
import asyncio, json
from contextlib import asynccontextmanager
from pathlib import Path
import httpx
from fastapi import FastAPI
@asynccontextmanager
async def lifespan(app):
    async def poll():
        async with httpx.AsyncClient():
            while True:
                app.state.data = json.loads(Path("k1.json").read_bytes())
                await asyncio.sleep(3600)
    app.state.data = None
    task = asyncio.create_task(poll())
    yield
    task.cancel()
app = FastAPI(lifespan=lifespan)
@app.get("/data/k1")
async def data():
    return app.state.data
"""


def _under_uvicorn(module: str) -> list[str]:
    options = "--loop uvloop --http httptools --no-access-log --log-level warning --port PORT"
    return [sys.executable, "-m", "uvicorn", f"{module}:app", *options.split()]


_REFRESHER = [sys.executable, "-m", "refresher"]
_SERVE = [*_REFRESHER, "serve", "--config", "config.toml", "--port", "PORT"]
_SERVERS: Mapping[str, list[str]] = {
    "serve": _SERVE,
    "serve, stored": _SERVE,
    "bare": _under_uvicorn("bare"),
    "today": _under_uvicorn("today"),
}
_COMMANDS: Mapping[str, list[str]] = {
    "refresher --help": [*_REFRESHER, "--help"],
    "refresher check": [*_REFRESHER, "check", "--config", "config.toml"],
}


def prepare(folder: Path) -> None:
    """Write what the peers start from."""
    (folder / "k1.json").write_bytes(body_of(1024))
    (folder / "config.toml").write_text(_CONFIG)
    (folder / "bare.py").write_text(_BARE)
    (folder / "today.py").write_text(_TODAY)


def start(command: Sequence[str], folder: Path, state: Path) -> tuple[float, float]:
    """Start a server, and end it once it has answered: seconds until then, of time and of CPU."""
    port = free_port()
    ready = [str(port) if part == "PORT" else part for part in command]
    began = time.perf_counter()
    process = _run(ready, folder, state)
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() > began + _PATIENCE:
                raise SystemExit(f"{' '.join(ready)} does not start")
            time.sleep(0.005)
        return time.perf_counter() - began, cpu_of(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def carry_out(command: Sequence[str], folder: Path, state: Path) -> tuple[float, float]:
    """Run a command to its end: seconds until then, of time and of CPU."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if code := _run(command, folder, state).wait():
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(command: Sequence[str], folder: Path, state: Path) -> "subprocess.Popen[bytes]":
    root = Path(__file__).parents[2]
    environment = {**os.environ, "REFRESHER_STATE_DIR": str(state), "PYTHONPATH": str(root)}
    return subprocess.Popen(  # noqa: S603  our own words
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/data/k1")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def measure(rounds: int) -> list[Figures]:
    """Start everything so many times, in turns."""
    servers = {peer: Figures(_WORK, peer) for peer in _SERVERS}
    commands = {name: Figures(name, "serve") for name in _COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        stored = folder / "stored"
        for turn in range(-1, rounds):  # the first one fills the caches of the disk, and the store
            for peer, command in _SERVERS.items():
                state = stored if peer == "serve, stored" else folder / f"state{turn}"
                state.mkdir(exist_ok=True)
                _note(servers[peer], start(command, folder, state), counts=turn >= 0)
            for each, command in _COMMANDS.items():
                _note(commands[each], carry_out(command, folder, stored), counts=turn >= 0)
    tell(list(servers.values()))
    for figures in commands.values():
        tell([figures])
    return [*servers.values(), *commands.values()]


def tell(figures: Sequence[Figures]) -> None:
    """Print the figures of one kind of start; ratios are of `serve` to the peer."""
    rate, cpu = figures[0].best
    lines = [
        "",
        f"{figures[0].work:26} {'s':>6} {'spread':>7} {'ratio':>6}   {'CPU s':>6} {'ratio':>6}",
    ]
    for each in figures:
        own_rate, own_cpu = each.best
        lines.append(
            f"  {each.peer:24} {1 / own_rate:6.2f} {own_rate / min(each.per_second) - 1:7.0%} "
            f"{own_rate / rate:6.2f}   {own_cpu / 1e6:6.2f} {cpu / own_cpu:6.2f}"
        )
    print("\n".join(lines), flush=True)  # noqa: T201  a command's output


def _note(figures: Figures, measured: tuple[float, float], *, counts: bool) -> None:
    seconds, cpu = measured
    if counts:
        figures.per_second.append(1 / seconds)
        figures.cpu_us.append(1e6 * cpu)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=Path("startup.json"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending the peers
    figures = measure(given.rounds)
    packages = ("uvicorn", "uvloop", "fastapi", "starlette", "httpx", "pydantic")
    told = {"machine": machine(*packages), "figures": [asdict(each) for each in figures]}
    given.json.write_text(json.dumps(told, indent=1))
    print(f"\nfigures in {given.json}")  # noqa: T201  as above


if __name__ == "__main__":
    main()
