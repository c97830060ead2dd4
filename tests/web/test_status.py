import json
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from refresher import Refresher
from refresher.web.status import rfc3339
from tests.fakes import START, FakeClock, settled
from tests.web.serving import ADMIN, Upstream, cache_of, down, serving

KEYS = {
    "name",
    "state",
    "state_since",
    "enabled",
    "paused",
    "version",
    "etag",
    "content_type",
    "bytes",
    "items",
    "checked_at",
    "changed_at",
    "content_time",
    "late",
    "age_seconds",
    "lifetime_seconds",
    "expires_at",
    "due_at",
    "due_reason",
    "consecutive_failures",
    "attempts",
    "last_attempt",
    "source",
    "tags",
    "quarantine",
}


def at(seconds: float) -> str:
    moment = datetime.fromtimestamp(START + seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Watch:
    """A cache whose one job is looked at again and again."""

    def __init__(self, *answers: object, **keys: str) -> None:
        self.clock = FakeClock()
        self.upstream = Upstream(*answers)
        self.cache = Refresher(
            {"defaults": {"interval": "100s", "jitter": "0%"}}, clock=self.clock, admin_token="t"
        )
        self.cache.job("one", **{"timeout": "10s", **keys})(self.upstream)  # type: ignore[arg-type]

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cache.endpoints.job("one").body)
        return found

    @property
    def state(self) -> tuple[str, str]:
        found = self.seen()
        return found["state"], found["state_since"]


async def test_a_pending_job_has_every_key_and_null_where_there_is_nothing() -> None:
    watch = Watch(down(), tags=["x", "y"])  # type: ignore[arg-type]
    async with watch.cache:
        await settled()
        found = watch.seen()
    assert found.keys() == KEYS
    assert found == {
        "name": "one",
        "state": "pending",
        "state_since": at(0),
        "enabled": True,
        "paused": False,
        "version": None,
        "etag": None,
        "content_type": None,
        "bytes": None,
        "items": None,
        "checked_at": None,
        "changed_at": None,
        "content_time": None,
        "late": None,
        "age_seconds": None,
        "lifetime_seconds": None,
        "expires_at": None,
        "due_at": found["due_at"],
        "due_reason": "backoff",
        "consecutive_failures": 1,
        "attempts": {"changed": 0, "unchanged": 0, "failed": 1, "rejected": 0},
        "last_attempt": {
            "at": at(0),
            "outcome": "failed",
            "duration_ms": 0,
            "http_status": None,
            "error": {"stage": "connect", "message": "refused"},
        },
        "source": {"kind": "python", "url": found["source"]["url"]},
        "tags": ["x", "y"],
        "quarantine": None,
    }


async def test_a_job_that_has_not_been_attempted_has_no_last_attempt() -> None:
    watch = Watch()
    watch.upstream.hold = anyio.Event()
    async with watch.cache:
        await settled()
        found = watch.seen()
    assert found["last_attempt"] is None
    assert found["due_reason"] == "startup"


async def test_a_served_job_has_them_all() -> None:
    watch = Watch(["a", "b", "é"], ["c"], max_stale="1h")
    async with watch.cache:
        await settled()
        await watch.clock.advance(12.3456)
        found = watch.seen()
        snapshot = watch.cache.get("one")
    assert found.keys() == KEYS
    lifetime = found["lifetime_seconds"]
    assert 50 <= lifetime <= 150
    assert found["state"] == "fresh"
    assert found["version"] == 1
    assert found["etag"] == snapshot.etag
    assert found["content_type"] == "application/json"
    assert found["bytes"] == len(snapshot.body)
    assert found["items"] == 3
    assert found["checked_at"] == found["changed_at"] == at(0)
    assert (found["content_time"], found["late"]) == (None, False)
    assert found["age_seconds"] == 12.346
    assert found["expires_at"] == at(lifetime + 3600)
    assert found["due_at"] == at(lifetime)
    assert found["due_reason"] == "schedule"
    assert found["attempts"] == {"changed": 1, "unchanged": 0, "failed": 0, "rejected": 0}
    assert found["last_attempt"]["outcome"] == "changed"
    assert found["last_attempt"]["error"] is None


async def test_what_is_confirmed_is_checked_again_and_not_changed() -> None:
    watch = Watch(["a"])
    async with watch.cache:
        await settled()
        before = watch.seen()
        await watch.clock.advance(before["lifetime_seconds"] + 5)
        found = watch.seen()
    assert found["changed_at"] == at(0)
    assert found["checked_at"] == before["due_at"]
    assert found["age_seconds"] == pytest.approx(5, abs=0.002)
    assert found["lifetime_seconds"] == 100
    assert found["attempts"]["unchanged"] == 1
    assert found["version"] == 1


async def test_state_since_follows_every_change_of_state() -> None:
    watch = Watch(down(), down(), ["a"], down(), down(), ["a"], max_stale="1000s", backoff_max="1m")
    async with watch.cache:
        await settled()
        assert watch.state == ("pending", at(0))
        await watch.clock.advance(30)
        found = watch.seen()
        assert found["state"] == "fresh"
        assert found["state_since"] == found["changed_at"], "when the first snapshot came"
        await watch.clock.advance(1)
        assert watch.seen()["state_since"] == found["changed_at"]
        fails_at = found["due_at"]
        while watch.seen()["state"] == "fresh":
            await watch.clock.advance(0.5)
        assert watch.state == ("stale", fails_at), "when the first failure ended"
        while watch.seen()["state"] == "stale":
            last = watch.clock.now()
            await watch.clock.advance(0.5)
        found = watch.seen()
        assert found["state"] == "fresh"
        assert at(last - START) < found["state_since"] == found["checked_at"]


async def test_a_job_whose_attempts_hang_grows_stale_past_its_timeout_and_expires() -> None:
    watch = Watch(["a"], max_stale="200s")
    async with watch.cache:
        await settled()
        lifetime = watch.seen()["lifetime_seconds"]
        watch.upstream.hold = anyio.Event()
        await watch.clock.advance(lifetime + 10)
        assert watch.state == ("fresh", at(0)), "an attempt may be under way"
        await watch.clock.advance(0.5)
        assert watch.state == ("stale", at(lifetime + 10))
        await watch.clock.advance(189.5)
        assert watch.state == ("stale", at(lifetime + 10))
        await watch.clock.advance(0.5)
        assert watch.state == ("expired", at(lifetime + 200))
        assert watch.seen()["expires_at"] == at(lifetime + 200)


async def test_a_disabled_job_says_so() -> None:
    clock = FakeClock()
    cache = Refresher(clock=clock)
    cache.job("off", enabled=False)(Upstream())
    async with serving(cache) as client:
        found = (await client.get("/jobs/off")).json()
        assert (found["enabled"], found["state"]) == (False, "pending")
        assert (found["due_reason"], found["due_at"]) == ("disabled", None)


async def test_the_list_has_every_job_and_no_next_page() -> None:
    cache = cache_of(one=Upstream(), two=Upstream(down()))
    async with serving(cache) as client:
        found = (await client.get("/jobs")).json()
        assert found["next"] is None
        assert [job["name"] for job in found["jobs"]] == ["one", "two"]
        for job in found["jobs"]:
            assert job == (await client.get(f"/jobs/{job['name']}")).json()


async def test_the_source_is_shown_without_what_is_secret() -> None:
    jobs = {
        "web": {"url": "https://me:pa55word@api.example/x?key=1"},
        "disk": {"file": "/nowhere/names.json"},
    }
    cache = cache_of(None, {"jobs": jobs})
    async with cache:
        found = {name: cache.endpoints.job(name).body.decode() for name in jobs}
    assert '"kind":"url"' in found["web"]
    assert "api.example" in found["web"]
    assert "pa55word" not in found["web"]
    assert '"kind":"file","url":"/nowhere/names.json"' in found["disk"]


async def test_what_an_attempt_said_can_be_written_whatever_it_was() -> None:
    async with serving(cache_of(one=Upstream(ValueError("a\udc80b")))) as client:
        answer = await client.get("/jobs/one")
        assert "a\\udc80b" in answer.json()["last_attempt"]["error"]["message"]


async def test_a_manual_request_shows_as_the_reason() -> None:
    one = Upstream()
    async with serving(cache_of(one=one)) as client:
        one.hold = anyio.Event()
        await client.post("/admin/refresh", headers=ADMIN)
        await settled()
        assert (await client.get("/jobs/one")).json()["due_reason"] == "manual"


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.9999, "2027-01-15T08:00:00.999Z"),
    ],
)
def test_instants_are_rfc_3339_in_utc(instant: float | None, written: str | None) -> None:
    assert rfc3339(instant) == written
