"""How every route of this package behaves: with any method, and when anything goes wrong."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias, assert_never, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from refresher.errors import (
    GoneVersion,
    NotQuarantined,
    StoreUnavailable,
    UnknownJob,
    UnknownVersion,
)
from refresher.web.answer import Answer
from refresher.web.problems import no_version, not_allowed, problem, store_unwritable, unknown_job

Endpoint = Callable[..., Coroutine[Any, Any, Response]]

READ = ("GET", "HEAD")


class Abort(Exception):
    """Ends a request with an answer, when raised by its endpoint or a dependency."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class ProblemRoute(APIRoute):
    """A route whose errors are problem documents (RFC 9457) in any application."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls to build the route."""
        handle = super().get_route_handler()

        async def handle_problems(request: Request) -> Response:
            try:
                return await handle(request)
            except _HANDLED as error:
                return as_response(request, _answer_to(error))

        return handle_problems


_Handled: TypeAlias = (
    Abort
    | HTTPException
    | RequestValidationError
    | UnknownJob
    | NotQuarantined
    | UnknownVersion
    | GoneVersion
    | StoreUnavailable
)
_HANDLED = get_args(_Handled)


def _answer_to(error: _Handled) -> Answer:  # noqa: PLR0911  one for each kind
    match error:
        case Abort(answer=answer):
            return answer
        case HTTPException():
            return http_problem(error)
        case RequestValidationError():
            return _invalid_problem(error)
        case UnknownJob(job=job):
            return unknown_job(job)
        case NotQuarantined():
            return problem(404, "no-quarantine", str(error))
        case UnknownVersion() | GoneVersion():
            return no_version(error)
        case StoreUnavailable():
            return store_unwritable()
        case _:
            assert_never(error)


def http_problem(error: HTTPException) -> Answer:
    """What Starlette, FastAPI or an embedder's dependency raises, as a problem."""
    return problem(error.status_code, None, str(error.detail), headers=error.headers)


def as_response(request: Request, answer: Answer) -> Response:
    """An answer as Starlette sends it, its header fields as they are."""
    response = Response(b"" if request.method == "HEAD" else answer.body, answer.status)
    response.raw_headers = answer.headers.copy()  # middleware may change it
    return response


def add_path(
    router: APIRouter,
    path: str,
    endpoint: Endpoint,
    *,
    method: str,
    checks: Sequence[Dependency] = (),
    schemes: Sequence[Dependency] = (),
    **shown: Any,  # noqa: ANN401  as FastAPI takes it
) -> None:
    """Add a path that OpenAPI shows with one method, and that is routed here with any.

    The endpoint is called after the `checks`; one of these, or the endpoint, refuses the other
    methods. `schemes` are security schemes to show beside those of the checks.
    """
    # Routes are tried in their order: this one answers, and the next is no more than shown.
    add_hidden(router, path, endpoint, checks)
    add_shown(router, path, endpoint, method=method, schemes=[*checks, *schemes], **shown)


def add_shown(
    router: APIRouter,
    path: str,
    endpoint: Endpoint,
    *,
    method: str,
    schemes: Sequence[Dependency],
    **shown: Any,  # noqa: ANN401  as FastAPI takes it
) -> None:
    """Add a path that OpenAPI shows, and that a route before it answers."""
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        dependencies=schemes,
        **{"response_class": Response, **shown},
    )


def add_hidden(
    router: APIRouter, path: str, endpoint: Endpoint, checks: Sequence[Dependency]
) -> None:
    """Add a path that takes every method and that OpenAPI does not show."""
    router.add_api_route(
        path,
        endpoint,
        methods=[],  # none in particular
        dependencies=checks,
        include_in_schema=False,
        operation_id=f"any {path}",  # FastAPI would make one of the first method
    )


def takes_only(*methods: str) -> Dependency:
    """A check that refuses all methods but these."""

    async def check(request: Request) -> None:
        require_method(request, *methods)

    found: Dependency = Depends(check)
    return found


def require_method(request: Request, *methods: str) -> None:
    """Refuse the request unless its method is one of these.

    Raises:
        Abort: it is none of them.
    """
    if request.method not in methods:
        raise Abort(not_allowed(request.url.path, request.method, *methods))


def field_of(request: Request, name: str) -> bytes | None:
    """A header field's value as it was sent, several lines joined by commas; None if it was not."""
    values = request.headers.getlist(name)
    return ", ".join(values).encode("latin-1") if values else None


def _invalid_problem(error: RequestValidationError) -> Answer:
    sentences = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return problem(422, "invalid-request", "; ".join(sentences))
