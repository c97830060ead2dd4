"""Loads a configuration: reads its sources, checks them and makes a plan of each job."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from refresher.config.files import add, add_included, copied, read_main
from refresher.config.inheritance import check_alternatives
from refresher.config.interpolation import interpolate
from refresher.config.models import (
    AdminConfig,
    FileConfig,
    JobConfig,
    ServerConfig,
    StoreConfig,
    UpstreamConfig,
)
from refresher.config.names import check_names
from refresher.config.overrides import (
    only_overrides,
    override_from_command_line,
    override_from_environment,
)
from refresher.config.plans import JobPlan, plan_jobs
from refresher.config.problems import Problems
from refresher.config.references import References, Stamp, stamp_of
from refresher.config.secrets import secrets
from refresher.config.tls_files import check_tls
from refresher.config.tree import ConfigSource, KeyPath, Table, Tree
from refresher.config.units import written_duration
from refresher.config.validation import validated

T = TypeVar("T")

_NOTHING: Mapping[str, object] = MappingProxyType({})
_NO_JOBS: Mapping[str, Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A checked configuration; equal to another that would run the same."""

    path: Path | None
    """The main file; None where there is none."""
    directory: Path
    """What the main file's paths are relative to: its folder."""
    server: ServerConfig
    admin: AdminConfig
    store: StoreConfig
    upstreams: dict[str, UpstreamConfig]
    jobs: dict[str, JobPlan]
    """By name, in the order they are written."""
    secrets: frozenset[str] = field(repr=False)
    """Strings that must not be shown, in every form that they are sent or logged in."""
    secret_files: dict[Path, Stamp | None]
    """The files that `${file:…}` and `tls` read, each with its stamp, so that a change shows."""


def load(
    source: Path | Mapping[str, object] | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] = _NOTHING,
    jobs: Mapping[str, Mapping[str, object]] = _NO_JOBS,
) -> Config:
    """Read a configuration: a TOML file and what it includes, the same tables, or None.

    `overrides` are dotted keys from the command line, above `environ`, above the source. `jobs`
    are tables of jobs defined in code, where `python` is the callable itself and None stands for
    a key that was not given.

    Raises:
        ConfigError: it cannot be used; has every problem there is.
    """
    tree, problems, references = _read(source, environ)
    add(tree, problems, ConfigSource("@cache.job", tree.main.directory), {"jobs": _given(jobs)})
    override_from_environment(tree, problems, environ)
    override_from_command_line(tree, problems, overrides)
    return _checked(source, tree, problems, references)


def load_keys(
    path: Path | None, keys: Collection[tuple[str, str]], *, environ: Mapping[str, str]
) -> Config:
    """Read these keys of a configuration's tables, as if nothing else were written.

    Problems with other keys, and variables that they need, do not matter.

    Raises:
        ConfigError: they cannot be used, or the file cannot be read.
    """
    tree, problems, references = _read(path, environ)
    override_from_environment(tree, problems, only_overrides(environ, keys))
    for section in tree.values.keys() - {table for table, _ in keys}:
        del tree.values[section]
    for section, table in tree.values.items():
        if isinstance(table, dict):
            tree.values[section] = {k: v for k, v in table.items() if (section, k) in keys}
    return _checked(path, tree, problems, references)


def _read(
    source: Path | Mapping[str, object] | None, environ: Mapping[str, str]
) -> tuple[Tree, Problems, References]:
    """The tables of a configuration and of the files that it includes, as they are written."""
    tree, main = read_main(source)
    problems, references = Problems(tree), References(environ)
    add(tree, problems, tree.main, main)
    add_included(tree, problems, references)
    return tree, problems, references


def _checked(
    source: Path | Mapping[str, object] | None,
    tree: Tree,
    problems: Problems,
    references: References,
) -> Config:
    """The configuration that a tree makes once its references are replaced.

    Raises:
        ConfigError: it cannot be used; has every problem there is.
    """
    interpolated = interpolate(tree, references, problems)
    hidden = secrets(tree, interpolated)
    _check_tables(tree, problems)
    check_names(tree, problems)
    store = _store(tree, problems)
    upstreams = _upstreams(tree, problems, references.files)
    config = Config(
        path=source if isinstance(source, Path) else None,
        directory=tree.main.directory,
        server=_server(tree, problems, store),
        admin=_section(tree, "admin", AdminConfig, problems),
        store=store,
        upstreams=upstreams,
        jobs=plan_jobs(tree, upstreams, problems),
        secrets=hidden,
        secret_files=references.files,
    )
    problems.check(hidden)
    return config


def state_directory(config: Config, environ: Mapping[str, str]) -> Path:
    """Where files that outlive the process go.

    That is `store.dir`, else `$REFRESHER_STATE_DIR`, else the first of systemd's
    `$STATE_DIRECTORY`, else the folder of the configuration.
    """
    if config.store.dir is not None:
        return config.store.dir
    given = environ.get("REFRESHER_STATE_DIR") or environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given).absolute() if given else config.directory


def _given(jobs: Mapping[str, Mapping[str, object]]) -> Table:
    return {
        name: {key: value for key, value in copied(table).items() if value is not None}
        for name, table in jobs.items()
    }


def _check_tables(tree: Tree, problems: Problems) -> None:
    """Note unknown tables, and take out of the tree what should be a table and is none."""
    known = [table.name for table in fields(FileConfig)]
    for key in tree.values.keys() - set(known):
        problems.add_unknown((key,), known)
    for named in ("jobs", "upstreams"):
        entries = tree.values.setdefault(named, {})
        if not isinstance(entries, dict):
            problems.add((named,), "is not a table", f"write it as [{named}.NAME]", got=entries)
            entries = tree.values[named] = {}
        for name in [name for name, table in entries.items() if not isinstance(table, dict)]:
            advice = f"write it as [{named}.{name}]"
            problems.add((named, name), "is not a table", advice, got=entries.pop(name))
    _section(tree, "defaults", JobConfig, problems)
    check_alternatives(tree.table("defaults"), ("defaults",), problems)
    for name in tree.table("jobs"):
        check_alternatives(tree.table("jobs", name), ("jobs", name), problems)
    if "include" in tree.values:
        include = {"include": tree.values["include"]}
        validated(FileConfig, include, problems, lambda path: path)


def _section(tree: Tree, name: str, model: type[T], problems: Problems) -> T:
    """The table `name`; problems with it are noted."""
    return validated(model, tree.values.get(name, {}), problems, _under(name))[0]


def _store(tree: Tree, problems: Problems) -> StoreConfig:
    store = _section(tree, "store", StoreConfig, problems)
    if store.dir is None:
        return store
    return replace(store, dir=tree.source(("store", "dir")).directory / store.dir)


def _server(tree: Tree, problems: Problems, store: StoreConfig) -> ServerConfig:
    server = _section(tree, "server", ServerConfig, problems)
    if server.workers > 1 and store.url == "memory://":
        wrong = "cannot share memory://, which is each process's own"
        problems.add(("server", "workers"), wrong, got=server.workers, advice="write 1")
    if server.drain > server.shutdown_grace:
        wrong = f'is longer than shutdown_grace ("{written_duration(server.shutdown_grace)}")'
        got = written_duration(server.drain)
        problems.add(("server", "drain"), wrong, got=got, advice="it is a part of that: shorten it")
    return server


def _upstreams(
    tree: Tree, problems: Problems, read: dict[Path, Stamp | None]
) -> dict[str, UpstreamConfig]:
    return {name: _upstream(tree, name, problems, read) for name in tree.table("upstreams")}


def _upstream(
    tree: Tree, name: str, problems: Problems, read: dict[Path, Stamp | None]
) -> UpstreamConfig:
    place = ("upstreams", name)
    upstream, _ = validated(UpstreamConfig, tree.table(*place), problems, _under(*place))
    files = {
        key: tree.source((*place, "tls", key)).directory / path
        for key in ("ca", "cert", "key")
        if (path := getattr(upstream.tls, key)) is not None
    }
    upstream = replace(upstream, tls=replace(upstream.tls, **files))
    read.update(
        {path: stamp_of(path) for path in files.values()}
    )  # before they are read, as of secret files
    check_tls(upstream.tls, (*place, "tls"), problems)
    return upstream


def _under(*table: str) -> Callable[[KeyPath], KeyPath]:
    return lambda path: (*table, *path)
