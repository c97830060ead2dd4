"""Start what `refresher serve` runs: one process, or a supervisor of several workers."""

import asyncio
import gc
import logging
import os
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from refresher.api import cache_to_serve
from refresher.config import Config, load, state_directory
from refresher.errors import ServiceError
from refresher.observers.counters import CounterRow
from refresher.security.admin_token import kept_token
from refresher.security.redaction import Redactor
from refresher.serve.logs import log_to_stderr
from refresher.serve.run import make_server, run
from refresher.serve.server import SIGNALS, Server, exit_at_once
from refresher.serve.spawn import Assignment, spawn
from refresher.serve.supervisor import Supervisor
from refresher.service import build
from refresher.store.protocols import Backend

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
        signal.signal(number, exit_at_once)
    config = load(path, environ=os.environ, overrides=overrides)
    if config.store.url is None:
        url = _default_store(config)
        overrides = {**overrides, "store.url": url}
        if config.server.workers > 1 and url == "memory://":
            load(path, environ=os.environ, overrides=overrides)  # raises: they cannot share it
        config = replace(config, store=replace(config.store, url=url))
    return serve_config(config, path, overrides=overrides, listening=listening)


def _default_store(config: Config) -> str:
    """The store of a configuration that names none: a file, or memory where none can be written."""
    folder = state_directory(config, os.environ)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK | os.X_OK) and folder.is_dir():
        return "sqlite:///refresher.db"
    log_to_stderr(Redactor(config.secrets).redact)
    logger.warning(
        "%s cannot be written, so nothing outlives this process; $REFRESHER_STATE_DIR can name "
        'another folder, and store.url = "memory://" says that it is meant to be so',
        folder,
    )
    return "memory://"


def serve_config(
    config: Config,
    path: Path,
    *,
    overrides: Mapping[str, object],
    listening: Callable[[str], object] = lambda _: None,
) -> int:
    """Serve a configuration that has been read from `path`; otherwise as `serve`."""
    search_path = tuple(sys.path)  # the configuration's folder is about to come first on it
    build.import_functions(config)
    token, token_file = _admin_token(config)
    redactor = Redactor({*config.secrets, *filter(None, (token,))})
    log_to_stderr(redactor.redact)
    with _listen(config.server.host, config.server.port) as listener:
        host, port = listener.getsockname()[:2]
        url = _url(host, port)  # root_path is only in URLs that go through a proxy

        def announce() -> None:
            _announce(config, url, token_file, generated=token is not None)
            listening(url)

        if config.server.workers == 1:
            cache = cache_to_serve(path, config, overrides=overrides, admin_token=token)
            log_to_stderr(lambda text: cache.redact(redactor.redact(text)))
            server = make_server(Server, cache, config)
            server.listening = announce
            server.handle_signals()
            return run(server, listener)
        asyncio.run(_check_store(build.backend_of(config)))
        with _runtime_directory() as directory:
            assignment = Assignment(
                config=path,
                # Each runs a service of one process, and shares its counters with the others.
                overrides={**overrides, "server.workers": 1},
                admin_token=token,
                row=CounterRow(number=0, workers=config.server.workers, directory=directory),
                search_path=search_path,
            )
            supervisor = Supervisor(
                lambda number: spawn(assignment.at(number), listener),
                workers=config.server.workers,
                grace=config.server.shutdown_grace,
                listening=announce,
                closing=listener.close,
            )
            gc.enable()  # the start is over
            return supervisor.run()


async def _check_store(store: Backend) -> None:
    """Open the store that the workers will share, and close it again.

    Raises:
        ServiceError: it can never be used as configured.
    """
    async with store:
        pass


@contextmanager
def _runtime_directory() -> Iterator[Path]:
    """A private folder for the files that workers share, removed at the end.

    Raises:
        ServiceError: none can be made.
    """
    # After `su`, $XDG_RUNTIME_DIR is the folder of another user.
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = given if os.access(given, os.W_OK | os.X_OK) else None
    try:
        folder = tempfile.TemporaryDirectory(
            prefix="refresher-", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise ServiceError(
            f"cannot make a folder for what workers share: {error.strerror}; "
            "$XDG_RUNTIME_DIR or $TMPDIR can name a place for it"
        ) from error
    with folder as name:
        yield Path(name)


def _admin_token(config: Config) -> tuple[str | None, Path | None]:
    """The generated token and its file; None where the configuration has a token."""
    if config.admin.token:
        return None, None
    return kept_token(state_directory(config, os.environ))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything else starts.

    Raises:
        ServiceError: the address cannot be bound.
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
