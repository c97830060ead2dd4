"""The command line as a person uses it: typed in a folder, answered in text and a status."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from refresher.cli import main

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy; nothing is measured by it."""
_UNHURRIED = {"REFRESHER__DEFAULTS__TIMEOUT": "5m"}
_UNSET = {"REFRESHER_CONFIG": None, "REFRESHER_ADMIN_TOKEN": None, "REFRESHER_STATE_DIR": None}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    body: bytes
    err: str

    @property
    def out(self) -> str:
        return self.body.decode()

    @property
    def lines(self) -> list[list[str]]:
        """What was printed, line by line, word by word."""
        return [line.split() for line in self.out.splitlines()]

    @property
    def json(self) -> Any:  # noqa: ANN401  whatever it is
        return json.loads(self.body)


def refresher(*arguments: str, folder: Path, **environ: str) -> Ended:
    """Type `refresher ARGUMENTS` in a folder."""
    status: object = None
    with (
        contextlib.chdir(folder),
        CliRunner().isolation(env={**_UNSET, **_UNHURRIED, **environ}) as (out, err, _),
    ):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        body, complaints = out.getvalue(), err.getvalue().decode()
    assert isinstance(status, int)
    return Ended(status, body, complaints)


def configured(folder: Path, text: str, name: str = "config.toml") -> Path:
    """A configuration file in the folder."""
    path = folder / name
    path.write_text(text)
    return path


@contextmanager
def process(*arguments: str, folder: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Type it for real; whatever still runs at the end is killed."""
    running = subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, "-m", "refresher", *arguments],
        cwd=folder,
        env=_environ(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def serving(folder: Path, **environ: str) -> Iterator[str]:
    """Serve the folder's config.toml; the service's URL, until SIGTERM ends it in good order."""
    with process("serve", "--port", "0", folder=folder, **environ) as running:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "serving" in line or not line)
        yield line.split(" at ")[1].split(";")[0]
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0, running.stderr.read()


def _environ(given: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key not in _UNSET}
    return {**inherited, **_UNHURRIED, **given}
