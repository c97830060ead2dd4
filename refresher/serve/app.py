"""The application of `refresher serve`: reads answered in front, everything else by FastAPI."""

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
        # Unset, Swagger UI asks validator.swagger.io for a badge.
        swagger_ui_parameters={"validatorUrl": None},
        # To the client's own Host, over http: behind a proxy that leads astray.
        redirect_slashes=False,
    )
    app.include_router(cache.router())
    _answer_errors_with_problems(app)

    async def told_in_sentences(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _in_a_sentence(send) if scope["type"] == "lifespan" else send)

    return cache.in_front_of(told_in_sentences)


def _in_a_sentence(send: Send) -> Send:
    """Let a start that fails for a reason that has a sentence be told by it, not by a traceback."""

    async def tell(message: Message) -> None:
        error = sys.exception()  # Starlette sends from where it has caught it
        if isinstance(error, RefresherError):
            message["message"] = str(error)
        await send(message)

    return tell


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
