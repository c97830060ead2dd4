import os
import subprocess
import sys
from pathlib import Path

from refresher.spool import Spool, Spooled

DESCRIPTORS = Path("/proc/self/fd")


def test_what_is_written_is_read() -> None:
    spool = Spool()
    spool.write(b"one ")
    spool.write(memoryview(b"and two"))
    assert len(spool) == 11
    assert spool.read() == spool.read() == b"one and two"
    assert Spool().read() == b""


def test_nothing_is_left_of_it() -> None:
    before = len(os.listdir(DESCRIPTORS))
    spool = Spool()
    spool.write(b"x")
    assert len(os.listdir(DESCRIPTORS)) == before + 1
    del spool
    assert len(os.listdir(DESCRIPTORS)) == before


def test_it_has_no_name_and_no_other_program_inherits_it() -> None:
    spool = Spool()
    assert "(deleted)" in str((DESCRIPTORS / str(spool.fileno())).readlink())
    look = f"import os; os.fstat({spool.fileno()})"
    child = [sys.executable, "-c", look]
    assert (
        b"Bad file"
        in subprocess.run(child, capture_output=True, check=False, close_fds=False).stderr
    )  # noqa: S603, E501  our own words


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
