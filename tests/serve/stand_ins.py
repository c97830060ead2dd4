"""A supervisor of stand-ins: `python -m tests.serve.stand_ins FOLDER BEHAVIOUR WORKERS GRACE`.

A stand-in leaves a file in the folder, named after its number and its process, and then behaves as
it is told. It takes a bare interpreter, which starts in a fraction of what a worker needs.
"""

import logging
import signal
import socket
import subprocess
import sys

from refresher.serve.spawn import WorkerProcess
from refresher.serve.supervisor import Supervisor

logger = logging.getLogger("refresher")

_STAND_IN = """
import pathlib, signal, socket, sys, time
channel, folder, behaviour, number = socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:]
folder, done = pathlib.Path(folder), lambda *_: sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour in ("deaf", "frozen") else done)
before = len(list(folder.glob(f"{number}.*")))
(folder / f"{number}.{__import__('os').getpid()}").touch()
if behaviour == "waits to be let go":
    while not (folder / "go").exists():
        time.sleep(0.01)
if behaviour == "cannot start" or (behaviour == "the second cannot start" and number == "1"):
    sys.exit(3)
if behaviour == "cannot start again" and before:
    sys.exit(3)
channel.send(b"+")
if behaviour == "dies quickly":
    sys.exit(5)
while channel.recv(1) == b"!" and behaviour == "frozen":
    pass
"""


def main(folder: str, behaviour: str, workers: int, grace: float) -> int:
    """Have so many stand-ins at work until a signal."""

    def spawn(number: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  our own words
                [
                    *(sys.executable, "-I", "-S", "-c", _STAND_IN),
                    *(f"{theirs.fileno()}", folder, behaviour, f"{number}"),
                ],
                pass_fds=(theirs.fileno(),),
            )
        return WorkerProcess(process, ours)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    supervisor = Supervisor(
        spawn, workers=workers, grace=grace, closing=lambda: logger.info("not listening any more")
    )
    return supervisor.run()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
