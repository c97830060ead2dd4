import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pydantic
import pytest

from refresher.errors import ConfigError, RefreshFailed
from refresher.model import Stage
from refresher.sources import UNCHANGED, CallableSource, check_signature, import_callable
from refresher.upstream.client import open_client
from tests.faults import FaultServer, answer, closed_port
from tests.sources.fetching import not_modified, payload, refusal


class Model(pydantic.BaseModel):
    at: dt.date
    x: float = 1.0


@dataclasses.dataclass
class Data:
    model: Model


def source(call: Callable[..., object], max_bytes: int = 1 << 20) -> CallableSource:
    return CallableSource(call, max_bytes=max_bytes)


def both(value: object) -> list[Callable[..., object]]:
    """The same function, plain and async."""

    async def later() -> object:
        return value

    return [lambda: value, later]


def raising(error: BaseException) -> list[Callable[..., object]]:
    def plain() -> None:
        raise error

    async def later() -> None:
        raise error

    return [plain, later]


class TestWhatIsReturned:
    @pytest.mark.parametrize(
        ("value", "body", "content_type"),
        [
            ({"a": [1, None, "ä"]}, '{"a":[1,null,"ä"]}', "application/json"),
            ([], "[]", "application/json"),
            (0, "0", "application/json"),
            (False, "false", "application/json"),
            (Model(at=dt.date(2026, 1, 2)), '{"at":"2026-01-02","x":1.0}', "application/json"),
            (
                [Data(Model(at=dt.date(2026, 1, 2)))],
                '[{"model":{"at":"2026-01-02","x":1.0}}]',
                "application/json",
            ),
            ("häi", "häi", "text/plain; charset=utf-8"),
            ("", "", "text/plain; charset=utf-8"),
            (b"\x00", "\x00", "application/octet-stream"),
        ],
    )
    async def test_becomes_a_body(self, value: object, body: str, content_type: str) -> None:
        for call in both(value):
            found = await payload(source(call))
            assert (found.loaded().decode(), found.content_type) == (body, content_type)

    @pytest.mark.parametrize(
        "value",
        [float("nan"), {"a": [float("nan")]}, Model(at=dt.date.today(), x=float("nan"))],  # noqa: DTZ011
    )
    async def test_keeps_its_nan_for_the_pipeline_to_see(self, value: object) -> None:
        for call in both(value):
            assert b"NaN" in (await payload(source(call))).loaded()

    @pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", {"a": "\ud800"}])
    async def test_is_rejected_when_it_is_not_data(self, value: object) -> None:
        for call in both(value):
            assert (await refusal(source(call))).failure.stage is Stage.DECODE

    async def test_is_rejected_when_it_holds_itself(self) -> None:
        value: list[object] = []
        value.append(value)
        for call in both(value):
            assert (await refusal(source(call))).failure.stage is Stage.DECODE

    async def test_is_rejected_when_it_is_none_with_the_way_out(self) -> None:
        for call in both(None):
            failed = await refusal(source(call))
            assert failed.failure.stage is Stage.DECODE
            assert "UNCHANGED" in str(failed)

    async def test_is_a_304_when_it_is_unchanged(self) -> None:
        first = await payload(source(list))
        for call in both(UNCHANGED):
            assert (await not_modified(source(call), first.revision)).revision == first.revision

    async def test_cannot_be_unchanged_when_there_is_nothing_yet(self) -> None:
        for call in both(UNCHANGED):
            failed = await refusal(source(call), None)
            assert failed.failure.stage is Stage.SOURCE
            assert "UNCHANGED" in str(failed)

    async def test_is_refused_above_the_limit(self) -> None:
        for call in both("12345"):
            assert (await payload(source(call, 5))).body == b"12345"
            failed = await refusal(source(call, 4))
            assert failed.failure.stage is Stage.BODY
            assert "max_bytes = 4" in str(failed)


class TestWhatIsRaised:
    async def test_is_named_and_kept_for_the_log(self) -> None:
        error = ValueError("no such\ncolumn")
        for call in raising(error):
            failed = await refusal(source(call))
            assert (failed.failure.stage, failed.transient) == (Stage.SOURCE, True)
            assert str(failed) == "ValueError: no such column"
            assert failed.__cause__ is error

    @pytest.mark.parametrize(
        "error",
        [
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            BaseException(),
            BaseExceptionGroup("g", [SystemExit()]),
            KeyError(),
        ],
    )
    async def test_does_not_end_the_service(self, error: BaseException) -> None:
        for call in raising(error):
            failed = await refusal(source(call))
            assert failed.failure.stage is Stage.SOURCE
            assert type(error).__name__ in str(failed)

    async def test_is_no_cancellation_of_the_job_unless_the_job_is_cancelled(self) -> None:
        for call in raising(asyncio.CancelledError()):
            failed = await refusal(source(call))
            assert failed.failure.stage is Stage.SOURCE
            assert "CancelledError" in str(failed)

    async def test_is_no_cancellation_of_the_job_when_a_function_cancels_its_own_task(self) -> None:
        async def call() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        failed = await refusal(source(call))
        assert failed.failure.stage is Stage.SOURCE

    async def test_is_named_where_it_cannot_be_printed(self) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise SystemExit

        for call in raising(Unprintable()):
            failed = await refusal(source(call))
            assert (failed.failure.stage, str(failed)) == (Stage.SOURCE, "Unprintable")

    async def test_passes_through_when_it_is_ours(self) -> None:
        error = RefreshFailed(Stage.AUTH, "no token", retry_after=5.0)
        for call in raising(error):
            assert await refusal(source(call)) is error

    async def test_counts_as_for_a_url_when_it_comes_from_httpx(
        self, upstream: FaultServer
    ) -> None:
        async def call(client: httpx.AsyncClient) -> object:
            return (await client.get("/x")).raise_for_status().json()

        async with open_client(base_url=upstream.url()) as client:
            upstream.script("/x", answer(429, headers={"Retry-After": "9"}), answer(401))
            ours = CallableSource(call, max_bytes=9, client=client)
            failed = await refusal(ours)
            assert (failed.failure.stage, failed.http_status) == (Stage.STATUS, 429)
            assert (failed.retry_after, failed.upstream_wide) == (9.0, True)
            assert failed.transient
            assert not (await refusal(ours)).transient

        async with open_client(base_url=f"http://127.0.0.1:{closed_port()}") as client:
            failed = await refusal(CallableSource(call, max_bytes=9, client=client))
            assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, True)

    async def test_of_another_origin_holds_no_upstream(self, upstream: FaultServer) -> None:
        async def call(client: httpx.AsyncClient) -> object:
            return (await client.get(url)).raise_for_status().json()

        url = upstream.script("/x", answer(429, headers={"Retry-After": "9"}))
        async with open_client(base_url="http://api.example") as client:
            failed = await refusal(CallableSource(call, max_bytes=9, client=client))
        assert (failed.retry_after, failed.upstream_wide) == (9.0, False)

    @pytest.mark.parametrize(
        ("error", "stage"),
        [
            (httpx.ReadTimeout("slow"), Stage.TIMEOUT),
            (httpx.TooManyRedirects("many"), Stage.REDIRECT),
            (httpx.DecodingError("bad"), Stage.BODY),
            (httpx.InvalidURL("bad"), Stage.CONNECT),
            (httpx.RemoteProtocolError("bad"), Stage.BODY),
        ],
    )
    async def test_has_the_stage_that_httpx_failed_at(self, error: Exception, stage: Stage) -> None:
        for call in raising(error):
            assert (await refusal(source(call))).failure.stage is stage


class TestACall:
    async def test_of_a_plain_function_is_made_in_a_daemon_thread(self) -> None:
        async def here() -> str:
            return threading.current_thread().name

        def there() -> list[object]:
            thread = threading.current_thread()
            return [thread.name, thread.daemon]

        assert (await payload(source(here))).loaded().decode() == threading.current_thread().name
        assert (await payload(source(there))).body == b'["refresher-there",true]'

    async def test_gets_the_client_only_if_it_has_a_place_for_it(self) -> None:
        async def with_client(client: object) -> object:
            return client is given

        async def optional(*, client: object = None) -> object:
            return client is given

        async def without() -> object:
            return True

        def plain(client: object = None) -> object:
            return client is None

        given = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
        for call in (with_client, optional, without, plain, functools.partial(with_client)):
            ours = CallableSource(call, max_bytes=9, client=given)
            assert (await payload(ours)).body == b"true"

    async def test_may_be_of_an_object(self) -> None:
        class Later:
            async def __call__(self) -> list[int]:
                return [1]

            def now(self) -> list[int]:
                return [2]

        assert (await payload(source(Later()))).body == b"[1]"
        assert (await payload(source(Later().now))).body == b"[2]"

    @pytest.mark.parametrize("plain", [False, True])
    async def test_is_left_at_the_deadline(self, *, plain: bool) -> None:
        released = threading.Event()

        async def later() -> None:
            await asyncio.Event().wait()

        ours = source(released.wait if plain else later)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ours.fetch(None)
        if plain:
            failed = await refusal(ours)
            assert (failed.failure.stage, failed.transient) == (Stage.TIMEOUT, True)
            assert "not started again" in str(failed)
        released.set()

    async def test_that_swallows_its_cancellation_is_left_and_not_made_again_while_it_runs(
        self,
    ) -> None:
        released, ended, calls = asyncio.Event(), asyncio.Event(), []

        async def stubborn() -> str:
            calls.append(1)
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            ended.set()
            return "late"

        ours = source(stubborn)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ours.fetch(None)
        failed = await refusal(ours)
        assert (failed.failure.stage, failed.transient) == (Stage.TIMEOUT, True)
        assert "not started again" in str(failed)
        assert len(calls) == 1
        released.set()
        await ended.wait()
        await asyncio.sleep(0)
        assert (await payload(ours)).body == b"late"

    async def test_that_is_cancelled_has_cleaned_up_when_it_is_left(self) -> None:
        done = []

        async def careful() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                done.append("cleaned up")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await source(careful).fetch(None)
        assert done == ["cleaned up"]

    async def test_in_a_cancelled_scope_has_cleaned_up_when_it_is_left(self) -> None:
        done = []

        async def careful() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                done.append("cleaned up")

        with anyio.move_on_after(0.01):
            await source(careful).fetch(None)
        assert done == ["cleaned up"]

    async def test_of_an_async_function_is_known_by_the_name_of_its_jobs_task(self) -> None:
        async def name() -> str:
            task = asyncio.current_task()
            assert task is not None
            return task.get_name()

        async with asyncio.TaskGroup() as tasks:
            found = tasks.create_task(payload(source(name)), name="refresher job rates")
        assert (await found).body == b"refresher job rates"


class TestASignature:
    def test_needs_nothing_or_the_client(self) -> None:
        async def with_client(client: object) -> None: ...
        async def keyword(*, client: object) -> None: ...
        def optional(a: int = 1, *args: int, **more: int) -> None: ...

        for call in (with_client, keyword, optional, lambda: None):
            check_signature(call)

    def test_that_needs_more_is_an_error_by_name(self) -> None:
        async def other(client: object, session: object) -> None: ...
        async def positional(client: object, /) -> None: ...

        for call, name in ((other, "session"), (positional, "client"), (lambda x: x, "x")):
            with pytest.raises(ConfigError, match=f"needs the argument '{name}'"):
                check_signature(call)

    def test_that_a_function_in_c_does_not_tell_is_left_to_the_call(self) -> None:
        check_signature(dict)
        check_signature({}.update)

    def test_of_a_plain_function_takes_no_client(self) -> None:
        with pytest.raises(ConfigError, match="make it an async def"):
            check_signature(lambda client: client)


class TestAReference:
    def test_is_imported(self) -> None:
        assert import_callable("json:dumps").__name__ == "dumps"
        assert import_callable("json:JSONDecoder.decode").__name__ == "decode"

    @pytest.mark.parametrize(
        ("reference", "problem"),
        [
            ("json", "write it as package.module:function"),
            (":dumps", "write it as package.module:function"),
            ("json:", "write it as package.module:function"),
            ("no_such_module:f", "no module 'no_such_module'"),
            ("json.nothing:f", "no module 'json.nothing'"),
            ("json:nothing", "'json' has no 'nothing'"),
            ("json:decoder", "cannot be called"),
            (".json:dumps", "write it as package.module:function"),
        ],
    )
    def test_that_leads_nowhere_says_where_it_ends(self, reference: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            import_callable(reference)

    @pytest.mark.parametrize("statement", ["1/0", "import sys; sys.exit(3)", "def f(:"])
    def test_to_a_module_that_cannot_be_imported_says_why(
        self, statement: str, tmp_path: Path
    ) -> None:
        name = f"broken_{abs(hash(str(tmp_path)))}"
        (tmp_path / f"{name}.py").write_text(statement)
        sys.path.insert(0, str(tmp_path))
        try:
            with pytest.raises(ConfigError, match=f"importing '{name}' raised"):
                import_callable(f"{name}:f")
        finally:
            sys.path.remove(str(tmp_path))
