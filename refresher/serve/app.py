"""The ASGI application of `refresher serve`: reads in front, everything else by FastAPI."""

import sys

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refresher.api import Refresher
from refresher.errors import RefresherError
from refresher.web.data.in_front import INTERNAL_ERROR
from refresher.web.problems import problem, unknown_path
from refresher.web.routing import as_response, http_problem

_DESCRIPTION = "Remote data, refreshed in the background, always with how fresh it is."


def create_app(cache: Refresher) -> ASGIApp:
    """An ASGI application that runs `cache` and serves it."""
    app = FastAPIOffline(
        redoc_url=None,
        title="refresher",
        description=_DESCRIPTION,
        lifespan=cache.lifespan,
        # Unset, Swagger UI fetches a badge from validator.swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
        # It redirects to the request's Host over http, which is wrong behind a proxy.
        redirect_slashes=False,
    )
    app.include_router(cache.router())
    _answer_errors_with_problems(app)

    async def without_tracebacks(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _without_traceback(send) if scope["type"] == "lifespan" else send)

    return cache.in_front_of(without_tracebacks)


def _without_traceback(send: Send) -> Send:
    """Have a start that fails with an error of ours log its message, and no traceback."""

    async def send_message(message: Message) -> None:
        error = sys.exception()  # Starlette sends from where it has caught it
        if isinstance(error, RefresherError):
            message["message"] = str(error)
        await send(message)

    return send_message


def _answer_errors_with_problems(app: FastAPI) -> None:
    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
        return as_response(request, http_problem(error))

    def not_found(request: Request, error: Exception) -> Response:
        del error
        return as_response(request, unknown_path(request.url.path))

    def broken(request: Request, error: Exception) -> Response:
        del error  # Starlette raises it again, for the server to log
        return as_response(request, problem(500, None, INTERNAL_ERROR))

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(404, not_found)
    app.add_exception_handler(Exception, broken)
