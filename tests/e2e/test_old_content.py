"""Upstreams that are lively, and whose data is old."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.process import Service, serving
from tests.e2e.upstream import Reply, upstream


def _of(age: timedelta, number: int) -> Reply:
    moment = datetime.now(UTC) - age
    return Reply(b'{"meta": {"at": "%b"}, "n": %d}' % (moment.isoformat().encode(), number))


def _job(url: str) -> str:
    return f"""
[jobs.x]
url = "{url}"
interval = "100ms"
content_time = "meta.at"
max_content_age = "1d"
changes_by = "0 0 1 1 *"
required = true
"""


async def _told(service: Service) -> tuple[int, str]:
    answer = await service.get("/data/x")
    return answer.json()["n"], answer.headers["cache-status"]


async def test_older_data_never_replaces_newer_and_old_data_is_never_fresh(tmp_path: Path) -> None:
    async with upstream() as origin:
        url = origin.route("/x", _of(timedelta(hours=2), 1))
        async with serving(tmp_path, _job(url)) as service:
            await service.until("/freshz", 200)
            job = await service.job("x")
            assert job["late"] is False
            assert job["content_time"] < job["changed_at"]

            origin.route("/x", _of(timedelta(hours=3), 2))
            job = await service.until_job("x", lambda job: job["quarantine"])
            assert job["quarantine"]["reason"].startswith("content_time is ")
            assert job["last_attempt"]["error"]["stage"] == "guard"
            number, status = await _told(service)
            assert (number, "detail=guard" in status) == (1, True)

            answer = await service.post("/admin/jobs/x/quarantine/accept")
            assert answer.status_code == 200, answer.text
            await service.until_job("x", lambda job: job["state"] == "fresh")
            assert (await _told(service))[0] == 2

        origin.route("/x", _of(timedelta(days=2), 3))
        other = tmp_path / "other"
        other.mkdir()
        async with serving(other, _job(url)) as service:
            await service.until("/data/x", 200)
            number, status = await _told(service)
            assert (number, "detail=content" in status) == (3, True)
            assert (await service.until("/freshz", 503)).json()["jobs"] == {"x": "stale: content"}
            metrics = (await service.get("/metrics")).text
            assert 'refresher_change_late{job="x"} 0' in metrics
            assert 'refresher_content_timestamp_seconds{job="x"} ' in metrics

            origin.route("/x", _of(timedelta(hours=1), 4))
            await service.until("/freshz", 200)
            assert (await _told(service))[0] == 4
