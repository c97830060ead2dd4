"""References replaced throughout a tree."""

import re

from refresher.config.problems import Problems
from refresher.config.references import Interpolated, References, Unresolved, UnsetVariable
from refresher.config.schema import expected
from refresher.config.tree import KeyPath, Tree
from refresher.config.units import InvalidValue

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")


def interpolate(
    tree: Tree, references: References, problems: Problems
) -> dict[KeyPath, Interpolated]:
    """Replace the references in the tree's values, not in its keys; gives the strings with some.

    What stands for a number or a boolean becomes one, and is not given: it is no secret.
    """
    return _Interpolation(tree, references, problems).found


class _Interpolation:
    def __init__(self, tree: Tree, references: References, problems: Problems) -> None:
        self._tree = tree
        self._references = references
        self._problems = problems
        self.found: dict[KeyPath, Interpolated] = {}
        tree.values = {key: self._value(value, (key,)) for key, value in tree.values.items()}

    def _value(self, value: object, path: KeyPath) -> object:
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self._value(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def _text(self, text: str, path: KeyPath) -> object:
        source = self._tree.source(path)
        if source.verbatim:
            return text
        try:
            filled = self._references.interpolate(text, source.directory)
        except InvalidValue as error:
            self._problems.add_invalid(path, error)
            self._problems.ignore(path)
            return Unresolved(text) if isinstance(error, UnsetVariable) else text
        if not isinstance(filled, Interpolated):
            return filled
        if filled.is_one_reference and "string" not in (types := expected(path)):
            if "integer" in types and _WHOLE_NUMBER.fullmatch(filled):
                return int(filled)
            if "boolean" in types and filled in ("true", "false"):
                return filled == "true"
        self.found[path] = filled
        return filled
