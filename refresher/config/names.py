"""The names of jobs and upstreams: their syntax, and that no two differ only in `-` and `_`."""

import re
from collections.abc import Iterable

from refresher.config.problems import Problems
from refresher.config.tree import Tree

NAME = "[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?"
"""A job's name, apart from `__`, which separates keys in the name of an overriding variable."""


def check_names(tree: Tree, problems: Problems) -> None:
    """Note the jobs and upstreams whose names are invalid, or equal but for `-` and `_`."""
    for kind, noun in (("jobs", "a job"), ("upstreams", "an upstream")):
        names = tree.table(kind)
        for name in names:
            if not re.fullmatch(NAME, name) or "__" in name:
                advice = "use a-z, 0-9, - and _, no __, a letter or digit at both ends, at most 64"
                problems.add((kind, name), f"is not a name for {noun}", got=name, advice=advice)
        for one, other in _alike(names):
            first = problems.place(tree.source((kind, one)), (kind, one))
            wrong = f'differs from "{one}" ({first}) only in - and _'
            problems.add((kind, other), wrong, got=other, advice="rename one of the two")


def _alike(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    first: dict[str, str] = {}
    for name in names:
        if (one := first.setdefault(name.replace("-", "_"), name)) != name:
            yield one, name
