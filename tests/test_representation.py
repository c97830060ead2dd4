import gzip
from base64 import b64encode
from hashlib import shake_256

import pytest

from refresher.representation import compress, etag_of, prepare

KIB, MIB = 1024, 1024 * 1024
JSON = "application/json"


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
def test_media_types_that_compress_are_offered_in_gzip(media_type: str) -> None:
    body = text_of(KIB)
    ready = prepare(body, media_type)
    assert ready.codings == ("gzip",)
    assert gzip.decompress(ready.body("gzip")) == body


@pytest.mark.parametrize(
    "media_type", ["image/png", "application/octet-stream", "application/gzip", "video/mp4", "x"]
)
def test_other_media_types_are_offered_as_they_are(media_type: str) -> None:
    ready = prepare(text_of(4 * KIB), media_type)
    assert ready.codings == ()
    assert not ready.gzip_deferred


def test_below_a_kibibyte_nothing_is_compressed() -> None:
    assert prepare(text_of(KIB - 1), JSON).codings == ()


def test_what_saves_less_than_a_tenth_is_not_offered() -> None:
    saves_a_quarter = b64encode(noise_of(4 * KIB))
    assert compress(saves_a_quarter) is not None
    assert compress(noise_of(3800) + bytes(300)) is None
    assert prepare(noise_of(4 * KIB), JSON).codings == ()


def test_compressing_again_gives_the_same_bytes() -> None:
    assert compress(text_of(KIB)) == compress(text_of(KIB))
    assert gzip.compress(b"")[:4] == b"\x1f\x8b\x08\x00"
    assert (compress(text_of(KIB)) or b"")[4:8] == bytes(4), "no time of day in it"


def test_up_to_a_mebibyte_is_compressed_at_once_and_more_when_asked_for() -> None:
    assert prepare(text_of(MIB), JSON).codings == ("gzip",)
    large = text_of(MIB + 1)
    ready = prepare(large, JSON)
    assert ready.gzip_deferred
    assert ready.codings == ()
    later = ready.with_gzip(compress(large))
    assert not later.gzip_deferred
    assert later.codings == ("gzip",)
    assert gzip.decompress(later.body("gzip")) == later.body("identity") == large


def test_a_large_body_that_does_not_compress_is_not_tried_again() -> None:
    ready = prepare(noise_of(MIB + 1), JSON)
    assert ready.gzip_deferred
    later = ready.with_gzip(compress(ready.body("identity")))
    assert not later.gzip_deferred
    assert later.codings == ()


def test_each_coding_has_its_own_strong_etag() -> None:
    ready = prepare(text_of(KIB), JSON)
    assert ready.etag("identity") == etag_of(text_of(KIB), JSON)
    assert ready.etag("gzip") == ready.etag("identity")[:-1] + '-gzip"'


def test_an_etag_comes_from_bytes_and_media_type_alone() -> None:
    others = {etag_of(b"[]", JSON), etag_of(b"{}", "application/geo+json"), etag_of(b"", JSON)}
    assert len(others - {etag_of(b"{}", JSON)}) == 3
    assert etag_of(b"b", "a") != etag_of(b"", "ab"), (
        "where the one ends and the other begins counts"
    )


def test_an_etag_is_the_same_on_every_machine_and_in_every_release() -> None:
    assert etag_of(b"{}", JSON) == '"L4mWaPQEDXuIIrUBmUTv2O"'
