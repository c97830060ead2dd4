"""Tables checked against the models; what pydantic says of them, said so that a person can act."""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from refresher.config.problems import NOTHING, Problems
from refresher.config.schema import keys_at
from refresher.config.tree import KeyPath
from refresher.config.units import Unfit

T = TypeVar("T")

_adapter = cache(TypeAdapter)

_A_KEY = "[key]"
"""What pydantic ends a location with when it is a key that is wrong, not its value."""
_TYPES = 'write type = "bearer", "basic", "header", "query" or "none"'
_SENTENCES = {
    "string_type": ("is not a string", 'write it in quotes, as "…"'),
    "int_type": ("is not a whole number", "write digits without quotes"),
    "bool_type": ("is not true or false", "write true or false without quotes"),
    "tuple_type": ("is not an array", "write it in brackets, as [ … ]"),
    "dict_type": ("is not a table", "write it as { key = value }"),
    "dataclass_type": ("is not a table", "write it as { key = value }"),
    "model_attributes_type": ("is not a table", 'write it as { type = "…" }'),
    "too_short": ("is empty", "write at least one or leave the key out"),
}


def validated(
    model: type[T], table: object, problems: Problems, place: Callable[[KeyPath], KeyPath]
) -> T | None:
    """The table as a model, or None once its problems are noted.

    `place` says where in the tree a path within the table was written.
    """
    try:
        return _adapter(model).validate_python(table)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, table, problems, place)
        return None


def _note(
    detail: ErrorDetails, table: object, problems: Problems, place: Callable[[KeyPath], KeyPath]
) -> None:
    path, got = place(_path_in(table, detail["loc"])), detail["input"]
    if _A_KEY in detail["loc"]:
        got = NOTHING  # it stands in the path
    context = detail.get("ctx", {})
    match detail["type"], context:
        case "value_error", {"error": Unfit() as unfit}:
            problems.add_unfit(path, unfit, got=got)
        case "unexpected_keyword_argument", _:
            problems.add_unknown(path, keys_at(path[:-1]))
        case "missing", _:
            problems.add(path, "is missing", advice="write it")
        case "union_tag_not_found", _:
            problems.add(path, "has no type", advice=_TYPES)
        case "union_tag_invalid", {"tag": tag}:
            problems.add((*path, "type"), "is an unknown type", got=tag, advice=_TYPES)
        case "literal_error", {"expected": expected}:
            advice = f"write {str(expected).replace(chr(39), chr(34))}"
            problems.add(path, "is none of its values", got=got, advice=advice)
        case "greater_than_equal", {"ge": least}:
            problems.add(path, "is out of range", got=got, advice=f"write at least {least}")
        case "less_than_equal", {"le": most}:
            problems.add(path, "is out of range", got=got, advice=f"write at most {most}")
        case kind, _:
            wrong, advice = _SENTENCES.get(kind, (f"is not right ({detail['msg']})", ""))
            problems.add(path, wrong, got=got, advice=advice)


def _path_in(table: object, location: tuple[str | int, ...]) -> KeyPath:
    """A location as pydantic names it, as a path in what was written."""
    if location[:1] == ("auth",):  # the second is the type, which pydantic puts in between
        location = location[:1] + location[2:]
    path: KeyPath = ()
    for key in location:
        if isinstance(key, int) and not isinstance(table, list | tuple):
            continue  # one value that was written in place of a list of one
        if key != _A_KEY:
            path = (*path, key)
            table = _inner(table, key)
    return path


def _inner(table: object, key: str | int) -> object:
    match table:
        case list() | tuple() if isinstance(key, int):
            return table[key]
        case dict():
            return table.get(key)
    return None
