"""Two fingerprints of a job's definition, which decide whether a snapshot still belongs to it.

What they cover is promised in refresher/docs/configuration.md.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from hashlib import sha256

from refresher.config.models import JobConfig
from refresher.config.paging import Paginate
from refresher.config.references import pieces_of, unreplaced
from refresher.config.tree import Table
from refresher.model import Definition, GuardRules

_UNGUARDED = asdict(GuardRules())
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def definition(
    config: JobConfig, table: Table, *, url: str | None, schema: str | None
) -> Definition:
    """The fingerprints of a job.

    `table` is its table as written: in the source, references count as they are written, so a
    rotated token makes no new source. `url` is its url as `url_parts.identity` gives it, `schema`
    the content of its schema file.
    """
    return Definition(
        source=_fingerprint(_source(config, table, url)),
        rules=_rules(
            config.format,
            config.select,
            config.guard,
            schema,
            config.paginate,
            content_time=config.content_time,
            timezone=config.timezone if config.content_time is not None else None,
            charset=config.charset,
            delimiter=config.delimiter,
            raw=config.raw,
        ),
    )


def with_types(definition: Definition, schemas: Iterable[str]) -> Definition:
    """The fingerprints of a job whose data must be of some types, by the JSON schemas of those."""
    rules = {"rules": definition.rules, "types": sorted(set(schemas))}
    return replace(definition, rules=_fingerprint(rules))


def function_name(function: str | Callable[..., object]) -> str:
    """A callable as `module:function`, as it would be written in a file."""
    if isinstance(function, str):
        return function
    # An object that can be called has no name of its own: its class stands for it.
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _source(config: JobConfig, table: Table, url: str | None) -> dict[str, object]:
    if config.file is not None:
        # As written: the same configuration in two places is one definition.
        return {"file": _as_written(str(table["file"]), table["file"])}
    headers = table.get("headers")
    written = headers if isinstance(headers, dict) else {}
    return {
        "python": None if config.python is None else function_name(config.python),
        "url": url,
        "method": config.method,
        "params": _as_written(config.params, table.get("params")),
        "headers": {
            name.lower(): _as_written(value, written.get(name))
            for name, value in config.headers.items()
        },
        "json": _as_written(config.json, table.get("json")),
        "body": _as_written(config.body, table.get("body")),
    }


@lru_cache(maxsize=1024)
def _rules(
    format_: str,
    select: str | None,
    guard: GuardRules,
    schema: str | None,
    paginate: Paginate | None,
    *,
    content_time: str | None,
    timezone: str | None,
    charset: str | None,
    delimiter: str | None,
    raw: bool,
) -> str:
    rules = {
        "format": format_,
        "charset": charset,
        "delimiter": delimiter,
        "raw": raw or None,
        "select": select,
        "content_time": None if content_time is None else [content_time, timezone],
        # A schema counts as a JSON value: white space makes no other rules.
        "schema": None if schema is None else [json.loads(schema)],
        "paginate": None if paginate is None else _pages(paginate),
        **{
            key: value
            for key, without in _UNGUARDED.items()
            if (value := getattr(guard, key)) != without
        },
    }
    return _fingerprint(rules)


def _pages(paginate: Paginate) -> dict[str, object]:
    given = {key.name: getattr(paginate, key.name) for key in fields(paginate)}
    unsaid = {key.name: key.default for key in fields(paginate) if key.name != "type"}
    return {key: value for key, value in given.items() if value != unsaid.get(key)}


def _as_written(value: object, written: object) -> object:
    """A validated value with the references in it that stand in the table it was made from."""
    match value, written:
        case str(), str():
            return unreplaced(pieces_of(written))
        case str(), _:
            return unreplaced(pieces_of(value))
        case Mapping(), Mapping():
            return {key: _as_written(inner, written.get(key)) for key, inner in value.items()}
        case list() | tuple(), list() | tuple():
            return [_as_written(*pair) for pair in zip(value, written, strict=True)]
        case _:
            return value


def _fingerprint(parts: Mapping[str, object]) -> str:
    # What is not given does not count: a key that a later release adds changes no fingerprint.
    given = {key: value for key, value in parts.items() if value is not None}
    return sha256(_CANONICAL.encode(given).encode()).hexdigest()
