import json

import anyio
import pytest

from refresher import Refresher
from refresher.web.refresh import RefreshRequest
from tests.fakes import FakeClock, settled
from tests.web.serving import ADMIN, REFRESH, TOKEN, Upstream, cache_of, down, refresh, serving


class TestRefresh:
    @pytest.mark.parametrize(
        "body",
        [
            None,
            b"",
            b"{}",
            b" \n ",
            b"{ }",
            b'{"force": false}',
            b'{"jobs": null, "tags": null, "wait": null}',
        ],
    )
    async def test_of_nothing_in_particular_is_of_every_job(self, body: bytes | None) -> None:
        one, two = Upstream(), Upstream()
        async with serving(cache_of(one=one, two=two)) as client:
            answer = await client.post(REFRESH, content=body, headers=ADMIN)
            assert answer.status_code == 202
            assert answer.json() == {"accepted": ["one", "two"], "skipped": []}
            assert answer.headers["cache-control"] == "no-store"
            await settled()
            assert (one.calls, two.calls) == (2, 2)

    @pytest.mark.parametrize(
        "content_type",
        [None, "application/json", "text/plain", "application/x-www-form-urlencoded"],
    )
    async def test_reads_its_body_as_json_whatever_it_is_called(
        self, content_type: str | None
    ) -> None:
        headers = {**ADMIN, **({} if content_type is None else {"content-type": content_type})}
        async with serving(cache_of(one=Upstream(), two=Upstream())) as client:
            answer = await client.post(REFRESH, content=b'{"jobs": ["two"]}', headers=headers)
            assert answer.json() == {"accepted": ["two"], "skipped": []}

    async def test_of_named_jobs_is_of_these_once_each(self) -> None:
        one, two = Upstream(), Upstream()
        async with serving(cache_of(one=one, two=two)) as client:
            answer = await refresh(client, {"jobs": ["two", "two"]})
            assert (answer.status_code, answer.json()["accepted"]) == (202, ["two"])
            await settled()
            assert (one.calls, two.calls) == (1, 2)

    async def test_by_tags_is_of_all_that_have_one_of_them(self) -> None:
        cache = Refresher(clock=FakeClock(), admin_token=TOKEN)
        for name, tags in (("a", ["x"]), ("b", ["y", "z"]), ("c", []), ("d", ["q"])):
            cache.job(name, tags=tags)(Upstream())
        async with serving(cache) as client:
            assert (await refresh(client, {"tags": ["x", "y"]})).json()["accepted"] == ["a", "b"]
            both = await refresh(client, {"jobs": ["d", "b"], "tags": ["y"]})
            assert both.json()["accepted"] == ["d", "b"], "named first, none twice"
            nobody = await refresh(client, {"tags": ["nope"]})
            assert (nobody.status_code, nobody.json()["accepted"]) == (202, [])

    @pytest.mark.parametrize("body", [{"jobs": []}, {"tags": []}, {"jobs": [], "tags": []}])
    async def test_of_an_empty_list_is_of_no_job(self, body: object) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            assert (await refresh(client, body)).json() == {"accepted": [], "skipped": []}

    async def test_of_a_job_that_is_not_there_is_of_none(self) -> None:
        one = Upstream()
        async with serving(cache_of(one=one)) as client:
            answer = await refresh(client, {"jobs": ["one", "nope", "nada"]})
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:refresher:unknown-job"
            assert "'nope', 'nada'" in answer.json()["detail"]
            await settled()
            assert one.calls == 1

    @pytest.mark.parametrize(("force"), [False, True])
    async def test_of_a_paused_job_by_name_is_of_none(self, *, force: bool) -> None:
        one, two = Upstream(), Upstream()
        async with serving(cache_of(one=one, two=two)) as client:
            await client.post("/admin/jobs/two/pause", headers=ADMIN)
            answer = await refresh(client, {"jobs": ["one", "two"], "force": force})
            assert answer.status_code == 409
            assert answer.json()["detail"] == "two is paused"
            await settled()
            assert one.calls == 1

    async def test_of_a_disabled_job_by_name_is_of_none(self) -> None:
        cache = Refresher(clock=FakeClock(), admin_token=TOKEN)
        cache.job("off", enabled=False)(Upstream())
        async with serving(cache) as client:
            answer = await refresh(client, {"jobs": ["off"], "force": True})
            assert (answer.status_code, answer.json()["detail"]) == (409, "off is disabled")

    async def test_under_cooldown_is_429_with_how_long_it_lasts(self) -> None:
        clock, one = FakeClock(), Upstream()
        cache = Refresher(clock=clock, admin_token=TOKEN)
        cache.job("one", cooldown="60s")(one)
        async with serving(cache) as client:
            assert (await refresh(client, {"jobs": ["one"]})).status_code == 202
            await clock.advance(19.5)
            answer = await refresh(client, {"jobs": ["one"]})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "41")
            assert answer.headers["content-type"] == "application/problem+json"
            assert one.calls == 2
            forced = await refresh(client, {"jobs": ["one"], "force": True})
            assert forced.status_code == 202
            await settled()
            assert one.calls == 3

    async def test_under_retry_after_is_429_and_force_overrides_it(self) -> None:
        one = Upstream(down(retry_after=90.0), ["a"])
        async with serving(cache_of(one=one)) as client:
            answer = await refresh(client, {"jobs": ["one"]})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "90")
            forced = await refresh(client, {"jobs": ["one"], "force": True, "wait": "10s"})
            assert forced.json()["results"][0]["outcome"] == "changed"

    async def test_refused_for_several_reasons_is_409_before_429(self) -> None:
        cache = cache_of(one=Upstream(down(retry_after=90.0)), two=Upstream())
        async with serving(cache) as client:
            await client.post("/admin/jobs/two/pause", headers=ADMIN)
            answer = await refresh(client, {"jobs": ["one", "two"]})
            assert answer.status_code == 409
            assert "retry-after" not in answer.headers
            assert (await refresh(client, {"jobs": ["one", "nope"]})).status_code == 404

    async def test_retry_after_is_that_of_the_job_that_needs_longest(self) -> None:
        one, two = Upstream(down(retry_after=90.0)), Upstream(down(retry_after=30.0))
        async with serving(cache_of(one=one, two=two)) as client:
            answer = await refresh(client, {"jobs": ["one", "two"]})
            assert answer.headers["retry-after"] == "90"

    async def test_of_all_leaves_out_those_that_cannot_be_and_says_why(self) -> None:
        clock = FakeClock()
        cache = cache_of(clock, limited=Upstream(down(retry_after=90.0)), resting=Upstream())
        cache.job("off", enabled=False, tags=["t"])(Upstream())
        cache.job("cooling", cooldown="60s", tags=["t"])(Upstream())
        cache.job("fine", tags=["t"])(Upstream())
        async with serving(cache) as client:
            await client.post("/admin/jobs/resting/pause", headers=ADMIN)
            await refresh(client, {"jobs": ["cooling"]})
            await clock.advance(10)
            off = {"job": "off", "reason": "disabled", "retry_after": None}
            cooling = {"job": "cooling", "reason": "cooldown", "retry_after": 50}
            answer = await refresh(client)
            assert answer.status_code == 202
            assert answer.json() == {
                "accepted": ["fine"],
                "skipped": [
                    {"job": "limited", "reason": "retry_after", "retry_after": 80},
                    {"job": "resting", "reason": "paused", "retry_after": None},
                    off,
                    cooling,
                ],
            }
            by_tag = await refresh(client, {"tags": ["t"]})
            assert by_tag.json() == {"accepted": ["fine"], "skipped": [off, cooling]}
            forced = await refresh(client, {"tags": ["t"], "force": True})
            assert forced.json() == {"accepted": ["cooling", "fine"], "skipped": [off]}


class TestWaiting:
    async def test_gives_the_outcomes_once_all_are_done(self) -> None:
        cache = cache_of(good=Upstream(["a"], ["b"]), bad=Upstream(["a"], down()))
        async with serving(cache) as client:
            answer = await refresh(client, {"wait": "10s"})
            assert answer.status_code == 200
            assert answer.json() == {
                "results": [
                    {
                        "job": "good",
                        "outcome": "changed",
                        "version": 2,
                        "duration_ms": 0,
                        "error": None,
                    },
                    {
                        "job": "bad",
                        "outcome": "failed",
                        "version": 1,
                        "duration_ms": 0,
                        "error": {"stage": "connect", "message": "refused"},
                    },
                ],
                "skipped": [],
            }

    async def test_is_for_an_attempt_that_starts_after_the_request(self) -> None:
        one = Upstream(["a"], ["b"], ["c"])
        async with serving(cache_of(one=one)) as client:
            one.hold = anyio.Event()
            await refresh(client)
            await settled()
            answers = []

            async def wait() -> None:
                answers.append((await refresh(client, {"jobs": ["one"], "wait": "10s"})).json())

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(wait)
                await settled()
                one.hold.set()
            assert [answer["results"][0]["version"] for answer in answers] == [3] * 5
            assert one.calls == 3, "one more, however many asked"

    async def test_no_longer_gives_those_done_so_far(self) -> None:
        quick, slow = Upstream(), Upstream()
        async with serving(cache_of(quick=quick, slow=slow)) as client:
            slow.hold = anyio.Event()
            answer = await refresh(client, {"wait": "50ms"})
            assert answer.status_code == 202
            found = answer.json()
            assert [result["job"] for result in found["results"]] == ["quick"]
            assert found["accepted"] == ["quick", "slow"]
            slow.hold.set()
            await settled()
            assert slow.calls == 2, "the attempt goes on"

    async def test_not_at_all_gives_nothing_yet(self) -> None:
        one = Upstream()
        async with serving(cache_of(one=one)) as client:
            one.hold = anyio.Event()
            answer = await refresh(client, {"wait": "0s"})
            assert (answer.status_code, answer.json()["results"]) == (202, [])

    async def test_for_no_job_is_over_at_once(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await refresh(client, {"jobs": [], "wait": "60s"})
            assert (answer.status_code, answer.json()) == (200, {"results": [], "skipped": []})

    async def test_ends_when_the_service_does(self) -> None:
        one = Upstream()
        cache = cache_of(one=one)
        async with serving(cache) as client:
            one.hold = anyio.Event()

            async def wait() -> None:
                answer = await refresh(client, {"wait": "60s"})
                assert (answer.status_code, answer.json()["results"]) == (202, [])

            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await settled()
                    cache.close_soon()

    @pytest.mark.parametrize(
        ("written", "seconds"), [("10s", 10), ("1m", 60), ("2h", 60), ("250ms", 0.25)]
    )
    def test_is_cut_to_a_minute(self, written: str, seconds: float) -> None:
        asked = RefreshRequest.model_validate_json(json.dumps({"wait": written}))
        assert asked.wait == seconds
