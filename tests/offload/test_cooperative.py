import asyncio
import time
from collections.abc import Iterator

from refresher.offload.cooperative import cooperatively


def slow(turns: list[str]) -> Iterator[int]:
    for number in range(3):
        over = time.perf_counter() + 0.002  # longer than a slice
        while time.perf_counter() < over:
            pass
        turns.append(f"work {number}")
        yield number


async def test_other_tasks_run_between_two_slices() -> None:
    turns: list[str] = []

    async def read() -> None:
        while len(turns) < 6:
            turns.append("read")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        assert [item async for item in cooperatively(slow(turns))] == [0, 1, 2]
    assert turns[:6] == ["work 0", "read", "work 1", "read", "work 2", "read"]


async def test_no_items_are_no_work() -> None:
    nothing: list[int] = []
    assert [item async for item in cooperatively(nothing)] == nothing
