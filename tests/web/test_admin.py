import pytest

from tests.fakes import FakeClock, settled
from tests.web.serving import ADMIN, Upstream, cache_of, serving


class TestPause:
    async def test_rests_the_job_until_resume(self) -> None:
        clock, one = FakeClock(), Upstream()
        async with serving(cache_of(clock, one=one)) as client:
            answer = await client.post("/admin/jobs/one/pause", headers=ADMIN)
            assert (answer.status_code, answer.json()) == (200, {"job": "one", "paused": True})
            assert answer.headers["cache-control"] == "no-store"
            await clock.advance(1000)
            assert one.calls == 1
            shown = (await client.get("/jobs/one")).json()
            assert (shown["paused"], shown["due_reason"], shown["due_at"]) == (True, "paused", None)
            answer = await client.post("/admin/jobs/one/resume", headers=ADMIN)
            assert answer.json() == {"job": "one", "paused": False}
            await settled()
            assert one.calls == 2

    async def test_grows_stale_like_any_other_and_is_served(self) -> None:
        clock = FakeClock()
        async with serving(cache_of(clock, one=Upstream())) as client:
            await client.post("/admin/jobs/one/pause", headers=ADMIN)
            await clock.advance(150)
            answer = await client.get("/data/one")
            assert answer.status_code == 200
            assert answer.headers["cache-status"].endswith("; detail=paused")
            assert (await client.get("/jobs/one")).json()["state"] == "stale"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    async def test_of_a_job_that_is_not_there_is_404(self, verb: str) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            answer = await client.post(f"/admin/jobs/nope/{verb}", headers=ADMIN)
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:refresher:unknown-job"

    async def test_twice_is_as_once(self) -> None:
        async with serving(cache_of(one=Upstream())) as client:
            for _ in range(2):
                answer = await client.post("/admin/jobs/one/pause", headers=ADMIN)
                assert answer.json() == {"job": "one", "paused": True}
