"""Triggers while an attempt runs, and what an upstream's Retry-After forbids."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import anyio
import httpx

from tests.e2e.process import eventually, instant, serving
from tests.e2e.upstream import Asked, Reply, Upstream, upstream


async def test_many_triggers_during_an_attempt_make_one_more(tmp_path: Path) -> None:
    async with upstream() as up:
        go = asyncio.Event()
        count = 0

        async def slow(_: Asked) -> Reply:
            nonlocal count
            count += 1
            mine = count
            await go.wait()
            return Reply(b'{"n":%d}' % mine)

        config = f'[jobs.slow]\nurl = "{up.route("/slow", slow)}"\ninterval = "1h"\n'
        async with serving(tmp_path, config) as service:
            await eventually(lambda: len(up.asked) == 1, "the first attempt")
            answers: list[httpx.Response] = []
            heard: list[str] = []

            async def ask() -> None:
                heard_of = partial(heard.append, "asks")
                answers.append(await service.refresh_heard(heard_of, "slow", wait="60s"))

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(ask)
                async with anyio.create_task_group() as leaving:  # before there is an answer
                    leave = leaving.cancel_scope.cancel
                    leaving.start_soon(lambda: service.refresh_heard(leave, "slow", wait="60s"))
                await eventually(lambda: len(heard) == 50, "all to be heard")
                assert (await service.refresh("slow")).status_code == 202
                impatient = await service.refresh("slow", wait="50ms")
                assert impatient.status_code == 202
                assert impatient.json()["results"] == []
                assert len(up.asked) == 1
                go.set()
            assert [answer.status_code for answer in answers] == [200] * 50
            results = [answer.json()["results"][0] for answer in answers]
            assert {result["version"] for result in results} == {2}
            assert {result["outcome"] for result in results} == {"changed"}
            assert (await service.get("/data/slow")).content == b'{"n":2}'
            assert (await service.job("slow"))["attempts"]["changed"] == 2
            assert len(up.asked) == 2


async def test_who_asks_for_what_cannot_be_had_is_told(tmp_path: Path) -> None:
    async with upstream() as up:
        url = up.route("/a", Reply())
        config = (
            f'[defaults]\nurl = "{url}"\ninterval = "1h"\n'
            '[jobs.a]\ntags = ["x"]\n[jobs.cool]\ncooldown = "1h"\ntags = ["x"]\n'
            '[jobs.off]\nenabled = false\ntags = ["x"]\n[jobs.rests]\n'
        )
        async with serving(tmp_path, config) as service:
            for name in ("a", "cool", "rests"):
                await service.until(f"/data/{name}", 200)
            assert len(up.asked) == 3
            unknown = await service.refresh("a", "nobody", "nothing")
            assert unknown.status_code == 404
            assert "nobody" in unknown.json()["detail"]
            assert "nothing" in unknown.json()["detail"]
            assert (await service.refresh("a", "off")).status_code == 409
            assert (await service.post("/admin/jobs/rests/pause")).status_code == 200
            assert (await service.refresh("a", "rests")).status_code == 409
            assert (await service.refresh("cool", wait="60s")).status_code == 200
            early = await service.refresh("a", "cool")
            assert early.status_code == 429
            assert 3000 <= int(early.headers["retry-after"]) <= 3600
            assert len(up.asked) == 4, "all or nothing: none of the refusals refreshed a"
            everyone = (await service.post("/admin/refresh", {"wait": "60s"})).json()
            assert [result["job"] for result in everyone["results"]] == ["a"]
            skipped = {each["job"]: each for each in everyone["skipped"]}
            assert {name: each["reason"] for name, each in skipped.items()} == {
                "cool": "cooldown",
                "off": "disabled",
                "rests": "paused",
            }
            assert 3000 <= skipped["cool"]["retry_after"] <= 3600
            tagged = (await service.post("/admin/refresh", {"tags": ["x"], "wait": "60s"})).json()
            assert [result["job"] for result in tagged["results"]] == ["a"]
            assert (await service.refresh("cool", force=True, wait="60s")).status_code == 200
            assert (await service.post("/admin/refresh", {"job": "a"})).status_code == 422
            denied = await service.post("/admin/refresh", token="wrong-token-value")
            assert denied.status_code == 401
            assert denied.headers["www-authenticate"].startswith("Bearer")
            assert "wrong-token-value" not in service.log
            assert len(up.asked) == 7
            assert (await service.post("/admin/jobs/rests/resume")).status_code == 200


async def test_a_429_holds_the_whole_upstream_and_a_503_its_own_job(tmp_path: Path) -> None:
    async with upstream() as up:
        up.route("/limited", Reply(b"[0]"))
        up.route("/away", Reply(b"[0]"))
        up.route("/well", Reply(b"[2]"))
        config = '[defaults]\ninterval = "1h"\n' + "".join(
            f'[jobs.{name}]\nurl = "{up.url(path)}"\n{more}'
            for name, path, more in (
                ("away", "/away", ""),
                ("well", "/well", 'interval = "500ms"\n'),
                ("sibling", "/well?sibling", ""),
                ("limited", "/limited", ""),
            )
        )
        async with serving(tmp_path, config) as service:
            for name in ("away", "well", "sibling", "limited"):
                await service.until(f"/data/{name}", 200)

            date = format_datetime(datetime.now(UTC) + timedelta(seconds=3600), usegmt=True)
            up.route("/away", Reply(status=503, headers={"Retry-After": date}))
            await service.refresh("away", wait="60s")
            status = await service.job("away")
            assert (status["state"], status["due_reason"]) == ("stale", "retry_after")
            await eventually(_grows(up, "/well"), "the neighbour to go on")
            assert len(up.at("/away")) == 2
            refused = await service.refresh("away")
            assert refused.status_code == 429
            assert 3000 < int(refused.headers["retry-after"]) <= 3600

            up.route("/limited", Reply(status=429, headers={"Retry-After": "3600"}))
            failed = (await service.refresh("limited", wait="60s")).json()["results"][0]
            assert failed["outcome"] == "failed"
            assert failed["error"]["stage"] == "status"
            assert (await service.job("limited"))["due_reason"] == "retry_after"
            limited = await service.get("/data/limited")
            assert limited.content == b"[0]"
            assert "detail=status-429" in limited.headers["cache-status"]
            assert (await service.refresh("sibling")).status_code == 429
            forced = await service.refresh("sibling", force=True, wait="60s")
            assert forced.json()["results"][0]["outcome"] == "unchanged"
            held = await service.job("well")
            assert held["due_reason"] == "upstream_limit"
            assert instant(held["due_at"]) >= instant(held["last_attempt"]["at"]) + 3000


async def test_a_hold_ends_when_the_upstream_has_said(tmp_path: Path) -> None:
    async with upstream() as up:
        limits = iter([Reply(b"[0]"), Reply(status=429, headers={"Retry-After": "2"})])
        up.route("/limited", lambda _: next(limits, Reply(b"[1]")))
        up.route("/well", Reply(b"[2]"))
        config = f'[jobs.limited]\nurl = "{up.url("/limited")}"\ninterval = "1h"\n'
        config += f'[jobs.well]\nurl = "{up.url("/well")}"\ninterval = "500ms"\n'
        async with serving(tmp_path, config) as service:
            for name in ("limited", "well"):
                await service.until(f"/data/{name}", 200)
            await service.refresh("limited", wait="60s")
            await service.until_job("limited", lambda job: job["state"] == "fresh")
            assert (await service.get("/data/limited")).content == b"[1]"
            await eventually(_grows(up, "/well"), "the neighbour to go on")
        _, held_at, again_at = up.instants("/limited")
        assert again_at >= held_at + 2
        held = [at for at in up.instants("/well") if held_at < at < held_at + 2]
        assert len(held) <= 1, "one at most was under way"


def _grows(up: Upstream, path: str) -> Callable[[], bool]:
    before = len(up.at(path))
    return lambda: len(up.at(path)) > before + 2
