from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from refresher import Refresher
from refresher.fields.dates import http_date
from refresher.pipeline import representation
from refresher.store.backends.sqlite.store import SqliteStore
from refresher.store.protocols import Backend
from refresher.web.data.versions import requested_version, version_number
from tests.fakes import START, FakeClock, settled
from tests.store.backends.failing import FailingStore
from tests.web.serving import ADMIN, PATIENT, Upstream, asking, cache_of, kept_versions, serving

TEXT = ["value, " * 400]
"""Large enough to be compressed."""


def etag(body: bytes) -> str:
    return representation.etag_of(body, "application/json")


def three(
    clock: FakeClock, store: Backend | None = None, config: Mapping[str, object] = {}
) -> Refresher:
    """A cache whose job brings another value every 100 s, three in all."""
    return cache_of(clock, config, store or FailingStore(), one=Upstream([1], [2], [3]))


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Accept-Encoding"
    return answer.status_code, answer.json()["type"]


async def test_a_version_is_read_by_its_number_with_all_its_fields_and_no_others() -> None:
    clock = FakeClock()
    async with serving(three(clock)) as client:
        await clock.advance(200)
        assert (await client.get("/data/one")).headers["refresher-version"] == "3"
        answer = await client.get("/data/one?version=2")
        assert (answer.status_code, answer.content) == (200, b"[2]")
        assert dict(answer.headers) == {
            "content-type": "application/json",
            "content-length": "3",
            "etag": etag(b"[2]"),
            "last-modified": answer.headers["last-modified"],
            "cache-control": "no-cache",
            "vary": "Accept-Encoding",
            "refresher-version": "2",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        }


async def test_its_last_modified_is_when_it_came() -> None:
    clock = FakeClock()
    async with serving(three(clock)) as client:
        await clock.advance(1000)
        answer = await client.get("/data/one?version=1")
        assert answer.headers["last-modified"] == http_date(START)


async def test_it_has_none_where_the_version_before_is_of_the_same_second() -> None:
    clock = FakeClock()
    async with serving(three(clock)) as client:
        await client.post("/admin/refresh", headers=ADMIN)
        await settled()
        since = {"if-modified-since": http_date(START + 5)}
        answer = await client.get("/data/one?version=2", headers=since)
        assert answer.status_code == 200
        assert "last-modified" not in answer.headers


async def test_the_current_version_is_read_by_its_number_too() -> None:
    async with serving(three(FakeClock())) as client:
        by_number, current = await client.get("/data/one?version=1"), await client.get("/data/one")
        assert by_number.content == current.content
        assert by_number.headers["etag"] == current.headers["etag"]
        assert "age" not in by_number.headers


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_caches_ask_with_its_etag_before_each_use_whatever_the_store(
    store: str, tmp_path: Path
) -> None:
    backend = SqliteStore(tmp_path / "store.db") if store == "file" else None
    async with serving(cache_of(None, {}, backend, one=Upstream([1]))) as client:
        answer = await client.get("/data/one?version=1")
        assert answer.headers["cache-control"] == "no-cache"
        again = {"if-none-match": answer.headers["etag"]}
        current = await client.get("/data/one?version=1", headers=again)
        assert (current.status_code, current.headers["cache-control"]) == (304, "no-cache")


async def test_a_number_that_names_other_bytes_since_its_store_was_lost_is_not_a_304(
    tmp_path: Path,
) -> None:
    answers: list[httpx.Response] = []
    for value in ([1], [2]):
        file = tmp_path / f"{value}.db"  # the second one is new
        async with serving(cache_of(None, {}, SqliteStore(file), one=Upstream(value))) as client:
            assert await kept_versions(client, "one") == [1]
            headers = {"if-none-match": answers[-1].headers["etag"]} if answers else {}
            answers.append(await client.get("/data/one?version=1", headers=headers))
    assert [(each.status_code, each.content) for each in answers] == [(200, b"[1]"), (200, b"[2]")]


async def test_head_says_what_get_says() -> None:
    async with serving(cache_of(None, {}, FailingStore(), one=Upstream(TEXT))) as client:
        for accept in ("identity", "gzip"):
            headers = {"accept-encoding": accept}
            get = await client.get("/data/one?version=1", headers=headers)
            head = await client.head("/data/one?version=1", headers=headers)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers == get.headers


class TestCoding:
    async def test_is_chosen_as_for_the_current_version(self) -> None:
        async with serving(cache_of(None, {}, FailingStore(), one=Upstream(TEXT))) as client:
            for accept in ("gzip", "identity", "gzip;q=0", "br, *;q=0.5", "zstd", "gzip, br", ""):
                headers = {"accept-encoding": accept}
                current = await client.get("/data/one", headers=headers)
                by_number = await client.get("/data/one?version=1", headers=headers)
                names = ("etag", "content-encoding", "content-length", "vary", "content-type")
                assert [by_number.headers.get(name) for name in names] == [
                    current.headers.get(name) for name in names
                ]
                assert by_number.content == current.content

    async def test_is_identity_for_what_gains_nothing(self) -> None:
        async with serving(three(FakeClock())) as client:
            answer = await client.get("/data/one?version=1", headers={"accept-encoding": "gzip"})
            assert "content-encoding" not in answer.headers
            assert answer.headers["etag"] == etag(b"[1]")


class TestConditional:
    async def test_a_reader_who_has_the_bytes_gets_304_with_the_fields_of_the_200(self) -> None:
        async with serving(three(FakeClock())) as client:
            full = await client.get("/data/one?version=1")
            for known in (etag(b"[1]"), f'"x", W/{etag(b"[1]")}', "*"):
                headers = {"if-none-match": known}
                answer = await client.get("/data/one?version=1", headers=headers)
                assert (answer.status_code, answer.content) == (304, b"")
                kept = dict(full.headers)
                del kept["content-type"], kept["content-length"]
                assert dict(answer.headers) == kept
            other = {"if-none-match": etag(b"[2]")}
            assert (await client.get("/data/one?version=1", headers=other)).status_code == 200

    async def test_a_304_carries_the_tag_of_the_coding_that_the_200_has(self) -> None:
        async with serving(cache_of(None, {}, FailingStore(), one=Upstream(TEXT))) as client:
            asked = {"accept-encoding": "gzip"}
            coded = await client.get("/data/one?version=1", headers=asked)
            plain = await client.get("/data/one", headers={"accept-encoding": "identity"})
            for known in ("*", plain.headers["etag"]):
                headers = {**asked, "if-none-match": known}
                answer = await client.get("/data/one?version=1", headers=headers)
                assert (answer.status_code, answer.headers["etag"]) == (304, coded.headers["etag"])

    async def test_any_coding_that_the_request_accepts_will_do(self) -> None:
        async with serving(cache_of(None, {}, FailingStore(), one=Upstream(TEXT))) as client:
            coded = await client.get("/data/one?version=1", headers={"accept-encoding": "gzip"})
            assert coded.headers["content-encoding"] == "gzip"
            known = {"if-none-match": coded.headers["etag"]}
            for accept, status in (("gzip", 304), ("gzip;q=0.1, identity", 304), ("identity", 200)):
                headers = {**known, "accept-encoding": accept}
                answer = await client.get("/data/one?version=1", headers=headers)
                assert answer.status_code == status

    @pytest.mark.parametrize(("seconds", "status"), [(-1, 200), (0, 304), (9, 304)])
    async def test_a_date_serves_where_no_tag_is_sent(self, seconds: int, status: int) -> None:
        async with serving(three(FakeClock())) as client:
            headers = {"if-modified-since": http_date(START + seconds)}
            answer = await client.get("/data/one?version=1", headers=headers)
            assert answer.status_code == status


class TestAValue:
    """What `/data/{job}/{a}/{b}?version=…` answers."""

    DATA = ({"rates": {"USD": "one"}, "list": TEXT}, {"rates": {"USD": "two"}})

    def cache(self, clock: FakeClock | None = None) -> Refresher:
        return cache_of(clock, {}, FailingStore(), one=Upstream(*self.DATA))

    async def test_is_of_that_version_with_the_fields_of_the_version(self) -> None:
        clock = FakeClock()
        async with serving(self.cache(clock)) as client:
            await clock.advance(100)
            assert (await client.get("/data/one/rates/USD")).content == b'"two"'
            for number, value in ((1, b'"one"'), (2, b'"two"')):
                plain = {"accept-encoding": "identity"}
                whole = await client.get(f"/data/one?version={number}", headers=plain)
                answer = await client.get(f"/data/one/rates/USD?version={number}")
                assert (answer.status_code, answer.content) == (200, value)
                own = {"etag": etag(value), "content-length": "5"}
                assert dict(answer.headers) == {**whole.headers, **own}
            assert "age" not in answer.headers

    async def test_is_asked_for_conditionally_by_head_and_in_a_coding(self) -> None:
        async with serving(self.cache()) as client:
            path = "/data/one/list?version=1"
            for coding in ("identity", "gzip", "br"):
                asked = {"accept-encoding": coding}
                answer = await client.get(path, headers=asked)
                assert answer.json() == TEXT
                assert answer.headers.get("content-encoding", "identity") == coding
                known = {**asked, "if-none-match": answer.headers["etag"]}
                again = await client.get(path, headers=known)
                assert (again.status_code, again.headers["etag"]) == (304, answer.headers["etag"])
                head = await client.head(path, headers=asked)
                assert (head.headers, head.content) == (answer.headers, b"")

    @pytest.mark.parametrize(
        ("target", "status", "kind"),
        [
            ("one/rates/EUR?version=1", 404, "no-value"),
            ("one/rates/~?version=1", 404, "no-value"),
            ("text/rates?version=1", 404, "no-value"),
            ("one/rates?version=x", 400, "invalid-version"),
            ("one/rates?version=", 400, "invalid-version"),
            ("one/rates?version=0", 400, "invalid-version"),
            ("one/rates?version=1&version=2", 400, "invalid-version"),
            ("one/rates?version=9", 404, "unknown-version"),
            ("nope/rates?version=1", 404, "unknown-job"),
        ],
    )
    async def test_that_is_not_to_be_had_is_a_problem(
        self, target: str, status: int, kind: str
    ) -> None:
        cache = cache_of(
            None, {}, FailingStore(), one=Upstream(*self.DATA), text=Upstream("no JSON")
        )
        async with serving(cache) as client:
            answer = await client.get(f"/data/{target}")
            assert problem_of(answer) == (status, f"urn:refresher:{kind}")

    async def test_of_a_large_version_is_found_by_a_worker(self) -> None:
        data = {"text": "x" * 2**21, "rates": {"USD": 1.5}}
        cache = cache_of(None, PATIENT, FailingStore(), one=Upstream(data))
        async with serving(cache) as client:
            (number,) = await kept_versions(client, "one")
            for path, value in (("rates/USD", b"1.5"), ("rates", b'{"USD":1.5}')):
                answer = await client.get(f"/data/one/{path}?version={number}")
                assert (answer.status_code, answer.content) == (200, value)
            answer = await client.get(f"/data/one/nope?version={number}")
            assert problem_of(answer) == (404, "urn:refresher:no-value")

    async def test_needs_the_store(self) -> None:
        clock, store = FakeClock(), FailingStore()
        async with serving(cache_of(clock, {}, store, one=Upstream(*self.DATA))) as client:
            store.away = True
            answer = await client.get("/data/one/rates?version=1")
            assert problem_of(answer) == (503, "urn:refresher:store-unavailable")


class TestNumbers:
    @pytest.mark.parametrize(
        "query",
        [
            "version=",
            "version",
            "version=0",
            "version=-1",
            "version=%2B1",
            "version=+1",
            "version=1.0",
            "version=1e3",
            "version=one",
            "version=%D9%A1",
            "version=%FF",
            "version=1&version=1",
            "a=b&version=x",
            "%76ersion=x",
        ],
    )
    async def test_that_are_no_positive_integers_are_400(self, query: str) -> None:
        async with serving(three(FakeClock())) as client:
            answer = await client.get(f"/data/one?{query}")
            assert problem_of(answer) == (400, "urn:refresher:invalid-version")

    @pytest.mark.parametrize("number", ["2", "99", "9" * 18, "9" * 19, "9" * 5000])
    async def test_above_the_current_one_are_404(self, number: str) -> None:
        async with serving(three(FakeClock())) as client:
            answer = await client.get(f"/data/one?version={number}")
            assert problem_of(answer) == (404, "urn:refresher:unknown-version")
            assert len(answer.content) < 500

    async def test_of_a_job_that_is_pending_are_404(self) -> None:
        cache = cache_of(None, {}, FailingStore(), one=Upstream(ValueError("no")))
        async with serving(cache) as client:
            answer = await client.get("/data/one?version=1")
            assert problem_of(answer) == (404, "urn:refresher:unknown-version")

    async def test_of_a_job_that_is_not_there_are_404(self) -> None:
        async with serving(three(FakeClock())) as client:
            answer = await client.get("/data/nope?version=1")
            assert problem_of(answer) == (404, "urn:refresher:unknown-job")

    async def test_kept_no_longer_are_410(self) -> None:
        clock = FakeClock()
        async with serving(three(clock, None, {"store": {"history": 2}})) as client:
            await clock.advance(200)
            answer = await client.get("/data/one?version=1")
            assert problem_of(answer) == (410, "urn:refresher:gone-version")
            assert (await client.get("/data/one?version=2")).status_code == 200

    @pytest.mark.parametrize("query", ["version=1", "version=01", "a=b&version=1&c", "%76ersion=1"])
    async def test_are_found_however_the_query_is_written(self, query: str) -> None:
        async with serving(three(FakeClock())) as client:
            answer = await client.get(f"/data/%6fne?{query}")
            assert (answer.content, answer.headers["cache-control"]) == (b"[1]", "no-cache")

    @pytest.mark.parametrize("query", ["", "x=1", "versions=7", "Version=7", "=", "&&", "%"])
    async def test_are_asked_for_by_nothing_else(self, query: str) -> None:
        async with serving(three(FakeClock())) as client:
            assert "age" in (await client.get(f"/data/one?{query}")).headers

    @given(st.integers())
    def test_are_read_as_they_are_written(self, number: int) -> None:
        written = requested_version(f"version={number}".encode())
        assert written == str(number)
        read = version_number(written)
        assert read == (number if number > 0 else None) or number >= 10**18

    @given(st.binary())
    def test_are_none_or_positive_whatever_the_query_says(self, query: bytes) -> None:
        written = requested_version(query)
        number = None if written is None else version_number(written)
        assert number is None or number > 0


class TestTheStore:
    async def test_away_is_503_and_the_current_version_is_served_all_the_same(self) -> None:
        clock, store = FakeClock(), FailingStore()
        async with serving(three(clock, store)) as client:
            await clock.advance(200)
            store.away = True
            for _ in range(2):  # the first finds it out
                for number in (1, 3, 4):
                    answer = await client.get(f"/data/one?version={number}")
                    if number < 4:
                        assert problem_of(answer) == (503, "urn:refresher:store-unavailable")
                        assert answer.headers["retry-after"] == "1"
                        assert "s3cr3t" not in answer.text
                assert (await client.get("/data/one")).json() == [3]

    async def test_away_is_503_for_what_this_process_has_numbered_alone(self) -> None:
        clock, store = FakeClock(), FailingStore()
        async with serving(three(clock, store)) as client:
            store.away = True
            await clock.advance(100)
            assert (await client.get("/data/one")).headers["refresher-version"] == "2"
            for number in (2, 9):
                answer = await client.get(f"/data/one?version={number}")
                assert problem_of(answer) == (503, "urn:refresher:store-unavailable")

    async def test_of_a_file_gives_the_version_after_a_restart_byte_for_byte(
        self, tmp_path: Path
    ) -> None:
        file, numbers = tmp_path / "store.db", []
        for expected in ([1], [2]):
            cache = cache_of(None, {}, SqliteStore(file), one=Upstream(expected))
            async with serving(cache) as client:
                numbers.append((await kept_versions(client, "one"))[0])
                answer = await client.get(f"/data/one?version={numbers[0]}")
                assert (answer.content, answer.headers["etag"]) == (b"[1]", etag(b"[1]"))
                assert answer.headers["cache-control"] == "no-cache"
        assert numbers[0] < numbers[1]


class TestWhoMay:
    async def test_a_token_is_asked_for_and_makes_the_answer_private(self) -> None:
        config = {"server": {"read_tokens": ["r3ad"]}}
        async with serving(three(FakeClock(), None, config)) as client:
            assert (await client.get("/data/one?version=1")).status_code == 401
            assert (await client.get("/data/one?version=x")).status_code == 401
            headers = {"authorization": "Bearer r3ad"}
            answer = await client.get("/data/one?version=1", headers=headers)
            assert answer.headers["cache-control"] == "private, no-cache"

    async def test_pages_of_named_origins_may_read_it(self) -> None:
        config = {"server": {"cors_origins": ["https://app.example"]}}
        async with serving(three(FakeClock(), None, config)) as client:
            headers = {"origin": "https://app.example"}
            for version in (1, 9, "x"):
                answer = await client.get(f"/data/one?version={version}", headers=headers)
                allowed = answer.headers["access-control-allow-origin"]
                assert (allowed, answer.headers["vary"]) == (
                    "https://app.example",
                    "Accept-Encoding, Origin",
                )

    async def test_other_methods_are_refused(self) -> None:
        async with serving(three(FakeClock())) as client:
            assert (await client.post("/data/one?version=1")).status_code == 405


async def test_reads_of_versions_are_counted() -> None:
    async with serving(three(FakeClock())) as client:
        for version in (1, 1, 2, "x"):
            await client.get(f"/data/one?version={version}")
        text = (await client.get("/metrics")).text
        reads = {line for line in text.splitlines() if line.startswith("refresher_reads")}
        assert reads == {
            'refresher_reads_total{code="200"} 2',
            'refresher_reads_total{code="400"} 1',
            'refresher_reads_total{code="404"} 1',
        }


async def test_a_router_in_somebodys_application_answers_the_same() -> None:
    cache = three(FakeClock())
    app = FastAPI()
    app.include_router(cache.router(), prefix="/cache")
    async with cache, asking(app) as client:
        await settled()
        answer = await client.get("/cache/data/one?version=1")
        assert (answer.content, answer.headers["cache-control"]) == (b"[1]", "no-cache")
        assert (await client.get("/cache/data/one?version=2")).status_code == 404
        assert (await client.get("/cache/data/one")).headers["age"] == "0"


async def test_many_readers_of_one_version_at_once_all_get_it() -> None:
    async with serving(cache_of(None, {}, FailingStore(), one=Upstream(TEXT))) as client:
        answers: list[httpx.Response] = []

        async def read() -> None:
            headers = {"accept-encoding": "gzip"}
            answers.append(await client.get("/data/one?version=1", headers=headers))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read)
        assert {answer.content for answer in answers} == {answers[0].content}
        assert len(answers) == 20
