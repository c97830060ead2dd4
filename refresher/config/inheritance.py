"""A job's table with what it inherits: `[defaults]`, then `[upstreams.X]`, then its own keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from refresher.config.problems import Problems
from refresher.config.tree import KeyPath, Table, Tree

_MERGED = ("headers", "params", "guard")
"""These merge key by key; everything else replaces."""
ALTERNATIVES = (("url", "file", "python"), ("interval", "cron"), ("json", "body"))
"""Of each group a job has one: a key in a nearer table displaces the others of farther ones."""
_GIVEN_BY_UPSTREAM = ("headers", "auth")


@dataclass(frozen=True, slots=True)
class Inherited:
    """A job's table with all that it inherits, and the tables that it was merged from."""

    table: Table
    layers: tuple[tuple[KeyPath, Table], ...]
    """Path and table of each, nearest first."""

    def own(self, key: str) -> bool:
        """Whether the job's own table has the key."""
        return key in self.layers[0][1]

    def place(self, path: KeyPath) -> KeyPath:
        """Where in the tree the value at `path` in this table was written."""
        written = path[: 2 if path[0] in _MERGED else 1]
        own = self.layers[0][0]
        layer = next((layer for layer, table in self.layers if _reaches(table, written)), own)
        return (*layer, *path)


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
    """Note keys of one written table that exclude each other."""
    for group in ALTERNATIVES:
        written = [key for key in group if key in table]
        if len(written) > 1:
            wrong = f"cannot stand beside {written[0]}"
            got = table[written[1]]
            problems.add((*path, written[1]), wrong, "keep one of the two", got=got)


def _merged(layers: list[Table]) -> Table:
    table: Table = {}
    for layer in reversed(layers):
        table.update(layer)
    for key in _MERGED:
        if key not in table:
            continue
        parts = [layer[key] for layer in reversed(layers) if key in layer]
        if len(parts) > 1:
            # What is no table is left as it is: the validation notes it.
            tables = [part for part in parts if isinstance(part, dict)]
            table[key] = _together(tables, key) if len(tables) == len(parts) else parts[-1]
    for group in ALTERNATIVES:
        written = [key for key in group if key in table]
        if len(written) > 1:
            nearest = next(layer for layer in layers if any(key in layer for key in group))
            for key in written:
                if key not in nearest:
                    del table[key]
    return table


def _together(tables: Iterable[Table], key: str) -> Table:
    merged: Table = {}
    for table in tables:
        if key == "headers":  # case makes no difference (RFC 9110, 5.1): the nearest spelling stays
            lower = {name.lower() for name in table}
            merged = {name: value for name, value in merged.items() if name.lower() not in lower}
        merged.update(table)
    return merged


def _reaches(table: object, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True
