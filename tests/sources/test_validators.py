import json
import math

import httpx
import pytest

from refresher.fields.dates import http_date
from refresher.sources.validators import Validators

URL = httpx.URL("https://api.example/rates?token=SECRET")
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW = 1_700_000_000.0
DAY = 86_400.0


def validators(
    headers: dict[str, str] | list[tuple[bytes, bytes]], *, at: float = NOW
) -> Validators | None:
    return Validators.of(httpx.Headers(headers), URL, at=at)


def conditions(
    found: Validators, url: httpx.URL = URL, *, after: float = 1.0, full_refresh: float = DAY
) -> dict[str, str]:
    return found.conditions(url, now=NOW + after, full_refresh=full_refresh)


def of_tag(etag: str) -> Validators:
    found = validators({"ETag": etag})
    assert found is not None
    return found


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"', '""', '"a,b"', "unquoted", "W/unquoted"])
def test_an_entity_tag_is_sent_back_as_it_was_received_and_no_date_beside_it(etag: str) -> None:
    found = validators({"ETag": etag, "Last-Modified": LONG_AGO})
    assert found is not None
    assert Validators.parse(found.dump()) == found
    assert conditions(found) == {"If-None-Match": etag}


@pytest.mark.parametrize("etag", ["*", '"a", *', '"a", "b"', "", '"a b"', "a b"])
def test_what_could_match_something_else_is_no_validator(etag: str) -> None:
    assert validators({"ETag": etag}) is None
    found = validators({"ETag": etag, "Last-Modified": LONG_AGO})
    assert found is not None
    assert conditions(found) == {"If-Modified-Since": LONG_AGO}


def test_a_validator_beyond_ascii_is_none_since_it_could_not_be_sent_back_byte_for_byte() -> None:
    assert validators([(b"ETag", b'"\xe4"')]) is None
    assert validators([(b"ETag", '"ä"'.encode())]) is None


@pytest.mark.parametrize(
    ("modified", "date", "is_one"),
    [
        (-1, 0, True),
        (0, 0, False),
        (1, 0, False),
        (-3600, -3599, True),
        (-3599, -3599, False),
        (-60, None, True),
        (-59, None, False),
        (3600, None, False),
    ],
)
def test_a_date_tells_versions_apart_that_are_a_second_older_than_their_answer(
    modified: int, date: int | None, *, is_one: bool
) -> None:
    fields = {"Last-Modified": http_date(NOW + modified)}
    if date is not None:
        fields["Date"] = http_date(NOW + date)
    found = validators(fields)
    assert (found is not None) == is_one


@pytest.mark.parametrize("written", ["yesterday", "0", "", "Sun, 06 Nov 1994 08:49:37"])
def test_a_date_that_cannot_be_read_is_none(written: str) -> None:
    assert validators({"Last-Modified": written}) is None
    unreadable = {"Last-Modified": http_date(NOW - 30), "Date": written}
    assert validators(unreadable) is None  # as if there were none
    assert validators({**unreadable, "Last-Modified": LONG_AGO}) is not None


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
    assert conditions(of_tag('"a"'), httpx.URL(url)) == {}


def test_a_revision_does_not_tell_the_url() -> None:
    assert "SECRET" not in of_tag('"a"').dump()


@pytest.mark.parametrize("named", ["", '"a"', 'W/"a"', "a", '"a-gzip"', '"a;gzip"', '"a--gzip"'])
@pytest.mark.parametrize("known", ['"a"', 'W/"a"', "a", '"a-gzip"'])
def test_a_304_that_names_the_same_tag_in_another_form_or_none_confirms(
    known: str, named: str
) -> None:
    assert of_tag(known).are_confirmed_by({"etag": named})
    assert of_tag(known).are_confirmed_by({"last-modified": LONG_AGO})


@pytest.mark.parametrize("named", ['"b"', 'W/"b"', "b", '"b-gzip"', '"A"', '"a-"', '"a", "b"', "*"])
def test_a_304_that_names_another_tag_confirms_nothing(named: str) -> None:
    assert not of_tag('"a"').are_confirmed_by({"etag": named})
    assert not of_tag('W/"a"').are_confirmed_by({"etag": named, "last-modified": LONG_AGO})


def test_a_304_to_a_date_confirms_unless_it_names_another_date() -> None:
    found = validators({"Last-Modified": LONG_AGO})
    assert found is not None
    for fields in (
        {},
        {"last-modified": LONG_AGO},
        {"last-modified": "Sunday, 06-Nov-94 08:49:37 GMT"},
        {"last-modified": "now"},
        {"etag": '"a"'},  # such as a server has that leaves it out where it compresses
    ):
        assert found.are_confirmed_by(fields)
    for moved in (-1, 1):
        assert not found.are_confirmed_by({"last-modified": http_date(784_111_777 + moved)})


class TestAFullRefresh:
    def test_comes_in_the_last_tenth_of_its_time(self) -> None:
        found = of_tag('"a"')
        assert conditions(found, after=0.9 * DAY)
        assert not conditions(found, after=DAY)
        assert not conditions(found, after=-DAY)  # the clock has been set back since

    def test_is_spread_by_url_and_time(self) -> None:
        def due(url: str, at: float) -> int:
            found = Validators.of({"etag": '"a"'}, httpx.URL(url), at=at)
            assert found is not None
            return next(
                after
                for after in range(9000, 10_001)
                if not found.conditions(httpx.URL(url), now=at + after, full_refresh=10_000.0)
            )

        urls = {due(f"https://api.example/{each}", NOW) for each in range(50)}
        times = {due("https://api.example/", NOW + each) for each in range(50)}
        for moments in (urls, times):
            assert len(moments) > 40
            assert min(moments) < 9200
            assert max(moments) > 9800

    def test_may_never_come(self) -> None:
        assert conditions(of_tag('"a"'), after=1000 * DAY, full_refresh=math.inf)


@pytest.mark.parametrize("revision", [None, "", "returned", "17-4-2", "[]", '{"etag": 1}', "{"])
def test_a_revision_of_another_kind_is_none(revision: str | None) -> None:
    assert Validators.parse(revision) is None


def test_a_revision_of_a_release_that_let_a_304_replace_validators_is_not_believed() -> None:
    mark = json.loads(of_tag('"a"').dump())
    del mark["at"]
    assert Validators.parse(json.dumps(mark)) is None
