import subprocess
import sys
from pathlib import Path

import pytest

from refresher.spool import Spool, Spooled

DESCRIPTORS = Path("/proc/self/fd")


def open_files() -> int:
    return len(list(DESCRIPTORS.iterdir()))


def test_what_is_written_is_read() -> None:
    spool = Spool()
    spool.write(b"one ")
    spool.write(memoryview(b"and two"))
    assert len(spool) == 11
    assert spool.read() == spool.read() == b"one and two"
    assert Spool().read() == b""


def test_nothing_is_left_of_it() -> None:
    before = open_files()
    spool = Spool()
    spool.write(b"x")
    assert open_files() == before + 1
    spool.close()
    assert open_files() == before
    spool.close()
    with pytest.raises(ValueError, match="let go"):
        spool.write(b"x")
    forgotten = Spool()
    del forgotten
    assert open_files() == before


def test_it_has_no_name_and_no_other_program_inherits_it() -> None:
    spool = Spool()
    assert "(deleted)" in str((DESCRIPTORS / str(spool.fileno())).readlink())
    look = f"import os; os.fstat({spool.fileno()})"
    seen = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", look], capture_output=True, check=False, close_fds=False
    )
    assert b"Bad file descriptor" in seen.stderr


def test_an_answer_can_be_had_as_a_payload() -> None:
    spool = Spool()
    spool.write(b"[1]")
    answer = Spooled(body=spool, content_type="application/json", revision="r", http_status=200)
    payload = answer.loaded()
    assert payload.body == b"[1]"
    assert (payload.content_type, payload.revision, payload.http_status) == (
        "application/json",
        "r",
        200,
    )
