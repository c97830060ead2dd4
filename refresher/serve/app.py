"""The application of `refresher serve`: reads answered in front, everything else by FastAPI."""

import inspect
import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from refresher.facade import Refresher
from refresher.web.answer import problem
from refresher.web.reads import PREFIX
from refresher.web.router import as_response, http_problem

logger = logging.getLogger("refresher")

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
    )
    app.include_router(cache.router())
    _answer_errors_with_problems(app)
    return InFront(app, cache)


class InFront:
    """Answers `/data/…` before FastAPI's stack sees the request: that costs most of a read."""

    def __init__(self, app: ASGIApp, cache: Refresher) -> None:
        self._app = app
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection of an ASGI server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root: str = scope.get("root_path", "")
        if not scope["path"].startswith(f"{root}{PREFIX}"):
            await self._app(scope, receive, send)
            return
        target = scope["raw_path"][len(root.encode()) :]
        try:
            answer = self._cache.endpoints.reads.answer(scope["method"], target, scope["headers"])
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception:
            logger.exception("reading %s broke", scope["path"])
            answer = problem(500, None, "reading broke; the log has why")
        await answer.send(send)


def _answer_errors_with_problems(app: FastAPI) -> None:
    def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
        return as_response(http_problem(error))

    def invalid(_: Request, error: Exception) -> Response:
        return as_response(problem(422, "invalid-request", str(error)))

    def broken(_: Request, error: Exception) -> Response:
        del error  # Starlette raises it again, for the server to log
        return as_response(problem(500, None, "the service broke here; its log has why"))

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, broken)
