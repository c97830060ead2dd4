"""Run the demo, and print what to look at in it."""

import os
import secrets
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from refresher.cli.demo.upstream import create_upstream
from refresher.errors import ServiceError
from refresher.security.admin_token import FILE_NAME
from refresher.serve.serve import serve
from refresher.serve.server import SIGNALS, exit_at_once

_GUIDE = """
The demo serves at {url} what these jobs fetch from an upstream that misbehaves:
{config}

  curl -i {url}/data/feed
      always there; Age, Cache-Control and Cache-Status say how fresh. Send its ETag back:
      curl -i -H 'If-None-Match: "..."' gives 304
  curl -s {url}/jobs/flaky
      its upstream answers 200, then 500, then not at all; the last good data stays
  curl -i {url}/data/rubbish
      a login page, half a JSON, half of the rows: none of it gets in; Cache-Status says why
  curl -s {url}/jobs/limited
      429 and 503 with Retry-After are obeyed: see due_at and due_reason
  curl -s --compressed -o /dev/null -w '%{{size_download}} bytes in %{{time_total}} s\\n' \\
      {url}/data/large
  curl -s {url}/metrics | grep refresher_attempts
  curl -X POST -H "Authorization: Bearer $(cat {token})" \\
      -d '{{"jobs": ["slow"], "wait": "10s"}}' {url}/admin/refresh
      refreshes now, and says how it went; the token is of this demo alone
  refresher status --url {url}
      all of it in a table; {url}/docs has every endpoint

Ctrl-C ends it, and leaves nothing behind.
"""


def run(port: int, echo: Callable[[str], object]) -> int:
    """Run the demo until a signal, print what to look at, and return the exit status.

    Raises:
        ServiceError: the port is in use.
    """
    for number in SIGNALS:  # so that the folder is removed; the server handles them once it runs
        signal.signal(number, exit_at_once)
    _clear_environment()
    token = secrets.token_urlsafe()
    with TemporaryDirectory(prefix="refresher-demo-") as folder, _upstream(token) as upstream:
        directory = Path(folder)
        config = directory / "config.toml"
        config.write_bytes(files(__package__).joinpath("demo.toml").read_bytes())
        (directory / "upstream-token").write_text(token)
        os.environ["DEMO_UPSTREAM"] = upstream

        def announce(url: str) -> None:
            kept = shlex.quote(str(directory / FILE_NAME))
            echo(_GUIDE.format(url=url, config=config, token=kept))

        try:
            return serve(config, overrides={"server.port": port}, listening=announce)
        except ServiceError as error:
            raise ServiceError(f"{error}; take another port with --port") from error


@contextmanager
def _upstream(token: str) -> Iterator[str]:
    """Run the upstream in a thread with a loop of its own: the service reaches it by HTTP alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                create_upstream(token),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(
            target=server.run, args=([listener],), name="demo upstream", daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=2)


def _clear_environment() -> None:
    """Unset variables for other configurations, and proxies: all requests are to this machine."""
    for name in list(os.environ):
        if name.upper().startswith("REFRESHER_") or name.lower().endswith("_proxy"):
            del os.environ[name]
