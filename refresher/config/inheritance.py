"""What a job's table becomes: `[defaults]`, then `[upstreams.X]`, then its own keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from refresher.config.problems import Problems
from refresher.config.tree import KeyPath, Table, Tree

_MERGED = ("headers", "params", "guard")
"""These merge key by key; everything else replaces."""
_ALTERNATIVES = (("url", "file", "python"), ("interval", "cron"), ("json", "body"))
"""Of each group one: a job's own displaces what it would inherit of the others."""
_GIVEN_BY_UPSTREAM = ("headers", "auth")


@dataclass(frozen=True, slots=True)
class Inherited:
    """A job's table with all it inherits, and the tables that it came from, nearest first."""

    table: Table
    layers: tuple[tuple[KeyPath, Table], ...]

    def own(self, key: str) -> bool:
        """Whether the job's own table has the key."""
        return key in self.layers[0][1]

    def place(self, path: KeyPath) -> KeyPath:
        """Where in the tree the value at `path` in this table was written."""
        for layer, table in self.layers:
            if _reaches(table, path[:2] if path[:1] and path[0] in _MERGED else path[:1]):
                return (*layer, *path)
        return (*self.layers[0][0], *path)


def inherited(tree: Tree, name: str) -> Inherited:
    """The table of the job `name` with all it inherits."""
    own, defaults = tree.table("jobs", name), tree.table("defaults")
    layers: list[tuple[KeyPath, Table]] = [(("jobs", name), own)]
    upstream = own.get("upstream", defaults.get("upstream"))
    if isinstance(upstream, str) and (given := tree.table("upstreams", upstream)):
        shared = {key: given[key] for key in _GIVEN_BY_UPSTREAM if key in given}
        layers.append((("upstreams", str(upstream)), shared))
    layers.append((("defaults",), defaults))
    return Inherited(_merged([table for _, table in layers]), tuple(layers))


def check_alternatives(table: Table, path: KeyPath, problems: Problems) -> None:
    """Note the keys of one written table of which it may have only one."""
    for group in _ALTERNATIVES:
        written = [key for key in group if key in table]
        if len(written) > 1:
            wrong = f"cannot stand beside {written[0]}"
            problems.add((*path, written[1]), wrong, advice="keep one of the two")


def _merged(layers: list[Table]) -> Table:
    table: Table = {}
    for layer in reversed(layers):
        table.update(layer)
    for key in _MERGED:
        parts = [layer[key] for layer in reversed(layers) if key in layer]
        if len(parts) > 1:
            # What is no table is left to replace: the validation says what is wrong with it.
            table[key] = _merged_tables(parts, key) if all(map(_is_table, parts)) else parts[-1]
    for group in _ALTERNATIVES:
        nearest = next((layer for layer in layers if any(key in layer for key in group)), table)
        for key in group:
            if key not in nearest:
                table.pop(key, None)
    return table


def _merged_tables(parts: Iterable[object], key: str) -> Table:
    merged: Table = {}
    for part in parts:
        assert isinstance(part, dict)
        if key == "headers":  # case makes no difference (RFC 9110, 5.1): the nearest spelling stays
            lower = {name.lower() for name in part}
            merged = {name: value for name, value in merged.items() if name.lower() not in lower}
        merged.update(part)
    return merged


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _reaches(table: object, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True
