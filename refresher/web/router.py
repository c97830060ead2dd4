"""The endpoints as FastAPI routes: what OpenAPI shows, and what embedders include."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from refresher.web import admin
from refresher.web.answer import UNAUTHORIZED, Answer, problem
from refresher.web.endpoints import Endpoints

logger = logging.getLogger("refresher")

_ALL = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_READS = "Reading"
_STATUS = "Status"
_ADMIN = "Admin"


class _ProblemRoute(APIRoute):
    """A route whose errors are problems (RFC 9457), in whatever application it stands."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_problems(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                return as_response(http_problem(error))
            except RequestValidationError as error:
                return as_response(problem(422, "invalid-request", str(error)))

        return handle_problems


def http_problem(error: HTTPException) -> Answer:
    """What Starlette and FastAPI raise, as a problem."""
    return problem(error.status_code, None, str(error.detail), headers=error.headers)


def as_response(answer: Answer) -> Response:
    """An answer as Starlette sends it, its header fields as they are."""
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response


def make_router(
    endpoints: Callable[[], Endpoints], *, admin_guard: Callable[..., object] | None
) -> APIRouter:
    """The endpoints of contract 3; `endpoints` says of which service, once it runs."""
    router = APIRouter(route_class=_ProblemRoute)
    _add_reads(router, endpoints)
    _add_status(router, endpoints)
    _add_health(router, endpoints)
    _add_admin(router, endpoints, admin_guard)
    return router


def _add_reads(router: APIRouter, endpoints: Callable[[], Endpoints]) -> None:
    async def read(request: Request) -> Response:
        answer = endpoints().reads.answer(
            request.method, _target(request), request.scope["headers"]
        )
        return as_response(await answer if inspect.isawaitable(answer) else answer)

    @router.get(
        "/data/{job}",
        tags=[_READS],
        summary="The job's snapshot",
        response_class=Response,
        responses={
            200: {"description": "The snapshot's bytes, under the media type of the upstream."},
            304: {"description": "The client has these bytes already."},
            401: {"description": "A read token is needed."},
            404: {"description": "No job has that name."},
            503: {"description": "There is nothing to serve yet, or no longer."},
        },
    )
    async def data(request: Request, job: str) -> Response:
        """The last good data of a job, with how fresh it is in `Age` and `Cache-Status`.

        Conditional requests (`If-None-Match`, `If-Modified-Since`) and `Accept-Encoding` are
        honoured.
        """
        del job
        return await read(request)

    router.add_api_route("/data/{rest:path}", read, methods=list(_ALL), include_in_schema=False)


def _add_status(router: APIRouter, endpoints: Callable[[], Endpoints]) -> None:
    def answered(request: Request, answer: Callable[[], Answer]) -> Response:
        face = endpoints()
        locked = face.locked(_field(request, "authorization"))
        return as_response(face.cross_origin(locked or answer(), _field(request, "origin")))

    async def jobs(request: Request) -> Response:
        """Every job: how fresh it is, when it is due, and how its last attempt ended."""
        return answered(request, lambda: endpoints().jobs())

    async def job(request: Request, job: str) -> Response:
        """One job: how fresh it is, when it is due, and how its last attempt ended."""
        return answered(request, lambda: endpoints().job(job))

    async def metrics(request: Request) -> Response:
        """Metrics in the Prometheus text format."""
        locked = endpoints().locked(_field(request, "authorization"))
        return as_response(locked or endpoints().metrics())

    async def preflight(request: Request) -> Response:
        answer = endpoints().preflight(
            _field(request, "origin"), _field(request, "access-control-request-method")
        )
        return as_response(answer or _not_allowed(request, ("GET", "HEAD")))

    for path, endpoint, summary in (
        ("/jobs", jobs, "All jobs"),
        ("/jobs/{job}", job, "One job"),
        ("/metrics", metrics, "Metrics"),
    ):
        options = None if endpoint is metrics else preflight
        _add_get(router, path, endpoint, summary, options=options)


def _add_health(router: APIRouter, endpoints: Callable[[], Endpoints]) -> None:
    async def livez(request: Request) -> Response:
        """200 while the event loop and the scheduler run; jobs that broke are named."""
        return as_response(endpoints().livez(_field(request, "authorization")))

    async def readyz(request: Request) -> Response:
        """503, with what is missing, until every required job has a snapshot."""
        return as_response(endpoints().readyz(_field(request, "authorization")))

    _add_get(router, "/livez", livez, "Liveness")
    _add_get(router, "/readyz", readyz, "Readiness")


def _add_admin(
    router: APIRouter,
    endpoints: Callable[[], Endpoints],
    guard: Callable[..., object] | None,
) -> None:
    async def admin_token(request: Request) -> None:
        if not endpoints().service.access.may_administer(_field(request, "authorization")):
            client = request.client.host if request.client else "somebody"
            logger.warning(
                "%s %s from %s without the admin token", request.method, "/admin", client
            )
            detail = "admin needs its token: Authorization: Bearer …"
            raise HTTPException(401, detail, UNAUTHORIZED)

    protected: dict[str, Any] = {"tags": [_ADMIN], "dependencies": [Depends(guard or admin_token)]}

    @router.post(
        "/admin/refresh",
        summary="Refresh jobs now",
        response_class=Response,
        openapi_extra={
            "requestBody": {
                "content": {
                    "application/json": {"schema": admin.RefreshRequest.model_json_schema()}
                }
            }
        },
        responses={
            200: {"description": "With `wait`: all attempts are over."},
            202: {"description": "The attempts will be made."},
        },
        **protected,
    )
    async def refresh(request: Request) -> Response:
        """Refresh every job, or those named or tagged; with `wait`, say how it went."""
        body = await _body(request)
        return as_response(
            admin.too_large() if body is None else await admin.refresh(endpoints().service, body)
        )

    @router.post("/admin/jobs/{job}/pause", summary="Pause a job", **protected)
    async def pause(job: str) -> Response:
        """Stop following the job's schedule; what is served grows stale like any other."""
        return as_response(await admin.set_paused(endpoints().service, job, paused=True))

    @router.post("/admin/jobs/{job}/resume", summary="Resume a job", **protected)
    async def resume(job: str) -> Response:
        """Follow the job's schedule again."""
        return as_response(await admin.set_paused(endpoints().service, job, paused=False))

    async def otherwise(request: Request) -> Response:
        if request.method == "POST":
            return as_response(problem(404, None, f"nothing is at {request.url.path}"))
        return as_response(_not_allowed(request, ("POST",)))

    router.add_api_route(
        "/admin/{rest:path}",
        otherwise,
        methods=list(_ALL),
        include_in_schema=False,
        dependencies=protected["dependencies"],
    )


def _add_get(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Awaitable[Response]],
    summary: str,
    *,
    options: Callable[..., Awaitable[Response]] | None = None,
) -> None:
    """A path that is read with GET or HEAD, and says so where it is used otherwise."""
    router.add_api_route(
        path, endpoint, methods=["GET"], summary=summary, response_class=Response, tags=[_STATUS]
    )
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)

    async def not_allowed(request: Request) -> Response:
        return as_response(_not_allowed(request, ("GET", "HEAD")))

    rest = [method for method in _ALL if method not in {"GET", "HEAD"}]
    if options is not None:
        rest.remove("OPTIONS")
        router.add_api_route(path, options, methods=["OPTIONS"], include_in_schema=False)
    router.add_api_route(path, not_allowed, methods=rest, include_in_schema=False)


def _not_allowed(request: Request, allowed: tuple[str, ...]) -> Answer:
    detail = f"{request.url.path} takes {' or '.join(allowed)}, not {request.method}"
    return problem(405, None, detail, headers={"allow": ", ".join(allowed)})


def _field(request: Request, name: str) -> bytes | None:
    value = request.headers.get(name)
    return None if value is None else value.encode("latin-1")


def _target(request: Request) -> bytes:
    """The raw target without root path and prefix: what follows starts with `/data/`."""
    scope = request.scope
    rest = request.path_params.get("rest", request.path_params.get("job", ""))
    before = scope["path"][: len(scope["path"]) - len(rest)].encode()
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    # A client may write the prefix percent-encoded; then the decoded path has to do.
    tail = raw[len(before) :] if raw.startswith(before) else quote(rest).encode()
    return b"/data/" + tail


async def _body(request: Request) -> bytes | None:
    """The request's body; None where it is larger than an admin endpoint reads."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > admin.LARGEST_BODY:
            return None
    return bytes(body)
