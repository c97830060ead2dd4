import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from refresher.payload import Payload, Spool

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


def test_closing_it_frees_its_descriptor() -> None:
    before = open_files()
    spool = Spool()
    spool.write(b"x")
    assert open_files() == before + 1
    spool.close()
    assert open_files() == before
    spool.close()
    with pytest.raises(ValueError, match="closed"):
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


def test_a_body_is_had_in_memory_wherever_it_is() -> None:
    spool = Spool()
    spool.write(b"[1]")
    for body in (b"[1]", spool):
        assert Payload(body=body, content_type=None).loaded() == b"[1]"


def test_closing_a_payload_closes_the_file_of_its_body() -> None:
    spool = Spool()
    for body in (b"[1]", spool):
        payload = Payload(body=body, content_type=None)
        payload.close()
        payload.close()
    with pytest.raises(ValueError, match="closed"):
        payload.loaded()


def test_a_file_is_there_until_every_duplicate_is_closed() -> None:
    spool = Spool()
    spool.write(b"[1]")
    with closing(spool.duplicate()) as duplicate:
        spool.close()
        assert duplicate.read() == b"[1]"
