import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.offload.pool import WorkerPool
from refresher.pipeline import Reading, Rules
from refresher.pipeline.representation import Servable
from tests.offload.workers import (
    CROWDED,
    ENDLESS,
    LARGE_BODY,
    PLAIN,
    a_busy_worker,
    children,
    in_a_file,
    in_memory,
    oom_score,
    open_files,
    until,
)


async def test_an_unexpected_error_is_a_failed_attempt_and_the_worker_goes_on(
    pool: WorkerPool,
) -> None:
    unknown = Reading(format="what")  # type: ignore[arg-type]
    with pytest.raises(RefreshFailed, match="broke: ValueError: 'what'") as broken:
        await pool.refine(in_a_file(LARGE_BODY), Rules(reading=unknown), None)
    assert broken.value.failure.stage is Stage.SOURCE
    before = children()
    assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    assert children() == before


async def test_a_worker_that_dies_is_a_failed_attempt_and_replaced(pool: WorkerPool) -> None:
    async def die() -> None:
        os.kill(await a_busy_worker(), signal.SIGKILL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(die)
        with pytest.raises(RefreshFailed, match=r"worker process died .*SIGKILL") as died:
            await pool.refine(in_a_file(LARGE_BODY), ENDLESS, None)
    assert died.value.failure.stage is Stage.SOURCE
    assert died.value.transient
    assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)


async def test_a_worker_that_died_while_idle_is_replaced_unnoticed(pool: WorkerPool) -> None:
    await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT))
    assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    assert pid not in children()


async def test_a_worker_whose_task_is_cancelled_is_killed_and_replaced(pool: WorkerPool) -> None:
    async def cancel(scope: anyio.CancelScope) -> None:
        await a_busy_worker()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel, scope)
            await pool.refine(in_a_file(LARGE_BODY), ENDLESS, None)
    assert scope.cancelled_caught
    assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    assert len(children()) == 1


async def test_a_task_that_is_cancelled_before_it_began_kills_no_worker(
    pool: WorkerPool,
) -> None:
    tasks = [
        asyncio.ensure_future(pool.refine(in_a_file(LARGE_BODY), rules, None))
        for rules in [PLAIN] * 4 + [ENDLESS] * 4 + [PLAIN] * 4
    ]
    await asyncio.sleep(0)
    for task in tasks[4:8]:
        task.cancel()
    with anyio.fail_after(60):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, Servable) for one in done] == [True] * 4 + [False] * 4 + [True] * 4


async def test_there_are_no_more_workers_than_allowed(pool: WorkerPool) -> None:
    await asyncio.gather(*(pool.refine(in_a_file(LARGE_BODY), PLAIN, None) for _ in range(20)))
    assert 1 <= len(children()) <= 4


async def test_workers_run_at_lower_priority_and_go_first_when_memory_is_short(
    pool: WorkerPool,
) -> None:
    await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
    (pid,) = children()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, ours + 10)
    assert oom_score(pid) == 1000


async def test_an_idle_worker_ends_and_another_is_started_for_the_next_task() -> None:
    async with WorkerPool(idle=0.01) as pool:
        for _ in range(3):
            assert await pool.refine(in_a_file(LARGE_BODY), PLAIN, None)
            await until(lambda: not children())


async def test_no_file_stays_open_after_its_task() -> None:
    before = open_files()
    async with WorkerPool() as pool:
        for make in (in_a_file, in_memory):
            await pool.refine(make(LARGE_BODY), PLAIN, None)
            with pytest.raises(RefreshFailed):
                await pool.refine(make(LARGE_BODY), Rules(select="nothing"), None)
            with anyio.move_on_after(0.1):
                await pool.refine(make(LARGE_BODY), ENDLESS, None)
    assert open_files() <= before


@pytest.mark.parametrize("rules", [PLAIN, Rules(select="nothing"), CROWDED, ENDLESS])
async def test_no_body_stays_in_memory_after_its_task(pool: WorkerPool, rules: Rules) -> None:
    gc.disable()
    try:
        before = sys.getrefcount(LARGE_BODY)
        with contextlib.suppress(RefreshFailed), anyio.move_on_after(2):
            await pool.refine(in_memory(LARGE_BODY), rules, None)
        await until(lambda: sys.getrefcount(LARGE_BODY) == before)
    finally:
        gc.enable()


PROGRAM = """
import asyncio, sys
print("imported", flush=True)
from tests.offload.workers import ENDLESS, LARGE_BODY, in_a_file
from refresher.errors import RefreshFailed
from refresher.offload.pool import WorkerPool
sys.executable = sys.argv[1]
async def main():
    async with WorkerPool() as pool:
        await pool.refine(in_a_file(LARGE_BODY), ENDLESS, None)
try:
    asyncio.run(main())
except RefreshFailed as error:
    print(error.failure.stage, error)
"""


async def test_workers_end_with_a_service_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = await anyio.to_thread.run_sync(start, program, sys.executable)
    try:
        pid = await a_busy_worker(process.pid)
    finally:
        process.kill()
        out, _ = await anyio.to_thread.run_sync(process.communicate)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert out.split() == ["imported"], "a worker imports nothing of the program that started it"


async def test_a_process_that_cannot_be_started_is_a_failed_attempt(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = await anyio.to_thread.run_sync(start, program, "/nowhere/python")
    out, _ = await anyio.to_thread.run_sync(process.communicate)
    said = "source no worker process can be started: No such file or directory"
    assert out.splitlines() == ["imported", said]


def start(program: Path, executable: str) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    return subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, str(program), executable],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=program.parent,
    )
