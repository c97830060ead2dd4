import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refresher.payload import Payload, Spool, Spooled

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
    facts: Mapping[str, Any] = {
        "content_type": "application/json",
        "revision": "r",
        "http_status": 200,
        "fresh_for": 30.0,
    }
    assert Spooled(body=spool, **facts).loaded() == Payload(body=b"[1]", **facts)


def test_a_shared_file_is_there_until_both_have_let_go_of_it() -> None:
    spool = Spool()
    spool.write(b"[1]")
    with closing(spool.shared()) as shared:
        spool.close()
        assert shared.read() == b"[1]"
