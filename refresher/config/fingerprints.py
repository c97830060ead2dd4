"""What a job's snapshot belongs to: two fingerprints of its definition (contract, section 1)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256

from refresher.config.models import JobConfig
from refresher.config.references import pieces_of, unreplaced
from refresher.config.tree import Table
from refresher.model import Definition


def definition(
    config: JobConfig, table: Table, *, address: str | None, schema: object
) -> Definition:
    """The fingerprints of a job.

    `table` is its table as written, for in its source what references brought counts unreplaced:
    a rotated token makes no new source. `address` is its url as `urls.identity` has it, `schema`
    the content of its schema file.
    """
    if config.file is not None:
        # As written: the same configuration in two places is one definition.
        source: object = {"file": _as_written(str(config.file), table["file"])}
    else:
        request = {
            "method": config.method,
            "params": config.params,
            "headers": config.headers,
            "json": config.json,
            "body": config.body,
        }
        written = {key: _as_written(value, table.get(key)) for key, value in request.items()}
        headers = {name.lower(): value for name, value in written["headers"].items()}
        python = None if config.python is None else function_name(config.python)
        source = {**written, "headers": headers, "python": python, "url": address}
    rules = {
        "format": config.format,
        "select": config.select,
        "schema": schema,
        "guard": asdict(config.guard),
    }
    return Definition(source=_fingerprint(source), rules=_fingerprint(rules))


def function_name(function: str | Callable[..., object]) -> str:
    """A callable as `module:function`, the way it would be written in a file."""
    if isinstance(function, str):
        return function
    # An object that can be called has no name of its own: its class stands for it.
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


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


def _fingerprint(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()
