"""Python and file jobs of a real service: whatever one does, the others are not disturbed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.process import eventually, serving
from tests.e2e.upstream import Asked, Reply, upstream

_FUNCTIONS = """
import asyncio, dataclasses, datetime, pathlib, sys, time
from refresher import UNCHANGED

calls = 0

async def asks(client):
    return (await client.get("/names", headers={"X-Job": "asks"})).json()

def plain():
    return {"at": datetime.date(2026, 11, 22), "n": 1}

def text():
    return "gr\\u00fc\\u00df dich"

def nothing():
    return None

def rubbish():
    return object()

def nan():
    return {"n": float("nan")}

def raises():
    raise LookupError("no such thing")

async def leaves():
    sys.exit(3)

def leaves_too():
    raise KeyboardInterrupt

async def cancels():
    raise asyncio.CancelledError

class Nasty(Exception):
    def __str__(self):
        raise self

async def nasty():
    raise Nasty

def hangs():
    with open("hangs", "a") as file:
        file.write("x")
    time.sleep(3600)

async def waits():
    await asyncio.sleep(3600)

async def blocks():
    time.sleep(1.2)
    return 1

def same():
    global calls
    calls += 1
    return UNCHANGED if calls > 1 else [1]
"""

_FAILING = {
    "nothing": ("rejected", "decode"),
    "rubbish": ("rejected", "decode"),
    "nan": ("rejected", "decode"),
    "raises": ("failed", "source"),
    "leaves": ("failed", "source"),
    "leaves_too": ("failed", "source"),
    "cancels": ("failed", "source"),
    "nasty": ("failed", "source"),
    "hangs": ("failed", "timeout"),
    "waits": ("failed", "timeout"),
}


def _ended(outcome: str, stage: str, least: int) -> Callable[[dict[str, Any]], bool]:
    """Whether so many attempts in a row were in vain, and the last of them so."""

    def has_ended(job: dict[str, Any]) -> bool:
        if job["consecutive_failures"] < least:
            return False
        last = job["last_attempt"]
        return (last["outcome"], last["error"]["stage"]) == (outcome, stage)

    return has_ended


def _is_version(version: int) -> Callable[[dict[str, Any]], bool]:
    return lambda job: job["version"] == version


async def test_no_function_disturbs_another_job(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(_FUNCTIONS)
    async with upstream() as up:
        up.route("/api/names", Reply(b'["a"]'))
        up.route("/healthy", Reply(b"[1]"))
        config = (
            '[server]\nshutdown_grace = "1h"\n[defaults]\ninterval = "1h"\nbackoff = "200ms"\n'
            f'[upstreams.api]\nbase_url = "{up.url("/api")}"\n'
            'auth = { type = "bearer", token = "s3cret-token" }\n'
            f'[jobs.healthy]\nurl = "{up.url("/healthy")}"\n'
            '[jobs.asks]\npython = "functions:asks"\nupstream = "api"\n'
        )
        for name in (*_FAILING, "plain", "text", "same"):
            config += f'[jobs.{name}]\npython = "functions:{name}"\n'
            if _FAILING.get(name) == ("failed", "timeout"):
                config += 'timeout = "500ms"\n'
        async with serving(tmp_path, config) as service:
            for name, (outcome, stage) in _FAILING.items():
                # A failed one is tried again, a rejected one waits for the schedule.
                least = 2 if outcome == "failed" else 1
                await service.until_job(name, _ended(outcome, stage, least))
                assert (await service.get(f"/data/{name}")).status_code == 503
                done = await service.refresh("healthy", wait="60s")
                assert done.json()["results"][0]["outcome"] == "unchanged"
            assert (tmp_path / "hangs").read_text() == "x", "not started again while it hangs"
            hanging = await service.job("hangs")
            assert "still hangs" in hanging["last_attempt"]["error"]["message"]
            plain = await service.until("/data/plain", 200)
            assert plain.json() == {"at": "2026-11-22", "n": 1}
            text = await service.until("/data/text", 200)
            assert text.text == "grüß dich"
            assert text.headers["content-type"].startswith("text/plain")
            assert (await service.until("/data/asks", 200)).content == b'["a"]'
            assert up.at("/api/names")[0].headers["authorization"] == "Bearer s3cret-token"
            assert up.at("/api/names")[0].headers["x-job"] == "asks"
            await service.until("/data/same", 200)
            same = (await service.refresh("same", wait="60s")).json()["results"][0]
            assert (same["outcome"], same["version"]) == ("unchanged", 1)
            assert (await service.job("healthy"))["attempts"]["failed"] == 0
            await service.until("/livez", 200)
            assert await service.stop() == 0, "nor does a thread that hangs keep the process"


async def test_who_blocks_the_loop_is_named_and_who_raises_what_cannot_be_printed_survived(
    tmp_path: Path,
) -> None:
    (tmp_path / "functions.py").write_text(_FUNCTIONS)
    config = '[defaults]\ninterval = "1h"\nbackoff = "100ms"\n'
    config += '[jobs.blocks]\npython = "functions:blocks"\n'
    config += '[jobs.nasty]\npython = "functions:nasty"\n[jobs.plain]\npython = "functions:plain"\n'
    async with serving(tmp_path, config) as service:
        await service.until_job("nasty", lambda job: job["consecutive_failures"] >= 3)
        assert (await service.until("/data/plain", 200)).json()["n"] == 1
        await service.until("/data/blocks", 200)
        await service.logged("blocks has blocked the event loop")
        await service.until("/livez", 200)
        done = await service.refresh("nasty", wait="60s")
        assert done.json()["results"][0]["outcome"] == "failed"


async def test_a_file_that_is_renamed_into_place_is_served_and_a_deleted_one_is_kept(
    tmp_path: Path,
) -> None:
    file, new = tmp_path / "a.json", tmp_path / "new"
    file.write_text('{"n": 1}')
    config = '[jobs.a]\nfile = "a.json"\ninterval = "200ms"\n'
    async with serving(tmp_path, config) as service:
        assert (await service.until("/data/a", 200)).content == b'{"n": 1}'
        for n in range(2, 5):
            new.write_text(f'{{"n": {n}}}')
            os.utime(new, (1_000_000_000, 1_000_000_000))  # same size, same time: another file
            new.replace(file)
            await service.until_job("a", _is_version(n))
            assert (await service.get("/data/a")).json() == {"n": n}
        file.unlink()
        status = await service.until_job("a", _ended("failed", "connect", 1))
        assert status["state"] == "stale"
        assert status["version"] == 4
        assert "No such file" in status["last_attempt"]["error"]["message"]

        async def is_said() -> bool:
            served = await service.get("/data/a")
            assert served.content == b'{"n": 4}'
            return "detail=connect" in served.headers["cache-status"]

        await eventually(is_said, "the reason in what is served")
        file.write_text("[1,")
        await service.until_job("a", lambda job: job["attempts"]["rejected"])
        assert (await service.get("/data/a")).content == b'{"n": 4}'
        new.write_text("[5]")
        new.replace(file)
        status = await service.until_job("a", lambda job: job["state"] == "fresh")
        assert (await service.get("/data/a")).content == b"[5]"
        await service.logged("recovered")


def _paged(asked: Asked) -> Reply:
    if asked.target.endswith("?2"):
        return Reply('[{"city": "Zürich"}]'.encode())
    return Reply(b"[1]", headers={"Link": "</pages?2>; rel='next'"})


async def test_what_upstreams_label_wrongly_is_served_right(tmp_path: Path) -> None:
    latin, html = "application/json; charset=ISO-8859-1", "text/html"
    async with upstream() as up:
        up.route("/utf8", Reply('{"city": "Zürich"}'.encode(), headers={"Content-Type": latin}))
        up.route(
            "/html", Reply(b"[1]", headers={"Content-Type": html, "Content-Encoding": "utf-8"})
        )
        table = Reply(
            "Stadt;Größe\nZürich;1,5".encode("cp1252"), headers={"Content-Type": "text/csv"}
        )
        up.route("/csv", table)
        up.route("/pages", _paged)
        config = (
            f'[defaults]\ninterval = "1h"\n[upstreams.up]\nbase_url = "{up.url("")}"\n'
            '[jobs.utf8]\nupstream = "up"\nurl = "/utf8"\n'
            '[jobs.html]\nupstream = "up"\nurl = "/html"\nformat = "json"\n'
            '[jobs.csv]\nupstream = "up"\nurl = "/csv"\ncharset = "cp1252"\ndelimiter = ";"\n'
            '[jobs.comma]\nupstream = "up"\nurl = "/csv"\ncharset = "cp1252"\n'
            '[jobs.pages]\nupstream = "up"\nurl = "/pages"\npaginate = { type = "link_header" }\n'
        )
        async with serving(tmp_path, config) as service:
            assert (await service.until("/data/utf8", 200)).json() == {"city": "Zürich"}
            assert (await service.until("/data/html", 200)).json() == [1]
            rows = (await service.until("/data/csv", 200)).json()
            assert rows == [{"Stadt": "Zürich", "Größe": "1,5"}]
            assert (await service.until("/data/pages", 200)).json() == [1, {"city": "Zürich"}]
            refused = await service.until_job("comma", _ended("rejected", "decode", 1))
            assert 'delimiter = ";"' in refused["last_attempt"]["error"]["message"]
