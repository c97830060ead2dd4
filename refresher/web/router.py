"""The endpoints as FastAPI routes: what OpenAPI shows, and what embedders include."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from refresher.web import admin, quarantine
from refresher.web.answer import Answer
from refresher.web.data.reads import PREFIX
from refresher.web.data.target import after_prefix, with_query
from refresher.web.diff import diff
from refresher.web.endpoints import Endpoints
from refresher.web.listing import LISTED
from refresher.web.problems import unauthorized, unknown_path
from refresher.web.routing import (
    ProblemRoute,
    Refused,
    add_hidden,
    add_path,
    as_response,
    field_of,
    require_method,
    takes_only,
)

logger = logging.getLogger("refresher")

Running = Callable[[], Endpoints]
"""The endpoints of the service that runs; raises while none does."""

_READ = ("GET", "HEAD")
_IN_OPENAPI = HTTPBearer(
    auto_error=False, scheme_name="admin token", description="As kept in the file `admin-token`."
)
"""What /docs offers a field for; who may is decided by `Access`, in constant time."""


def make_router(running: Running, *, admin_guard: Callable[..., object] | None) -> APIRouter:
    """The endpoints of contract 3; `running` says of which service, once it runs."""
    router = APIRouter(route_class=ProblemRoute)
    _add_reads(router, running)
    _add_status(router, running)
    _add_health(router, running)
    _add_admin(router, running, admin_guard)
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
            require_method(request, *_READ)
            shown = endpoints.locked(field_of(request, "authorization")) or answer(endpoints)
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
        locked = endpoints.locked(field_of(request, "authorization"))
        return as_response(request, locked or await endpoints.metrics())

    async def livez(request: Request) -> Response:
        """200 while the event loop and the scheduler run; jobs that broke are named."""
        return as_response(request, running().livez(field_of(request, "authorization")))

    async def readyz(request: Request) -> Response:
        """503, with what is missing, until every required job has a snapshot."""
        return as_response(request, running().readyz(field_of(request, "authorization")))

    for path, endpoint, summary in (
        ("/metrics", metrics, "Metrics"),
        ("/livez", livez, "Liveness"),
        ("/readyz", readyz, "Readiness"),
    ):
        checks = [takes_only(*_READ)]
        add_path(
            router, path, endpoint, method="GET", checks=checks, summary=summary, tags=["Status"]
        )


def _add_admin(router: APIRouter, running: Running, guard: Callable[..., object] | None) -> None:
    async def admin_token(request: Request, _: Annotated[object, Depends(_IN_OPENAPI)]) -> None:
        if not running().service.access.may_administer(field_of(request, "authorization")):
            client = request.client.host if request.client else "somebody"
            logger.warning(
                "%s asked for %s %s without the admin token, or with a wrong one: refused",
                client,
                request.method,
                quote(request.url.path),
            )
            raise Refused(unauthorized("admin"))

    async def refresh(request: Request) -> Response:
        """Refresh every job, or those named or tagged; with `wait`, say how it went."""
        body = await _body(request)
        if body is None:
            return as_response(request, admin.too_large())
        return as_response(request, await admin.refresh(running().service, body))

    async def nothing(request: Request) -> Response:
        return as_response(request, unknown_path(request.url.path))

    # The token comes before everything else: without it nobody learns what there is.
    guarded = [Depends(guard or admin_token)]
    add_path(
        router,
        "/admin/refresh",
        refresh,
        method="POST",
        checks=[*guarded, takes_only("POST")],
        summary="Refresh jobs now",
        tags=["Admin"],
        openapi_extra=_asks_for(admin.RefreshRequest),
    )
    _add_decisions(router, running, guarded)
    _add_quarantine(router, running, guarded)
    add_hidden(router, "/admin/{rest:path}", nothing, guarded)


def _add_decisions(router: APIRouter, running: Running, guarded: Sequence[Dependency]) -> None:
    async def pause(request: Request, job: str) -> Response:
        """Stop following the job's schedule; what is served grows stale like any other."""
        answer = await admin.set_paused(running().service, job, paused=True)
        return as_response(request, answer)

    async def resume(request: Request, job: str) -> Response:
        """Follow the job's schedule again."""
        answer = await admin.set_paused(running().service, job, paused=False)
        return as_response(request, answer)

    async def rollback(request: Request, job: str) -> Response:
        """Serve the content of a kept version again, as a new version, and pause the job."""
        body = await _body(request)
        if body is None:
            return as_response(request, admin.too_large())
        return as_response(request, await admin.roll_back(running().service, job, body))

    rollback_body = _asks_for(admin.RollbackRequest)
    for verb, endpoint, summary, described in (
        ("pause", pause, "Pause a job", None),
        ("resume", resume, "Resume a job", None),
        ("rollback", rollback, "Serve a kept version again", rollback_body),
    ):
        add_path(
            router,
            f"/admin/jobs/{{job}}/{verb}",
            endpoint,
            method="POST",
            checks=[*guarded, takes_only("POST")],
            summary=summary,
            tags=["Admin"],
            openapi_extra=described,
        )


def _add_quarantine(router: APIRouter, running: Running, guarded: Sequence[Dependency]) -> None:
    async def shown_quarantine(request: Request, job: str) -> Response:
        """What the guard refused last, why, and how it differs; with `body=1`, its bytes."""
        whole = request.query_params.get("body") == "1"
        show = quarantine.show_body if whole else quarantine.show
        return as_response(request, await show(running().service, job))

    async def accept(request: Request, job: str) -> Response:
        """Publish what the guard refused as a new version."""
        return as_response(request, await quarantine.accept(running().service, job))

    async def reject(request: Request, job: str) -> Response:
        """Drop what the guard refused."""
        return as_response(request, await quarantine.reject(running().service, job))

    kept = "/admin/jobs/{job}/quarantine"
    body = {"name": "body", "in": "query", "schema": {"type": "string", "enum": ["1"]}}
    add_path(
        router,
        kept,
        shown_quarantine,
        method="GET",
        checks=[*guarded, takes_only(*_READ)],
        summary="The refused candidate",
        tags=["Admin"],
        openapi_extra={"parameters": [body]},
    )
    for verb, endpoint, summary in (
        ("accept", accept, "Publish the refused candidate"),
        ("reject", reject, "Drop the refused candidate"),
    ):
        checks = [*guarded, takes_only("POST")]
        add_path(
            router,
            f"{kept}/{verb}",
            endpoint,
            method="POST",
            checks=checks,
            summary=summary,
            tags=["Admin"],
        )


def _number_in_query(name: str, *, required: bool) -> dict[str, object]:
    """The number of a version among the parameters that OpenAPI shows."""
    schema = {"type": "integer", "minimum": 1}
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _asks_for(request: type[BaseModel]) -> dict[str, object]:
    """A request's body as OpenAPI shows it."""
    schema = request.model_json_schema()
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def _target(request: Request, rest: str) -> bytes:
    """The raw target without root path and prefix, where the router matched `/data/` and `rest`."""
    path: str = request.scope["path"]
    raw: bytes = request.scope.get("raw_path") or quote(path).encode()
    target = PREFIX.encode() + after_prefix(path.removesuffix(rest), raw)
    return with_query(target, request.scope["query_string"])


async def _body(request: Request) -> bytes | None:
    """The request's body; None where it is larger than an admin endpoint reads."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > admin.LARGEST_BODY:
            return None
    return bytes(body)
