"""Child processes that run a module of this package: how one is started, and how it ended."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable


def start(
    module: str,
    *shared: socket.socket,
    search_path: Iterable[str],
    stdout: int | None = None,
    process_group: int | None = None,
) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """Run a module by this very Python, and open a channel to the process.

    The arguments of the process are the numbers of its descriptors: its end of the channel, and
    then the `shared` sockets. `search_path` is where it looks for modules (a sys.path, so that it
    finds this package wherever it was found). It reads nothing from standard input; `stdout` and
    `process_group` are those of `subprocess.Popen`.

    Raises:
        OSError: no process can be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        descriptors = [theirs.fileno(), *(each.fileno() for each in shared)]
        try:
            process = subprocess.Popen(  # noqa: S603  our own words
                # -P: the current folder is searched only where it is on the path.
                [sys.executable, "-P", "-m", module, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": _joined(search_path)},
                process_group=process_group,
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


def ending_of(status: int) -> str:
    """What an exit status of `subprocess` says; negative is the signal that killed it."""
    if status >= 0:
        return f"exit status {status}"
    hint = "; is memory short?" if -status == signal.SIGKILL else ""
    return f"{signal.Signals(-status).name}{hint}"


def _joined(search_path: Iterable[str]) -> str:
    return os.pathsep.join(entry or os.curdir for entry in search_path)
