"""The tables of a configuration as they are written, and which source each value is from."""

from dataclasses import dataclass, field
from pathlib import Path

Table = dict[str, object]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """A source of values: a file, a variable, the command line, a job defined in code."""

    name: str
    """As messages call it: a file's name as given, a variable, `@cache.job`."""
    directory: Path
    """What the paths among its values are relative to."""
    text: str | None = None
    """A file's text; None where there are no lines to name."""
    verbatim: bool = False
    """Whether `${` in its values is literal, not a reference."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is written, for problems that are found later; keeps no tree alive."""

    source: str
    """The `ConfigSource.name`."""
    path: KeyPath
    is_file: bool
    """Whether there are lines to name."""


@dataclass(slots=True)
class Tree:
    """The tables of all sources, as one nested table."""

    main: ConfigSource
    values: Table = field(default_factory=dict)
    sources: dict[KeyPath, ConfigSource] = field(default_factory=dict)
    """The source of the value at a path and of all below it; the rest is from `main`."""

    def source(self, path: KeyPath) -> ConfigSource:
        """The source of the value at `path`."""
        for end in range(len(path), 0, -1):
            if (source := self.sources.get(path[:end])) is not None:
                return source
        return self.main

    def place(self, path: KeyPath) -> Place:
        """Where the value at `path` is written."""
        source = self.source(path)
        return Place(source.name, path, is_file=source.text is not None)

    def table(self, *path: str) -> Table:
        """The table at `path`; empty where there is none, or something else."""
        value: object = self.values
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def put(self, path: tuple[str, ...], value: object, source: ConfigSource) -> None:
        """Set the value at `path`, replacing what is there, and make the tables around it."""
        table = self.values
        for key in path[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = table[key] = {}
            table = inner
        table[path[-1]] = value
        self.sources[path] = source


def dotted(path: KeyPath) -> str:
    """A path as TOML writes it: `jobs.rates.headers."X Y"`, and `tags[0]` for an element."""
    written = ""
    for key in path:
        if isinstance(key, int):
            written += f"[{key}]"
            continue
        bare = key.isascii() and key.replace("-", "_").replace("_", "a").isalnum()
        quoted = key if bare else '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
        written += f".{quoted}" if written else quoted
    return written
