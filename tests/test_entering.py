"""A cache is entered and left as the tools do that which people run applications and tests with."""

import asyncio
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi import FastAPI

from refresher import Refresher, ServiceError
from tests.fakes import settled
from tests.patient import client_of

NAMES = ["ada", "grace"]


def names_cache() -> Refresher:
    cache = Refresher()

    @cache.job(interval="1h")
    async def names() -> list[str]:
        return NAMES

    return cache


def app_of(cache: Refresher) -> FastAPI:
    app = FastAPI(lifespan=cache.lifespan)
    app.include_router(cache.router())
    return app


async def test_one_task_enters_and_another_leaves() -> None:
    cache, tasks = names_cache(), asyncio.all_tasks()
    for _ in range(2):
        await asyncio.create_task(cache.__aenter__())
        await cache.refresh("names")
        assert cache.get("names").value == NAMES
        await asyncio.create_task(cache.__aexit__(None, None, None))
    assert asyncio.all_tasks() == tasks


def test_cells_of_a_notebook_enter_use_and_leave() -> None:
    cache = names_cache()
    with asyncio.Runner() as notebook:
        notebook.run(cache.__aenter__())
        notebook.run(cache.refresh("names"))
        assert cache.get("names").value == NAMES
        notebook.run(cache.__aexit__(None, None, None))
        with pytest.raises(ServiceError, match="not running"):
            cache.get("names")


async def test_what_else_its_lifespan_enters_may_be_left_in_any_order() -> None:
    """Cancel scopes have to be left in the order in which they were entered; a cache has none."""
    cache = names_cache()
    scope = anyio.CancelScope()
    scope.__enter__()
    await cache.__aenter__()
    scope.__exit__(None, None, None)
    await cache.refresh("names")
    await cache.__aexit__(None, None, None)


async def test_cancelling_while_it_is_entered_cleans_up_and_it_can_be_entered_again() -> None:
    class Slow(httpx.AsyncBaseTransport):
        closed = 0

        async def aclose(self) -> None:
            Slow.closed += 1

    cache, tasks = Refresher({"jobs": {}}, transport=Slow()), asyncio.all_tasks()
    entering = asyncio.create_task(cache.__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert asyncio.all_tasks() == tasks
    async with cache:
        await settled()


async def test_a_timeout_around_it_ends_it() -> None:
    cache, tasks = names_cache(), asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), cache:
            await anyio.sleep_forever()
    assert asyncio.all_tasks() == tasks


async def test_errors_inside_a_task_group_are_wrapped_by_that_one_alone() -> None:
    with pytest.raises(ExceptionGroup) as wrapped:
        async with anyio.create_task_group(), names_cache():
            raise ZeroDivisionError
    assert [type(each) for each in wrapped.value.exceptions] == [ZeroDivisionError]


def test_the_test_client_runs_it_and_calls_from_its_own_tasks() -> None:
    cache = names_cache()
    with client_of(app_of(cache)) as client:
        assert client.portal is not None
        client.portal.call(cache.refresh, "names")
        assert client.get("/data/names").json() == NAMES


CONFTEST = """
import pytest
from refresher import Refresher

cache = Refresher()


@cache.job(interval="1h")
async def names() -> list[str]:
    return ["ada", "grace"]
"""

TESTS = """
async def test_it_runs(running):
    await running.refresh("names")
    assert running.get("names").value == ["ada", "grace"]


class TestAgain:
    async def test_it_still_runs(self, running):
        await running.refresh("names")
        assert running.service.is_alive()
"""


def passes(folder: Path, plugin: str, ini: str, conftest: str, tests: str = TESTS) -> None:
    """Run tests of an application in a process of their own, with one plugin for async tests."""
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}\n")
    (folder / "conftest.py").write_text(CONFTEST + conftest)
    (folder / "test_it.py").write_text(tests)
    other = {"asyncio": "anyio", "anyio": "asyncio"}[plugin]
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "pytest", "-q", "-p", f"no:{other}", "-p", "no:cacheprovider"],
        cwd=folder,
        env={"PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_a_fixture_of_pytest_asyncio_enters_and_leaves_it(tmp_path: Path, scope: str) -> None:
    passes(
        tmp_path,
        "asyncio",
        f"asyncio_mode = auto\nasyncio_default_fixture_loop_scope = {scope}\n"
        f"asyncio_default_test_loop_scope = {scope}",
        f"""
@pytest.fixture(scope="{scope}")
async def running():
    async with cache:
        yield cache
""",
    )


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_a_fixture_of_anyio_enters_and_leaves_it(tmp_path: Path, scope: str) -> None:
    passes(
        tmp_path,
        "anyio",
        "anyio_mode = auto",
        f"""
@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="{scope}")
async def running(anyio_backend):
    async with cache:
        yield cache
""",
    )


def test_asgi_lifespan_enters_and_leaves_it(tmp_path: Path) -> None:
    passes(
        tmp_path,
        "asyncio",
        "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function",
        """
import pytest_asyncio
from asgi_lifespan import LifespanManager
from fastapi import FastAPI


@pytest_asyncio.fixture
async def running():
    async with LifespanManager(FastAPI(lifespan=cache.lifespan)):
        yield cache
""",
        "import pytest\npytestmark = pytest.mark.asyncio\n" + TESTS,
    )
