"""The upstream of the demo: everything that upstreams do to those who depend on them."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_CHANGES_EVERY = 10
"""Seconds between two editions of what changes."""
_ROWS = 20
_LARGE_ROWS = 80_000
_SLOW = 1.5
_HANGING = 60.0
_LOGIN_PAGE = b"<!doctype html><title>Log in</title><h1>Your session has expired</h1>"


def create_upstream(token: str) -> Starlette:
    """An application with one path for each kind of trouble; `/private` wants the token.

    What goes wrong in turns goes wrong in the same order at each start.
    """
    flaky = itertools.cycle([_good, _broken, _hanging])
    limited = itertools.cycle([_good, _too_many, _good, _unavailable])
    rubbish = itertools.cycle([_good, _login_page, _good, _truncated, _good, _half])

    async def private(request: Request) -> Response:
        if request.headers.get("authorization") == f"Bearer {token}":
            return await _good(request)
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})

    return Starlette(
        routes=[
            Route("/feed", _feed),
            Route("/slow", _slow),
            Route("/flaky", _in_turns(flaky)),
            Route("/limited", _in_turns(limited)),
            Route("/private", private),
            Route("/rubbish", _in_turns(rubbish)),
            Route("/large", _large),
        ]
    )


_Endpoint = Callable[[Request], Awaitable[Response]]


def _in_turns(endpoints: Iterator[_Endpoint]) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        return await next(endpoints)(request)

    return endpoint


async def _feed(request: Request) -> Response:
    """Honours If-None-Match: most of the time nothing has changed."""
    etag = f'"edition-{_edition()}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return _json(_items(_edition(), _ROWS), {"ETag": etag})


async def _good(_: Request) -> Response:
    return _json(_items(_edition(), _ROWS))


async def _slow(request: Request) -> Response:
    await _stall(request, _SLOW)
    return _json(_items(_edition(), _ROWS))


async def _hanging(request: Request) -> Response:
    await _stall(request, _HANGING)
    return Response(status_code=504)


async def _broken(_: Request) -> Response:
    return Response("Traceback (most recent call last): ...", 500, media_type="text/plain")


async def _too_many(_: Request) -> Response:
    return Response(status_code=429, headers={"Retry-After": "4"})


async def _unavailable(_: Request) -> Response:
    return Response(status_code=503, headers={"Retry-After": "3"})


async def _login_page(_: Request) -> Response:
    return Response(_LOGIN_PAGE, media_type="text/html")


async def _truncated(_: Request) -> Response:
    whole = _items(_edition(), _ROWS)
    return _json(whole[: len(whole) // 2])


async def _half(_: Request) -> Response:
    return _json(_items(_edition(), _ROWS // 2))


async def _large(_: Request) -> Response:
    return _json(_items(_edition() // 2, _LARGE_ROWS))


async def _stall(request: Request, seconds: float) -> None:
    """Let time pass, or the client leave."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


def _edition() -> int:
    return int(time.time() // _CHANGES_EVERY)


@lru_cache(maxsize=8)
def _items(edition: int, rows: int) -> bytes:
    items = [
        {"id": n, "name": f"item {n}", "price": (n * 37 + edition) % 1000 / 10} for n in range(rows)
    ]
    return json.dumps({"edition": edition, "items": items}).encode()


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, headers=headers, media_type="application/json")
