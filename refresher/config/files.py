"""The sources of a configuration, read and put together into one tree."""

import re
import tomllib
from ast import literal_eval
from collections.abc import Mapping
from glob import glob
from pathlib import Path

from refresher.config.problems import Problems
from refresher.config.references import References
from refresher.config.tree import Origin, Table, Tree, dotted
from refresher.config.units import Unfit
from refresher.errors import ConfigError

_NAMED = ("jobs", "upstreams")
"""The tables whose entries may come from several sources."""
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_KEYS = re.compile(r"\((?:'[^']*',? ?)+\)")
"""A path as tomllib prints it: a tuple."""
_WILD = frozenset("*?[")


def read_main(source: Path | Mapping[str, object] | None) -> tuple[Tree, Table]:
    """A tree of the main source, still empty, and what belongs into it.

    Raises:
        ConfigError: the file cannot be read, or is no TOML.
    """
    if not isinstance(source, Path):
        return Tree(Origin("config", Path.cwd())), copied(source or {})
    try:
        origin, table = _read(source)
    except _UnreadableError as error:
        raise ConfigError([f"{error.where}: {error.wrong}, {error.advice}"]) from None
    return Tree(origin), table


def add_included(tree: Tree, problems: Problems, references: References) -> None:
    """Add the files that `include` names, in the order of their names."""
    folder, patterns = tree.main.directory, tree.values.get("include")
    names: set[str] = set()
    for index, pattern in enumerate(patterns if isinstance(patterns, list | tuple) else ()):
        if not isinstance(pattern, str) or not pattern:
            continue  # the validation of the whole says so
        try:
            filled = references.fill(pattern, folder)
        except Unfit:
            continue  # the filling of the whole says so
        matches = glob(filled, root_dir=folder, recursive=True)  # noqa: PTH207  Path's takes no absolute pattern
        if not matches and not _WILD & set(filled):
            problems.add(("include", index), "names no file", got=filled)
        names.update(matches)
    for name in sorted(names):
        if (folder / name).resolve() == (folder / Path(tree.main.name).name).resolve():
            continue
        try:
            origin, table = _read(Path(tree.main.name).parent / name)
        except _UnreadableError as error:
            origin = Origin(error.where, folder)
            problems.add((), error.wrong, error.advice, origin=origin)
            continue
        if "include" in table:
            wrong = "stands in a file that is itself included"
            problems.add(("include",), wrong, advice="move it to the main file", origin=origin)
            del table["include"]
        add(tree, problems, origin, table)


def add(tree: Tree, problems: Problems, origin: Origin, table: Mapping[str, object]) -> None:
    """Put the tables of one source into the tree; what is there already is a problem."""
    for key, value in table.items():
        spread = key in _NAMED and isinstance(value, dict)
        present = tree.values.setdefault(key, {} if spread else value)
        if spread and isinstance(value, dict):
            if not isinstance(present, dict):
                continue  # that is what is wrong, and told where it stands
            for name, entry in value.items():
                if name in present:
                    _add_twice(tree, problems, origin, (key, name))
                else:
                    present[name] = entry
                    tree.origins[key, name] = origin
        elif present is not value:
            _add_twice(tree, problems, origin, (key,))
        else:
            tree.origins[key,] = origin


def _add_twice(tree: Tree, problems: Problems, origin: Origin, path: tuple[str, ...]) -> None:
    first = problems.place(tree.origin(path), path)
    wrong = f"is defined twice, first at {first}"
    problems.add(path, wrong, advice="take one of the two out", origin=origin)


class _UnreadableError(Exception):
    def __init__(self, where: str, wrong: str, advice: str) -> None:
        super().__init__(where)
        self.where = where
        self.wrong = wrong
        self.advice = advice


def _read(path: Path) -> tuple[Origin, Table]:
    """A file's origin and its tables."""
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
    return Origin(str(path), path.parent.absolute(), text), table


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
    """The same tables, so that nothing here changes those of the caller."""
    return {
        key: copied(entry) if isinstance(entry, Mapping) else entry for key, entry in value.items()
    }
