"""The endpoints below `/admin` as FastAPI routes, behind a token or the embedder's guard."""

import logging
from collections.abc import Callable, Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from refresher.web import admin, quarantine
from refresher.web.bodies import read_body
from refresher.web.endpoints import Running
from refresher.web.problems import unauthorized, unknown_path
from refresher.web.refresh import RefreshRequest, refresh_jobs
from refresher.web.routing import (
    READ,
    Abort,
    add_hidden,
    add_path,
    as_response,
    field_of,
    takes_only,
)

logger = logging.getLogger("refresher")

_IN_OPENAPI = HTTPBearer(
    auto_error=False, scheme_name="admin token", description="As kept in the file `admin-token`."
)
"""Gives /docs a field for the token; `Access` decides, in constant time, whether it is one."""


def add_admin_routes(
    router: APIRouter, running: Running, guard: Callable[..., object] | None
) -> None:
    """Add the endpoints below `/admin`; `guard` decides who may use them, None: the token."""

    async def admin_token(request: Request, _: Annotated[object, Depends(_IN_OPENAPI)]) -> None:
        if not running().service.access.may_administer(field_of(request, "authorization")):
            client = request.client.host if request.client else "somebody"
            logger.warning(
                "%s asked for %s %s without the admin token, or with a wrong one: refused",
                client,
                request.method,
                quote(request.url.path),
            )
            raise Abort(unauthorized("admin"))

    async def refresh(request: Request) -> Response:
        """Refresh every job, or those named or tagged; with `wait`, say how it went."""
        body = await read_body(request)
        return as_response(request, await refresh_jobs(running().service, body))

    async def nothing(request: Request) -> Response:
        return as_response(request, unknown_path(request.url.path))

    # The token is checked before everything else: without it no client learns what there is.
    guarded = [Depends(guard or admin_token)]
    add_path(
        router,
        "/admin/refresh",
        refresh,
        method="POST",
        checks=[*guarded, takes_only("POST")],
        summary="Refresh jobs now",
        tags=["Admin"],
        openapi_extra=_asks_for(RefreshRequest),
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
        body = await read_body(request)
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

    path = "/admin/jobs/{job}/quarantine"
    body = {"name": "body", "in": "query", "schema": {"type": "string", "enum": ["1"]}}
    add_path(
        router,
        path,
        shown_quarantine,
        method="GET",
        checks=[*guarded, takes_only(*READ)],
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
            f"{path}/{verb}",
            endpoint,
            method="POST",
            checks=checks,
            summary=summary,
            tags=["Admin"],
        )


def _asks_for(request: type[BaseModel]) -> dict[str, object]:
    """A request's body as OpenAPI shows it."""
    schema = request.model_json_schema()
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}
