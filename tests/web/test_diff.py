import json
from pathlib import Path
from typing import Any

import httpx
import jsonpatch
import pytest

from refresher import Refresher
from refresher.store.backends.sqlite.store import SqliteStore
from tests.fakes import FakeClock
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, PATIENT, TOKEN, Upstream, cache_of, kept_versions, serving

LARGEST = 8 * 1024 * 1024


def texts(clock: FakeClock, *bodies: bytes, **keys: str) -> Refresher:
    """A cache whose job brings these bodies as they are, one every 100 s."""
    left = list(bodies)

    def one() -> bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    cache = Refresher(
        {"defaults": {**PATIENT["defaults"], "max_bytes": "64MiB"}, "server": {"seed": ""}},
        clock=clock,
        admin_token=TOKEN,
        store=FailingStore(),
    )
    cache.job("one", **{"format": "json", **keys})(one)  # type: ignore[arg-type]
    return cache


async def refreshed(client: httpx.AsyncClient, times: int = 1) -> None:
    for _ in range(times):
        await client.post("/admin/refresh", json={"wait": "30s", "force": True}, headers=ADMIN)


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()["type"].removeprefix("urn:refresher:")


async def test_a_diff_turns_the_one_version_into_the_other() -> None:
    clock = FakeClock()
    before, after = {"a": [1, 2, 3], "b": {"c": "x"}}, {"a": [1, 3, 4], "b": {"c": "y"}, "d": None}
    async with serving(cache_of(clock, one=Upstream(before, after))) as client:
        await clock.advance(100)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json-patch+json"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["cache-control"] == "no-store"
        assert jsonpatch.apply_patch(before, answer.json()) == after
        back = await client.get("/jobs/one/diff?to=1&from=2&x=y")
        assert jsonpatch.apply_patch(after, back.json()) == before
        assert (await client.get("/jobs/one/diff?from=2&to=2")).json() == []
        head = await client.head("/jobs/one/diff?from=1&to=2")
        assert (head.content, head.headers) == (b"", answer.headers)


async def test_numbers_that_no_double_holds_keep_their_digits() -> None:
    before, after = b'{"n":12345678901234567890,"m":1.10}', b'{"n":12345678901234567891,"m":1.1}'
    async with serving(texts(FakeClock(), before, after)) as client:
        await refreshed(client, 2)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert b'"value":12345678901234567891}' in answer.content
        assert b'"value":1.1}' in answer.content


async def test_large_versions_are_compared_by_a_worker_process() -> None:
    def rows(skip: int) -> bytes:
        return json.dumps(
            [{"id": n, "v": [n, "x" * 50]} for n in range(20_000) if n != skip]
        ).encode()

    async with serving(texts(FakeClock(), rows(7), rows(9))) as client:
        await refreshed(client, 2)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert [(each["op"], each["path"]) for each in answer.json()] == [
            ("add", "/7"),
            ("remove", "/9"),
        ]


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
async def test_what_is_above_8_mib_is_not_compared(extra: int, status: int) -> None:
    large = b'"%b"' % (b"x" * (LARGEST - 2 + extra))
    async with serving(texts(FakeClock(), large, b"1")) as client:
        await refreshed(client, 2)
        for pair in ("from=1&to=2", "from=2&to=1"):
            answer = await client.get(f"/jobs/one/diff?{pair}")
            assert answer.status_code == status
            if status == 413:
                assert problem_of(answer) == (413, "too-large-to-compare")


@pytest.mark.parametrize(
    "keys",
    [{"format": "text"}, {"format": "bytes"}, {"format": "csv", "raw": True}],
)
async def test_what_is_not_json_is_not_compared(keys: dict[str, Any]) -> None:
    async with serving(texts(FakeClock(), b"a,b\n1,2\n", b"a,b\n3,4\n", **keys)) as client:
        await refreshed(client, 2)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert problem_of(answer) == (422, "not-json")


async def test_what_was_made_json_is_compared() -> None:
    async with serving(texts(FakeClock(), b"a\n1\n", b"a\n2\n", format="csv")) as client:
        await refreshed(client, 2)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert answer.json() == [{"op": "replace", "path": "/0/a", "value": "2"}]


async def test_what_is_empty_is_not_compared() -> None:
    keys: dict[str, Any] = {"guard": {"allow_empty": True}}
    async with serving(texts(FakeClock(), b"", b"1", **keys)) as client:
        await refreshed(client, 2)
        answer = await client.get("/jobs/one/diff?from=1&to=2")
        assert problem_of(answer) == (422, "not-json")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "from and to"),
        ("from=1", "to"),
        ("to=1", "from"),
        ("from=1&to=", "to"),
        ("from=0&to=1", "from"),
        ("from=1&to=1.5", "to"),
        ("from=1&to=1&to=1", "to"),
    ],
)
async def test_both_numbers_have_to_be_there(query: str, named: str) -> None:
    async with serving(cache_of(one=Upstream())) as client:
        answer = await client.get(f"/jobs/one/diff?{query}")
        assert problem_of(answer) == (400, "invalid-version")
        assert answer.json()["detail"].startswith(f"{named}: ")


async def test_versions_that_are_not_to_be_had_are_404_410_and_503() -> None:
    clock, store = FakeClock(), FailingStore()
    cache = cache_of(clock, {"store": {"history": 1}}, store, one=Upstream([1], [2]))
    async with serving(cache) as client:
        await clock.advance(100)
        for query, expected in (
            ("from=2&to=3", (404, "unknown-version")),
            ("from=3&to=2", (404, "unknown-version")),
            ("from=1&to=2", (410, "gone-version")),
            ("from=2&to=1", (410, "gone-version")),
        ):
            assert problem_of(await client.get(f"/jobs/one/diff?{query}")) == expected
        unknown = await client.get("/jobs/nope/diff?from=1&to=2")
        assert problem_of(unknown) == (404, "unknown-job")
        store.away = True
        answer = await client.get("/jobs/one/diff?from=2&to=2")
        assert problem_of(answer) == (503, "store-unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_versions_of_a_store_that_lasts_are_compared_over_restarts(tmp_path: Path) -> None:
    numbers = []
    for body in ([1], [1, 2]):
        cache = cache_of(None, {}, SqliteStore(tmp_path / "store.db"), one=Upstream(body))
        async with serving(cache) as client:
            numbers.append((await kept_versions(client, "one"))[0])
            query = f"from={numbers[0]}&to={numbers[-1]}"
            found = (await client.get(f"/jobs/one/diff?{query}")).json()
            assert found == ([{"op": "add", "path": "/1", "value": 2}] if len(body) > 1 else [])
