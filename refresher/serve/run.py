"""One process that answers requests: a cache under uvicorn, on a listening socket."""

import signal
import socket
from typing import TypeVar

import uvicorn

from refresher.api import Refresher
from refresher.config import Config
from refresher.serve.app import create_app
from refresher.serve.protocol import http_protocol
from refresher.serve.server import SIGNALS, Server

S = TypeVar("S", bound=Server)


def make_server(kind: type[S], cache: Refresher, config: Config) -> S:
    """A server of the given class for `cache`, as `[server]` configures it."""
    settings = config.server
    after_drain = max(0.0, settings.shutdown_grace - settings.drain)
    return kind(
        uvicorn.Config(
            create_app(cache),
            loop="uvloop",
            http=http_protocol(),
            ws="none",
            lifespan="on",
            workers=1,
            log_config=None,
            access_log=settings.access_log,
            server_header=False,
            root_path=settings.root_path,
            timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # any number will do
            # Empty, not None: uvicorn would look into $FORWARDED_ALLOW_IPS.
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=settings.forwarded_allow_ips,
            # The rest of the grace is for the jobs: to cancel their fetches is quick.
            timeout_graceful_shutdown=after_drain * 0.8,  # type: ignore[arg-type]  # any number will do
        ),
        closing=cache.close_soon,
        grace=settings.shutdown_grace,
        drain=settings.drain,
    )


def run(server: Server, listener: socket.socket) -> int:
    """Answer until the server is told to end; return the exit status."""
    try:
        server.run(sockets=[listener])
    except SystemExit:  # the lifespan failed and has said why
        return 1
    finally:  # a further signal would make the shutdown look like a crash
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return 0
