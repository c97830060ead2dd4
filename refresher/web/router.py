"""The endpoints as FastAPI routes: what OpenAPI shows, and what embedders include."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from refresher.web.admin_routes import add_admin_routes
from refresher.web.answer import Answer
from refresher.web.data.reads import PREFIX
from refresher.web.data.target import after_prefix, with_query
from refresher.web.diff import diff
from refresher.web.endpoints import Endpoints, Running
from refresher.web.listing import LISTED
from refresher.web.openapi import (
    CONDITIONS,
    JOB,
    OR_NONE,
    POINTER,
    READERS,
    answers,
    number_in_query,
    read_answers,
    takes,
)
from refresher.web.routing import (
    READ,
    ProblemRoute,
    add_path,
    add_shown,
    as_response,
    field_of,
    require_method,
    takes_only,
)
from refresher.web.schemas import Fresh, History, Job, JobList, Live, Ready

_UNREAD = "A read token is needed."
_NO_JOB = "No job has that name."
_OPERATION = {
    "type": "object",
    "properties": {"op": {"type": "string"}, "path": {"type": "string"}, "value": {}},
    "required": ["op", "path"],
}
"""One of a JSON Patch."""


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
    async def data(request: Request) -> Response:
        """The last good data of a job, with how fresh it is in `Age` and `Cache-Status`.

        With `version`, the data of that version. Conditional requests and `Accept-Encoding` are
        honoured.
        """
        answer = running().reads.answer(
            request.method,
            _target(request, request.path_params["job"]),
            request.scope["headers"],
        )
        return as_response(request, await answer if inspect.isawaitable(answer) else answer)

    shown: dict[str, Any] = {
        "method": "GET",
        "schemes": READERS,
        "tags": ["Reading"],
        **read_answers(),
    }
    version = number_in_query("version", required=False)
    # `:path`, for OpenAPI says {job} all the same, and what is below is answered here too.
    add_path(
        router,
        "/data/{job:path}",
        data,
        summary="The job's snapshot",
        openapi_extra=OR_NONE | takes(JOB, version, *CONDITIONS),
        **shown,
    )
    add_shown(
        router,
        "/data/{job}/{pointer}",
        data,
        summary="A value in it",
        description=(
            "The value at a JSON Pointer, digit for digit, with an ETag of its own and the "
            "freshness of the whole: `/data/{job}/{a}/{b}` is that at `/a/b`."
        ),
        openapi_extra=OR_NONE | takes(JOB, POINTER, version, *CONDITIONS),
        **shown,
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

    async def one_job(request: Request) -> Response:
        """One job: how fresh it is, when it is due, and how its last attempt ended."""
        job = request.path_params["job"]
        return await answered(request, lambda endpoints: endpoints.job(job))

    async def history(request: Request) -> Response:
        """The versions of a job that are kept, the newest first; `/data` has them by number."""
        job = request.path_params["job"]
        return await answered(request, lambda endpoints: endpoints.history(job))

    async def difference(request: Request) -> Response:
        """What turns version `from` into version `to`: a JSON Patch (RFC 6902)."""
        job = request.path_params["job"]
        query: bytes = request.scope["query_string"]
        return await answered(request, lambda endpoints: diff(endpoints.service, job, query))

    wrong_query = "A parameter makes no sense."
    one = takes(JOB)
    both = (number_in_query(name, required=True) for name in ("from", "to"))
    patch = {"application/json-patch+json": {"schema": {"type": "array", "items": _OPERATION}}}
    for path, endpoint, summary, taken, responses in (
        (
            "/jobs",
            jobs,
            "All jobs",
            takes(*LISTED),
            answers({200: JobList}, {400: wrong_query, 401: _UNREAD}),
        ),
        (
            "/jobs/{job}",
            one_job,
            "One job",
            one,
            answers({200: Job}, {401: _UNREAD, 404: _NO_JOB}),
        ),
        (
            "/jobs/{job}/history",
            history,
            "The kept versions",
            one,
            answers({200: History}, {401: _UNREAD, 404: _NO_JOB}),
        ),
        (
            "/jobs/{job}/diff",
            difference,
            "The difference between two versions",
            takes(JOB, *both),
            {
                200: {"description": "Applied to `from`, it gives `to`.", "content": patch},
                **answers(
                    {},
                    {
                        400: "`from` or `to` is not a positive integer.",
                        401: _UNREAD,
                        404: "No job has that name, or it has not come to that version.",
                        410: "A version is kept no longer.",
                        413: "A version is larger than 8 MiB.",
                        422: "A version is not JSON.",
                        503: "The store is away, or the comparison broke.",
                    },
                ),
            },
        ),
    ):
        add_path(
            router,
            path,
            endpoint,
            method="GET",
            schemes=READERS,
            summary=summary,
            tags=["Status"],
            responses=responses,
            openapi_extra=OR_NONE | taken,
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

    text = {"text/plain": {"schema": {"type": "string"}}}
    in_prometheus = {
        200: {"description": "In the Prometheus text format.", "content": text},
        **answers({}, {401: _UNREAD}),
    }
    live = answers({200: Live}, {503: "The scheduler does not run."})
    ready = answers({200: Ready}, {503: "A required job has no data yet, or the service closes."})
    fresh = answers({200: Fresh}, {503: "A required job is not fresh, or is late."})
    for path, endpoint, summary, responses in (
        ("/metrics", metrics, "Metrics", in_prometheus),
        ("/livez", livez, "Liveness", live),
        ("/readyz", readyz, "Readiness", ready),
        ("/freshz", freshz, "Freshness", fresh),
    ):
        add_path(
            router,
            path,
            endpoint,
            method="GET",
            checks=[takes_only(*READ)],
            schemes=READERS,
            summary=summary,
            tags=["Status"],
            responses=responses,
            openapi_extra=OR_NONE,
        )


def _target(request: Request, rest: str) -> bytes:
    """The raw target without root path and prefix, where the router matched `/data/` and `rest`."""
    path: str = request.scope["path"]
    raw: bytes = request.scope.get("raw_path") or quote(path).encode()
    target = PREFIX.encode() + after_prefix(path.removesuffix(rest), raw)
    return with_query(target, request.scope["query_string"])
