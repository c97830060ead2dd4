import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from refresher.security.admin_token import FILE_NAME, kept_token


def test_a_token_is_made_once_and_kept(tmp_path: Path) -> None:
    token, path = kept_token(tmp_path / "a" / "state")
    assert path == tmp_path / "a" / "state" / FILE_NAME
    assert path.read_text() == f"{token}\n"
    assert len(token) >= 40
    assert kept_token(path.parent) == (token, path)
    assert list(path.parent.iterdir()) == [path]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _, path = kept_token(tmp_path)
    finally:
        os.umask(before)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_shut(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("kept-by-hand\n")
    path.chmod(0o644)
    assert kept_token(tmp_path) == ("kept-by-hand", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_file_is_nobody_s_token(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.touch(0o600)
    token, _ = kept_token(tmp_path)
    assert path.read_text().strip() == token
    assert token


def test_processes_that_start_together_keep_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: kept_token(tmp_path)[0], range(8)))
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_what_a_process_left_half_made_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / f".{FILE_NAME}.{os.getpid()}").touch()
    _, path = kept_token(tmp_path)
    assert path is not None


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "not text", "pipe"])
def test_what_is_not_a_token_file_is_neither_used_nor_waited_for(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / FILE_NAME, tmp_path / "target"
    match kind:
        case "link":
            target.write_text("planted")
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target)
        case "folder":
            path.mkdir()
        case "not text":
            path.write_bytes(b"\xff\xfe")
        case _:
            os.mkfifo(path)
    token, kept = kept_token(tmp_path)
    assert token != "planted"
    assert len(token) >= 40
    assert kept is None or kept.is_file()
    if kind == "link":
        assert target.read_text() == "planted"
    assert target.exists() is (kind == "link")


def test_where_nothing_can_be_written_the_token_lives_as_long_as_the_process(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    token, path = kept_token(tmp_path / "file" / "state")
    assert path is None
    assert kept_token(tmp_path / "file" / "state")[0] != token
