"""JSON bodies of requests to admin endpoints."""

import json
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from refresher.web.answer import Answer
from refresher.web.problems import problem
from refresher.web.routing import Abort

LARGEST_BODY = 64 * 1024
"""Bytes of a request body that an admin endpoint reads."""

_Body = TypeVar("_Body", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        Abort: it is larger than an admin endpoint reads.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            detail = f"the body is larger than {LARGEST_BODY // 1024} KiB"
            raise Abort(problem(413, None, detail))
    return bytes(body)


def parse_body(kind: type[_Body], body: bytes) -> _Body | Answer:
    """A body as a model of the given class, or the problem with it."""
    if not body.strip():
        return _invalid([f"the body is empty, write {_example(kind)}"])
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        return _invalid([_problem(each, kind) for each in error.errors(include_url=False)])


def _invalid(problems: list[str]) -> Answer:
    return problem(422, "invalid-request", "; ".join(problems), errors=problems)


def _example(kind: type[BaseModel]) -> str:
    """A body that is one, made of the examples of its keys."""
    examples = {name: key.examples[0] for name, key in kind.model_fields.items() if key.examples}
    return json.dumps(examples)


def _problem(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """What is wrong with one key of a body, as a sentence."""
    where = ".".join(map(str, error["loc"])) or "the body"
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: is no key; there are {', '.join(kind.model_fields)}"
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case _:
            return f"{where}: {error['msg']}"
