"""How a worker process is started, and what it is told: on a channel, where nobody else can read.

Neither arguments nor environment are such a place: `ps` shows them.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from refresher.observers.counters import CounterRow
from refresher.offload.subprocess import start

_PROGRAM = "refresher.serve.worker"
_PATH = "PYTHONPATH"

LISTENS = b"+"
"""What a worker says once it answers requests."""
INSIST = b"!"
"""What it is told by somebody who has already told it to end (SIGTERM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is to serve, and as whom."""

    config: Path
    overrides: Mapping[str, Any]
    admin_token: str | None = field(repr=False)
    """The token that the service made for itself; None where the configuration has one."""
    row: CounterRow
    search_path: tuple[str, ...]
    """Where Python is to look for modules: this package, wherever it was found, is one."""
    python_path: str | None = field(default_factory=lambda: os.environ.get(_PATH))
    """$PYTHONPATH as it was: for what the jobs' own functions start."""

    def at(self, number: int) -> Self:
        """The same for the worker of another number."""
        return replace(self, row=replace(self.row, number=number))


@dataclass(slots=True)
class Worker:
    """A worker process, as its supervisor sees it."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    listens_since: float | None = None
    """Since when it answers requests; by the monotonic clock."""


def hire(assignment: Assignment, listener: socket.socket) -> Worker:
    """Start a worker that will answer what comes in at `listener`.

    Raises:
        OSError: no process can be started.
    """
    told = msgspec.json.encode(assignment, enc_hook=os.fspath) + b"\n"
    # Ctrl+C reaches workers too, and one that is yet to import itself would show a traceback.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process, ours = start(_PROGRAM, listener, search_path=assignment.search_path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with suppress(ConnectionError):  # it has died already: whoever waits for it will see
        ours.sendall(told)
    return Worker(process, ours)


def take_up(channel: socket.socket) -> Assignment:
    """Be told what to serve; the environment is as it was before `hire` then.

    Raises:
        SystemExit: whoever started this is gone.
    """
    told = b""
    while not told.endswith(b"\n"):
        some = channel.recv(1 << 16)
        if not some:
            sys.exit(1)
        told += some
    assignment = msgspec.json.decode(told, type=Assignment, dec_hook=lambda _, path: Path(path))
    if assignment.python_path is None:
        os.environ.pop(_PATH, None)
    else:
        os.environ[_PATH] = assignment.python_path
    return assignment
