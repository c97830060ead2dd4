from collections.abc import AsyncIterator

import pytest

from refresher.web.bodies import LARGEST_BODY
from tests.fakes import settled
from tests.web.serving import ADMIN, REFRESH, Upstream, cache_of, refresh, serving


class TestABody:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"job": ["one"]}', "job: is no key; there are jobs, tags, wait, force"),
            (b'{"jobs": "one"}', "jobs: "),
            (b'{"jobs": [1]}', "jobs.0: "),
            (b'{"tags": {"a": 1}}', "tags: "),
            (b'{"force": 1}', "force: "),
            (b'{"force": "yes"}', "force: "),
            (b'{"wait": 10}', 'wait: is not a string, write a duration with its unit, as "10s"'),
            (b'{"wait": true}', "wait: "),
            (b'{"wait": "10"}', "wait: is not a duration"),
            (b'{"wait": "-1s"}', "wait: is not a duration"),
            (b'{"wait": ""}', "wait: is not a duration"),
            (b"[]", "the body: "),
            (b"null", "the body: "),
            (b'"one"', "the body: "),
            (b'{"jobs": ["one"]', "the body: Invalid JSON"),
            (b"jobs=one", "the body: Invalid JSON"),
            (b'{"jobs": ["\xff"]}', "the body: Invalid JSON"),
        ],
    )
    async def test_that_cannot_be_understood_is_422_and_starts_nothing(
        self, body: bytes, said: str
    ) -> None:
        one = Upstream()
        async with serving(cache_of(one=one)) as client:
            answer = await client.post(REFRESH, content=body, headers=ADMIN)
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:refresher:invalid-request"
            assert answer.json()["detail"].startswith(said)
            await settled()
            assert one.calls == 1

    @pytest.mark.parametrize("body", [b"", b" \n"])
    async def test_that_is_empty_where_one_is_needed_is_told_what_to_write(
        self, body: bytes
    ) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.post("/admin/jobs/one/rollback", content=body, headers=ADMIN)
            assert answer.status_code == 422
            assert answer.json()["detail"] == 'the body is empty, write {"version": 41}'
            assert answer.json()["errors"] == [answer.json()["detail"]]

    async def test_with_several_faults_has_them_all(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await refresh(client, {"jobs": 1, "tags": 2, "x": 3})
            assert len(answer.json()["errors"]) == 3

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_is_read_up_to_64_kib(self, *, chunked: bool) -> None:
        async def pieces(body: bytes) -> AsyncIterator[bytes]:
            for at in range(0, len(body), 4096):
                yield body[at : at + 4096]

        fits = b"{" + b" " * (LARGEST_BODY - 2) + b"}"
        async with serving(cache_of(one=Upstream())) as client:
            for body, status in ((fits, 202), (fits + b" ", 413), (fits * 100, 413)):
                content = pieces(body) if chunked else body
                answer = await client.post(REFRESH, content=content, headers=ADMIN)
                assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert "64 KiB" in answer.json()["detail"]
