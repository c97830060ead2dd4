"""A worker of `refresher serve`: answers what comes in at the socket that all workers share.

`python -m refresher.serve.worker CHANNEL LISTENER` is started by the supervisor, with the numbers
of two descriptors, and ends when the other end of the channel does: at the latest with the
supervisor, however that comes to its end.
"""

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from refresher.api import cache_to_serve
from refresher.config import load
from refresher.errors import ConfigError
from refresher.security.redaction import Redactor
from refresher.serve.logs import log_to_stderr
from refresher.serve.run import make_server, run
from refresher.serve.server import WorkerServer, leave
from refresher.serve.spawn import INSIST, LISTENS, Assignment, take_up

logger = logging.getLogger("refresher")


def main() -> None:
    """Serve until told to end."""
    gc.disable()  # until the server answers
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor has it too, and says what follows
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel, listener = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    for each in (channel, listener):  # what a job's function starts must not keep the port
        each.set_inheritable(False)
    sys.exit(_serve(take_up(channel), channel, listener))


def _serve(assignment: Assignment, channel: socket.socket, listener: socket.socket) -> int:
    path, overrides, token = assignment.config, assignment.overrides, assignment.admin_token
    try:
        config = load(path, environ=os.environ, overrides=overrides)
    except ConfigError as error:  # it has been edited since the service started
        log_to_stderr(Redactor(filter(None, (token,))).redact)
        logger.error("the configuration cannot be used any more: %s", error)  # noqa: TRY400
        return 1
    cache = cache_to_serve(path, config, overrides=overrides, admin_token=token, row=assignment.row)
    known = Redactor({*config.secrets, *filter(None, (token,))})
    log_to_stderr(lambda text: cache.redact(known.redact(text)))
    server = make_server(WorkerServer, cache, config)
    server.listening = lambda: channel.send(LISTENS)
    server.take_signals()
    arguments = (server, channel, assignment.row.directory)
    threading.Thread(target=_obey, args=arguments, name="refresher orders", daemon=True).start()
    return run(server, listener)


def _obey(server: WorkerServer, channel: socket.socket, directory: Path) -> NoReturn:
    with suppress(ConnectionError):
        while channel.recv(1) == INSIST:
            server.insist()
    # The supervisor was killed: its port must be free, and nobody else cleans up after it.
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
