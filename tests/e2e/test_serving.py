"""The first hour, the schedule, and the limits, seen from both ends."""

import time
from pathlib import Path

import anyio

from refresher.schedule import Interval, due_from
from tests.e2e.process import eventually, serving
from tests.e2e.upstream import Reply, after, numbered, upstream

# How late a request may be at the upstream on a machine that is busy. None may be early.
_LATE = 0.4


async def test_a_job_is_served_with_how_fresh_it_is_and_a_restart_goes_on_with_it(
    tmp_path: Path,
) -> None:
    async with upstream() as up:
        url = up.route("/rates", Reply(b'{"b": 1.50,  "a":2}', headers={"ETag": '"u1"'}))
        config = f'[jobs.rates]\nurl = "{url}"\ninterval = "1h"\nmax_stale = "1d"\n'
        async with serving(tmp_path, config) as service:
            answer = await service.until("/data/rates", 200)
            assert answer.content == b'{"b": 1.50,  "a":2}'
            headers = answer.headers
            assert headers["content-type"] == "application/json"
            assert headers["refresher-version"] == "1"
            assert headers["vary"] == "Accept-Encoding"
            assert headers["x-content-type-options"] == "nosniff"
            status = await service.job("rates")
            max_age = int(status["lifetime_seconds"])
            assert headers["cache-control"] == f"public, max-age={max_age}, stale-if-error=86400"
            left = max_age - int(headers["age"])
            assert headers["cache-status"] == f"refresher; hit; ttl={left}"
            assert status["state"] == "fresh"
            assert status["attempts"] == {"changed": 1, "unchanged": 0, "failed": 0, "rejected": 0}
            again = await service.get("/data/rates", if_none_match=headers["etag"])
            assert again.status_code == 304
            assert again.headers["etag"] == headers["etag"]
            done = await service.refresh("rates", wait="10s")
            assert done.json()["results"][0]["version"] == 1
            assert up.at("/rates")[-1].headers["if-none-match"] == '"u1"'
            done_headers = (await service.get("/data/rates")).headers
            assert (await service.stop())[0] == 0
        asked = len(up.asked)
        async with serving(tmp_path, config) as service:
            restored = await service.get("/data/rates")
            assert restored.content == answer.content
            for name in ("etag", "last-modified", "refresher-version", "cache-control"):
                assert restored.headers.get(name) == done_headers.get(name)
            assert int(restored.headers["age"]) >= int(done_headers["age"])
        assert len(up.asked) == asked, "what is still fresh is not fetched at start"


async def test_with_a_store_in_memory_a_restart_begins_empty(tmp_path: Path) -> None:
    async with upstream() as up:
        url = up.route("/rates", Reply(b"{}"))
        config = f'[store]\nurl = "memory://"\n[jobs.rates]\nurl = "{url}"\ninterval = "1h"\n'
        async with serving(tmp_path, config) as service:
            await service.until("/data/rates", 200)
            assert (await service.stop())[0] == 0
        up.route("/rates", Reply(b"", 500))
        async with serving(tmp_path, config) as service:
            pending = await service.until("/data/rates", 503)
            assert pending.headers["content-type"] == "application/problem+json"
            assert pending.headers["cache-control"] == "no-store"
            assert int(pending.headers["retry-after"]) >= 1
            assert (await service.get("/data/none")).status_code == 404


async def test_each_due_moment_is_fetched_once_and_when_the_name_says(tmp_path: Path) -> None:
    async with upstream() as up:
        names = [f"job-{n}" for n in range(12)]
        tables = [f'[jobs.{name}]\nurl = "{up.route(f"/{name}", numbered())}"\n' for name in names]
        config = '[defaults]\ninterval = "1s"\njitter = "20%"\n' + "".join(tables)
        async with serving(tmp_path, config) as service:
            await eventually(lambda: len(up.at("/job-0")) >= 3, "three fetches")
            await service.refresh("job-0", wait="10s")
            refreshed = up.instants("/job-0")[-1]
            await anyio.sleep(4)
            assert (await service.stop())[0] == 0
        schedule = Interval(1.0, 0.2)
        for name in names:
            first, *rest = up.instants(f"/{name}")
            _each_is_due_once(schedule, name, first, [at for at in rest if at != refreshed])
        after_refresh = [at for at in up.instants("/job-0") if at > refreshed]
        assert after_refresh[0] >= due_from(schedule, "job-0", refreshed + 0.5 - _LATE)
        starts = sorted(up.instants(f"/{name}")[2] % 1.0 for name in names)
        assert starts[-1] - starts[0] > 0.2, "no herd: the moments of jobs are spread"


def _each_is_due_once(schedule: Interval, name: str, first: float, rest: list[float]) -> None:
    """Every instant is a due moment or a little later, and no due moment has two."""
    moments = []
    due = due_from(schedule, name, first - 1)
    dues = []
    while due < rest[-1] + 1:
        dues.append(due)
        due = due_from(schedule, name, due + 0.1)
    for at in rest:
        passed = [due for due in dues if due <= at + 0.005]
        assert passed, f"{name} was asked for before it was due"
        assert at - passed[-1] < _LATE, f"{name}: {at} is no due moment"
        moments.append(passed[-1])
    assert len(set(moments)) == len(moments), f"{name}: a due moment was fetched twice"
    missed = [d for d in dues if d not in moments and moments[0] < d < moments[-1]]
    assert len(missed) <= 1, f"{name} missed {missed}"


async def test_many_jobs_of_a_host_are_served_four_at_a_time(tmp_path: Path) -> None:
    async with upstream() as up:
        names = [f"job-{n}" for n in range(200)]
        slow = after(0.02, numbered())
        config = "".join(f'[jobs.{name}]\nurl = "{up.route(f"/{name}", slow)}"\n' for name in names)
        async with serving(tmp_path, config) as service:
            for name in names:
                await service.until(f"/data/{name}", 200)
            assert (await service.refresh(*names, wait="60s")).status_code == 200
        assert up.most_at_once == 4
        assert up.most_connections <= 4
        assert len(up.asked) == 400


async def test_a_rate_holds_in_every_window(tmp_path: Path) -> None:
    async with upstream() as up:
        up.route("/limited", Reply())
        config = f'[upstreams.x]\nbase_url = "{up.url("")}"\nrate = "5/1s"\nmax_concurrency = 50\n'
        config += "".join(
            f'[jobs.job-{n}]\nupstream = "x"\nurl = "/limited"\ninterval = "2s"\n'
            for n in range(20)
        )
        async with serving(tmp_path, config) as service:
            await eventually(lambda: len(up.asked) >= 20, "20 requests")
            for n in range(20):
                await service.until(f"/data/job-{n}", 200)
        instants = up.instants("/limited")
        # Arrivals are later than starts, and not all by the same.
        assert all(b - a > 0.6 for a, b in zip(instants, instants[5:], strict=False))


async def test_an_upstream_that_is_down_at_start_is_waited_for(tmp_path: Path) -> None:
    async with upstream() as up:
        port = up.port
    config = (
        f'[jobs.late]\nurl = "http://127.0.0.1:{port}/x"\ninterval = "2s"\nbackoff = "30s"\n'
        "required = true\n"
    )
    async with serving(tmp_path, config) as service:
        down = await service.until_job("late", lambda job: job["last_attempt"])
        assert down["state"] == "pending"
        assert down["last_attempt"]["error"]["stage"] == "connect"
        assert "refused" in down["last_attempt"]["error"]["message"]
        answer = await service.get("/data/late")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert 1 <= int(answer.headers["retry-after"]) <= 4
        ready = await service.get("/readyz")
        assert ready.status_code == 503
        assert "late" in ready.text
        assert (await service.get("/livez")).status_code == 200
        async with upstream(port) as up:
            up.route("/x", Reply(b"[1]"))
            began = time.time()
            assert (await service.until("/data/late", 200)).content == b"[1]"
            # A backoff of 30 s, and yet never later than the schedule.
            due = due_from(Interval(2.0, 0.1), "late", began)
            assert up.instants("/x")[0] < due + 2.2
            assert (await service.get("/readyz")).status_code == 200
        await service.until_job("late", lambda job: job["state"] == "stale")
        assert (await service.get("/data/late")).content == b"[1]"
        assert (await service.get("/readyz")).status_code == 200, "sticky"


async def test_data_expires_after_its_lifetime_and_max_stale(tmp_path: Path) -> None:
    async with upstream() as up:
        once = iter([Reply(b"[1]")] * 2)
        for path in ("/fails", "/serves"):
            up.route(path, lambda _: next(once, Reply(status=500)))
        config = '[defaults]\ninterval = "1s"\nmax_stale = "1s"\nmax_age = "0s"\n' + "".join(
            f'[jobs.{name}]\nurl = "{up.url(f"/{name}")}"\non_expired = "{name[:-1]}"\n'
            for name in ("fails", "serves")
        )
        async with serving(tmp_path, config) as service:
            answer = await service.until("/data/fails", 200)
            assert "max-age=0" in answer.headers["cache-control"]
            expired = await service.until("/data/fails", 503)
            now = time.time()
            assert expired.headers["content-type"] == "application/problem+json"
            assert expired.json()["type"] == "urn:refresher:expired"
            assert int(expired.headers["retry-after"]) >= 1
            status = await service.until_job("fails", lambda job: job["state"] == "expired")
            assert status["version"] == 1
            assert now - up.instants("/fails")[0] > status["lifetime_seconds"] + 1 - 0.1
            await service.until_job("serves", lambda job: job["state"] == "expired")
            served = await service.get("/data/serves")
            assert served.status_code == 200
            assert "detail=expired" in served.headers["cache-status"]
            assert int(served.headers["cache-status"].split("ttl=")[1].split(";")[0]) < 0


async def test_forwarding_fields_are_ignored_and_the_access_log_is_on_demand(
    tmp_path: Path,
) -> None:
    async with upstream() as up:
        config = '[server]\naccess_log = true\nroot_path = "/cache"\n'
        config += f'[jobs.a]\nurl = "{up.route("/a", Reply())}"\n'
        async with serving(tmp_path, config) as service:
            await service.until("/data/a", 200)
            await service.get("/jobs?x=1", x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
            await service.logged("GET /cache/jobs?x=1")
            assert "203.0.113.9" not in service.log
            assert (await service.get("/openapi.json")).json()["servers"] == [{"url": "/cache"}]
            assert (await service.get("/jobs/a")).status_code == 200
            assert (await service.get("/data/none")).status_code == 404
