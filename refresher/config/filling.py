"""References filled in throughout a tree."""

import re

from refresher.config.problems import Problems
from refresher.config.references import Filled, References, Unfilled, Unset
from refresher.config.schema import expected
from refresher.config.tree import KeyPath, Tree
from refresher.config.units import Unfit

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")


def fill(tree: Tree, references: References, problems: Problems) -> dict[KeyPath, Filled]:
    """Replace the references in the tree's values, not in its keys; tells what came by them.

    What stands for a number or a boolean becomes one, and is not told: it is no secret.
    """
    return _Filling(tree, references, problems).found


class _Filling:
    def __init__(self, tree: Tree, references: References, problems: Problems) -> None:
        self._tree = tree
        self._references = references
        self._problems = problems
        self.found: dict[KeyPath, Filled] = {}
        tree.values = {key: self._filled(value, (key,)) for key, value in tree.values.items()}

    def _filled(self, value: object, path: KeyPath) -> object:
        if isinstance(value, str):
            return self._filled_text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self._filled(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def _filled_text(self, text: str, path: KeyPath) -> object:
        origin = self._tree.origin(path)
        if origin.verbatim:
            return text
        try:
            filled = self._references.fill(text, origin.directory)
        except Unfit as error:
            self._problems.add_unfit(path, error)
            self._problems.void(path)
            return Unfilled(text) if isinstance(error, Unset) else text
        if not isinstance(filled, Filled):
            return filled
        if filled.is_one_reference and "string" not in (types := expected(path)):
            if "integer" in types and _WHOLE_NUMBER.fullmatch(filled):
                return int(filled)
            if "boolean" in types and filled in ("true", "false"):
                return filled == "true"
        self.found[path] = filled
        return filled
