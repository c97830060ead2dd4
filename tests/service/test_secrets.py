"""Secrets that are rotated while a service runs."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trustme

from refresher.clock import SystemClock
from refresher.config import Config, load
from refresher.config.references import stamp_of
from refresher.service.secrets import renewed, renewed_upstreams, watch
from refresher.service.service import Service
from tests.fakes import FakeClock
from tests.offload.workers import until
from tests.service.caches import Upstream, entered, make_cache


def configured(*, value: str = "one", url: str = "http://up/a", **upstream: object) -> Config:
    """A configuration with that token and that table of an upstream."""
    auth = {"type": "bearer", "token": "${TOKEN}"}
    config: Mapping[str, object] = {
        "upstreams": {"up": upstream},
        "jobs": {"a": {"url": url, "auth": auth}},
        "admin": {"token": "${TOKEN}"},
    }
    return load(config, environ={"TOKEN": value * 8})


def test_a_secret_that_is_read_again_replaces_the_one_in_use() -> None:
    old, new = configured(value="one"), configured(value="two")
    config = renewed(old, new)
    assert config.jobs["a"] == new.jobs["a"] != old.jobs["a"]
    assert config.admin == new.admin
    assert "two" * 8 in config.secrets


def test_a_job_that_was_edited_keeps_its_plan_and_one_that_is_new_waits() -> None:
    old, edited = configured(), configured(value="two", url="http://elsewhere")
    assert renewed(old, edited).jobs == old.jobs
    assert renewed(load({"jobs": {}}, environ={}), edited).jobs == {}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("http://user:one@proxy:1", "http://user:two@proxy:1", {"up"}),
        ("http://user:one@proxy:1", "http://user:one@proxy:1", set()),
        ("http://user:one@proxy:1", "http://user:one@proxy:2", set()),
        ("env", "http://user:one@proxy:1", set()),
    ],
)
def test_another_password_of_a_proxy_and_nothing_else_of_it_renews_its_upstream(
    before: str, after: str, expected: set[str]
) -> None:
    old, new = configured(proxy=before), configured(proxy=after)
    assert renewed_upstreams(old, new) == expected


def test_another_certificate_renews_the_upstreams_that_name_it(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"

    def read() -> Config:
        trustme.CA().cert_pem.write_to_path(authority)
        tables = {"up": {"base_url": "https://up", "tls": {"ca": str(authority)}}, "other": {}}
        return load({"upstreams": tables}, environ={})

    old = read()
    assert renewed_upstreams(old, old) == set()
    authority.unlink()
    assert renewed_upstreams(old, read()) == {"up"}


async def test_a_file_that_has_changed_is_noticed_once(tmp_path: Path) -> None:
    clock, secret, reloads = FakeClock(), tmp_path / "secret", [0]
    await anyio.Path(secret).write_text("one")

    async def reload() -> None:
        reloads[0] += 1

    async def look() -> None:
        await clock.advance(2.1)
        await until(lambda: clock.waiting > 0)  # the files are looked at in a thread

    before = {secret: await anyio.to_thread.run_sync(stamp_of, secret)}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, before, clock, reload)
        await look()
        assert reloads == [0]
        await anyio.Path(secret).write_text("another")
        await look()
        await look()
        assert reloads == [1]
        await anyio.Path(secret).unlink()
        await look()
        assert reloads == [2]
        tasks.cancel_scope.cancel()


async def test_a_rotated_secret_brings_nothing_else_that_was_edited(tmp_path: Path) -> None:
    config, secret, upstream = tmp_path / "config.toml", tmp_path / "secret", Upstream()
    job = (
        '[jobs.{}]\nurl = "http://up/{}"\nauth = {{ type = "bearer", token = "${{file:secret}}" }}'
    )
    job += "\n"
    config.write_text(job.format("a", "a") + job.format("b", "b") + job.format("gone", "gone"))
    secret.write_text("0ld-token")
    cache = make_cache(config, upstream)
    async with entered(cache):
        edited = job.format("a", "a") + job.format("b", "elsewhere")
        config.write_text(f"{edited}[jobs.new]\nurl = 'http://x'\n")
        secret.write_text("n3w-token")
        with anyio.fail_after(60):
            while upstream.asked[-1].headers["authorization"] != "Bearer n3w-token":
                await cache.refresh("a")
                await anyio.sleep(0.05)
        upstream.asked.clear()
        await cache.refresh("b")
        await cache.refresh("gone")
        assert [str(request.url) for request in upstream.asked] == ["http://up/b", "http://up/gone"]
        assert cache.service.missing() == []
        assert cache.redact("0ld-token n3w-token") == "*** ***"


async def test_a_rotation_that_is_read_half_way_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, authority = tmp_path / "config.toml", tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    config.write_text(
        '[upstreams.a]\nbase_url = "https://127.0.0.1:1"\ntls = { ca = "ca.pem" }\n'
        '[jobs.a]\nupstream = "a"\nurl = "/a"\n'
    )
    readings = []

    def read() -> Config:
        readings.append(load(config, environ={}))
        if len(readings) > 1:
            authority.write_text("half")  # the second of its two writes comes right then
        return readings[-1]

    async with Service(read, clock=SystemClock()) as service:
        trustme.CA().cert_pem.write_to_path(authority)
        with anyio.fail_after(60):
            while "but cannot be used" not in caplog.text:  # noqa: ASYNC110  the log has no event
                await anyio.sleep(0.05)
        assert service.config is readings[0]
