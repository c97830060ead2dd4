import asyncio
import dataclasses
import logging
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import anyio
import httpx
import pytest
from annotated_types import Len
from fastapi import FastAPI
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from refresher import Attempt, Outcome, Refresher, ServiceError, Stage, State
from refresher.api import JobKeys
from refresher.config.definition import with_types
from refresher.errors import RefreshFailed
from refresher.model import Definition
from refresher.store.backends.memory import MemoryStore
from refresher.testing import freeze
from tests.fakes import FakeClock, settled
from tests.faults import FaultServer, json_answer
from tests.service.caches import entered

if typing.TYPE_CHECKING:
    from decimal import Decimal

QUOTA = {"error": "quota"}


class Flags(BaseModel):
    dark: bool = False


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    n: int


@dataclasses.dataclass
class Point:
    x: float


class Rate(TypedDict):
    code: Literal["EUR", "USD"]
    value: float


class Old(typing.TypedDict):
    code: str


class Unfinished(BaseModel):
    model_config = ConfigDict(defer_build=True)
    x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class Arbitrary:
    """A class that pydantic knows nothing of."""


class Script:
    """Answers in turn, the last one for ever: as a function's return value, or over HTTP."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def next(self) -> object:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def function(self, annotation: object, *, plain: bool = False) -> Callable[..., Any]:
        async def names() -> object:
            return self.next()

        def plainly() -> object:
            return self.next()

        function = plainly if plain else names
        function.__annotations__["return"] = annotation
        return function

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.next()
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer)


def in_code(
    script: Script, annotation: object, *, plain: bool = False, **keys: Unpack[JobKeys]
) -> Refresher:
    cache = Refresher({"defaults": {"interval": "100s"}}, clock=FakeClock())
    cache.job("names", **keys)(script.function(annotation, plain=plain))
    return cache


def by_url(script: Script, *, store: MemoryStore | None = None, **keys: object) -> Refresher:
    return Refresher(
        {"jobs": {"names": {"url": "http://up/", "interval": "100s", **keys}}},
        transport=httpx.MockTransport(script),
        clock=FakeClock(),
        store=store,
    )


async def asked(dependency: object) -> httpx.Response:
    """What a route answers that is given the dependency."""
    app = FastAPI()
    given = Annotated[Any, dependency]

    @app.get("/")
    async def route(value: given) -> object:
        return {"value": value}

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.get("/")


def refused(attempt: Attempt, *said: str) -> None:
    assert attempt.outcome is Outcome.REJECTED
    assert attempt.failure is not None
    assert attempt.failure.stage is Stage.SCHEMA
    for each in said:
        assert each in attempt.failure.message


GOOD_AND_BAD = [
    (list[str], ["Ada"], QUOTA, "Input should be a valid array"),
    (list[str], ["Ada"], [1], "at /0: Input should be a valid string"),
    (dict[str, list[int]], {"a": [1]}, {"a": ["x"]}, "at /a/0: Input should be a valid integer"),
    (Flags, {"dark": True}, ["dark"], "the type Flags"),
    (list[Strict], [{"n": 1}], [{"n": "1"}], "at /0/n: Input should be a valid integer"),
    (Point, {"x": 1.5}, QUOTA, "at /x: Field required"),
    (Rate, {"code": "EUR", "value": 1.0}, {"code": "XXX", "value": 1}, "'EUR' or 'USD'"),
    (list[int] | dict[str, int], {"a": 1}, {"a": "b"}, "valid array; at /dict"),
    (Annotated[list[str], Len(1)], ["a"], [], "at least 1 item"),
    (Annotated[list[int], Field(max_length=1), {"un": "hashable"}], [1], [1, 2], "at most 1"),
]


@pytest.mark.parametrize(("type_", "good", "bad", "said"), GOOD_AND_BAD)
async def test_what_a_function_says_it_returns_is_a_rule(
    type_: object, good: object, bad: object, said: str
) -> None:
    cache = in_code(Script(good, bad), type_)
    async with entered(cache):
        body = cache.get("names").body
        refused(await cache.refresh("names"), said)
        assert cache.get("names").body == body, "the last good data stays"
        assert cache.get("names").state is State.STALE


@pytest.mark.parametrize(
    ("type_", "good", "bad", "said"),
    [
        (list[str], ["Ada"], QUOTA, "valid array"),
        (str, "Ada", QUOTA, "Input should be a valid string"),
        (str, "Ada", ["Ada"], "Input should be a valid string"),
        (bytes, b"\x00Ada", QUOTA, "Input should be a valid bytes"),
        (int, 7, "seven", "valid integer"),
        (list[str], ["Ada"], "Ada", "valid list"),
    ],
)
async def test_of_a_plain_function_too(type_: object, good: object, bad: object, said: str) -> None:
    cache = in_code(Script(bad, bad, good), type_, plain=True)
    async with cache:
        refused(await cache.refresh("names"), said)
        for _ in range(2):
            attempt = await cache.refresh("names")
        assert attempt.outcome in {Outcome.CHANGED, Outcome.UNCHANGED}
        assert cache.get("names").value == good


@pytest.mark.parametrize(("type_", "good", "bad", "said"), GOOD_AND_BAD)
async def test_what_a_dependency_reads_is_a_rule(
    type_: object, good: object, bad: object, said: str
) -> None:
    cache = by_url(Script(good, bad))
    dependency = cache.depends("names", type_)
    async with entered(cache):
        before = (await asked(dependency)).json()
        refused(await cache.refresh("names"), said)
        assert (await asked(dependency)).json() == before
        assert cache.get("names").state is State.STALE


async def test_several_dependencies_must_hold_all() -> None:
    both = [{"n": 1}]
    cache = by_url(Script(both, [{"n": 1, "m": 2}], ["n"], both))
    lenient, strict = (
        cache.depends("names", list[dict[str, int]]),
        cache.depends("names", list[Strict]),
    )
    async with entered(cache):
        refused(await cache.refresh("names"), "at /0/m: Extra inputs are not permitted")
        refused(await cache.refresh("names"), "Input should be")
        assert (await cache.refresh("names")).outcome is Outcome.UNCHANGED
        for dependency in (lenient, strict):
            assert (await asked(dependency)).json() == {"value": both}


@pytest.mark.parametrize("type_", [None, Any, object])
async def test_what_may_be_anything_is_no_rule(type_: object) -> None:
    cache = by_url(Script(["a"], QUOTA))
    cache.depends("names", type_)
    untyped = Refresher(clock=FakeClock())
    untyped.job("names")(Script(QUOTA).function(type_ or Any))
    without = by_url(Script(["a"]))
    async with entered(cache), entered(untyped), entered(without):
        assert (await cache.refresh("names")).outcome is Outcome.CHANGED
        assert untyped.get("names").value == QUOTA
        rules = [one.service.config.jobs["names"].definition.rules for one in (cache, without)]
        assert rules[0] == rules[1]


async def test_a_wrapped_function_and_an_object_that_is_called_say_it_too() -> None:
    class Object:
        async def __call__(self) -> list[str]:
            return QUOTA  # type: ignore[return-value]  # an upstream that is trusted too much

        async def method(self) -> list[str]:
            return await self()

    cache = Refresher(clock=FakeClock())
    functions: list[Callable[..., object]] = [Object(), Object().method, partial(Object().method)]
    for number, function in enumerate(functions):
        cache.job(f"job{number}")(function)
    async with entered(cache):
        for number in range(3):
            refused(await cache.refresh(f"job{number}"), "Input should be a valid array")


@pytest.mark.parametrize("answer", ['{"a": 1}', '["Ada"]', "Ada", "", b'{"a": 1}', b"[1]", b"\x00"])
async def test_text_is_a_text_also_where_json_is_found_in_it(answer: str | bytes) -> None:
    cache = in_code(Script(answer), type(answer), guard={"allow_empty": True})
    dependency = cache.depends("names")
    async with entered(cache):
        assert cache.get("names").value == answer
        assert (await asked(dependency)).status_code == 200


async def test_what_a_format_makes_of_a_text_is_of_the_type_of_either() -> None:
    for type_, value in ((str, '[{"a":"1"}]'), (list[dict[str, int]], [{"a": 1}])):
        cache = in_code(Script("a\n1\n"), type_, format="csv")
        async with entered(cache):
            assert cache.get("names").value == value


async def test_with_select_a_function_returns_something_else_than_what_is_served() -> None:
    cache = in_code(Script({"names": ["Ada"]}, {"names": 7}), dict[str, object], select="names")
    async with entered(cache):
        assert cache.get("names").body == b'["Ada"]'
    cache = in_code(Script({"names": ["Ada"]}, {"names": 7}), list[str], select="names")
    cache.depends("names")
    async with entered(cache):
        refused(await cache.refresh("names"), "Input should be a valid array")


async def test_a_candidate_of_the_guard_is_of_the_type_too() -> None:
    cache = by_url(Script([1, 2, 3, 4], ["a"], [1]), guard={"max_shrink": "50%"})
    cache.depends("names", list[int])
    async with entered(cache):
        refused(await cache.refresh("names"), "at /0: Input should be a valid integer")
        attempt = await cache.refresh("names")
        assert attempt.failure is not None
        assert attempt.failure.stage is Stage.GUARD


async def test_a_validator_that_breaks_refuses_too_and_no_secret_is_told() -> None:
    def breaks(value: object) -> object:
        raise KeyError(value)

    cache = by_url(Script(["s3cret-token " * 50]), auth={"type": "bearer", "token": "s3cret-token"})
    dependency = cache.depends("names", Annotated[list[str], AfterValidator(breaks)], default=7)
    async with entered(cache):
        attempt = await cache.refresh("names")
        refused(attempt, "KeyError")
        assert attempt.failure is not None
        assert "s3cret" not in attempt.failure.message
        assert len(attempt.failure.message) < 400
        assert (await asked(dependency)).json() == {"value": 7}


async def test_a_long_reason_is_clipped() -> None:
    def says_all(value: list[str]) -> list[str]:
        raise ValueError(value)

    cache = by_url(Script(["word"] * 1000))
    cache.depends("names", Annotated[list[str], AfterValidator(says_all)])
    async with entered(cache):
        attempt = await cache.refresh("names")
        refused(attempt, "Value error, ['word', 'word'", "…")
        assert attempt.failure is not None
        assert len(attempt.failure.message) < 1000


async def test_a_secret_that_is_rotated_is_used_where_types_are_declared_too(
    tmp_path: Path,
) -> None:
    config, secret, script = tmp_path / "config.toml", tmp_path / "secret", Script(["a"])
    await asyncio.to_thread(
        config.write_text,
        '[jobs.names]\nurl = "http://up/"\nauth = { type = "bearer", token = "${file:secret}" }\n',
    )
    await asyncio.to_thread(secret.write_text, "0ld-token")
    cache = Refresher(config, transport=httpx.MockTransport(script), store=MemoryStore())
    cache.depends("names", list[str])
    async with entered(cache):
        await asyncio.to_thread(secret.write_text, "n3w-token")
        with anyio.fail_after(60):
            while script.asked[-1].headers["authorization"] != "Bearer n3w-token":
                await cache.refresh("names")
                await anyio.sleep(0.05)


async def test_content_that_is_large_is_validated_in_a_thread_once_and_its_value_is_kept() -> None:
    threads: list[threading.Thread] = []

    def note(value: list[str]) -> list[str]:
        threads.append(threading.current_thread())
        return value

    large = ["x" * 1000] * 1100
    cache = by_url(Script(large), timeout="5m", interval="1h")
    dependency = cache.depends("names", Annotated[list[str], AfterValidator(note)])
    async with cache:
        await cache.refresh("names")
        assert (await asked(dependency)).json() == {"value": large}
        await cache.refresh("names")
        await asked(dependency)
    (thread,) = threads
    assert thread is not threading.current_thread()


@dataclasses.dataclass
class Counted:
    count: int = 0

    def __post_init__(self) -> None:
        self.type: Any = Annotated[list[str], AfterValidator(self.note)]

    def note(self, value: list[str]) -> list[str]:
        self.count += 1
        if value == ["bad"]:
            raise ValueError("bad")
        return value


async def test_a_version_is_validated_once_by_the_rule_and_all_readers() -> None:
    counted = Counted()
    cache = by_url(Script(["a"], ["a"], ["b"]))
    dependency = cache.depends("names", counted.type)
    async with entered(cache):
        for expected in ("a", "a", "b"):
            for _ in range(3):
                assert (await asked(dependency)).json() == {"value": [expected]}
            await cache.refresh("names")
        assert counted.count == 2


class TestAnEarlierRun:
    async def kept(self, script: Script, type_: object) -> MemoryStore:
        store = MemoryStore()
        cache = by_url(script, store=store)
        if type_ is not None:
            cache.depends("names", type_)
        async with entered(cache):
            assert cache.get("names").version == 1
        return store

    async def test_with_other_types_is_served_as_stale_and_fetched_anew_without_validators(
        self,
    ) -> None:
        script = Script(httpx.Response(200, json=["a"], headers={"etag": '"1"'}))
        store = await self.kept(script, None)
        cache = by_url(script, store=store)
        dependency = cache.depends("names", list[str])
        async with cache:
            assert cache.get("names").state is State.STALE
            assert (await asked(dependency)).json() == {"value": ["a"]}
            await settled()
            assert cache.get("names").state is State.FRESH
        assert "if-none-match" not in script.asked[-1].headers

    async def test_with_the_same_types_is_fresh_and_asked_about(self) -> None:
        script = Script(["a"])
        store = await self.kept(script, list[str])
        cache = by_url(script, store=store)
        dependency = cache.depends("names", list[str])
        async with entered(cache):
            assert cache.get("names").state is State.FRESH
            assert (await asked(dependency)).json() == {"value": ["a"]}
        assert len(script.asked) == 1

    async def test_whose_data_is_of_no_type_of_now_is_pending_for_a_dependency(self) -> None:
        script = Script(QUOTA)
        store = await self.kept(script, None)
        cache = by_url(script, store=store)
        dependencies = [
            cache.depends("names", list[str]),
            cache.depends("names", list[str], default=[]),
        ]
        async with entered(cache):
            assert cache.get("names").body == b'{"error":"quota"}', "as before, and stale"
            assert cache.get("names").state is State.STALE
            pending, default = [await asked(each) for each in dependencies]
            assert pending.status_code == 503
            assert int(pending.headers["retry-after"]) >= 1
            assert pending.json() == {"detail": "names has no data of the type that is asked for"}
            assert default.json() == {"value": []}
            script.answers = [["a"]]
            await cache.refresh("names")
            for each in dependencies:
                assert (await asked(each)).json() == {"value": ["a"]}

    @pytest.mark.parametrize("status", [200, 304])
    async def test_that_validated_otherwise_is_not_confirmed(self, status: int) -> None:
        """A validator written in Python changes without a change of the JSON schema."""

        def lenient(value: list[str]) -> list[str]:
            return value

        good = httpx.Response(200, json=["bad"], headers={"etag": '"1"'})
        script = Script(good, good if status == 200 else httpx.Response(304))
        store = await self.kept(script, Annotated[list[str], AfterValidator(lenient)])
        cache = by_url(script, store=store)
        dependency = cache.depends("names", Counted().type)
        async with entered(cache):
            assert (await asked(dependency)).status_code == 503
            refused(await cache.refresh("names"), "Value error, bad")
            assert cache.get("names").state is State.STALE


class TestOnEntry:
    async def wrong(self, cache: Refresher, *said: str) -> None:
        with pytest.raises(ServiceError) as wrong:
            await cache.__aenter__()
        for each in said:
            assert each in str(wrong.value)

    async def test_an_unknown_job_is_an_error_also_with_a_default(self) -> None:
        cache = by_url(Script(["a"]))
        cache.depends("nmaes", default=[])
        cache.depends("nope", list[str], default=[])
        await self.wrong(cache, "no job is called 'nmaes'; did you mean \"names\"?", "'nope'")

    async def test_a_function_that_is_no_job_is_an_error_until_it_is_one(self) -> None:
        async def names() -> list[str]:
            return ["Ada"]

        cache = Refresher(clock=FakeClock())
        dependency = cache.depends(names)
        await self.wrong(cache, "is no job of this cache")
        cache.job()(names)
        async with entered(cache):
            assert (await asked(dependency)).json() == {"value": ["Ada"]}

    @pytest.mark.parametrize(
        ("type_", "said"),
        [
            (Arbitrary, "Unable to generate pydantic-core schema"),
            (list[Arbitrary], "Unable to generate pydantic-core schema"),
            (5, "5 cannot be validated by"),
            ("Nowhere", "name 'Nowhere' is not defined"),
            (Unfinished, "name 'Nowhere' is not defined"),
            (list["Nowhere"], "name 'Nowhere' is not defined"),  # type: ignore[name-defined]  # noqa: F821
            pytest.param(
                list[Old],
                "Please use `typing_extensions.TypedDict`",
                marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="it can be there"),
            ),
        ],
    )
    async def test_what_cannot_be_a_type_is_an_error_also_with_a_default(
        self, type_: object, said: str
    ) -> None:
        cache = by_url(Script(["a"]))
        cache.depends("names", type_, default=[])
        await self.wrong(cache, "depends('names'", said)

    async def test_every_problem_is_told_at_once(self) -> None:
        cache = by_url(Script(["a"]))
        cache.depends("nope")
        cache.depends("names", Arbitrary)
        await self.wrong(cache, "'nope'", "Arbitrary")

    async def test_what_a_function_returns_must_be_a_type_where_a_dependency_reads_it(self) -> None:
        async def price() -> "Decimal":
            raise NotImplementedError

        cache = Refresher(clock=FakeClock())
        cache.job()(price)
        cache.depends(price)
        await self.wrong(cache, "'Decimal' is not defined", "TYPE_CHECKING")

    async def test_what_nobody_can_validate_by_is_no_rule_and_named_in_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = Refresher(clock=FakeClock())
        for name, type_ in (("later", "Decimal"), ("odd", Arbitrary), ("lazy", Iterator[int])):
            cache.job(name)(Script([1]).function(type_))
        with caplog.at_level(logging.WARNING, "refresher"):
            async with entered(cache):
                for entry in cache.service.states:
                    assert entry.record.snapshot is not None
                    assert entry.record.snapshot.content.body == b"[1]"
        assert "later says it returns Decimal" in caplog.text
        assert "Arbitrary" in caplog.text

    async def test_a_type_may_be_defined_after_it_is_named(self) -> None:
        cache = by_url(Script({"dark": True}, QUOTA | {"dark": "?"}))
        dependencies = [cache.depends("names", each) for each in ("Late", Late | None, "Flags")]
        async with entered(cache):
            refused(await cache.refresh("names"), "at /dark")
            for each in dependencies:
                assert (await asked(each)).json() == {"value": {"dark": True}}

    async def test_one_that_is_made_while_it_runs_is_checked_at_once(self) -> None:
        cache = by_url(Script(QUOTA))
        async with entered(cache):
            with pytest.raises(ServiceError, match="no job is called 'nope'"):
                cache.depends("nope")
            with pytest.raises(ServiceError, match="Arbitrary"):
                cache.depends("names", Arbitrary)
            dependency = cache.depends("names", list[str], default=["none"])
            assert (await asked(dependency)).json() == {"value": ["none"]}
            assert (await cache.refresh("names")).outcome is Outcome.UNCHANGED
        async with entered(cache):
            refused(await cache.refresh("names"), "Input should be a valid array")


if typing.TYPE_CHECKING:
    Late = Flags
else:

    class Late(BaseModel):
        dark: "Dark"


Dark = bool


async def test_a_frozen_value_of_another_type_is_pending_for_a_dependency() -> None:
    cache = by_url(Script(["a"]))
    dependency = cache.depends("names", list[str])
    freeze(cache, "names", QUOTA)
    async with entered(cache):
        assert (await asked(dependency)).status_code == 503


async def test_value_itself_still_says_what_is_wrong_with_what_was_restored() -> None:
    cache = in_code(Script(["a"]), list[str])
    freeze(cache, "names", QUOTA)
    async with entered(cache):
        with pytest.raises(ValidationError) as wrong:
            _ = cache.get("names").value
        assert wrong.value.__notes__ == ["This is version 1 of names."]


async def test_a_function_of_a_file_says_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    await asyncio.to_thread(
        (tmp_path / "declared_by_a_file.py").write_text,
        "async def names() -> list[str]:\n    return {'error': 'quota'}\n",
    )
    cache = Refresher({"jobs": {"names": {"python": "declared_by_a_file:names"}}})
    async with cache:
        refused(await cache.refresh("names"), "Input should be a valid array")


async def test_two_processes_with_other_types_keep_data_of_their_own() -> None:
    store, script = MemoryStore(), Script(QUOTA)
    lenient, strict = by_url(script, store=store), by_url(script, store=store)
    strict.depends("names", list[str])
    async with entered(lenient), entered(strict):
        refused(await strict.refresh("names"), "Input should be a valid array")
        assert lenient.get("names").state is State.FRESH
        assert strict.get("names").state is State.STALE


class TestTheDefinition:
    def test_is_another_with_types_and_the_same_in_whichever_order(self) -> None:
        plain = Definition("source", "rules")
        typed = with_types(plain, ["a", "b"])
        assert typed == with_types(plain, ["b", "a", "a"])
        assert typed.source == plain.source
        assert len({plain.rules, typed.rules, with_types(plain, ["a"]).rules}) == 3

    async def test_is_the_same_in_every_process(self) -> None:
        code = (
            "import asyncio\n"
            "from pydantic import BaseModel\n"
            "from refresher import Refresher\n"
            "class M(BaseModel):\n"
            "    tags: frozenset[str] = frozenset('abcdefgh')\n"
            "class N(BaseModel):\n"
            "    m: M = M()\n"
            "cache = Refresher()\n"
            "@cache.job()\n"
            "async def names() -> N: ...\n"
            "async def main():\n"
            "    async with cache:\n"
            "        print(cache.service.config.jobs['names'].definition.rules)\n"
            "asyncio.run(main())\n"
        )

        async def said(seed: str) -> bytes:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code),
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=asyncio.subprocess.PIPE,
            )
            return (await process.communicate())[0]

        (rules,) = {await said(seed) for seed in "12"}
        assert len(rules.split()) == 1

    @pytest.mark.parametrize(
        "types",
        [
            {"a": list[str], "b": list[int]},
            {"a": Flags, "b": Strict},
            {"a": Annotated[list[str], Len(1)], "b": list[str]},
        ],
    )
    async def test_is_another_with_each_type(self, types: Mapping[str, Any]) -> None:
        rules = set()
        for type_ in types.values():
            cache = in_code(Script(RefreshFailed(Stage.SOURCE, "down")), type_)
            async with cache:
                rules.add(cache.service.config.jobs["names"].definition.rules)
        assert len(rules) == 2


async def test_a_function_that_asks_an_upstream_keeps_its_last_good_copy(
    upstream: FaultServer,
) -> None:
    url = upstream.script("/names", json_answer(b'["Ada"]'), json_answer(b'{"error":"quota"}'))
    cache = Refresher()

    @cache.job(interval="1h")
    async def names(client: httpx.AsyncClient) -> list[str]:
        response = await client.get(url)
        return response.raise_for_status().json()  # type: ignore[no-any-return]  # as many write it

    app = FastAPI(lifespan=cache.lifespan)
    app.include_router(cache.router())
    all_names = Annotated[list[str], cache.depends(names)]

    @app.get("/greet")
    async def greet(names: all_names) -> str:
        return f"Hello {', '.join(names)}"

    transport = httpx.ASGITransport(app)
    async with cache, httpx.AsyncClient(transport=transport, base_url="http://us") as client:
        while not cache.service.jobs.known("names").served:
            await cache.refresh(names)
        for _ in range(2):
            assert (await client.get("/greet")).json() == "Hello Ada"
            answer = await client.get("/data/names")
            assert answer.json() == ["Ada"]
            attempt = await cache.refresh(names)
        refused(attempt, "the type list[str]: at the root: Input should be a valid array")
        assert "detail=schema" in (await client.get("/data/names")).headers["cache-status"]
