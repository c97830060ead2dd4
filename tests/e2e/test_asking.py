"""Triggers while an attempt runs, and what an upstream's Retry-After forbids."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import httpx

from tests.e2e.process import eventually, serving
from tests.e2e.upstream import Asked, Reply, upstream


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

        config = (
            f'[jobs.slow]\nurl = "{up.route("/slow", slow)}"\ninterval = "1h"\ntimeout = "1m"\n'
        )
        async with serving(tmp_path, config) as service:
            await eventually(lambda: len(up.asked) == 1, "the first attempt")
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await service.refresh("slow", wait="30s"))

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(ask)
                impatient = await service.refresh("slow", wait="50ms")
                assert impatient.status_code == 202
                assert impatient.json()["results"] == []
                with anyio.move_on_after(0.2):  # and some leave before there is an answer
                    async with anyio.create_task_group() as leaving:
                        for _ in range(5):
                            leaving.start_soon(service.refresh, "slow")
                        leaving.start_soon(lambda: service.refresh("slow", wait="30s"))
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
            assert (await service.refresh("cool", wait="10s")).status_code == 200
            early = await service.refresh("a", "cool")
            assert early.status_code == 429
            assert 3590 <= int(early.headers["retry-after"]) <= 3600
            assert len(up.asked) == 4, "all or nothing: none of the refusals refreshed a"
            everyone = (await service.post("/admin/refresh", {"wait": "10s"})).json()
            assert [result["job"] for result in everyone["results"]] == ["a"]
            skipped = {each["job"]: each for each in everyone["skipped"]}
            assert {name: each["reason"] for name, each in skipped.items()} == {
                "cool": "cooldown",
                "off": "disabled",
                "rests": "paused",
            }
            assert skipped["cool"]["retry_after"] >= 3590
            tagged = (await service.post("/admin/refresh", {"tags": ["x"], "wait": "9s"})).json()
            assert [result["job"] for result in tagged["results"]] == ["a"]
            assert (await service.refresh("cool", force=True, wait="9s")).status_code == 200
            assert (await service.post("/admin/refresh", {"job": "a"})).status_code == 422
            denied = await service.post("/admin/refresh", token="wrong-token-value")
            assert denied.status_code == 401
            assert denied.headers["www-authenticate"].startswith("Bearer")
            assert "wrong-token-value" not in service.log
            assert len(up.asked) == 7
            assert (await service.post("/admin/jobs/rests/resume")).status_code == 200


async def test_a_429_holds_the_whole_upstream_and_a_503_its_own_job(tmp_path: Path) -> None:
    async with upstream() as up:
        limits = iter([Reply(b"[0]"), Reply(status=429, headers={"Retry-After": "3"})])
        up.route("/limited", lambda _: next(limits, Reply(b"[1]")))
        away = iter([Reply(b"[0]")])

        def unavailable(_: Asked) -> Reply:
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=3600), usegmt=True)
            return next(away, Reply(status=503, headers={"Retry-After": date}))

        up.route("/away", unavailable)
        up.route("/well", Reply(b"[2]"))
        config = '[defaults]\ninterval = "500ms"\njitter = "0%"\n' + "".join(
            f'[jobs.{name}]\nurl = "{up.url(f"/{name}")}"\n{more}'
            for name, more in (
                ("away", ""),
                ("well", ""),
                ("sibling", 'interval = "1h"\n'),
                ("limited", 'interval = "1h"\n'),
            )
        ).replace("/sibling", "/well?sibling")
        async with serving(tmp_path, config) as service:
            for name in ("away", "well", "sibling", "limited"):
                await service.until(f"/data/{name}", 200)
            status = await service.until_job("away", lambda job: job["state"] == "stale")
            assert status["due_reason"] == "retry_after"
            before = len(up.at("/well"))
            await eventually(lambda: len(up.at("/well")) > before + 2, "the neighbour to go on")
            assert len(up.at("/away")) == 2
            refused = await service.refresh("away")
            assert refused.status_code == 429
            assert 3500 < int(refused.headers["retry-after"]) <= 3600

            failed = (await service.refresh("limited", wait="10s")).json()["results"][0]
            assert failed["outcome"] == "failed"
            assert failed["error"]["stage"] == "status"
            held_at = up.instants("/limited")[-1]
            assert (await service.job("limited"))["due_reason"] == "retry_after"
            assert (await service.job("well"))["due_reason"] == "upstream_limit"
            assert (await service.refresh("sibling")).status_code == 429
            forced = await service.refresh("sibling", force=True, wait="10s")
            assert forced.json()["results"][0]["outcome"] == "unchanged"
            limited = await service.get("/data/limited")
            assert limited.content == b"[0]"
            assert "detail=status-429" in limited.headers["cache-status"]
            await service.until_job("limited", lambda job: job["state"] == "fresh")
            assert up.instants("/limited")[-1] - held_at >= 2.9
            held = [one.target for one in up.at("/well") if held_at < one.at < held_at + 2.9]
            assert held.count("/well?sibling") == 1, "what was forced"
            assert held.count("/well") <= 1, "one at most was under way"
            await eventually(lambda: len(up.at("/well")) > before + 6, "the hold to end")
