import httpx
import pytest

from refresher.sources.validators import Validators

URL = httpx.URL("https://api.example/rates?token=SECRET")
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"


def validators(headers: dict[str, str] | list[tuple[bytes, bytes]]) -> Validators | None:
    return Validators.of(httpx.Headers(headers), URL)


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"', '""', '"a,b"', "unquoted", "W/unquoted"])
def test_an_entity_tag_is_sent_back_as_it_was_received(etag: str) -> None:
    found = validators({"ETag": etag, "Last-Modified": LONG_AGO})
    assert found is not None
    assert Validators.parse(found.dump()) == found
    assert found.conditions(URL) == {"If-None-Match": etag, "If-Modified-Since": LONG_AGO}


@pytest.mark.parametrize("etag", ["*", '"a", *', '"a", "b"', "", '"a b"', "a b"])
def test_what_could_match_something_else_is_no_validator(etag: str) -> None:
    assert validators({"ETag": etag}) is None


def test_a_validator_beyond_ascii_is_none_since_it_could_not_be_sent_back_byte_for_byte() -> None:
    assert validators([(b"ETag", b'"\xe4"')]) is None
    assert validators([(b"ETag", '"ä"'.encode())]) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/rates?token=OTHER",
        "https://api.example/rates",
        "http://api.example/rates?token=SECRET",
        "https://other.example/rates?token=SECRET",
    ],
)
def test_validators_are_shown_only_to_the_url_that_issued_them(url: str) -> None:
    found = validators({"ETag": '"a"'})
    assert found is not None
    assert found.conditions(httpx.URL(url)) == {}


def test_a_revision_does_not_tell_the_url() -> None:
    found = validators({"ETag": '"a"'})
    assert found is not None
    assert "SECRET" not in found.dump()


def test_a_304_replaces_what_it_brings_and_keeps_the_rest() -> None:
    found = validators({"ETag": '"a"', "Last-Modified": LONG_AGO})
    assert found is not None
    fresh = found.freshened(httpx.Headers({"ETag": '"b"'}), URL)
    assert (fresh.etag, fresh.last_modified) == ('"b"', LONG_AGO)
    assert found.freshened(httpx.Headers(), URL) == found


@pytest.mark.parametrize("revision", [None, "", "returned", "17-4-2", "[]", '{"etag": 1}', "{"])
def test_a_revision_of_another_kind_is_none(revision: str | None) -> None:
    assert Validators.parse(revision) is None
