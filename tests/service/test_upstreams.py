"""The way to an upstream as it is configured."""

from functools import partial
from pathlib import Path

import anyio.to_thread
import httpx

from refresher.config import load
from refresher.payload import Payload
from refresher.service import build
from refresher.service.upstreams import upstream_key, upstream_label
from tests.faults import json_answer, redirect, serving
from tests.service.opened import opened


def test_no_table_can_be_mistaken_for_a_host_or_a_job(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    tables = {name: {"rate": "1/1h"} for name in ("local", "localhost", "disk")}
    jobs = {
        "web": {"url": "http://localhost/x"},
        "disk": {"file": str(tmp_path / "a.json")},
        "drive": {"file": str(tmp_path / "a.json")},
    }
    config = load({"upstreams": tables, "jobs": jobs}, environ={})
    keys = {upstream_key(plan) for plan in config.jobs.values()}
    assert len(keys) == 3
    assert keys.isdisjoint(tables)
    labels = [upstream_label(plan) for plan in config.jobs.values()]
    assert labels == ["localhost", "local", "local"]


async def test_what_a_function_s_client_is_configured_with_stays_at_home() -> None:
    async with serving() as home, serving() as abroad:
        elsewhere = abroad.script("/there", json_answer(b"[1]"))
        home.script("/api/names", redirect(elsewhere))
        upstreams = {
            "api": {
                "base_url": home.url("/api"),
                "headers": {"X-Key": "hush-hush"},
                "auth": {"type": "header", "name": "X-Auth", "value": "s3cret-value"},
            }
        }

        async def names(client: httpx.AsyncClient) -> object:
            return (await client.get("/names", follow_redirects=True)).json()

        jobs = {"names": {"upstream": "api", "python": names}}
        read = partial(load, {"upstreams": upstreams}, environ={}, jobs=jobs)
        config = await anyio.to_thread.run_sync(read)
        plan = config.jobs["names"]
        upstream = opened("api", config)
        try:
            found = await build.source_of(plan, upstream, config, now=lambda: 0.0).fetch(None)
        finally:
            await upstream.transport.aclose()
    assert isinstance(found, Payload)
    assert found.body == b"[1]"
    assert home.requests[0].header("x-key") == "hush-hush"
    assert home.requests[0].header("x-auth") == "s3cret-value"
    there = abroad.requests[0]
    assert [there.header(name) for name in ("x-key", "x-auth", "transfer-encoding")] == [None] * 3
