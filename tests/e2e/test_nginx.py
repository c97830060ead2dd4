"""What nginx's cache makes of ages, with the lines of the documentation and without."""

import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from tests.docs.pages import PAGES
from tests.e2e.process import PATIENCE, Service, eventually, instant, serving
from tests.e2e.upstream import Reply, upstream

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: apt-get install nginx-light"
)

PLAIN = "proxy_cache_path {home}/cache keys_zone=refresher:1m;\n"
JOB = """
[jobs.one]
url = "{url}"
interval = "1h"
max_age = "{max_age}"
"""
CONFIG = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {home}/client;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {caching}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_cache refresher;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


def documented() -> str:
    """The lines that the page on production has for nginx's cache."""
    text = next(page for page in PAGES if page.name == "production.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("proxy_cache_")]
    assert len(lines) == 2
    assert lines[0].count("/var/cache/nginx/refresher") == 1
    return "\n".join(lines).replace("/var/cache/nginx/refresher", "{home}/cache")


@asynccontextmanager
async def nginx(home: Path, service: Service, caching: str) -> AsyncIterator[httpx.AsyncClient]:
    """nginx with a cache in front of a service, and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, log = home / "nginx.conf", home / "nginx.err"
    config.write_text(
        CONFIG.format(
            home=home, caching=caching.format(home=home), port=port, upstream=service.port
        )
    )
    assert NGINX is not None
    with log.open("wb") as err:
        child = subprocess.Popen(  # noqa: ASYNC220, S603  as in process.py
            [NGINX, "-p", str(home), "-c", str(config)], stdin=subprocess.DEVNULL, stderr=err
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False
        ) as client:

            async def answers() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    await client.get("/livez")
                except httpx.TransportError:
                    return False
                return True

            await eventually(answers, "nginx")
            yield client
    finally:
        child.kill()
        child.wait()


async def test_what_comes_with_an_age_is_dropped_when_it_is_stale_by_that(tmp_path: Path) -> None:
    async with upstream() as up:
        url = up.route("/one", Reply(b"[1]", headers={"Age": "3000"}))
        async with serving(tmp_path, JOB.format(url=url, max_age="10s")) as service:
            await service.until("/data/one", 200)
            async with nginx(tmp_path, service, PLAIN) as client:
                first = await client.get("/data/one")
                assert int(first.headers["age"]) >= 3000
                assert "max-age=3010" in first.headers["cache-control"]
                assert "x-accel-expires" not in first.headers, "it is for nginx alone"

                async def expires() -> bool:
                    answer = await client.get("/data/one")
                    return answer.headers["x-cache"] == "EXPIRED"

                await eventually(expires, "the end of what nginx keeps")


async def test_with_the_documented_lines_an_age_is_true_within_a_second(tmp_path: Path) -> None:
    async with upstream() as up:
        url = up.route("/one", Reply(b"[1]", headers={"Age": "3000"}))
        async with serving(tmp_path, JOB.format(url=url, max_age="10m")) as service:
            await service.until("/data/one", 200)
            checked_at = instant((await service.job("one"))["checked_at"])
            async with nginx(tmp_path, service, documented()) as client:
                seen, began = set(), time.time()
                with anyio.fail_after(PATIENCE):
                    while time.time() < began + 4 or "HIT" not in seen:
                        asked = time.time()
                        answer = await client.get("/data/one")
                        age, now = int(answer.headers["age"]), time.time()
                        # whole seconds, of an answer that may be of the beginning of this one
                        assert asked - checked_at - 2.01 <= age <= now - checked_at + 0.01
                        seen.add(answer.headers["x-cache"])


async def test_what_is_private_is_not_kept_for_others(tmp_path: Path) -> None:
    async with upstream() as up:
        config = '[server]\nread_tokens = ["r3ad"]\n' + JOB.format(
            url=up.route("/one", Reply(b"[1]")), max_age="10m"
        )
        async with serving(tmp_path, config) as service:
            bearer = {"authorization": "Bearer r3ad"}

            async def is_served() -> bool:
                return (await service.get("/data/one", **bearer)).status_code == 200

            await eventually(is_served, "data")
            async with nginx(tmp_path, service, PLAIN) as client:
                assert (await client.get("/data/one", headers=bearer)).status_code == 200
                assert (await client.get("/data/one")).status_code == 401
