import gzip
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import shake_256

import brotli
import pytest

from refresher.model import Format, Stored
from refresher.pipeline.representation import compress, etag_of, prepare, restored

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB, MIB = 1024, 1024 * 1024
JSON = "application/json"
UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "zstd": zstd.decompress,
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}
CODINGS = tuple(UNPACK)
coded = pytest.mark.parametrize("coding", CODINGS)


def text_of(size: int) -> bytes:
    return (b'{"name": "value"}, ' * (size // 19 + 1))[:size]


def noise_of(size: int) -> bytes:
    return shake_256(b"noise").digest(size)


@pytest.mark.parametrize(
    "media_type",
    [
        JSON,
        "application/geo+json",
        "text/plain; charset=utf-8",
        "TEXT/CSV",
        "application/xml",
        "application/rss+xml",
        "image/svg+xml",
        "application/yaml",
        "application/toml",
        "application/javascript",
    ],
)
def test_media_types_that_compress_are_offered_in_every_coding(media_type: str) -> None:
    body = text_of(KIB)
    ready = prepare(body, media_type)
    assert ready.codings == CODINGS
    for coding, unpack in UNPACK.items():
        assert unpack(ready.body(coding)) == body


@pytest.mark.parametrize(
    "media_type", ["image/png", "application/octet-stream", "application/gzip", "video/mp4", "x"]
)
def test_other_media_types_are_offered_as_they_are(media_type: str) -> None:
    ready = prepare(text_of(4 * KIB), media_type)
    assert ready.codings == ()
    assert not ready.deferred


def test_below_a_kibibyte_nothing_is_compressed() -> None:
    assert prepare(text_of(KIB - 1), JSON).codings == ()


@coded
def test_what_saves_less_than_a_tenth_is_not_offered(coding: str) -> None:
    saves_a_quarter = b64encode(noise_of(4 * KIB))
    assert compress(saves_a_quarter, coding) is not None
    assert compress(noise_of(3800) + bytes(300), coding) is None
    assert prepare(noise_of(4 * KIB), JSON).codings == ()


def test_each_coding_is_offered_for_what_it_saves_itself() -> None:
    saves_more_in_some = noise_of(3400) + b"0123456789" * 40
    ready = prepare(saves_more_in_some, JSON)
    for coding in CODINGS:
        worth_it = compress(saves_more_in_some, coding) is not None
        assert (coding in ready.codings) == worth_it


@coded
def test_compressing_again_gives_the_same_bytes(coding: str) -> None:
    assert compress(text_of(KIB), coding) == compress(text_of(KIB), coding)


def test_no_time_of_day_is_in_gzip() -> None:
    packed = compress(text_of(KIB), "gzip") or b""
    assert packed[:4] == b"\x1f\x8b\x08\x00"
    assert packed[4:8] == bytes(4)


@pytest.mark.parametrize("size", [KIB, KIB + 1, 4095, 4096, 4097, 32 * KIB + 1, 70 * KIB])
def test_gzip_with_a_window_that_fits_holds_a_body_of_any_size(size: int) -> None:
    body = (noise_of(min(size // 2, 16 * KIB)) * 9)[:size]
    assert gzip.decompress(compress(body, "gzip") or b"") == body


def test_a_window_of_zstd_is_within_what_browsers_take() -> None:
    packed = compress(text_of(20 * MIB), "zstd") or b""
    assert zstd.get_frame_info(packed).decompressed_size == 20 * MIB
    limit = zstd.DecompressionParameter.window_log_max
    assert len(zstd.decompress(packed, options={limit: 23})) == 20 * MIB, "RFC 9659: 8 MiB"


def test_up_to_a_mebibyte_is_compressed_at_once_and_more_when_asked_for() -> None:
    assert not prepare(text_of(MIB), JSON).deferred
    large = text_of(MIB + 1)
    ready = prepare(large, JSON)
    assert ready.codings == CODINGS
    assert ready.deferred == set(CODINGS)
    later = ready.with_coding("br", compress(large, "br"))
    assert later.codings == CODINGS
    assert later.deferred == {"zstd", "gzip"}
    assert brotli.decompress(later.body("br")) == later.body("identity") == large


@pytest.mark.parametrize("size", [KIB - 1, KIB, MIB + 1])
def test_a_stored_version_keeps_its_etag_and_is_compressed_when_asked_for(size: int) -> None:
    body, tag = text_of(size), '"as-it-was"'
    stored = Stored(
        body="a", size=size, etag=tag, content_type=JSON, format=Format.JSON, items=None
    )
    ready = restored(body, stored)
    assert (ready.body("identity"), ready.etag("identity")) == (body, tag)
    assert ready.deferred == (set(CODINGS) if size >= KIB else set())
    assert ready.codings == prepare(body, JSON).codings


def test_a_large_body_that_does_not_compress_is_not_tried_again() -> None:
    ready = prepare(noise_of(MIB + 1), JSON)
    for coding in CODINGS:
        ready = ready.with_coding(coding, compress(ready.body("identity"), coding))
    assert not ready.deferred
    assert ready.codings == ()


def test_each_coding_has_its_own_strong_etag() -> None:
    ready = prepare(text_of(KIB), JSON)
    assert ready.etag("identity") == etag_of(text_of(KIB), JSON)
    for coding in CODINGS:
        assert ready.etag(coding) == f'{ready.etag("identity")[:-1]}-{coding}"'


def test_an_etag_comes_from_bytes_and_media_type_alone() -> None:
    others = {etag_of(b"[]", JSON), etag_of(b"{}", "application/geo+json"), etag_of(b"", JSON)}
    assert len(others - {etag_of(b"{}", JSON)}) == 3
    assert etag_of(b"b", "a") != etag_of(b"", "ab"), (
        "where the one ends and the other begins counts"
    )


def test_an_etag_is_the_same_on_every_machine_and_in_every_release() -> None:
    assert etag_of(b"{}", JSON) == '"L4mWaPQEDXuIIrUBmUTv2O"'
