import os
from pathlib import Path

import pytest

from refresher.model import Stage
from refresher.sources import FileSource
from tests.sources.fetching import not_modified, payload, refusal

MIB = 1 << 20


LONG_AGO = 1_600_000_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "rates.json", b'{"a": 1}')


def write(path: Path, body: bytes, modified: int = LONG_AGO) -> Path:
    """Have the file in place, last modified at that nanosecond."""
    path.write_bytes(body)
    os.utime(path, ns=(modified, modified))
    return path


def source(path: Path, max_bytes: int = MIB) -> FileSource:
    return FileSource(path, max_bytes=max_bytes)


async def test_a_file_is_its_bytes(path: Path) -> None:
    found = await payload(source(path))
    assert (found.body, found.content_type) == (b'{"a": 1}', "application/json")


async def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    first = await payload(source(path))
    again = await not_modified(source(path), first.revision)
    assert again.revision == first.revision


async def test_a_file_of_another_time_is_read_again(path: Path) -> None:
    first = await payload(source(path))
    write(path, b'{"a": 1}', LONG_AGO + 1)
    assert (await payload(source(path), first.revision)).body == b'{"a": 1}'


async def test_a_file_of_another_size_is_read_again(path: Path) -> None:
    first = await payload(source(path))
    write(path, b'{"a": 10}')
    assert (await payload(source(path), first.revision)).body == b'{"a": 10}'


async def test_a_file_renamed_over_it_is_read(path: Path) -> None:
    first = await payload(source(path))
    write(path.with_suffix(".new"), b'{"a": 2}').rename(path)
    assert (await payload(source(path), first.revision)).body == b'{"a": 2}'


@pytest.mark.parametrize(("age", "marked"), [(0.0, False), (1.9, False), (2.1, True)])
async def test_a_file_changed_just_now_has_no_mark_since_it_may_change_again_unseen(
    age: float, *, marked: bool, path: Path
) -> None:
    now = LONG_AGO / 1e9 + age
    found = await payload(FileSource(path, max_bytes=9, now=lambda: now))
    assert (found.revision is not None) is marked


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.json", "application/json"),
        ("a.geojson", "application/geo+json"),
        ("a.txt", "text/plain"),
        ("a.csv", "text/csv"),
        ("a.ndjson", "application/x-ndjson"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.xml", "text/xml"),
        ("a.yaml", "application/yaml"),
        ("a.yml", "application/yaml"),
        ("a.toml", "application/toml"),
        ("a.json.gz", None),
        ("a.refresher-knows-not", None),
        ("json", None),
    ],
)
async def test_the_suffix_tells_the_media_type(
    name: str, content_type: str | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert (await payload(source(tmp_path / name))).content_type == content_type


async def test_an_empty_file_is_an_empty_body(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert (await payload(source(tmp_path / "a"))).body == b""


async def test_a_missing_file_may_come(tmp_path: Path) -> None:
    failed = await refusal(source(tmp_path / "a"))
    assert (failed.failure.stage, failed.transient) == (Stage.CONNECT, True)
    assert str(failed) == f"cannot read {tmp_path / 'a'}: No such file or directory"


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert (await refusal(source(tmp_path))).failure.stage is Stage.CONNECT


async def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in str(await refusal(source(tmp_path / "pipe")))


async def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(path: Path) -> None:
    assert (await payload(source(path, 8))).body == b'{"a": 1}'
    failed = await refusal(source(path, 7))
    assert (failed.failure.stage, failed.transient) == (Stage.BODY, False)
    assert "max_bytes = 7" in str(failed)


@pytest.mark.parametrize("grown", [b"longer than before", b"shorter", b'{"b": 2}'])
async def test_a_file_that_changes_while_it_is_read_is_read_once_more(
    grown: bytes, path: Path
) -> None:
    looks = []

    def while_it_is_read() -> float:
        looks.append(1)
        write(path, grown, LONG_AGO + 1)
        return 0.0

    found = await payload(FileSource(path, max_bytes=MIB, now=while_it_is_read))
    assert found.body == grown
    assert len(looks) == 2


async def test_a_file_that_changes_all_the_time_is_never_taken_torn(path: Path) -> None:
    def while_it_is_read() -> float:
        with path.open("ab") as file:
            file.write(b"x")
        return 0.0

    failed = await refusal(FileSource(path, max_bytes=MIB, now=while_it_is_read))
    assert (failed.failure.stage, failed.transient) == (Stage.BODY, True)
    assert "changed while it was read" in str(failed)
