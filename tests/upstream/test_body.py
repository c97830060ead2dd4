import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.payload import Spool
from refresher.upstream.body import read_body
from tests.offload.workers import open_files

MIB = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
}


async def off_the_wire(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(
    *chunks: bytes, codings: str = "", length: int | None = None, max_bytes: int = MIB
) -> bytes:
    body = await read_body(
        off_the_wire(chunks), codings=codings, length=length, max_bytes=max_bytes
    )
    assert isinstance(body, bytes)
    return body


async def refused(
    *chunks: bytes, codings: str = "", length: int | None = None, max_bytes: int = MIB
) -> RefreshFailed:
    with pytest.raises(RefreshFailed) as caught:
        await read(*chunks, codings=codings, length=length, max_bytes=max_bytes)
    assert caught.value.failure.stage is Stage.BODY
    return caught.value


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("coding", PACKERS)
@given(data=st.binary(max_size=500), size=st.integers(1, 40))
async def test_a_coding_comes_off_however_the_data_is_cut(
    coding: str, data: bytes, size: int
) -> None:
    assert await read(*cut(PACKERS[coding](data), size), codings=coding) == data


@given(data=st.binary(max_size=500), size=st.integers(1, 40))
async def test_deflate_without_the_zlib_format_is_read_too(data: bytes, size: int) -> None:
    assert await read(*cut(raw_deflate(data), size), codings="deflate") == data


@given(members=st.lists(st.binary(max_size=50), min_size=1, max_size=5), size=st.integers(1, 40))
async def test_the_members_of_a_gzip_body_are_one_body(members: list[bytes], size: int) -> None:
    packed = b"".join(map(gzip.compress, members))
    assert await read(*cut(packed, size), codings="gzip") == b"".join(members)


async def test_codings_come_off_in_the_reverse_of_the_order_they_were_applied_in() -> None:
    packed = zlib.compress(gzip.compress(b"data"))
    assert await read(packed, codings="gzip , identity, deflate") == b"data"


async def test_large_bodies_come_out_whole() -> None:
    data = bytes(range(256)) * 4096
    assert await read(*cut(gzip.compress(data), 1000), codings="gzip") == data
    assert await read(gzip.compress(bytes(MIB)), codings="gzip") == bytes(MIB)


async def test_no_data_at_all_is_an_empty_body_whatever_its_coding() -> None:
    assert await read(codings="gzip") == b""
    assert await read(b"", codings="deflate") == b""


@given(data=st.binary(min_size=1, max_size=200), keep=st.floats(0.01, 0.99))
@pytest.mark.parametrize("packer", [gzip.compress, zlib.compress, raw_deflate])
async def test_data_that_breaks_off_inside_its_coding_is_refused_and_may_be_tried_again(
    packer: Callable[[bytes], bytes], data: bytes, keep: float
) -> None:
    packed = packer(data)
    coding = "gzip" if packer is gzip.compress else "deflate"
    failure = await refused(packed[: max(1, int(len(packed) * keep))], codings=coding)
    assert "breaks off" in str(failure)
    assert failure.transient


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("tail", [b"x", b"trailing", b"\0" * 20 + b"x"])
async def test_bytes_after_the_end_of_the_coded_data_are_refused(coding: str, tail: bytes) -> None:
    packed = PACKERS[coding](b"data")
    assert "follow the end" in str(await refused(packed + tail + bytes(20), codings=coding))
    assert "follow the end" in str(await refused(packed, tail + bytes(20), codings=coding))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_data_that_is_not_of_its_coding_is_refused(coding: str) -> None:
    failure = await refused(b"\xffnot packed", codings=coding)
    assert f"not valid {coding}" in str(failure)
    assert not failure.transient


async def test_zeros_are_padding_after_gzip_and_nothing_after_deflate() -> None:
    packed = gzip.compress(b"data")
    for codings in ("gzip", "x-gzip"):
        for size in (1, 7, 1000):
            assert await read(*cut(packed + bytes(999), size), codings=codings) == b"data"
    two = packed + bytes(9) + packed + bytes(1)
    assert await read(*cut(two, 5), codings="gzip") == b"datadata"
    assert "follow" in str(await refused(zlib.compress(b"data") + bytes(9), codings="deflate"))
    assert "not valid" in str(await refused(bytes(9) + packed, codings="gzip"))


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "base64", "zip", "bz2", "hex", "x"])
async def test_a_coding_that_was_not_asked_for_is_refused_by_name(coding: str) -> None:
    assert repr(coding) in str(await refused(b"x", codings=f"gzip, {coding}"))


@pytest.mark.parametrize(
    "coding",
    ["utf-8", "UTF8", "ISO-8859-1", "windows-1252", "none", "aws-chunked", "Identity", "binary"],
)
async def test_what_is_no_coding_changes_no_bytes(coding: str) -> None:
    assert await read(b"\xff1", codings=coding, length=2) == b"\xff1"
    assert await read(gzip.compress(b"1"), codings=f"{coding},gzip") == b"1"
    assert "has 2 bytes" in str(await refused(b"12", codings=coding, length=2, max_bytes=1))


async def test_a_tower_of_codings_is_refused() -> None:
    assert "content codings" in str(await refused(b"x", codings=",".join(["gzip"] * 5000)))


async def test_the_limit_itself_is_allowed_and_one_byte_more_is_not() -> None:
    assert await read(b"12345", max_bytes=5) == b"12345"
    assert "max_bytes = 5" in str(await refused(b"12345", b"6", max_bytes=5))
    packed = gzip.compress(b"123456")
    assert await read(packed, codings="gzip", max_bytes=6) == b"123456"
    assert "after decompression" in str(await refused(packed, codings="gzip", max_bytes=5))


async def test_a_length_above_the_limit_is_refused_before_anything_is_read() -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    with pytest.raises(RefreshFailed, match="has 6 bytes"):
        await read_body(untouched(), codings="identity", length=6, max_bytes=5)


async def test_the_length_of_coded_data_says_nothing_about_the_limit() -> None:
    packed = gzip.compress(b"1")
    assert await read(packed, codings="gzip", length=len(packed), max_bytes=1) == b"1"


@pytest.mark.parametrize("stacked", [False, True])
async def test_a_bomb_never_takes_more_memory_than_the_limit(*, stacked: bool) -> None:
    packed = gzip.compress(bytes(200 * MIB), compresslevel=1)
    codings = "gzip"
    if stacked:
        packed, codings = gzip.compress(packed), "gzip, gzip"
    tracemalloc.start()
    try:
        await refused(packed, codings=codings, max_bytes=4 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_large_body_takes_no_memory_of_this_process(coding: str) -> None:
    data = b"0123456789abcdef" * (MIB // 2)
    packed = gzip.compress(data, compresslevel=1) if coding else data
    chunks = cut(packed, 1 << 16)
    tracemalloc.start()
    try:
        body = await read_body(
            off_the_wire(chunks),
            codings=coding,
            length=None,
            max_bytes=8 * MIB,
            spool_from=MIB // 4,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(body, Spool)
    assert peak < MIB
    assert body.read() == data


@given(size=st.integers(0, 40), spool_from=st.integers(1, 40), step=st.integers(1, 40))
async def test_a_body_is_the_same_in_a_file(size: int, spool_from: int, step: int) -> None:
    data = bytes(range(size))
    body = await read_body(
        off_the_wire(cut(data, step)), codings="", length=size, max_bytes=40, spool_from=spool_from
    )
    if size < spool_from:
        assert body == data
    else:
        assert isinstance(body, Spool)
        assert body.read() == data


async def test_the_file_of_a_body_that_is_refused_goes_at_once() -> None:
    before = open_files()
    with pytest.raises(RefreshFailed) as refusal:
        await read_body(
            off_the_wire([b"1", b"2", b"3"]), codings="", length=None, max_bytes=2, spool_from=1
        )
    assert open_files() == before
    del refusal  # it held on to all there was


async def test_decoding_lets_others_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await read(gzip.compress(bytes(8 * MIB)), codings="gzip", max_bytes=8 * MIB)
        group.cancel_scope.cancel()
    assert turns > 16


async def test_a_coding_that_is_named_twice_and_was_applied_once_comes_off_once() -> None:
    for body in (b'{"a":1}', b"", b"x" * MIB):
        packed = gzip.compress(body)
        for chunks in ([packed], [packed[:5], packed[5:]]):
            assert await read(*chunks, codings="gzip, gzip") == body
        assert await read(gzip.compress(packed), codings="gzip, gzip") == body
