"""`refresher serve`: the service as a process."""

import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn

from refresher import build
from refresher.config import Config, load, state_directory
from refresher.errors import ServiceError
from refresher.facade import Refresher
from refresher.redacted_logs import RedactingFilter
from refresher.redaction import Redactor
from refresher.serve.app import create_app
from refresher.serve.protocol import http_protocol
from refresher.serve.server import SIGNALS, Server, leave
from refresher.serve.token import kept_token

logger = logging.getLogger("refresher")

_BACKLOG = 2048


def serve(
    path: Path,
    *,
    overrides: Mapping[str, object],
    listening: Callable[[str], object] = lambda _: None,
) -> int:
    """Serve the jobs of a configuration file until a signal; return the exit status.

    `listening` is called with the service's URL as soon as that can be connected to.

    Raises:
        ConfigError: the configuration cannot be used; nothing was started.
        ServiceError: the port is in use, or cannot be listened on.
    """
    for number in SIGNALS:
        signal.signal(number, leave)
    config = load(path, environ=os.environ, overrides=overrides)
    build.import_functions(config)
    token, token_file = _admin_token(config)
    cache = Refresher.from_toml(path, overrides=overrides, admin_token=token)
    _log_to_stderr(config, cache, token)
    with _listen(config.server.host, config.server.port) as listener:
        host, port = listener.getsockname()[:2]
        url = _url(host, port)  # root_path is for those who come through a proxy
        server = _server(cache, config)
        server.take_signals()
        _announce(config, url, token_file, generated=token is not None)
        listening(url)
        try:
            server.run(sockets=[listener])
        except SystemExit:  # the lifespan failed and has said why
            return 1
        finally:  # the end has begun: a further signal would make it look like a crash
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
    return 0


def _server(cache: Refresher, config: Config) -> Server:
    settings = config.server
    left_after_drain = max(0.0, settings.shutdown_grace - settings.drain)
    return Server(
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
            # Empty, not None: uvicorn would look into $FORWARDED_ALLOW_IPS.
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=settings.forwarded_allow_ips,
            # What is left of the grace then is for the jobs: cutting their fetches is quick.
            timeout_graceful_shutdown=left_after_drain * 0.8,  # type: ignore[arg-type]  # any number will do
        ),
        closing=cache.close_soon,
        grace=settings.shutdown_grace,
        drain=settings.drain,
    )


def _admin_token(config: Config) -> tuple[str | None, Path | None]:
    """The token made and kept for this service; none where the configuration has its own."""
    if config.admin.token:
        return None, None
    return kept_token(state_directory(config, os.environ))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, before anything else starts.

    Raises:
        ServiceError: it cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServiceError(f"cannot listen on {_url(host, port)}: {error.strerror}") from error


def _announce(config: Config, url: str, token_file: Path | None, *, generated: bool) -> None:
    count = len(config.jobs)
    logger.info("serving %d job%s at %s; try %s/jobs", count, "" if count == 1 else "s", url, url)
    if token_file is not None:
        logger.info(
            "the admin token is in %s; refresh all jobs now: "
            'curl -X POST -H "Authorization: Bearer $(cat %s)" %s/admin/refresh',
            token_file,
            shlex.quote(str(token_file)),
            url,
        )
    elif generated:
        logger.warning(
            "no admin token: none is configured, and none can be kept in the state directory"
        )


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_to_stderr(config: Config, cache: Refresher, token: str | None) -> None:
    """Send every log line of the process to standard error, without the secrets."""
    known = Redactor({*config.secrets, *filter(None, (token,))})
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(lambda text: cache.redact(known.redact(text))))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # These speak at INFO of every start and every request; what matters of that we say ourselves.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
