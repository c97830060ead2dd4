"""The tables of a configuration as they were written, with a note of what came from where."""

from dataclasses import dataclass, field
from pathlib import Path

Table = dict[str, object]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Somewhere that values are written."""

    name: str
    """As a person knows it: a file's name as given, a variable, `@cache.job`."""
    directory: Path
    """What the paths among its values are relative to."""
    text: str | None = None
    """A file's text; None where there are no lines to name."""
    verbatim: bool = False
    """Whether `${` in its values means just that."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is written, for who finds out later what is wrong with it."""

    origin: str
    """As of `Origin.name`."""
    path: KeyPath
    is_file: bool
    """Whether there are lines to name."""


@dataclass(slots=True)
class Tree:
    """Tables from all sources, one within another."""

    main: Origin
    values: Table = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    """Who wrote what stands at a path and below it; `main` wrote the rest."""

    def origin(self, path: KeyPath) -> Origin:
        """Who wrote the value at `path`."""
        for end in range(len(path), 0, -1):
            if (origin := self.origins.get(path[:end])) is not None:
                return origin
        return self.main

    def place(self, path: KeyPath) -> Place:
        """Where the value at `path` is written; holds on to nothing of the tree."""
        origin = self.origin(path)
        return Place(origin.name, path, is_file=origin.text is not None)

    def table(self, *path: str) -> Table:
        """The table at `path`; empty where there is none, or something else."""
        value: object = self.values
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def put(self, path: tuple[str, ...], value: object, origin: Origin) -> None:
        """Write a value at `path`, over what is there, making the tables around it."""
        table = self.values
        for key in path[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = table[key] = {}
            table = inner
        table[path[-1]] = value
        self.origins[path] = origin


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
