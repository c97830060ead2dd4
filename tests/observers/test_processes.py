import os
import subprocess
import sys
import time

import pytest

from refresher.observers.processes import Usage, process_lines, usage_of, usages

_ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux tells")


def usage(**known: float) -> Usage:
    nothing = dict.fromkeys(Usage.__slots__, 1)
    return Usage(**{**nothing, **known})  # type: ignore[arg-type]


@_ON_LINUX
def test_a_process_is_seen_as_it_is() -> None:
    before = time.process_time()
    found = usage_of(os.getpid())
    assert found is not None
    assert found.parent == os.getppid()
    assert found.cpu >= before - 0.1
    assert 0 < found.started_at <= time.time() + 1
    assert found.virtual > found.resident > 1 << 20
    assert 3 <= found.open_files <= found.most_files


@_ON_LINUX
def test_one_that_has_ended_is_not_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert usage_of(child.pid) is None
    assert len(usages([child.pid])) == 1, "only this process itself"


@_ON_LINUX
def test_a_process_with_another_parent_is_no_sibling() -> None:
    assert len(usages([1, os.getppid()])) == 1


@_ON_LINUX
def test_the_parent_of_all_workers_is_one_of_the_instance() -> None:
    every = usages([os.getpid()])
    assert len(every) == 2
    assert every[0] == usage_of(os.getppid()) or every[0].started_at <= every[1].started_at


def test_the_processes_of_an_instance_are_shown_as_one() -> None:
    lines = list(
        process_lines(
            [usage(cpu=1.5, started_at=20.0, resident=7), usage(cpu=2.0, started_at=30.0)]
        )
    )
    assert "process_cpu_seconds_total 3.5" in lines
    assert "process_start_time_seconds 20.0" in lines
    assert "process_resident_memory_bytes 8" in lines


def test_where_nothing_is_known_no_number_is_made_up() -> None:
    assert [line for line in process_lines([]) if line.startswith("process")] == []
