"""The endpoints below `/admin` as FastAPI routes, behind a token or the embedder's guard."""

import logging
from collections.abc import Callable, Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.params import Depends as Dependency
from pydantic import BaseModel

from refresher.web import admin, quarantine
from refresher.web.bodies import read_body
from refresher.web.endpoints import Running
from refresher.web.openapi import ADMIN_TOKEN, JOB, Responses, answers, takes
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
from refresher.web.schemas import (
    Candidate,
    JobPaused,
    Published,
    QuarantineDropped,
    RefreshAccepted,
    RefreshDone,
    RolledBack,
)

logger = logging.getLogger("refresher")

_NO_TOKEN = {401: "The admin token is needed."}
_NO_STORE = {503: "The store is away; nothing has been changed."}
_TOO_LARGE = {413: "The body is larger than 64 KiB."}
_WRONG_BODY = {422: "The body is not what is taken; `errors` has every problem."}


def add_admin_routes(
    router: APIRouter, running: Running, guard: Callable[..., object] | None
) -> None:
    """Add the endpoints below `/admin`; `guard` decides who may use them, None: the token."""

    async def admin_token(request: Request, _: Annotated[object, Depends(ADMIN_TOKEN)]) -> None:
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
        responses=answers(
            {200: RefreshDone, 202: RefreshAccepted},
            {
                **_NO_TOKEN,
                404: "A named job does not exist.",
                409: "A named job is paused or disabled.",
                **_TOO_LARGE,
                **_WRONG_BODY,
                429: "A named job is under cooldown or `Retry-After`.",
            },
        ),
        openapi_extra=takes(body=RefreshRequest),
    )
    _add_decisions(router, running, guarded)
    _add_quarantine(router, running, guarded)
    add_hidden(router, "/admin/{rest:path}", nothing, guarded)


def _add_decisions(router: APIRouter, running: Running, guarded: Sequence[Dependency]) -> None:
    async def pause(request: Request) -> Response:
        """Stop following the job's schedule; what is served grows stale like any other."""
        job = request.path_params["job"]
        answer = await admin.set_paused(running().service, job, paused=True)
        return as_response(request, answer)

    async def resume(request: Request) -> Response:
        """Follow the job's schedule again."""
        job = request.path_params["job"]
        answer = await admin.set_paused(running().service, job, paused=False)
        return as_response(request, answer)

    async def rollback(request: Request) -> Response:
        """Serve the content of a kept version again, as a new version, and pause the job."""
        job, body = request.path_params["job"], await read_body(request)
        return as_response(request, await admin.roll_back(running().service, job, body))

    paused = answers({200: JobPaused}, {**_NO_TOKEN, 404: "No job has that name.", **_NO_STORE})
    rolled_back = answers(
        {200: RolledBack},
        {
            **_NO_TOKEN,
            404: "No job has that name, or it has not come to that version.",
            410: "That version is kept no longer.",
            **_TOO_LARGE,
            **_WRONG_BODY,
            **_NO_STORE,
        },
    )
    taken = takes(JOB)
    for verb, endpoint, summary, responses, described in (
        ("pause", pause, "Pause a job", paused, taken),
        ("resume", resume, "Resume a job", paused, taken),
        (
            "rollback",
            rollback,
            "Serve a kept version again",
            rolled_back,
            takes(JOB, body=admin.RollbackRequest),
        ),
    ):
        add_path(
            router,
            f"/admin/jobs/{{job}}/{verb}",
            endpoint,
            method="POST",
            checks=[*guarded, takes_only("POST")],
            summary=summary,
            tags=["Admin"],
            responses=responses,
            openapi_extra=described,
        )


def _add_quarantine(router: APIRouter, running: Running, guarded: Sequence[Dependency]) -> None:
    async def shown_quarantine(request: Request) -> Response:
        """What the guard refused last, why, and how it differs; with `body=1`, its bytes."""
        whole = request.query_params.get("body") == "1"
        show = quarantine.show_body if whole else quarantine.show
        return as_response(request, await show(running().service, request.path_params["job"]))

    async def accept(request: Request) -> Response:
        """Publish what the guard refused as a new version."""
        job = request.path_params["job"]
        return as_response(request, await quarantine.accept(running().service, job))

    async def reject(request: Request) -> Response:
        """Drop what the guard refused."""
        job = request.path_params["job"]
        return as_response(request, await quarantine.reject(running().service, job))

    path = "/admin/jobs/{job}/quarantine"
    body = {
        "name": "body",
        "in": "query",
        "description": "`1`: the bytes of the candidate, under their own media type.",
        "schema": {"type": "string"},
    }

    def found(model: type[BaseModel]) -> Responses:
        nothing = "No job has that name, or nothing is in quarantine, or no longer."
        return answers({200: model}, {**_NO_TOKEN, 404: nothing, **_NO_STORE})

    shown = found(Candidate)
    shown[200]["content"] = {"*/*": {"schema": {}}}
    add_path(
        router,
        path,
        shown_quarantine,
        method="GET",
        checks=[*guarded, takes_only(*READ)],
        summary="The refused candidate",
        tags=["Admin"],
        responses=shown,
        openapi_extra=takes(JOB, body),
    )
    for verb, endpoint, summary, responses in (
        ("accept", accept, "Publish the refused candidate", found(Published)),
        ("reject", reject, "Drop the refused candidate", found(QuarantineDropped)),
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
            responses=responses,
            openapi_extra=takes(JOB),
        )
