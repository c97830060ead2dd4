"""What reads are measured against under uvicorn: each an application factory for its `--factory`.

`$BENCHMARK_FOLDER` has what `tests.benchmarks.reads` put there.
"""

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from refresher import Refresher
from refresher.serve.app import create_app


def _folder() -> Path:
    return Path(os.environ["BENCHMARK_FOLDER"])


def plain() -> ASGIApp:
    """The service itself, read through ASGI as under any other server."""
    return create_app(Refresher.from_toml(_folder() / "config.toml"))


def bare() -> ASGIApp:
    """The least that an application can do: the very bytes of the service's answers, by path."""
    answers = {
        path: (
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers],
            },
            {"type": "http.response.body", "body": b64decode(body)},
        )
        for path, (status, headers, body) in json.loads(
            (_folder() / "answers.json").read_text()
        ).items()
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] == "http":
            start, body = answers[scope["path"]]
            await send(start)
            await send(body)

    return app


def today() -> ASGIApp:
    """The loop that people write today: a task that polls, and a handler that returns the dict."""

    async def poll(app: FastAPI) -> None:
        while True:
            app.state.data = {
                path.stem: json.loads(path.read_bytes()) for path in _folder().glob("k*.json")
            }
            await asyncio.sleep(3600)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(poll(app))
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.get("/data/{name}", response_model=None)  # as where nobody writes down what it returns
    async def data(name: str) -> object:
        return app.state.data[name]

    return app
