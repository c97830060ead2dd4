"""Values from the environment and the command line, which replace those of the files."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from refresher.config.inheritance import ALTERNATIVES
from refresher.config.problems import Problems, did_you_mean
from refresher.config.schema import expected, keys_at
from refresher.config.tree import ConfigSource, Tree

_PREFIX = "REFRESHER__"


def override_from_environment(tree: Tree, problems: Problems, environ: Mapping[str, str]) -> None:
    """Set the keys that `REFRESHER__TABLE__KEY` variables name.

    A value is taken verbatim where the key is a string, else parsed as TOML.
    """
    named = [(name, name[len(_PREFIX) :].split("__")) for name in environ if _is_override(name)]
    for name, words in sorted(named, key=lambda each: len(each[1])):  # a table before its keys
        source = ConfigSource(name, tree.main.directory, verbatim=True)
        path = _path(tree, problems, words, source, _variable)
        if path is None:
            continue
        if (first := tree.sources.get(path)) is not None and first.verbatim:
            problems.add(path, f"is set by {first.name} too", advice="unset one", source=source)
            continue
        _put(tree, path, _value(tree, path, environ[name]), source)


def only_overrides(environ: Mapping[str, str], keys: Iterable[Sequence[str]]) -> Mapping[str, str]:
    """The variables that set one of these keys."""
    names = {_variable(key) for key in keys}
    return {name: value for name, value in environ.items() if name.upper() in names}


def override_from_command_line(
    tree: Tree, problems: Problems, overrides: Mapping[str, object]
) -> None:
    """Set the keys that are given as dotted paths."""
    source = ConfigSource("command line", tree.main.directory, verbatim=True)
    for key, value in overrides.items():
        path = _path(tree, problems, key.split("."), source, ".".join)
        if path is not None:
            _put(tree, path, value, source)


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
    source: ConfigSource,
    spell: Callable[[Sequence[str]], str],
) -> tuple[str, ...] | None:
    """The path of the key that the words name; None, with a problem noted, where there is none."""
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
            problems.add((), f'sets "{word}", which is not there', advice=advice, source=source)
            return None
        path = (*path, key)
    if len(path) < (3 if path[0] in ("jobs", "upstreams") else 2):
        problems.add(path, "sets a whole table", advice="set a key of it", source=source)
        return None
    return path


def _put(tree: Tree, path: tuple[str, ...], value: object, source: ConfigSource) -> None:
    """Set the value, and take out the keys that it excludes: a url displaces a file."""
    tree.put(path, value, source)
    table = tree.table(*path[:-1])
    others = {key for group in ALTERNATIVES if path[-1] in group for key in group} - {path[-1]}
    for key in others & table.keys():
        if not tree.source((*path[:-1], key)).verbatim:
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
        return text  # the validation notes what was expected
    return table["value"] if len(table) == 1 else text
