"""The commands, their options and their exit statuses."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs: --help takes 0.2 s, not 1.2 s

import gc
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from refresher.cli.table import printable
from refresher.errors import ConfigError, ServiceError
from refresher.version import VERSION

_FAILED, _USAGE = 1, 2

_EXAMPLES = """\b
Examples:
  refresher demo               see it all at work; needs no network
  refresher init               write a config.toml to start from; or init my.toml
  refresher check              what will run, or all that is wrong
  refresher try rates -v       one attempt of one job, step by step
  refresher serve              keep every job fresh and serve it

\b
Status: 0 done, 1 what was asked for failed, 2 wrong usage or configuration.
"""


app = typer.Typer(
    help="Keep remote data fresh in the background; serve it always, fast, with its age.",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="REFRESHER_CONFIG",
        metavar="FILE",
        help="The configuration; else ./config.toml.",
        show_default=False,
    ),
]
_Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where the service answers; else where the configuration says.",
        show_default=False,
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, the process's own arguments unless others are given, and exit.

    The status is 0 when it is done, 1 when what was asked for failed, 2 for wrong usage or a
    configuration that cannot be used.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # an upstream may send what has no UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(arguments, prog_name="refresher")
    except ConfigError as error:
        _print_error(*error.problems)
        sys.exit(_USAGE)
    except ServiceError as error:
        _print_error(str(error))
        sys.exit(_FAILED)


def _print_version(asked: bool) -> None:  # noqa: FBT001  typer's signature
    if asked:
        typer.echo(f"refresher {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The version.")
    ] = False,
) -> None: ...


@app.command()
def serve(
    config: _Config = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The address to listen on; else server.host."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="The port, 0 for any that is free; else server.port."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that answer; else server.workers.")
    ] = None,
) -> None:
    """Keep every job fresh and serve it, until a signal."""
    with _starting():
        path = _required_path(config)
        from refresher.serve.serve import serve

        given = {"server.host": host, "server.port": port, "server.workers": workers}
        overrides = {key: value for key, value in given.items() if value is not None}
        raise typer.Exit(serve(path, overrides=overrides))


@app.command()
def check(
    config: _Config = None,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Make one attempt of each job; nothing is kept.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of config.toml, for editors.")
    ] = False,
) -> None:
    """Print what will run, or everything that is wrong with it."""
    if schema:
        from refresher.config import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        return
    path = _required_path(config)
    from refresher.cli.checking import checked, overview

    found = checked(path, os.environ)
    typer.echo(overview(found, os.environ, now=time.time()))
    if live:
        from refresher.cli.trial import attempt_all

        if not attempt_all(found, typer.echo):
            raise typer.Exit(_FAILED)


@app.command("try")
def try_(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's name.")],
    config: _Config = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every step.")] = False,
) -> None:
    """Make one attempt of one job, and keep nothing of it.

    What would be served goes to standard output, how the attempt went to standard error. A running
    service is not affected.
    """
    path = _required_path(config)
    from refresher.cli.checking import checked_job
    from refresher.cli.trial import attempt_one

    with redirect_stdout(sys.stderr):  # a job's own function may print something
        found, plan = checked_job(path, job, os.environ)
        body = attempt_one(found, plan, _print_error, verbose=verbose)
    if body is None:
        raise typer.Exit(_FAILED)
    typer.echo(body, nl=False)


@app.command()
def status(
    job: Annotated[
        str | None, typer.Argument(metavar="JOB", help="One job; else all.", show_default=False)
    ] = None,
    config: _Config = None,
    url: _Url = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the service answers.")
    ] = False,
) -> None:
    """Print how fresh the jobs of a running service are."""
    from refresher.cli.remote import find_service
    from refresher.cli.status import status_json, status_text

    service = find_service(_config_path(config), url, os.environ)
    typer.echo(status_json(service, job) if as_json else status_text(service, job))


@app.command()
def refresh(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="JOB", help="Which; else all.", show_default=False),
    ] = None,
    config: _Config = None,
    url: _Url = None,
    wait: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="How long to wait for the outcomes, at most 60s; 0s: not at all.",
        ),
    ] = "30s",
) -> None:
    """Have a running service refresh jobs now, and print how that ends.

    The status is 1 if any attempt fails, is rejected or is refused, or still runs after the wait;
    then it goes on.
    """
    from refresher.cli.remote import find_service
    from refresher.cli.status import refreshed
    from refresher.config import duration

    try:
        seconds = duration(wait)
    except ValueError as error:
        raise typer.BadParameter(f"{wait!r} {error}", param_hint="--wait") from error
    outcome = refreshed(find_service(_config_path(config), url, os.environ), jobs or [], seconds)
    typer.echo(outcome.text)
    if not outcome.good:
        raise typer.Exit(_FAILED)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = Path(
        "config.toml"
    ),
) -> None:
    """Write a commented configuration to start from.

    Where there is a config.toml already, name another file: refresher init my.toml. No file is
    overwritten, and no folder is made.
    """
    from refresher.cli.starter import write_starter

    typer.echo(write_starter(path))


@app.command()
def demo(
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port to serve on.")
    ] = 8000,
) -> None:
    """Show everything at work; needs no network.

    A real service keeps jobs fresh against an upstream that misbehaves in every way that upstreams
    do, and prints what to look at.
    """
    with _starting():
        from refresher.cli.demo.demo import run

        raise typer.Exit(run(port, typer.echo))


@contextmanager
def _starting() -> Iterator[None]:
    """Exit at once with status 0 on a signal, in the second before anything runs.

    Garbage is not collected in it: what a start makes stays. The server turns the collector on
    again once it answers.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _config_path(config: Path | None) -> Path | None:
    """The configuration file: that named, else ./config.toml; None where there is neither."""
    default = Path("config.toml")
    return config or (default if default.exists() else None)


def _required_path(config: Path | None) -> Path:
    path = _config_path(config)
    if path is None:
        raise ConfigError(
            ["there is no config.toml here; `refresher init` writes one, --config names another"]
        )
    return path


def _print_error(*lines: str) -> None:
    for line in lines:
        typer.echo(printable(line), err=True)
