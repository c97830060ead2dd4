import asyncio
import dataclasses
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.to_thread
import httpx
import pytest
import respx
from fastapi import FastAPI, Request, WebSocket
from pydantic import BaseModel, BeforeValidator
from starlette.testclient import TestClient

from refresher import (
    UNCHANGED,
    NoSnapshot,
    NotRefreshable,
    Outcome,
    Refresher,
    RefresherError,
    ServiceError,
    State,
    TooSoon,
    UnknownJob,
)
from refresher.api import JobKeys, cache_to_serve
from refresher.config import JobConfig, load
from refresher.errors import ConfigError
from refresher.store.backends.memory import MemoryStore
from refresher.store.protocols import Beat
from refresher.testing import freeze
from tests.fakes import START, FakeClock, settled
from tests.patient import client_of
from tests.web.serving import ADMIN, TOKEN, Upstream, cache_of, down

if TYPE_CHECKING:
    from decimal import Decimal

NAMES = ["ada", "grace"]


class Flags(BaseModel):
    dark: bool = False


def names_cache() -> tuple[Refresher, Callable[[], Awaitable[list[str]]]]:
    """A cache with one job in code, and that job."""
    cache = Refresher(admin_token=TOKEN)

    @cache.job(interval="1h")
    async def names() -> list[str]:
        return NAMES

    return cache, names


def ready(client: TestClient) -> None:
    """Have every job attempted once more, and wait for it."""
    answer = client.post("/admin/refresh", json={"wait": "10s"}, headers=ADMIN)
    assert answer.status_code == 200, answer.text


class TestAsALifespan:
    def app(self, cache: Refresher) -> FastAPI:
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router())
        return app

    def test_it_is_in_the_state_of_every_request(self) -> None:
        cache, _ = names_cache()
        app = self.app(cache)

        @app.get("/same")
        async def same(request: Request) -> bool:
            return request.state.refresher is cache and Refresher.of(request) is cache

        @app.websocket("/ws")
        async def ws(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_json(Refresher.of(websocket) is cache)
            await websocket.close()

        with client_of(app) as client:
            assert client.get("/same").json() is True
            with client.websocket_connect("/ws") as socket:
                assert socket.receive_json() is True

    def test_it_may_have_another_name(self) -> None:
        cache = Refresher(name="flags")
        app = FastAPI(lifespan=cache.lifespan)

        @app.get("/")
        async def found(request: Request) -> bool:
            with pytest.raises(ServiceError, match="no 'refresher' in the lifespan state"):
                Refresher.of(request)
            return Refresher.of(request, "flags") is request.state.flags is cache

        with client_of(app) as client:
            assert client.get("/").json() is True

    def test_it_runs_again_and_again_each_time_from_the_beginning(self) -> None:
        upstream = Upstream(["a"], ["b"], ["c"], ["d"])
        cache = Refresher(admin_token=TOKEN)
        cache.job("names", interval="1h")(upstream)
        app = self.app(cache)
        for versions in (2, 2):
            with client_of(app) as client:
                ready(client)
                assert client.get("/data/names").headers["refresher-version"] == str(versions)
        assert upstream.calls == 4

    def test_twice_at_once_is_an_error_and_harms_neither(self) -> None:
        cache, _ = names_cache()
        app = self.app(cache)
        with client_of(app) as client:
            with (
                pytest.raises(ServiceError, match="refresher is running already"),
                client_of(app),
            ):
                raise AssertionError("it was entered twice")
            ready(client)
            assert client.get("/data/names").json() == NAMES

    def test_two_in_one_process_never_meet(self) -> None:
        one, two = Refresher(admin_token=TOKEN), Refresher(admin_token=TOKEN, name="two")
        one.job("names", interval="1h")(Upstream(["one"]))
        two.job("names", interval="1h")(Upstream(["two"]))
        with client_of(self.app(one)) as first, client_of(self.app(two)) as second:
            for client in (first, second):
                ready(client)
            assert first.get("/data/names").json() == ["one"]
            assert second.get("/data/names").json() == ["two"]
            first.post("/admin/jobs/names/pause", headers=ADMIN)
            assert second.get("/jobs/names").json()["paused"] is False
            assert 'reads_total{code="200"} 1' in second.get("/metrics").text

    def test_the_router_works_under_a_prefix(self) -> None:
        cache, _ = names_cache()
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router(), prefix="/cache")
        with client_of(app) as client:
            client.post("/cache/admin/refresh", json={"wait": "10s"}, headers=ADMIN)
            answer = client.get("/cache/data/names")
            assert answer.json() == NAMES
            assert answer.headers["cache-status"].startswith("refresher; hit; ttl=")
            assert client.get("/data/names").status_code == 404

    def test_embedded_without_a_token_admin_is_closed_and_no_file_is_written(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.toml"
        path.write_text("")
        cache = Refresher.from_toml(path)
        with client_of(self.app(cache)) as client:
            assert client.post("/admin/refresh").status_code == 401
        assert list(tmp_path.iterdir()) == [path]


class TestInsideOnesOwn:
    async def test_errors_come_out_as_they_are(self) -> None:
        cache, _ = names_cache()
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  it is about the block
            async with cache:
                await settled()
                _ = 1 / 0
        async with cache:
            pass

    async def test_cancelling_passes_through(self) -> None:
        cache, _ = names_cache()
        with anyio.move_on_after(0.01) as scope:
            async with cache:
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    async def test_nothing_is_left_behind(self) -> None:
        threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
        cache, _ = names_cache()
        async with cache:
            await settled()
            assert asyncio.all_tasks() - tasks
        assert asyncio.all_tasks() == tasks
        for thread in set(threading.enumerate()) - threads:
            if "refresher" in thread.name:
                await anyio.to_thread.run_sync(thread.join, 5)
                assert not thread.is_alive()

    async def test_a_wrong_configuration_starts_nothing_and_can_be_mended(self) -> None:
        config: dict[str, Any] = {"jobs": {"x": {"file": "/nowhere", "intervall": "1s"}}}
        cache = Refresher(config)
        tasks = asyncio.all_tasks()
        with pytest.raises(ConfigError, match='did you mean "interval"'):
            await cache.__aenter__()
        assert asyncio.all_tasks() == tasks
        with pytest.raises(ServiceError, match="not running"):
            cache.get("x")
        del config["jobs"]["x"]["intervall"]
        async with cache:
            pass

    async def test_a_start_that_fails_late_closes_what_was_open(self) -> None:
        class Transport(httpx.AsyncBaseTransport):
            closed = 0

            async def aclose(self) -> None:
                Transport.closed += 1

        cache = Refresher({"jobs": {"x": {"url": "https://api.example/"}}}, transport=Transport())
        freeze(cache, "x", object())
        tasks = asyncio.all_tasks()
        with pytest.raises(RefresherError):
            await cache.__aenter__()
        assert Transport.closed == 1
        assert asyncio.all_tasks() == tasks
        freeze(cache, "x", ["a"])
        async with cache:
            assert cache.get("x").value == ["a"]

    async def test_without_a_running_service_every_question_says_how_to_start_one(self) -> None:
        cache, names = names_cache()
        with pytest.raises(ServiceError, match=r"FastAPI\(lifespan=cache.lifespan\)"):
            cache.get(names)
        with pytest.raises(ServiceError, match="async with cache"):
            await cache.refresh(names)


class TestJobsInCode:
    async def test_take_their_name_from_the_function_or_from_the_keyword(self) -> None:
        cache = Refresher()

        @cache.job()
        async def names() -> list[str]:
            return NAMES

        @cache.job(name="other-names")
        async def more() -> list[str]:
            return NAMES

        @cache.job("third")
        def plain() -> list[str]:
            return NAMES

        async with cache:
            assert [job.name for job in cache.service.jobs] == ["names", "other-names", "third"]

    async def test_stay_the_functions_they_were(self) -> None:
        _, names = names_cache()
        assert inspect.iscoroutinefunction(names)
        assert await names() == NAMES

    def test_without_parentheses_are_a_clear_error(self) -> None:
        cache = Refresher()
        with pytest.raises(ServiceError, match=r"with parentheses: @cache.job\(\)"):

            @cache.job  # type: ignore[arg-type]
            async def names() -> list[str]:
                return NAMES

    def test_of_one_name_are_an_error(self) -> None:
        cache, names = names_cache()
        with pytest.raises(ServiceError, match="two jobs are called 'names'"):
            cache.job()(names)

    async def test_have_a_name_of_their_own_where_their_function_has_none(self) -> None:
        cache = Refresher()
        some = partial(NAMES.__getitem__, slice(1))
        with pytest.raises(ServiceError, match=r"has no name; give it one: @cache.job\(name=…\)"):
            cache.job()(some)
        cache.job("some")(some)
        async with cache:
            await cache.refresh("some")
            assert cache.get("some").value == NAMES[:1]

    async def test_are_declared_before_the_cache_runs(self) -> None:
        cache, _ = names_cache()
        async with cache:
            with pytest.raises(ServiceError, match="before it is entered"):
                cache.job("late")

    async def test_have_their_keys_checked_like_any_other(self) -> None:
        cache = Refresher()

        @cache.job(intervall="1s")  # type: ignore[call-arg]
        async def names() -> list[str]:
            return NAMES

        with pytest.raises(ConfigError, match=r'jobs.names.intervall.*did you mean "interval"'):
            await cache.__aenter__()

    async def test_inherit_from_the_configuration(self) -> None:
        cache = Refresher({"defaults": {"tags": ["x"], "interval": "7s"}})
        cache.job("names", interval="3s")(Upstream())
        async with cache:
            config = cache.service.config.jobs["names"].config
            assert (config.tags, config.interval) == (("x",), 3.0)

    async def test_stand_beside_those_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "flags.json").write_text('{"dark": true}')
        path = tmp_path / "config.toml"
        path.write_text('[jobs.flags]\nfile = "flags.json"\n')
        cache = Refresher.from_toml(path, clock=FakeClock())
        cache.job("names")(Upstream(NAMES))
        async with cache:
            await cache.refresh("flags")
            await settled()
            assert cache.get("flags").value == {"dark": True}
            assert cache.get("names").value == NAMES

    def test_take_every_key_of_a_job_table_but_its_source(self) -> None:
        fields = {field.name for field in dataclasses.fields(JobConfig)}
        assert set(JobKeys.__annotations__) == fields - {"url", "file", "python"}

    async def test_may_use_the_environment_but_are_overridden_by_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOME_TOKEN", "s3cret")
        monkeypatch.setenv("REFRESHER__JOBS__SOMEBODYS__INTERVAL", "1s")
        cache = Refresher()
        cache.job("names", auth={"type": "bearer", "token": "${SOME_TOKEN}"})(Upstream())
        async with cache:
            auth = cache.service.config.jobs["names"].config.auth
            assert auth.token == "s3cret"  # type: ignore[union-attr]
            assert cache.redact("with s3cret in it") == "with *** in it"


async def test_a_store_may_be_given_by_its_url(tmp_path: Path) -> None:
    async def once(answer: object) -> object:
        cache = Refresher(store=f"sqlite:///{tmp_path}/refresher.db")
        cache.job("names", interval="1h")(Upstream(answer))
        async with cache:
            if answer is NAMES:
                await cache.refresh("names")
            return cache.get("names").value

    assert await once(NAMES) == await once(None) == NAMES


class AnotherTime(MemoryStore):
    """A store on a machine whose clock is a hundred seconds behind the one of the tests."""

    async def beat(self, process: str) -> Beat:
        return dataclasses.replace(await super().beat(process), now=START - 100)


async def test_python_tells_ages_by_the_time_of_the_store_as_http_does() -> None:
    cache = Refresher(store=AnotherTime(), clock=FakeClock(), admin_token=TOKEN)

    @cache.job(interval="20s", max_stale="30s", on_expired="fail")
    async def names() -> list[str]:
        return NAMES

    async with cache:
        await settled()
        assert (cache.get(names).age, cache.get(names).state) == (0.0, State.FRESH)


class TestGet:
    async def test_tells_all_of_a_snapshot(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock, names=Upstream(NAMES))
        async with cache:
            await settled()
            snapshot = cache.get("names")
            assert snapshot.value == NAMES
            assert snapshot.body == json.dumps(NAMES, separators=(",", ":")).encode()
            assert snapshot.version == 1
            assert snapshot.etag.startswith('"')
            assert (snapshot.age, snapshot.state) == (0.0, State.FRESH)
            await clock.advance(3.5)
            assert (snapshot.age, snapshot.state) == (3.5, State.FRESH), "as of now"

    async def test_follows_the_checks_of_what_it_holds_and_the_state_of_the_job(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock, names=Upstream(["a"], ["a"], ["b"], down()))
        async with cache:
            await settled()
            held = cache.get("names")
            value = held.value
            await clock.advance(20)
            await cache.refresh("names")
            assert (held.age, held.version) == (0.0, 1), "the source confirmed it just now"
            await clock.advance(5)
            await cache.refresh("names")
            assert cache.get("names").value == ["b"]
            await clock.advance(5)
            assert held.age == 30.0, "it was replaced: since the check that is known"
            assert held.value is value
            assert held.value is held.value
            await cache.refresh("names")
            assert held.state is State.STALE
        assert held.value == ["a"], "and outlives the service"
        assert held.state is State.STALE

    async def test_gives_nothing_of_an_earlier_run(self) -> None:
        cache = cache_of(names=Upstream(["a"], ["b"]))
        for expected in (["a"], ["b"]):
            async with cache:
                await settled()
                assert (cache.get("names").version, cache.get("names").value) == (1, expected)

    async def test_takes_the_function_or_its_name(self) -> None:
        cache, names = names_cache()
        async with cache:
            await cache.refresh(names)
            assert cache.get(names).value is cache.get("names").value

    async def test_of_an_unknown_job_is_an_error(self) -> None:
        cache, _ = names_cache()

        async def stranger() -> None: ...

        async with cache:
            with pytest.raises(UnknownJob, match="no job is called 'nope'"):
                cache.get("nope")
            with pytest.raises(UnknownJob, match="decorate it"):
                cache.get(stranger)
            with pytest.raises(UnknownJob, match="no job is called 'nope'"):
                await cache.refresh("nope")

    async def test_of_a_pending_job_is_an_error_that_says_when_to_ask_again(self) -> None:
        async with cache_of(names=Upstream(down(retry_after=30.0))) as cache:
            await settled()
            with pytest.raises(NoSnapshot, match="names has no snapshot yet") as nothing:
                cache.get("names")
            assert nothing.value.job == "names"
            assert nothing.value.retry_after == 30

    async def test_of_an_expired_one_depends_on_what_the_job_says(self) -> None:
        clock = FakeClock()
        cache = Refresher({"defaults": {"interval": "100s", "max_stale": "1s"}}, clock=clock)
        cache.job("fails", on_expired="fail")(Upstream(["a"], down()))
        cache.job("serves")(Upstream(["a"], down()))
        async with cache:
            await settled()
            await clock.advance(500)
            with pytest.raises(NoSnapshot, match="only an expired snapshot"):
                cache.get("fails")
            assert cache.get("serves").state is State.EXPIRED

    async def test_decodes_text_and_bytes_too(self) -> None:
        cache = cache_of(text=Upstream("grün"), raw=Upstream(b"\x00"))
        async with cache:
            await settled()
            assert cache.get("text").value == "grün"
            assert cache.get("raw").value == b"\x00"


class TestRefresh:
    async def test_gives_the_attempt(self) -> None:
        cache = cache_of(names=Upstream(["a"], ["b"], ["b"], down()))
        async with cache:
            await settled()
            outcomes = [(await cache.refresh("names")).outcome for _ in range(3)]
            assert outcomes == [Outcome.CHANGED, Outcome.UNCHANGED, Outcome.FAILED]

    async def test_of_data_that_says_it_is_unchanged(self) -> None:
        cache = cache_of(names=Upstream(["a"], UNCHANGED))
        async with cache:
            await settled()
            assert (await cache.refresh("names")).outcome is Outcome.UNCHANGED

    async def test_obeys_the_cooldown_unless_forced(self) -> None:
        clock = FakeClock()
        cache = Refresher(clock=clock)
        cache.job("names", cooldown="60s")(Upstream())
        async with cache:
            await cache.refresh("names")
            await clock.advance(20)
            with pytest.raises(TooSoon) as refused:
                await cache.refresh("names")
            assert refused.value.retry_after == pytest.approx(40)
            await cache.refresh("names", force=True)

    async def test_of_a_job_that_rests_is_refused(self) -> None:
        cache = Refresher()
        cache.job("off", enabled=False)(Upstream())
        async with cache:
            with pytest.raises(NotRefreshable, match="off is disabled"):
                await cache.refresh("off")

    async def test_ends_with_the_cache(self) -> None:
        upstream = Upstream()
        cache = cache_of(names=upstream)
        caught: list[ServiceError] = []

        async def refresh() -> None:
            try:
                await cache.refresh("names")
            except ServiceError as error:
                caught.append(error)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks, cache:
                upstream.hold = anyio.Event()
                tasks.start_soon(refresh)
                await settled()
        assert "left before names was refreshed" in str(caught[0])

    async def test_that_is_cancelled_cancels_nothing(self) -> None:
        upstream = Upstream(["a"], ["b"])
        async with cache_of(names=upstream) as cache:
            await settled()
            upstream.hold = anyio.Event()
            with anyio.move_on_after(0.01):
                await cache.refresh("names")
            upstream.hold.set()
            await settled()
            assert cache.get("names").version == 2


class Counted:
    """A type whose validations are counted."""

    def __init__(self) -> None:
        self.count = 0
        self.type: Any = Annotated[list[str], BeforeValidator(self._note)]

    def _note(self, value: object) -> object:
        self.count += 1
        return value


class TestDepends:
    def served(self, cache: Refresher, dependency: object) -> FastAPI:
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router())
        given = Annotated[Any, dependency]

        @app.get("/value")
        async def value(found: given) -> object:
            return {"type": type(found).__name__, "value": found}

        return app

    def test_gives_the_value_under_the_return_annotation(self) -> None:
        cache = Refresher(admin_token=TOKEN)

        @cache.job(interval="1h")
        async def flags() -> Flags:
            return Flags(dark=True)

        for dependency in (cache.depends(flags), cache.depends("flags")):
            with client_of(self.served(cache, dependency)) as client:
                ready(client)
                assert client.get("/value").json() == {"type": "Flags", "value": {"dark": True}}

    def test_gives_it_under_another_type_where_one_is_named(self) -> None:
        cache = Refresher(admin_token=TOKEN)

        @cache.job(interval="1h")
        async def flags() -> Flags:
            return Flags(dark=True)

        with client_of(self.served(cache, cache.depends(flags, dict[str, bool]))) as client:
            ready(client)
            assert client.get("/value").json()["type"] == "dict"

    def test_gives_it_as_it_is_where_no_type_is_known(self) -> None:
        cache = Refresher(admin_token=TOKEN)
        cache.job("names", interval="1h")(Upstream(NAMES))

        @cache.job(interval="1h")
        def untyped():  # type: ignore[no-untyped-def]  # noqa: ANN202
            return NAMES

        for name in ("names", "untyped"):
            with client_of(self.served(cache, cache.depends(name))) as client:
                ready(client)
                assert client.get("/value").json() == {"type": "list", "value": NAMES}

    def test_as_in_the_contract(self) -> None:
        cache, names = names_cache()
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router())
        names_type = Annotated[list[str], cache.depends(names)]

        @app.get("/greet")
        async def greet(names: names_type) -> str:
            return f"hello {', '.join(names)}"

        with client_of(app) as client:
            ready(client)
            assert client.get("/greet").json() == "hello ada, grace"

    def test_validates_a_version_once_and_never_per_request(self) -> None:
        counted, upstream = Counted(), Upstream(["a"], ["a"], ["b"])
        cache = Refresher(admin_token=TOKEN)
        cache.job("names", interval="1h")(upstream)
        with client_of(self.served(cache, cache.depends("names", counted.type))) as client:
            ready(client)
            for _ in range(20):
                assert client.get("/value").json()["value"] == ["a"]
            assert counted.count == 1
            ready(client)
            for _ in range(20):
                assert client.get("/value").json()["value"] == ["b"]
            assert counted.count == 2

    def test_gives_all_requests_the_same_object(self) -> None:
        cache, names = names_cache()
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router())
        seen: list[object] = []

        @app.get("/see")
        async def see(
            first: Annotated[object, cache.depends(names)],
            second: Annotated[object, cache.depends("names")],
        ) -> None:
            seen.extend([first, second, cache.get(names).value])

        with client_of(app) as client:
            ready(client)
            for _ in range(3):
                client.get("/see")
        assert len(seen) == 9
        assert all(each is seen[0] for each in seen)

    def test_works_in_a_plain_endpoint_too(self) -> None:
        cache, names = names_cache()
        app = FastAPI(lifespan=cache.lifespan)
        app.include_router(cache.router())

        @app.get("/plain")
        def plain(found: Annotated[list[str], cache.depends(names)]) -> list[str]:
            return [*found, *cache.get(names).value]

        with client_of(app) as client:
            ready(client)
            assert client.get("/plain").json() == NAMES + NAMES

    def test_while_pending_is_503_with_retry_after_or_the_default(self) -> None:
        cache = Refresher(admin_token=TOKEN)
        cache.job("flags", interval="1h")(Upstream(down(retry_after=90.0)))
        default = Flags()
        with client_of(self.served(cache, cache.depends("flags", Flags))) as client:
            answer = client.get("/value")
            assert answer.status_code == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 90
            assert answer.json() == {"detail": "flags has no snapshot yet"}
        for given in (default, None):
            dependency = cache.depends("flags", Flags, default=given)
            with client_of(self.served(cache, dependency)) as client:
                assert client.get("/value").json()["type"] == type(given).__name__

    async def test_expired_under_fail_is_503_or_the_default(self) -> None:
        clock = FakeClock()
        cache = Refresher({"defaults": {"interval": "100s"}}, clock=clock)
        cache.job("flags", max_stale="1s", on_expired="fail")(Upstream({"dark": True}, down()))
        strict, lenient = self.served(cache, cache.depends("flags")), FastAPI()

        @lenient.get("/value")
        async def value(
            found: Annotated[object, cache.depends("flags", default={})],
        ) -> object:
            return found

        async with cache:
            await settled()
            async with requests(strict) as one, requests(lenient) as other:
                assert (await one.get("/value")).json()["value"] == {"dark": True}
                await clock.advance(500)
                answer = await one.get("/value")
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
                assert (await other.get("/value")).json() == {}

    def test_leaves_the_schema_of_the_route_clean(self) -> None:
        cache, names = names_cache()
        app = FastAPI(lifespan=cache.lifespan)

        @app.get("/greet")
        async def greet(loud: int, found: Annotated[list[str], cache.depends(names)]) -> list[str]:
            return found * loud

        operation = app.openapi()["paths"]["/greet"]["get"]
        assert [each["name"] for each in operation["parameters"]] == ["loud"]
        assert "requestBody" not in operation
        assert "security" not in operation

    def test_content_of_another_type_is_no_data(self) -> None:
        cache = Refresher(admin_token=TOKEN)
        cache.job("flags", interval="1h")(Upstream(["not flags"]))
        with client_of(self.served(cache, cache.depends("flags", Flags))) as client:
            ready(client)
            assert client.get("/value").status_code == 503
            assert client.get("/data/flags").status_code == 503

    async def test_an_annotation_that_cannot_be_resolved_says_what_to_do(self) -> None:
        cache = Refresher()

        @cache.job("prices")
        async def prices() -> "Decimal":
            raise NotImplementedError

        freeze(cache, prices, 1)
        async with cache:
            with pytest.raises(ServiceError, match=r"'Decimal' is not defined.*TYPE_CHECKING"):
                cache.get(prices)

    async def test_annotations_of_arguments_need_not_be_resolvable(self) -> None:
        cache = Refresher()

        @cache.job()
        async def flags(client: "OnlyForCheckers") -> Flags:  # type: ignore[name-defined]  # noqa: F821
            raise NotImplementedError

        freeze(cache, flags, {"dark": True})
        async with cache:
            assert cache.get(flags).value == Flags(dark=True)

    async def test_metadata_of_the_annotation_counts(self) -> None:
        counted = Counted()
        annotation = counted.type
        cache = Refresher()

        @cache.job()
        async def names() -> annotation:  # type: ignore[valid-type]
            return NAMES

        async with cache:
            await cache.refresh(names)
            assert cache.get(names).value == NAMES
        assert counted.count == 1


@asynccontextmanager
async def requests(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


class TestUpstreams:
    async def test_are_faked_with_a_transport_as_in_the_contract(self) -> None:
        router = respx.Router()
        route = router.get("https://api.example/v1/names").mock(
            side_effect=[
                httpx.Response(200, json=NAMES, headers={"etag": '"1"'}),
                httpx.Response(304),
            ]
        )
        cache = Refresher(
            {"jobs": {"names": {"url": "https://api.example/v1/names"}}},
            transport=httpx.MockTransport(router.async_handler),
            clock=FakeClock(),
        )
        async with cache:
            await settled()
            assert cache.get("names").value == NAMES
            attempt = await cache.refresh("names")
            assert (attempt.outcome, attempt.http_status) == (Outcome.UNCHANGED, 304)
        assert route.call_count == 2
        assert route.calls[1].request.headers["if-none-match"] == '"1"'

    async def test_are_reached_by_a_job_in_code_with_their_base_url_and_auth(self) -> None:
        router = respx.Router()
        route = router.get("https://api.example/v1/names").respond(json=NAMES)
        cache = Refresher(
            {
                "upstreams": {
                    "api": {
                        "base_url": "https://api.example/v1",
                        "auth": {"type": "bearer", "token": "t0ken"},
                    }
                }
            },
            transport=httpx.MockTransport(router.async_handler),
        )

        @cache.job(upstream="api")
        async def names(client: httpx.AsyncClient) -> list[str]:
            found: list[str] = (await client.get("/names")).json()
            return found

        async with cache:
            await cache.refresh(names)
            assert cache.get(names).value == NAMES
        assert route.calls[0].request.headers["authorization"] == "Bearer t0ken"


def test_importing_a_module_that_defines_one_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from refresher import Refresher\n"
        "cache = Refresher.from_toml('there/is/no/config.toml')\n"
        "router = cache.router()\n"
        "@cache.job(interval='1h')\n"
        "async def names() -> list[str]: ...\n"
        "dependency = cache.depends(names)\n"
    )
    code = (
        "import logging, sys, threading\n"
        "import fastapi, httpx, aiohttp, refresher, refresher.api\n"
        "seen = []\n"
        "logging.basicConfig(level=0, stream=sys.stdout)\n"
        "def audit(event, args):\n"
        "    if event in {'socket.connect', 'socket.bind', 'subprocess.Popen'}:\n"
        "        seen.append(event)\n"
        "    if event == 'open' and not str(args[0]).endswith(('.py', '.pyc')):\n"
        "        seen.append(args[0])\n"
        "sys.addaudithook(audit)\n"
        "import mine\n"
        "assert not seen, seen\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_what_has_just_been_read_is_taken_once_and_read_anew_after_that(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('store.url = "memory://"\njobs.now.file = "names.json"')
    then = {"jobs": {"then": {"file": "names.json"}}}
    loaded = await anyio.to_thread.run_sync(partial(load, then, environ={}))
    cache = cache_to_serve(path, loaded, overrides={}, admin_token=None)
    async with cache:
        assert [entry.record.job for entry in cache.service.states] == ["then"]
    async with cache:
        assert [entry.record.job for entry in cache.service.states] == ["now"]
