"""The endpoints as FastAPI routes: what OpenAPI shows, and what embedders include."""

import inspect
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from refresher.web.admin_routes import add_admin_routes
from refresher.web.answer import Answer
from refresher.web.data.reads import PREFIX
from refresher.web.data.target import after_prefix, with_query
from refresher.web.diff import diff
from refresher.web.endpoints import Endpoints, Running
from refresher.web.listing import LISTED
from refresher.web.routing import (
    READ,
    ProblemRoute,
    add_path,
    as_response,
    field_of,
    require_method,
    takes_only,
)


def make_router(running: Running, *, admin_guard: Callable[..., object] | None) -> APIRouter:
    """All endpoints, as `refresher/docs/http.md` has them.

    Args:
        running: Gives the endpoints of the service, once it runs.
        admin_guard: A dependency that decides who may use the admin endpoints; None: the token.
    """
    router = APIRouter(route_class=ProblemRoute)
    _add_reads(router, running)
    _add_status(router, running)
    _add_health(router, running)
    add_admin_routes(router, running, admin_guard)
    return router


def _add_reads(router: APIRouter, running: Running) -> None:
    async def data(request: Request, job: str) -> Response:
        """The last good data of a job, with how fresh it is in `Age` and `Cache-Status`.

        With `version`, the data of that version, which never changes. `/data/{job}/{a}/{b}` is the
        value in it at the JSON Pointer `/a/b` (RFC 6901). Conditional requests (`If-None-Match`,
        `If-Modified-Since`) and `Accept-Encoding` are honoured.
        """
        answer = running().reads.answer(
            request.method, _target(request, job), request.scope["headers"]
        )
        return as_response(request, await answer if inspect.isawaitable(answer) else answer)

    # `:path`, for OpenAPI says {job} all the same, and what is below is answered here too.
    add_path(
        router,
        "/data/{job:path}",
        data,
        method="GET",
        summary="The job's snapshot",
        tags=["Reading"],
        responses={
            200: {"description": "The snapshot's bytes, under the media type of the upstream."},
            304: {"description": "The client has these bytes already."},
            400: {"description": "`version` is no positive integer."},
            401: {"description": "A read token is needed."},
            404: {"description": "No such job or value, or the job has not come to that version."},
            410: {"description": "That version is kept no longer."},
            503: {"description": "There is nothing to serve yet, or no longer."},
        },
        openapi_extra={"parameters": [_number_in_query("version", required=False)]},
    )


def _add_status(router: APIRouter, running: Running) -> None:
    async def answered(
        request: Request, answer: Callable[[Endpoints], Answer | Awaitable[Answer]]
    ) -> Response:
        endpoints = running()
        cors, origin = endpoints.cors, field_of(request, "origin")
        requested = field_of(request, "access-control-request-method")
        found, vary = cors.preflight(request.method, origin, requested), cors.preflight_vary
        if found is None:
            require_method(request, *READ)
            shown = endpoints.refusal(field_of(request, "authorization")) or answer(endpoints)
            found = await shown if inspect.isawaitable(shown) else shown
            found.headers.extend(cors.fields(origin))
            vary = cors.vary
        if cors.enabled:
            found.headers.append((b"vary", vary))
        return as_response(request, found)

    async def jobs(request: Request) -> Response:
        """Every job: how fresh it is, when it is due, and how its last attempt ended.

        `next` is the name to pass as `after` for the page that follows, null where none does.
        """
        asked = request.query_params.multi_items()
        return await answered(request, lambda endpoints: endpoints.jobs(asked))

    async def one_job(request: Request, job: str) -> Response:
        """One job: how fresh it is, when it is due, and how its last attempt ended."""
        return await answered(request, lambda endpoints: endpoints.job(job))

    async def history(request: Request, job: str) -> Response:
        """The versions of a job that are kept, the newest first; `/data` has them by number."""
        return await answered(request, lambda endpoints: endpoints.history(job))

    async def difference(request: Request, job: str) -> Response:
        """What turns version `from` into version `to`: a JSON Patch (RFC 6902)."""
        query: bytes = request.scope["query_string"]
        return await answered(request, lambda endpoints: diff(endpoints.service, job, query))

    for path, endpoint, shown in (
        ("/jobs", jobs, {"summary": "All jobs", "openapi_extra": {"parameters": LISTED}}),
        ("/jobs/{job}", one_job, {"summary": "One job"}),
        ("/jobs/{job}/history", history, {"summary": "The kept versions"}),
    ):
        add_path(router, path, endpoint, method="GET", tags=["Status"], **shown)
    add_path(
        router,
        "/jobs/{job}/diff",
        difference,
        method="GET",
        summary="The difference between two versions",
        tags=["Status"],
        responses={
            200: {
                "description": "Applied to `from`, it gives `to`.",
                "content": {"application/json-patch+json": {}},
            },
            400: {"description": "`from` or `to` is no positive integer."},
            404: {"description": "No job has that name, or it has not come to that version."},
            410: {"description": "A version is kept no longer."},
            413: {"description": "A version is larger than 8 MiB."},
            422: {"description": "A version is not JSON."},
            503: {"description": "The store is away."},
        },
        openapi_extra={
            "parameters": [_number_in_query(name, required=True) for name in ("from", "to")]
        },
    )


def _add_health(router: APIRouter, running: Running) -> None:
    async def metrics(request: Request) -> Response:
        """Metrics in the Prometheus text format."""
        endpoints = running()
        refusal = endpoints.refusal(field_of(request, "authorization"))
        return as_response(request, refusal or await endpoints.metrics())

    async def livez(request: Request) -> Response:
        """200 while the event loop and the scheduler run; jobs that broke are named."""
        return as_response(request, running().livez(field_of(request, "authorization")))

    async def readyz(request: Request) -> Response:
        """503, with what is missing, until every required job has a snapshot."""
        return as_response(request, running().readyz(field_of(request, "authorization")))

    async def freshz(request: Request) -> Response:
        """503, with the jobs and the reasons, while a required job is not fresh, or is late."""
        return as_response(request, running().freshz(field_of(request, "authorization")))

    for path, endpoint, summary in (
        ("/metrics", metrics, "Metrics"),
        ("/livez", livez, "Liveness"),
        ("/readyz", readyz, "Readiness"),
        ("/freshz", freshz, "Freshness"),
    ):
        checks = [takes_only(*READ)]
        add_path(
            router, path, endpoint, method="GET", checks=checks, summary=summary, tags=["Status"]
        )


def _number_in_query(name: str, *, required: bool) -> dict[str, object]:
    """The number of a version among the parameters that OpenAPI shows."""
    schema = {"type": "integer", "minimum": 1}
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _target(request: Request, rest: str) -> bytes:
    """The raw target without root path and prefix, where the router matched `/data/` and `rest`."""
    path: str = request.scope["path"]
    raw: bytes = request.scope.get("raw_path") or quote(path).encode()
    target = PREFIX.encode() + after_prefix(path.removesuffix(rest), raw)
    return with_query(target, request.scope["query_string"])
