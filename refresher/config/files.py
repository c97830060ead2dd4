"""The files of a configuration, read and put together into one tree."""

import re
import tomllib
from ast import literal_eval
from collections.abc import Mapping
from glob import glob
from pathlib import Path

from refresher.config.problems import Problems
from refresher.config.references import References
from refresher.config.tree import ConfigSource, Table, Tree, dotted
from refresher.config.units import InvalidValue
from refresher.errors import ConfigError

_NAMED = ("jobs", "upstreams")
"""The tables whose entries may come from several sources."""
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_KEYS = re.compile(r"\((?:'[^']*',? ?)+\)")
"""A path as tomllib prints it: a tuple."""
_WILD = frozenset("*?[")


def read_main(given: Path | Mapping[str, object] | None) -> tuple[Tree, Table]:
    """An empty tree of the main source, and the tables of that source.

    Raises:
        ConfigError: the file cannot be read, or is no TOML.
    """
    if not isinstance(given, Path):
        return Tree(ConfigSource("config", Path.cwd())), copied(given or {})
    try:
        source, table = _read(given)
    except _UnreadableError as error:
        raise ConfigError([f"{error.where}: {error.wrong}, {error.advice}"]) from None
    return Tree(source), table


def add_included(tree: Tree, problems: Problems, references: References) -> None:
    """Add the files that `include` names, in the order of their names."""
    folder, patterns = tree.main.directory, tree.values.get("include")
    names: set[str] = set()
    for index, pattern in enumerate(patterns if isinstance(patterns, list | tuple) else ()):
        if not isinstance(pattern, str) or not pattern:
            continue  # the validation notes it
        try:
            filled = references.interpolate(pattern, folder)
        except InvalidValue:
            continue  # the interpolation of the tree notes it
        matches = glob(filled, root_dir=folder, recursive=True)  # noqa: PTH207  Path's takes no absolute pattern
        if not matches and not _WILD & set(filled):
            problems.add(("include", index), "names no file", got=filled)
        names.update(matches)
    for name in sorted(names):
        if (folder / name).resolve() == (folder / Path(tree.main.name).name).resolve():
            continue
        try:
            source, table = _read(Path(tree.main.name).parent / name)
        except _UnreadableError as error:
            source = ConfigSource(error.where, folder)
            problems.add((), error.wrong, error.advice, source=source)
            continue
        if "include" in table:
            wrong = "stands in a file that is itself included"
            problems.add(("include",), wrong, advice="move it to the main file", source=source)
            del table["include"]
        add(tree, problems, source, table)


def add(tree: Tree, problems: Problems, source: ConfigSource, table: Mapping[str, object]) -> None:
    """Put the tables of one source into the tree; a key that is there already is a problem."""
    for key, value in table.items():
        spread = key in _NAMED and isinstance(value, dict)
        present = tree.values.setdefault(key, {} if spread else value)
        if spread and isinstance(value, dict):
            if not isinstance(present, dict):
                continue  # the value that is there is no table, which is noted by the validation
            for name, entry in value.items():
                if name in present:
                    _add_twice(tree, problems, source, (key, name))
                else:
                    present[name] = entry
                    tree.sources[key, name] = source
        elif present is not value:
            _add_twice(tree, problems, source, (key,))
        else:
            tree.sources[key,] = source


def _add_twice(tree: Tree, problems: Problems, source: ConfigSource, path: tuple[str, ...]) -> None:
    first = problems.place(tree.source(path), path)
    wrong = f"is defined twice, first at {first}"
    problems.add(path, wrong, advice="take one of the two out", source=source)


class _UnreadableError(Exception):
    def __init__(self, where: str, wrong: str, advice: str) -> None:
        super().__init__(where)
        self.where = where
        self.wrong = wrong
        self.advice = advice


def _read(path: Path) -> tuple[ConfigSource, Table]:
    """A file's source and its tables."""
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise _UnreadableError(str(path), "nests too deeply", "flatten it") from None
    except ValueError as error:
        place = _PLACE.search(str(error))
        line, column = (place["line"], place["column"]) if place else (None, None)
        where = f"{path}:{line or text.count(chr(10)) + 1}"
        said = _KEYS.sub(lambda keys: dotted(literal_eval(keys[0])), _PLACE.sub("", str(error)))
        at = f"column {column}" if column else "the end"
        raise _UnreadableError(
            where, f"is not TOML: {said[:1].lower()}{said[1:]}, at {at}", "see https://toml.io"
        ) from None
    return ConfigSource(str(path), path.parent.absolute(), text), table


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
        advice = "name another with --config, or make one with `refresher init`"
        raise _UnreadableError(str(path), wrong, advice) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _UnreadableError(f"{path}:{line}", "is not UTF-8", "save the file as UTF-8") from None


def copied(value: Mapping[str, object]) -> Table:
    """A copy of the tables, so that those of the caller stay unchanged."""
    return {
        key: copied(entry) if isinstance(entry, Mapping) else entry for key, entry in value.items()
    }
