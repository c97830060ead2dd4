"""What OpenAPI says of the endpoints: who may, what they take, and each status they answer."""

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Response
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from refresher.web.schemas import RefresherProblem

Responses = dict[int | str, dict[str, Any]]

ADMIN_TOKEN = HTTPBearer(
    auto_error=False,
    scheme_name="adminToken",
    description="`admin.token`, or what is kept in the file `admin-token`; opens reading too.",
)
"""Gives /docs a field for the token; what is sent in it is checked elsewhere, in constant time."""
READ_TOKEN = HTTPBearer(
    auto_error=False,
    scheme_name="readToken",
    description="One of `server.read_tokens`; needed where these are set.",
)

READERS: list[Dependency] = [Depends(READ_TOKEN), Depends(ADMIN_TOKEN)]
"""What an operation that is shown only depends on, to name the schemes."""
OR_NONE: dict[str, Any] = {"security": [{}]}
"""Beside the schemes: without `server.read_tokens` nobody needs a token."""

JOB: dict[str, Any] = {
    "name": "job",
    "in": "path",
    "required": True,
    "description": "The job's name.",
    "schema": {"type": "string", "minLength": 1},
}
POINTER: dict[str, Any] = {
    "name": "pointer",
    "in": "path",
    "required": True,
    "description": (
        "A JSON Pointer (RFC 6901) without its first slash: `USD` for `/USD`. Its slashes are sent "
        "as they are; a client that sends them as `%2F` can ask for members of the root only."
    ),
    "schema": {"type": "string", "minLength": 1},
}
CONDITIONS: list[dict[str, Any]] = [
    {"name": name, "in": "header", "description": what, "schema": {"type": "string"}}
    for name, what in (
        ("If-None-Match", "The ETag of what the client has: 304 if that is current still."),
        ("If-Modified-Since", "Likewise, by Last-Modified."),
    )
]

_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
}
_WITH_RETRY_AFTER = frozenset({429, 503})
_CHALLENGE = {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}}
_OF_A_READ = {
    name: {"description": what, "schema": {"type": kind}}
    for name, kind, what in (
        ("ETag", "string", "Of these bytes in this content coding."),
        ("Last-Modified", "string", "When the bytes changed here."),
        ("Cache-Control", "string", "With max-age, from the last check to the next."),
        ("Age", "integer", "Seconds since the data was last known to be good."),
        ("Cache-Status", "string", "Whether it is fresh, and why not (RFC 9211)."),
        ("Refresher-Version", "integer", "The version's number."),
    )
}


def number_in_query(name: str, *, required: bool) -> dict[str, Any]:
    """The number of a version as a parameter."""
    schema = {"type": "integer", "minimum": 1}
    return {"name": name, "in": "query", "required": required, "schema": schema}


def takes(*parameters: Mapping[str, Any], body: type[BaseModel] | None = None) -> dict[str, Any]:
    """The parameters of an operation, and its body if it takes one."""
    found: dict[str, Any] = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        found["requestBody"] = {
            "required": any(each.is_required() for each in body.model_fields.values()),
            "content": {"application/json": {"schema": body.model_json_schema()}},
        }
    return found


def answers(models: Mapping[int, type[BaseModel]], problems: Mapping[int, str]) -> Responses:
    """The responses of an operation: JSON by a model, and problems with when each is answered."""
    found: Responses = {
        status: {"model": model, "description": (model.__doc__ or "").splitlines()[0]}
        for status, model in models.items()
    }
    return {**found, **{status: problem(status, when) for status, when in problems.items()}}


def problem(status: int, when: str) -> dict[str, Any]:
    """The response of an error, with when it is answered."""
    schema = {"$ref": f"#/components/schemas/{RefresherProblem.__name__}"}
    content = {_ProblemResponse.media_type: {"schema": schema}}
    found: dict[str, Any] = {"description": when, "content": content}
    if status in _WITH_RETRY_AFTER:
        found["headers"] = _RETRY_AFTER
    if status == 401:  # noqa: PLR2004  Unauthorized
        found["headers"] = _CHALLENGE
    return found


def read_answers() -> dict[str, Any]:
    """How a read of data is shown.

    By it OpenAPI has the schema of problems. FastAPI adds a model under the media type of a route's
    own response; under that alone only where the status of that allows no body, as 304 does.
    """
    body: dict[str, Any] = {"application/json": {"schema": {}}, "*/*": {"schema": {}}}
    problems = answers(
        {},
        {
            400: "`version` is not a positive integer.",
            401: "A read token is needed.",
            404: "No job has that name; or there is no such value or version.",
            410: "That version is kept no longer.",
            503: "There is nothing to serve yet, or no longer; or the store is away.",
        },
    )
    problems[404]["model"] = RefresherProblem
    described = "The bytes, under their own media type; most are JSON."
    return {
        "status_code": 304,
        "response_class": _ProblemResponse,
        "response_description": "The client has these bytes already.",
        "responses": {
            200: {"description": described, "headers": _OF_A_READ, "content": body},
            304: {"headers": _OF_A_READ},
            **problems,
        },
    }


class _ProblemResponse(Response):
    media_type = "application/problem+json"
