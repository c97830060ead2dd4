"""Validates tables by the models, and words pydantic's errors so that a person can act."""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from refresher.config.problems import NOTHING, Problems
from refresher.config.schema import keys_at
from refresher.config.tree import KeyPath
from refresher.config.units import InvalidValue

T = TypeVar("T")

_adapters: dict[type, TypeAdapter[Any]] = {}
"""Made once for each model: making one takes longer than validating a thousand jobs."""


_A_KEY = "[key]"
"""Ends a location of pydantic's where a key is invalid, not its value."""
_TYPES = {
    "auth": 'write type = "bearer", "basic", "header", "query", "oauth2" or "none"',
    "paginate": 'write type = "link_header", "next_url", "cursor", "offset" or "page"',
}
"""Advice for a table whose type decides which keys it has."""
_SENTENCES = {
    "missing": ("is missing", "write it"),
    "string_type": ("is not a string", "write it in quotes"),
    "int_type": ("is not a whole number", "write digits without quotes"),
    "bool_type": ("is not true or false", "write true or false without quotes"),
    "tuple_type": ("is not an array", "write it in brackets, as [ … ]"),
    "dict_type": ("is not a table", "write it as {{ key = value }}"),
    "dataclass_type": ("is not a table", "write it as {{ key = value }}"),
    "model_attributes_type": ("is not a table", "{types}"),
    "union_tag_not_found": ("has no type", "{types}"),
    "literal_error": ("is not one of its values", "write {expected}"),
    "greater_than_equal": ("is out of range", "write at least {ge}"),
    "less_than_equal": ("is out of range", "write at most {le}"),
}
"""Problem and advice by the type of pydantic's error; braces are filled from its context."""


def validated(
    model: type[T], table: object, problems: Problems, place: Callable[[KeyPath], KeyPath]
) -> tuple[T, frozenset[str]]:
    """The table as a model without its invalid keys, and those keys; problems with them are noted.

    So one invalid key does not hide other problems. `place` gives the path in the tree at which a
    path in the table is written.
    """
    adapter = _adapter(model)
    try:
        return adapter.validate_python(table), frozenset()
    except ValidationError as error:
        details = error.errors(include_url=False)
    for detail in details:
        _note(detail, table, problems, place)
    wrong = frozenset(str(detail["loc"][0]) for detail in details if detail["loc"])
    entries = table.items() if isinstance(table, dict) else ()
    return adapter.validate_python({k: v for k, v in entries if k not in wrong}), wrong


def _note(
    detail: ErrorDetails, table: object, problems: Problems, place: Callable[[KeyPath], KeyPath]
) -> None:
    location = detail["loc"]
    path, got = place(_path_in(table, location)), detail["input"]
    if _A_KEY in location or detail["type"] == "missing":
        got = NOTHING  # the path says it
    types = _TYPES.get(str(location[0]), "") if location else ""
    match detail["type"], detail.get("ctx", {}):
        case "value_error", {"error": InvalidValue() as invalid}:
            problems.add_invalid(path, invalid, got=got)
        case "unexpected_keyword_argument", _:
            type_ = location[1] if types and location[1:] else None
            problems.add_unknown(path, keys_at(path[:-1], type_))
        case "union_tag_invalid", {"tag": tag}:
            problems.add((*path, "type"), "is an unknown type", types, got=tag)
        case kind, context:
            wrong, advice = _SENTENCES.get(kind, (f"is not right ({detail['msg']})", ""))
            problems.add(
                path,
                wrong,
                advice.format_map({**context, "types": types}).replace("'", '"'),
                got=got,
            )


def _adapter(model: type[T]) -> TypeAdapter[T]:
    if model not in _adapters:
        _adapters[model] = TypeAdapter(model)
    return _adapters[model]


def _path_in(table: object, location: tuple[str | int, ...]) -> KeyPath:
    """The path in the table of a location of pydantic's."""
    if location and location[0] in _TYPES:  # the second is the type, which pydantic puts in between
        location = location[:1] + location[2:]
    path: KeyPath = ()
    for key in location:
        if isinstance(key, int) and isinstance(table, str):
            continue  # a string that stands for a list of one
        if key != _A_KEY:
            path = (*path, key)
            table = table.get(key) if isinstance(table, dict) else None
    return path
