"""How a worker process is spawned, and its assignment: sent over a channel that is private to both.

The arguments and the environment of a process are not private: `ps` shows them.
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
"""Sent by a worker once it answers requests."""
FORCE = b"!"
"""Sent to a worker that is to end at once, after the SIGTERM that asked it to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is to serve, and which of the workers it is."""

    config: Path
    overrides: Mapping[str, Any]
    admin_token: str | None = field(repr=False)
    """The token that the service generated; None where the configuration has one."""
    row: CounterRow
    search_path: tuple[str, ...]
    """Where to look for modules (`sys.path` of the supervisor); this package is one of them."""
    python_path: str | None = field(default_factory=lambda: os.environ.get(_PATH))
    """$PYTHONPATH of the supervisor, for processes that the jobs' functions start."""

    def at(self, number: int) -> Self:
        """The same for the worker with that number, from 0."""
        return replace(self, row=replace(self.row, number=number))


@dataclass(slots=True)
class WorkerProcess:
    """A worker, as its supervisor sees it."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    listens_since: float | None = None
    """Since when it answers requests; by the monotonic clock."""


def spawn(assignment: Assignment, listener: socket.socket) -> WorkerProcess:
    """Start a worker that answers requests at `listener`.

    Raises:
        OSError: no process can be started.
    """
    line = msgspec.json.encode(assignment, enc_hook=os.fspath) + b"\n"
    # Ctrl+C reaches workers too, and one that has yet to import its code would show a traceback.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process, ours = start(_PROGRAM, listener, search_path=assignment.search_path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with suppress(ConnectionError):  # it has died already, which the supervisor will see
        ours.sendall(line)
    return WorkerProcess(process, ours)


def receive_assignment(channel: socket.socket) -> Assignment:
    """Receive what `spawn` sent, and restore the $PYTHONPATH that it replaced.

    Raises:
        SystemExit: the supervisor has ended.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = channel.recv(1 << 16)
        if not part:
            sys.exit(1)
        line += part
    assignment = msgspec.json.decode(line, type=Assignment, dec_hook=lambda _, path: Path(path))
    if assignment.python_path is None:
        os.environ.pop(_PATH, None)
    else:
        os.environ[_PATH] = assignment.python_path
    return assignment
