"""A worker of `refresher serve`: answers requests at the socket that all workers share.

The supervisor starts `python -m refresher.serve.worker CHANNEL LISTENER`, with the numbers of two
file descriptors. The worker ends when the other end of the channel is closed: at the latest when
the supervisor ends, even if that is killed.
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
from refresher.serve.server import WorkerServer, exit_at_once
from refresher.serve.spawn import FORCE, LISTENS, Assignment, receive_assignment

logger = logging.getLogger("refresher")


def main() -> None:
    """Serve until told to end."""
    gc.disable()  # until the server answers
    signal.signal(signal.SIGTERM, exit_at_once)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl+C reaches the supervisor too, which ends its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel, listener = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    for each in (channel, listener):  # a process that a job starts must not keep the port open
        each.set_inheritable(False)
    sys.exit(_serve(receive_assignment(channel), channel, listener))


def _serve(assignment: Assignment, channel: socket.socket, listener: socket.socket) -> int:
    path, overrides, token = assignment.config, assignment.overrides, assignment.admin_token
    try:
        config = load(path, environ=os.environ, overrides=overrides)
    except ConfigError as error:  # it has been edited since the service started
        log_to_stderr(Redactor(filter(None, (token,))).redact)
        logger.error("the configuration cannot be used any more: %s", error)  # noqa: TRY400
        return 1
    cache = cache_to_serve(path, config, overrides=overrides, admin_token=token, row=assignment.row)
    redactor = Redactor({*config.secrets, *filter(None, (token,))})
    log_to_stderr(lambda text: cache.redact(redactor.redact(text)))
    server = make_server(WorkerServer, cache, config)
    server.listening = lambda: channel.send(LISTENS)
    server.handle_signals()
    arguments = (server, channel, assignment.row.directory)
    threading.Thread(
        target=_follow_supervisor, args=arguments, name="refresher supervisor", daemon=True
    ).start()
    return run(server, listener)


def _follow_supervisor(server: WorkerServer, channel: socket.socket, directory: Path) -> NoReturn:
    with suppress(ConnectionError):
        while channel.recv(1) == FORCE:
            server.force()
    # The supervisor was killed: free the port, and remove the folder that it cannot remove.
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
