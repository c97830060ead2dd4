"""A cache that runs, and a client of its endpoints: the real service, no network, time by hand."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import httpx
from starlette.types import ASGIApp

from refresher import Refresher
from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.serve.app import create_app
from refresher.store.protocols import Backend
from tests.fakes import FakeClock, settled

TOKEN = "adm1n-t0ken"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
REFRESH = "/admin/refresh"


class Upstream:
    """A function to be a job: gives the answers of a script in turn, the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers) or [["a"]]
        self.calls = 0
        self.hold: anyio.Event | None = None
        """Answers wait for it, once it is there."""

    async def __call__(self) -> object:
        self.calls += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def down(**facts: object) -> RefreshFailed:
    """What an upstream that cannot be reached raises."""
    return RefreshFailed(Stage.CONNECT, "refused", transient=True, **facts)  # type: ignore[arg-type]


PATIENT = {"defaults": {"interval": "100s", "jitter": "0%", "timeout": "5m"}}
"""For a refresh by a process that has yet to start: a busy machine takes longer than 10 s."""


def cache_of(
    clock: FakeClock | None = None,
    config: Mapping[str, object] = {},
    store: Backend | None = None,
    /,
    **jobs: Upstream,
) -> Refresher:
    """A cache with these jobs, `_` in their names as `-`, each due every 100 s."""
    given = config.get("server", {})
    assert isinstance(given, Mapping)
    cache = Refresher(
        {
            "defaults": {"interval": "100s", "jitter": "0%"},
            **config,
            "server": {"seed": "", **given},  # whatever store it is, due at the same moments
        },
        store=store,
        clock=clock or FakeClock(),
        admin_token=TOKEN,
    )
    for name, upstream in jobs.items():
        cache.job(name.replace("_", "-"))(upstream)
    return cache


@asynccontextmanager
async def asking(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan is somebody else's care."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def application(cache: Refresher) -> ASGIApp:
    """The application of `refresher serve`; making it looks for the files of /docs."""
    return await anyio.to_thread.run_sync(create_app, cache)


@asynccontextmanager
async def serving(cache: Refresher) -> AsyncIterator[httpx.AsyncClient]:
    """Run a cache as `refresher serve` does, its first attempts over."""
    async with cache, asking(await application(cache)) as client:
        await settled()
        yield client


async def refresh(client: httpx.AsyncClient, body: object = None) -> httpx.Response:
    """Ask for a refresh, with a body that may be wrong."""
    content = None if body is None else json.dumps(body).encode()
    return await client.post(REFRESH, content=content, headers=ADMIN)


async def attached(client: httpx.AsyncClient) -> None:
    """Wait until the store is there: on a busy machine a real one may be found silent at first."""
    with anyio.fail_after(60):
        while "store" in (await client.get("/livez")).json():  # noqa: ASYNC110  no event of ours
            await anyio.sleep(0.01)
    await settled()


async def served(client: httpx.AsyncClient, job: str) -> httpx.Response:
    """The job's data, once there is some: a store that was silent at the start gives it late."""
    with anyio.fail_after(30):
        while (read := await client.get(f"/data/{job}")).status_code == 503:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return read


async def kept_versions(client: httpx.AsyncClient, job: str) -> list[int]:
    """The numbers of a job's versions in its store, the newest first, after one more refresh."""
    await client.post("/admin/refresh", json={"wait": "30s", "jobs": [job]}, headers=ADMIN)
    await attached(client)
    versions = (await client.get(f"/jobs/{job}/history")).json()["versions"]
    return [version["version"] for version in versions]
