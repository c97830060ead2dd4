"""Values from the environment and the command line, put over those of the files."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from refresher.config.inheritance import ALTERNATIVES
from refresher.config.problems import Problems, did_you_mean
from refresher.config.schema import expected, keys_at
from refresher.config.tree import Origin, Tree

_PREFIX = "REFRESHER__"


def override_from_environment(tree: Tree, problems: Problems, environ: Mapping[str, str]) -> None:
    """Put the values of `REFRESHER__TABLE__KEY` variables in place.

    A value is taken as it is where the key is a string, else as TOML.
    """
    named = [(name, name[len(_PREFIX) :].split("__")) for name in environ if _is_override(name)]
    for name, words in sorted(named, key=lambda each: len(each[1])):  # a table before its keys
        origin = Origin(name, tree.main.directory, verbatim=True)
        path = _path(tree, problems, words, origin, _variable)
        if path is None:
            continue
        if (first := tree.origins.get(path)) is not None and first.verbatim:
            problems.add(path, f"is set by {first.name} too", advice="unset one", origin=origin)
            continue
        _put(tree, path, _value(tree, path, environ[name]), origin)


def only_overrides(environ: Mapping[str, str], keys: Iterable[Sequence[str]]) -> Mapping[str, str]:
    """Those variables that set one of these keys."""
    names = {_variable(key) for key in keys}
    return {name: value for name, value in environ.items() if name.upper() in names}


def override_from_command_line(
    tree: Tree, problems: Problems, overrides: Mapping[str, object]
) -> None:
    """Put the values of dotted keys in place."""
    origin = Origin("command line", tree.main.directory, verbatim=True)
    for key, value in overrides.items():
        path = _path(tree, problems, key.split("."), origin, ".".join)
        if path is not None:
            _put(tree, path, value, origin)


def _is_override(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


def _variable(words: Sequence[str]) -> str:
    return _PREFIX + "__".join(_plain(word).upper() for word in words)


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _path(
    tree: Tree,
    problems: Problems,
    words: Sequence[str],
    origin: Origin,
    spell: Callable[[Sequence[str]], str],
) -> tuple[str, ...] | None:
    """The path that the words name, of a key that a table has, or may have."""
    path: tuple[str, ...] = ()
    for index, word in enumerate(words):
        # Where there are names to choose from, one that is written and none of these is wrong too.
        known = {_plain(key): key for key in keys_at(path) or tree.table(*path)}
        if not path:
            del known["include"]  # the files are read by now
        if (key := known.get(_plain(word))) is None:
            near = get_close_matches(_plain(word), known, n=1)
            meant = spell((*path, known[near[0]], *words[index + 1 :])) if near else ""
            advice = f"did you mean {meant}?" if near else did_you_mean(word, known.values())
            problems.add((), f'sets "{word}", which is not there', advice=advice, origin=origin)
            return None
        path = (*path, key)
    if len(path) < (3 if path[0] in ("jobs", "upstreams") else 2):
        problems.add(path, "sets a whole table", advice="set a key of it", origin=origin)
        return None
    return path


def _put(tree: Tree, path: tuple[str, ...], value: object, origin: Origin) -> None:
    """Write the value, and take out what it is an alternative to: a url displaces a file."""
    tree.put(path, value, origin)
    table = tree.table(*path[:-1])
    others = {key for group in ALTERNATIVES if path[-1] in group for key in group} - {path[-1]}
    for key in others & table.keys():
        if not tree.origin((*path[:-1], key)).verbatim:
            del table[key]


def _value(tree: Tree, path: tuple[str, ...], text: str) -> object:
    types = expected(path)
    if not types:  # within `json` there are no rules: what stands there sets the type
        present = tree.table(*path[:-1]).get(path[-1])
        return text if isinstance(present, str) else _toml(text)
    if "string" in types and not ("array" in types and text.startswith("[")):
        return text
    return _toml(text)


def _toml(text: str) -> object:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text  # the validation says what was expected
    return table["value"] if len(table) == 1 else text
