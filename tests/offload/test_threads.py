import asyncio
import contextvars
import subprocess
import sys
import threading
from functools import partial

import anyio
import pytest

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.offload.threads import SerialThread, SoloThread, ThreadPool


@pytest.fixture(params=["solo", "pool"])
def runner(request: pytest.FixtureRequest) -> SoloThread | ThreadPool:
    return SoloThread("solo") if request.param == "solo" else ThreadPool("pool", 2)


async def test_a_call_runs_elsewhere_and_its_result_arrives(
    runner: SoloThread | ThreadPool,
) -> None:
    thread = await runner.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
async def test_what_a_call_raises_arrives(
    runner: SoloThread | ThreadPool, error: BaseException
) -> None:
    def call() -> None:
        raise error

    with pytest.raises(type(error)):
        await runner.run(call)
    assert await runner.run(lambda: 1) == 1


async def test_a_stop_iteration_arrives_as_it_would_from_a_coroutine(
    runner: SoloThread | ThreadPool,
) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await runner.run(lambda: next(iter([])))


async def test_a_call_sees_the_context_it_was_made_in(runner: SoloThread | ThreadPool) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert await runner.run(variable.get) == 7


async def test_while_an_abandoned_call_hangs_no_other_is_started() -> None:
    thread = SoloThread("solo of this test")
    started, released, calls = threading.Event(), threading.Event(), []

    def hang() -> None:
        calls.append(1)
        started.set()
        released.wait()

    task = asyncio.ensure_future(thread.run(hang))
    await ThreadPool("watch", 1).run(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(RefreshFailed, match="still hangs") as caught:
        await thread.run(hang)
    assert caught.value.failure.stage is Stage.TIMEOUT
    assert len(calls) == 1

    released.set()
    for running in threading.enumerate():
        if running.name == "solo of this test":
            running.join()
    assert await thread.run(lambda: "again") == "again"


async def test_a_pool_has_no_more_threads_than_its_size() -> None:
    pool = ThreadPool("pool", 2)
    results = await asyncio.gather(*(pool.run(threading.get_ident) for _ in range(50)))
    assert 1 <= len(set(results)) <= 2


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, threading
from refresher.offload.threads import SerialThread, SoloThread, ThreadPool
async def main():
    for runner in (SoloThread("a"), ThreadPool("b", 1)):
        try:
            async with asyncio.timeout(0.01):
                await runner.run(threading.Event().wait)
        except TimeoutError:
            print("abandoned")
asyncio.run(main())
"""
    done = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["abandoned", "abandoned"]


async def test_a_serial_thread_runs_calls_in_their_order_and_ends_when_it_is_closed() -> None:
    serial, calls = SerialThread("serial"), list[int]()
    for n in range(3):
        serial.call_soon(partial(calls.append, n))
    thread = await serial.run(threading.current_thread)
    assert calls == [0, 1, 2]
    await serial.close()
    await asyncio.to_thread(serial.join)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="serial has been closed, and takes no more calls"):
        await serial.run(int)


async def test_a_serial_thread_skips_a_call_that_nobody_waits_for_any_more() -> None:
    serial, released, calls = SerialThread("serial"), threading.Event(), list[int]()
    serial.call_soon(lambda: None if released.wait(60) else calls.append(0))
    with anyio.move_on_after(0):
        await serial.run(partial(calls.append, 1))
    released.set()
    await serial.run(partial(calls.append, 2))
    await serial.close()
    assert calls == [2]
