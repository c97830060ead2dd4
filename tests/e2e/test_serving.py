"""The first hour, the schedule, and the limits, seen from both ends."""

import asyncio
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from refresher.jobs.schedule import Interval, due_from
from tests.e2e.process import PATIENCE, Service, eventually, instant, serving
from tests.e2e.upstream import Reply, after, numbered, upstream

_SHOWN = 0.001
"""Seconds to which times are shown, in full."""


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
            done = await service.refresh("rates", wait="60s")
            assert done.json()["results"][0]["version"] == 1
            assert up.at("/rates")[-1].headers["if-none-match"] == '"u1"'
            done_headers = (await service.get("/data/rates")).headers
            assert await service.stop() == 0
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
            assert await service.stop() == 0
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
        # Nothing but the schedule has any of them tried again.
        config = '[defaults]\ninterval = "1s"\njitter = "20%"\nbackoff = "1m"\n' + "".join(tables)
        async with serving(tmp_path, config) as service:
            seen = await _watched(service, 5)
            await service.refresh("job-0", wait="60s")
            asked = {name: len(up.at(f"/{name}")) for name in names}
            after_refresh = await _watched(service, 2)
            assert await service.stop() == 0
        schedule = Interval(1.0, 0.2)
        for name in names:
            _goes_by(schedule, name, seen[name])
            _goes_by(schedule, name, after_refresh[name])
            assert asked[name] <= _attempts(after_refresh[name][0]) + 1, "one may be under way"
        moments = [instant(seen[name][-1]["due_at"]) % 1.0 for name in names]
        assert max(moments) - min(moments) > 0.2, "no herd: the moments of jobs are spread"


def _attempts(job: dict[str, Any]) -> int:
    return sum(job["attempts"].values())


async def _watched(service: Service, states: int) -> dict[str, list[dict[str, Any]]]:
    """How each job stood after attempts, so many times or more; some may have been too quick."""
    seen: dict[str, list[dict[str, Any]]] = {}

    async def has_been_seen() -> bool:
        for job in (await service.get("/jobs")).json()["jobs"]:
            known = seen.setdefault(job["name"], [])
            if _attempts(job) > (_attempts(known[-1]) if known else 0):
                known.append(job)
        return all(len(known) >= states for known in seen.values())

    await eventually(has_been_seen, f"{states} attempts of all jobs")
    return seen


def _goes_by(schedule: Interval, name: str, seen: list[dict[str, Any]]) -> None:
    """Attempts are none too early, and not more than moments; each tells the next moment."""
    for before, after_it in pairwise(seen):
        due = due_from(schedule, name, instant(before["last_attempt"]["at"]) + 0.5)
        # Moments that pass while an attempt is made are skipped.
        told = instant(before["due_at"])
        assert told >= due - _SHOWN
        assert abs(told - due_from(schedule, name, told - _SHOWN)) <= _SHOWN
        for _ in range(_attempts(after_it) - _attempts(before) - 1):
            due = due_from(schedule, name, due + 0.5)
        assert instant(after_it["last_attempt"]["at"]) >= due - _SHOWN


async def test_many_jobs_of_a_host_are_served_four_at_a_time(tmp_path: Path) -> None:
    async with upstream() as up:
        names = [f"job-{n}" for n in range(200)]
        slow = after(0.02, numbered())
        config = '[defaults]\ninterval = "1h"\n' + "".join(
            f'[jobs.{name}]\nurl = "{up.route(f"/{name}", slow)}"\n' for name in names
        )
        async with serving(tmp_path, config) as service:
            for name in names:
                await service.until(f"/data/{name}", 200)
            assert (await service.refresh(*names, wait="60s")).status_code == 200
        assert up.most_at_once == 4
        assert up.most_connections <= 4
        assert len(up.asked) == 400


async def test_a_rate_holds_from_the_start_on(tmp_path: Path) -> None:
    async with upstream() as up:
        up.route("/limited", Reply())
        # Without a store there is nothing between the turn of an attempt and its start.
        config = f'[store]\nurl = "memory://"\n[upstreams.x]\nbase_url = "{up.url("")}"\n'
        config += 'rate = "5/1s"\nmax_concurrency = 50\n' + "".join(
            f'[jobs.job-{n}]\nupstream = "x"\nurl = "/limited"\ninterval = "1h"\n'
            for n in range(20)
        )
        config += f'[jobs.never]\nurl = "{up.url("")}"\nenabled = false\n'
        async with serving(tmp_path, config) as service:
            for n in range(20):
                await service.until(f"/data/job-{n}", 200)
            *jobs, never = (await service.get("/jobs")).json()["jobs"]
        began = instant(never["state_since"])
        starts = sorted(instant(job["last_attempt"]["at"]) for job in jobs)
        arrivals = up.instants("/limited")
        assert len(starts) == len(arrivals) == 20
        # A machine that stalls makes any one start late, and so the time from it to the fifth after
        # it shorter; how many there may be since jobs were entered is what no stall changes.
        for number, (start, arrival) in enumerate(zip(starts, arrivals, strict=True)):
            assert min(start, arrival) > began + number // 5 - 2 * _SHOWN


async def test_an_upstream_that_is_down_at_start_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as held:  # nobody else gets the port while nothing listens on it
        held.bind(("127.0.0.1", 0))
        config = (
            f'[jobs.late]\nurl = "http://127.0.0.1:{held.getsockname()[1]}/x"\ninterval = "2s"\n'
            'backoff = "30s"\nrequired = true\n'
        )
        async with serving(tmp_path, config) as service:
            down = await service.until_job("late", _failed_at("connect"))
            assert down["state"] == "pending"
            assert "refused" in down["last_attempt"]["error"]["message"]
            # A backoff of 30 s, and yet never later than the schedule.
            assert down["due_reason"] == "schedule"
            ended = instant(down["last_attempt"]["at"]) + down["last_attempt"]["duration_ms"] / 1000
            assert instant(down["due_at"]) <= due_from(Interval(2.0, 0.1), "late", ended + 1.1)
            answer = await service.get("/data/late")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert 1 <= int(answer.headers["retry-after"]) <= 4
            ready = await service.get("/readyz")
            assert ready.status_code == 503
            assert "late" in ready.text
            await service.until("/livez", 200)
            async with upstream(held) as up:
                up.route("/x", Reply(b"[1]"))
                assert (await service.until("/data/late", 200)).content == b"[1]"
                assert (await service.get("/readyz")).status_code == 200
            await service.until_job("late", lambda job: job["state"] == "stale")
            assert (await service.get("/data/late")).content == b"[1]"
            assert (await service.get("/readyz")).status_code == 200, "sticky"


def _failed_at(stage: str) -> Callable[[dict[str, Any]], bool]:
    return lambda job: bool(job["last_attempt"]) and job["last_attempt"]["error"]["stage"] == stage


async def test_data_expires_after_its_lifetime_and_max_stale(tmp_path: Path) -> None:
    async with upstream() as up:
        for path in ("/fails", "/serves"):
            up.route(path, Reply(b"[1]"))
        config = '[defaults]\ninterval = "1s"\nmax_stale = "1s"\nmax_age = "0s"\n' + "".join(
            f'[jobs.{name}]\nurl = "{up.url(f"/{name}")}"\non_expired = "{name[:-1]}"\n'
            for name in ("fails", "serves")
        )
        async with serving(tmp_path, config) as service:
            answer = await service.until("/data/fails", 200)
            assert "max-age=0" in answer.headers["cache-control"]
            await service.until("/data/serves", 200)
            for path in ("/fails", "/serves"):
                up.route(path, Reply(status=500))
            expired = await service.until("/data/fails", 503)
            now = time.time()
            assert expired.headers["content-type"] == "application/problem+json"
            assert expired.json()["type"] == "urn:refresher:expired"
            assert int(expired.headers["retry-after"]) >= 1
            status = await service.until_job("fails", lambda job: job["state"] == "expired")
            assert status["version"] == 1
            assert now >= instant(status["checked_at"]) + status["lifetime_seconds"] + 1
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


@pytest.mark.parametrize("access_log", ["false", "true"])
@pytest.mark.parametrize("path", ["/data/one", "/livez"])
async def test_a_connection_that_is_idle_ends_after_keep_alive(
    tmp_path: Path, path: str, access_log: str
) -> None:
    server = f'[server]\nkeep_alive = "50ms"\naccess_log = {access_log}\n'
    async with upstream() as up:
        config = server + f'[jobs.one]\nurl = "{up.route("/one", Reply(b"[1]"))}"\n'
        async with serving(tmp_path, config) as service:
            await service.until("/data/one", 200)
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                with anyio.fail_after(PATIENCE):  # less than what it is unless configured
                    answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"connection: close" not in answer.lower()
            finally:
                writer.transport.abort()
