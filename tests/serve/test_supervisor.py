"""Signals and processes are real; only what a worker does is played."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from refresher.serve.supervisor import pause_after
from tests.e2e.process import Process, eventually, running, runs

_LONG = 3600.0


class StandIns:
    """A supervisor at work, and where its stand-ins leave their marks."""

    def __init__(self, process: Process, marks: Path) -> None:
        self.process = process
        self.marks = marks

    def spawned(self, number: int | str = "*") -> list[int]:
        """The processes that have ever been in a slot, in no order."""
        return [int(path.suffix[1:]) for path in self.marks.glob(f"{number}.*")]

    def left(self) -> list[int]:
        """Those of them that still run."""
        return [pid for pid in self.spawned() if runs(pid)]

    async def until(self, is_so: Callable[[], object]) -> None:
        await eventually(is_so, f"the stand-ins; the log:\n{self.process.log}")

    async def complete(self, workers: int) -> None:
        """Wait until there is one in every slot."""
        await self.until(lambda: all(self.spawned(number) for number in range(workers)))

    async def ends(self, status: int) -> None:
        assert await self.process.ended() == status, self.process.log
        assert self.left() == []
        assert "Traceback" not in self.process.log


@asynccontextmanager
async def supervised(
    home: Path, behaviour: str = "works", *, workers: int = 3, grace: float = _LONG
) -> AsyncIterator[StandIns]:
    marks = home / "marks"
    marks.mkdir()
    arguments = (str(marks), behaviour, str(workers), str(grace))
    async with running(home, *arguments, program="tests.serve.stand_ins") as process:
        yield StandIns(process, marks)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_every_slot_has_a_worker_until_a_signal(tmp_path: Path, sig: signal.Signals) -> None:
    async with supervised(tmp_path) as it:
        await it.complete(3)
        it.process.send(sig)
        await it.ends(0)
        assert it.process.log == f"not listening any more\n{sig.name}: closing\n"
        assert len(it.spawned()) == 3


async def test_the_first_is_alone_until_it_answers(tmp_path: Path) -> None:
    async with supervised(tmp_path, "waits to be let go") as it:
        await it.until(lambda: it.spawned(0))
        it.process.send(signal.SIGCHLD)  # woken for nothing, it must not think of the others
        assert len(it.spawned()) == 1
        (it.marks / "go").touch()
        await it.complete(3)
        it.process.send(signal.SIGTERM)
        await it.ends(0)


async def test_a_signal_while_the_first_starts_is_obeyed(tmp_path: Path) -> None:
    async with supervised(tmp_path, "waits to be let go") as it:
        await it.until(lambda: it.spawned(0))
        it.process.send(signal.SIGTERM)
        await it.ends(0)
        assert len(it.spawned()) == 1


async def test_a_worker_that_cannot_start_ends_the_service_and_is_named_once(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, "cannot start") as it:
        await it.ends(1)
        assert len(it.spawned()) == 1
        _, line = it.process.log.splitlines()
        assert line.startswith("worker 1 of 3 (process ")
        assert line.endswith("cannot start, and so the service ends: exit status 3")


async def test_so_does_any_other_and_the_rest_ends_with_it(tmp_path: Path) -> None:
    async with supervised(tmp_path, "the second cannot start") as it:
        await it.ends(1)
        _, line = it.process.log.splitlines()
        assert line.startswith("worker 2 of 3 ")


async def test_one_that_dies_later_is_replaced_in_its_slot(tmp_path: Path) -> None:
    async with supervised(tmp_path) as it:
        await it.complete(3)
        (victim,) = it.spawned(1)
        os.kill(victim, signal.SIGKILL)
        await it.until(lambda: len(it.spawned(1)) == 2)
        it.process.send(signal.SIGTERM)
        await it.ends(0)
        assert len(it.spawned()) == 4
        replaced, *_ = it.process.log.splitlines()
        said = f"worker 2 of 3 (process {victim}) is replaced: SIGKILL; is memory short?"
        assert replaced == said


async def test_one_that_keeps_dying_quickly_is_replaced_after_a_pause(tmp_path: Path) -> None:
    async with supervised(tmp_path, "dies quickly", workers=1) as it:
        await it.process.logged("in 1 s")
        await it.process.logged("in 2 s")
        it.process.send(signal.SIGTERM)  # in the middle of the pause
        await it.ends(0)
        # On a machine that was suspended meanwhile it was replaced once more.
        assert len(it.spawned()) - it.process.log.count("is replaced") in {0, 1}


def test_pauses_grow_to_half_a_minute_and_the_first_death_has_none() -> None:
    assert [pause_after(deaths) for deaths in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert pause_after(10_000) == 30


async def test_while_others_answer_one_that_cannot_start_again_is_tried_again(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, "cannot start again", workers=2) as it:
        await it.complete(2)
        os.kill(it.spawned(1)[0], signal.SIGKILL)
        await it.until(lambda: len(it.spawned(1)) >= 3)
        it.process.send(signal.SIGTERM)
        await it.ends(0)


async def test_where_nobody_answers_any_more_the_service_ends(tmp_path: Path) -> None:
    async with supervised(tmp_path, "cannot start again", workers=1) as it:
        await it.complete(1)
        os.kill(it.spawned()[0], signal.SIGKILL)
        await it.ends(1)
        assert "cannot start, and so the service ends" in it.process.log


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with supervised(tmp_path, "deaf") as it:
        await it.complete(3)
        it.process.send(signal.SIGTERM)
        await it.process.logged("closing")
        assert len(it.left()) == 3
        it.process.send(signal.SIGTERM)
        await it.ends(0)


async def test_a_worker_that_runs_after_the_grace_is_killed(tmp_path: Path) -> None:
    async with supervised(tmp_path, "frozen", grace=0.5) as it:
        await it.complete(3)
        for pid in it.spawned():
            os.kill(pid, signal.SIGSTOP)
        it.process.send(signal.SIGTERM)
        await it.ends(0)


async def test_a_hangup_ends_nothing(tmp_path: Path) -> None:
    async with supervised(tmp_path) as it:
        await it.complete(3)
        it.process.send(signal.SIGHUP)
        os.kill(it.spawned(0)[0], signal.SIGKILL)
        await it.until(lambda: len(it.spawned(0)) == 2)  # which is after the hangup
        it.process.send(signal.SIGTERM)
        await it.ends(0)


async def test_signals_in_a_row_are_one_end(tmp_path: Path) -> None:
    async with supervised(tmp_path) as it:
        await it.complete(3)
        while it.process.child.poll() is None:
            it.process.send(signal.SIGTERM)
            await anyio.sleep(0.01)
        await it.ends(0)
