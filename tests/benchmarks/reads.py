"""What a read costs beside its peers: `python -m tests.benchmarks.reads`.

Each peer has one core and `wrk` the other; they take turns, in every round, so that what else the
machine does falls on all of them. Told are, for each kind of read, throughput and CPU time a
request (of `/proc/PID/stat`) of each peer's best round, the one least disturbed, with the spread of
all rounds, and both as ratios of `refresher serve` to the peer. The figures go to a JSON file;
`python -m tests.benchmarks.compare` compares two of them. Needs wrk and two cores; nginx and
Varnish take part where they are installed. Linux only.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.figures import Figures, cpu_of, machine, tell

SIZES = {"k1": 1024, "k10": 10 * 1024, "k100": 100 * 1024, "k1024": 1024 * 1024}
SERVER_CORE, CLIENT_CORE = "0", "1"
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Read:
    """A kind of read: of which job, and with which fields."""

    name: str
    job: str
    conditional: bool = False
    gzipped: bool = False
    peers: tuple[str, ...] = ("serve", "plain", "bare", "today", "nginx", "varnish")

    @property
    def path(self) -> str:
        """Where a peer has the answer that it cannot choose by fields."""
        return f"/{self.job}" + ("-304" * self.conditional) + ("-gzip" * self.gzipped)


_WITHOUT_TODAY = ("serve", "plain", "bare", "nginx", "varnish")
READS = (
    *(Read(f"200, {SIZES[job] // 1024} KiB", job) for job in ("k1", "k10", "k100")),
    Read("200, 1024 KiB", "k1024", peers=_WITHOUT_TODAY),  # which takes a third of a second each
    *(
        Read(f"304, {SIZES[job] // 1024} KiB", job, conditional=True, peers=_WITHOUT_TODAY)
        for job in ("k1", "k10")
    ),
    *(
        Read(f"200, {SIZES[job] // 1024} KiB, gzip", job, gzipped=True, peers=_WITHOUT_TODAY)
        for job in ("k10", "k100")
    ),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs."""

    name: str
    pid: int
    port: int
    path_of: Callable[[Read], str]

    def ask(self, read: Read, fields: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """One answer of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", self.path_of(read), headers=dict(fields))
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()

    def fields_for(self, read: Read) -> dict[str, str]:
        """What a client says that wants this kind of read of it."""
        fields = {"Accept-Encoding": "gzip"} if read.gzipped else {}
        if read.conditional:
            _, headers, _ = self.ask(Read("", read.job), {})
            fields["If-None-Match"] = headers["etag"]
        return fields

    def cpu(self) -> float:
        """Seconds of CPU that its processes have had."""
        return cpu_of(self.pid)


def body_of(size: int) -> bytes:
    """A JSON array of about that many bytes."""
    rows: list[str] = []
    written = 2
    while written < size:
        n = len(rows)
        rows.append(json.dumps({"id": n, "name": f"n{n * 7919 % 1000}", "price": n * 137 % 9999}))
        written += len(rows[-1]) + 1
    return f"[{','.join(rows)}]".encode()


def prepare(folder: Path) -> None:
    """Write what the peers serve."""
    tables = ['[defaults]\ninterval = "1h"\n']
    for job, size in SIZES.items():
        body = body_of(size)
        (folder / f"{job}.json").write_bytes(body)
        (folder / f"{job}.json.gz").write_bytes(gzip.compress(body, 6))
        tables.append(f'[jobs.{job}]\nfile = "{job}.json"\n')
    (folder / "config.toml").write_text("\n".join(tables))


def note_answers(service: Peer, folder: Path) -> None:
    """Keep the service's own answers, for the peers that send the same bytes."""
    kept = {}
    for read in READS:
        status, headers, body = service.ask(read, service.fields_for(read))
        assert status == (304 if read.conditional else 200), read
        headers.pop("date")
        kept[read.path] = (status, list(headers.items()), b64encode(body).decode())
    (folder / "answers.json").write_text(json.dumps(kept))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    name: str,
    command: list[str],
    port: int,
    folder: Path,
    path_of: Callable[[Read], str],
    *,
    cores: str = SERVER_CORE,
) -> Iterator[Peer]:
    """Run a peer on its cores until it is no longer needed."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own words
            ["taskset", "-c", cores, *command],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "BENCHMARK_FOLDER": str(folder), "REFRESHER_STATE_DIR": str(folder)},
        )
    peer = Peer(name, process.pid, port, path_of)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(peer):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not start: {(folder / f'{name}.log').read_text()}")
            time.sleep(0.05)
        yield peer
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(peer: Peer) -> bool:
    try:
        return all(peer.ask(Read("", job), {})[0] == 200 for job in SIZES)
    except OSError:
        return False


def serve(folder: Path, port: int, workers: int = 1) -> list[str]:
    """The command that runs the service."""
    options = f"--config {folder}/config.toml --port {port} --workers {workers}"
    return [sys.executable, "-m", "refresher", "serve", *options.split()]


def under_uvicorn(factory: str, port: int, workers: int = 1) -> list[str]:
    """The command that runs an application of `peers`."""
    options = f"--factory --loop uvloop --http httptools --port {port} --workers {workers}"
    quiet = "--no-access-log --log-level warning"
    application = f"tests.benchmarks.peers:{factory}"
    return [sys.executable, "-m", "uvicorn", application, *options.split(), *quiet.split()]


@contextlib.contextmanager
def all_peers(folder: Path) -> Iterator[list[Peer]]:
    """Start every peer that there is, the service first."""
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = []

        def start(name: str, command: list[str], port: int, path_of: Callable[[Read], str]) -> None:
            peers.append(stack.enter_context(started(name, command, port, folder, path_of)))

        def data(read: Read) -> str:
            return f"/data/{read.job}"

        port = free_port()
        start("serve", serve(folder, port), port, data)
        note_answers(peers[0], folder)
        for name, path_of in (("plain", data), ("bare", lambda read: read.path), ("today", data)):
            port = free_port()
            start(name, under_uvicorn(name, port), port, path_of)
        backend = port_of(peers, "bare")
        if shutil.which("nginx"):
            port = free_port()
            (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port))
            command = ["nginx", "-c", str(folder / "nginx.conf")]
            start("nginx", command, port, lambda read: f"/{read.job}.json")
        if shutil.which("varnishd"):
            port = free_port()
            (folder / "varnish.vcl").write_text(_VARNISH.format(port=backend))
            listen = ["-a", f"127.0.0.1:{port}", "-n", str(folder / "varnish"), "-s", "malloc,64m"]
            command = ["varnishd", "-F", "-f", str(folder / "varnish.vcl"), *listen]
            start("varnish", command, port, lambda read: Read("", read.job).path)
        yield peers


def port_of(peers: list[Peer], name: str) -> int:
    """The port of a peer."""
    return next(peer.port for peer in peers if peer.name == name)


_NGINX = """
worker_processes 1; daemon off; master_process off; user root;
pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; gzip_static on;
  keepalive_timeout 75; keepalive_requests 1000000000;
  types {{ application/json json; }}
  server {{
    listen 127.0.0.1:{port}; root {folder};
    add_header Cache-Control "public, max-age=3600";
    add_header X-Content-Type-Options nosniff;
  }}
}}
"""
_VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; set beresp.do_gzip = true; }}
"""


def load(
    peer: Peer,
    read: Read,
    fields: Mapping[str, str],
    seconds: int,
    *,
    connections: int = 16,
    cores: str = CLIENT_CORE,
) -> tuple[float, float]:
    """Ask a peer for as much as it can give: requests a second, microseconds of CPU for each."""
    said = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]
    url = f"http://127.0.0.1:{peer.port}{peer.path_of(read)}"
    threads = len(cores.split(","))
    options = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "120s"]
    before, began = peer.cpu(), time.perf_counter()
    told = subprocess.run(  # noqa: S603  our own words
        ["taskset", "-c", cores, "wrk", *options, *said, url],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    took, spent = time.perf_counter() - began, peer.cpu() - before
    found = re.search(r"(\d+) requests in", told)
    if found is None or "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"{peer.name} at {read.name} went wrong:\n{told}")
    count = int(found[1])
    if not count:  # not one answer was complete in that time
        return load(peer, read, fields, 4 * seconds, connections=connections, cores=cores)
    return count / took, 1e6 * spent / count


def measure(rounds: int, seconds: int) -> list[Figures]:
    """Measure every kind of read at every peer, in turns."""
    figures: dict[tuple[str, str], Figures] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # Varnish reads its configuration as another user
        prepare(folder)
        peers = stack.enter_context(all_peers(folder))
        for read in READS:
            asked = [(peer, peer.fields_for(read)) for peer in peers if peer.name in read.peers]
            for peer, fields in asked:
                _require(peer, read, fields)
                load(peer, read, fields, 1)
            for turn in range(rounds):
                for peer, fields in asked[turn % len(asked) :] + asked[: turn % len(asked)]:
                    per_second, cpu_us = load(peer, read, fields, seconds)
                    found = figures.setdefault(
                        (read.name, peer.name), Figures(read.name, peer.name)
                    )
                    found.per_second.append(per_second)
                    found.cpu_us.append(cpu_us)
            tell("reads", [found for found in figures.values() if found.work == read.name])
            _tell_of_asgi(figures[read.name, "plain"], figures[read.name, "bare"])
    return list(figures.values())


def _tell_of_asgi(plain: Figures, bare: Figures) -> None:
    (rate, cpu), (bare_rate, bare_cpu) = plain.best, bare.best
    # Round by round too: what else the machine does falls on both that are measured one after the
    # other, and on the best rounds of each by chance.
    by_round = statistics.median(
        one / other for one, other in zip(plain.per_second, bare.per_second, strict=True)
    )
    print(  # noqa: T201  a command's output
        f"  through ASGI, to the bare function: {rate / bare_rate:.2f} of its reads/s "
        f"({by_round:.2f} by round), {cpu / bare_cpu:.2f} of its CPU",
        flush=True,
    )


def _require(peer: Peer, read: Read, fields: Mapping[str, str]) -> None:
    status, headers, _ = peer.ask(read, fields)
    coding = headers.get("content-encoding", "identity")
    expected = (304, "identity") if read.conditional else (200, "gzip" if read.gzipped else coding)
    if (status, coding) != expected:
        raise SystemExit(f"{peer.name} answers {status}, {coding} for {read.name}: {headers}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each peer in a round")
    parser.add_argument("--json", type=Path, default=Path("reads.json"))
    given = parser.parse_args()
    if not shutil.which("wrk") or len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this needs wrk (apt-get install wrk) and two cores")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without ending the peers
    figures = measure(given.rounds, given.seconds)
    packages = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette")
    told = {"machine": machine(*packages), "figures": [asdict(each) for each in figures]}
    given.json.write_text(json.dumps(told, indent=1))
    print(f"\nfigures in {given.json}")  # noqa: T201  as above


if __name__ == "__main__":
    main()
