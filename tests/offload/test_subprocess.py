import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from refresher.offload.subprocess import ending_of, start
from tests.offload.workers import open_files

CHILD = """
import os, socket, sys
channel, shared = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
shared.sendall(b"shared")
channel.sendall(f"{len(sys.stdin.read())} {os.environ['PYTHONPATH']!r}".encode())
channel.recv(1)
sys.exit(3)
"""


def test_a_child_has_the_search_path_a_channel_and_the_sockets_that_are_shared(
    tmp_path: Path,
) -> None:
    (tmp_path / "childs_module.py").write_text(CHILD)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process, channel = start("childs_module", theirs, search_path=[str(tmp_path), ""])
        with channel:
            assert channel.recv(999).decode() == f"0 '{tmp_path}{os.pathsep}.'"
            assert ours.recv(999) == b"shared"
        assert ending_of(process.wait()) == "exit status 3", "the channel was closed"


def test_a_child_that_cannot_be_started_leaves_no_descriptor_behind() -> None:
    closed = socket.socket()
    closed.close()
    before = open_files()
    with pytest.raises(ValueError, match="fds_to_keep"):
        start("refresher.offload.runner", closed, search_path=sys.path)
    assert open_files() == before


def test_an_ending_is_told_in_words() -> None:
    assert ending_of(0) == "exit status 0"
    assert ending_of(-signal.SIGTERM) == "SIGTERM"
    assert ending_of(-signal.SIGKILL) == "SIGKILL; is memory short?"
