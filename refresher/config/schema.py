"""The JSON Schema of a configuration file, made from the models."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from refresher import model
from refresher.config import auth, guard, models, paging
from refresher.config.names import NAME
from refresher.config.tree import KeyPath

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{[^}]+\}"}
"""May be written for any value: an editor cannot know what it will be replaced by."""
_MODULES = (models, auth, paging, guard, model)
"""Where the models of tables are, and the docstrings of their keys."""


def json_schema() -> dict[str, object]:
    """The schema of `config.toml`, with every key's type, default and meaning (draft 2020-12)."""
    schema = _described(_bare_schema())
    return {"$schema": _DIALECT, **_open_to_references(schema), "title": "refresher"}


def expected(path: KeyPath) -> frozenset[str]:
    """The JSON types that may be written at `path`; empty where anything may, or no key is."""
    types: set[str] = set()
    for alternative in _at(path):
        written = alternative.get("type", ())
        types.update([written] if isinstance(written, str) else cast("list[str]", written))
    return frozenset(types)


def keys_at(path: KeyPath, type_: object = None) -> tuple[str, ...]:
    """The keys that the table at `path` may have, where their names are given.

    Where its type decides, those of the type `type_`, or of all types.
    """
    tables = [each.get("properties", {}) for each in _at(path)]
    of_type = [table for table in tables if table.get("type", {}).get("const") == type_]
    return tuple(dict.fromkeys(key for table in of_type or tables for key in table))


class _AsWritten(GenerateJsonSchema):
    """TOML has no null: a key that may be None is one that may be left out.

    The defaults of a table are those of its keys.
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if isinstance(written.get("default"), dict | None):
            written.pop("default", None)
        return written

    def get_title_from_name(self, name: str) -> str:
        return name


@cache
def _bare_schema() -> JsonSchemaValue:
    # In serialization mode, because only then defaults are as a person writes them: "5m", not 300.
    schema = TypeAdapter(models.FileConfig).json_schema(
        mode="serialization", schema_generator=_AsWritten, ref_template="#/$defs/{model}"
    )
    for named in ("jobs", "upstreams"):
        schema["properties"][named]["propertyNames"] = {"pattern": f"^({NAME})$"}
    return schema


def _described(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema with what the docstring below each key says.

    pydantic would take these up too (`use_attribute_docstrings`), but whenever it validates, and
    for each model it reads all models: of the start with one job that was a fifth.
    """
    meanings = _meanings()

    def table(name: str, written: JsonSchemaValue) -> JsonSchemaValue:
        of_keys: dict[str, str] = {}
        for each in reversed(_model(name).__mro__):
            of_keys.update(meanings.get(each.__name__, {}))
        keys = {
            key: {**value, "description": of_keys[key]} if key in of_keys else value
            for key, value in written["properties"].items()
        }
        return {**written, "properties": keys}

    tables = {name: table(name, written) for name, written in schema["$defs"].items()}
    return {**table(models.FileConfig.__name__, schema), "$defs": tables}


def _model(name: str) -> type:
    found: type = next(getattr(module, name) for module in _MODULES if hasattr(module, name))
    return found


def _meanings() -> dict[str, dict[str, str]]:
    """The docstrings below the keys of the models, by model and key."""
    return {
        table.name: dict(_keys_with_docstrings(table))
        for module in _MODULES
        for table in ast.parse(inspect.getsource(module)).body
        if isinstance(table, ast.ClassDef)
    }


def _keys_with_docstrings(table: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for pair in pairwise(table.body):
        match pair:
            case (
                ast.AnnAssign(target=ast.Name(id=key)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield key, inspect.cleandoc(text)


def _open_to_references(schema: Any) -> Any:  # noqa: ANN401  JSON
    """The schema with `${…}` allowed wherever a value must look like something."""
    match schema:
        case list():
            return [_open_to_references(item) for item in schema]
        case (
            {"type": "integer" | "boolean"}
            | {"type": "string", "pattern": _}
            | {
                "type": "string",
                "enum": _,
            }
        ):
            about = {
                key: schema[key] for key in ("title", "description", "default") if key in schema
            }
            value = {key: schema[key] for key in schema if key not in about}
            return {**about, "anyOf": [value, _REFERENCE]}
        case {"properties": {"type": {"const": _}}}:
            return {**_opened(schema), "required": sorted({"type", *schema.get("required", ())})}
        case dict():
            return _opened(schema)
        case _:
            return schema


def _opened(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {
        key: value if key in ("propertyNames", "default") else _open_to_references(value)
        for key, value in schema.items()
    }


def _at(path: KeyPath) -> list[JsonSchemaValue]:
    """What may stand at `path`: several where the type of a table decides."""
    schema = _bare_schema()
    found = _alternatives(schema, schema)
    for key in path:
        inner: list[JsonSchemaValue] = []
        for each in found:
            if isinstance(key, int):
                inner.append(each.get("items", {}))
            elif key in each.get("properties", {}):
                inner.append(each["properties"][key])
            elif isinstance(each.get("additionalProperties"), dict):
                inner.append(each["additionalProperties"])
        found = [one for each in inner for one in _alternatives(schema, each)]
    return found


def _alternatives(root: JsonSchemaValue, schema: JsonSchemaValue) -> list[JsonSchemaValue]:
    if "$ref" in schema:
        return _alternatives(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
    several = schema.get("oneOf") or schema.get("anyOf")
    if several:
        return [one for each in several for one in _alternatives(root, each)]
    return [schema]
