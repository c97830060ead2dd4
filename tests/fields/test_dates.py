import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.dates import http_date, parse_http_date

RFC_EXAMPLE = 784111777.0
IN_2026 = 1_780_000_000.0
YEAR = 365.25 * 86400


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "  Sun, 06 Nov 1994 08:49:37 GMT\t",
    ],
)
def test_all_three_forms_are_read(text: str) -> None:
    assert parse_http_date(text, now=IN_2026) == RFC_EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "soon",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None


def test_a_leap_second_is_the_next_minute_s_first() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800


@pytest.mark.parametrize(
    ("now", "two_digits", "year"),
    [
        (IN_2026, "94", 1994),
        (IN_2026, "26", 2026),
        (IN_2026, "75", 2075),
        (IN_2026, "77", 1977),
        (IN_2026 + 64 * YEAR, "10", 2110),
    ],
)
def test_a_two_digit_year_is_never_more_than_50_years_ahead(
    now: float, two_digits: str, year: int
) -> None:
    found = parse_http_date(f"Sunday, 06-Nov-{two_digits} 08:49:37 GMT", now=now)
    assert found == parse_http_date(f"Sun, 06 Nov {year} 08:49:37 GMT")


def test_fifty_years_ahead_is_counted_to_the_day() -> None:
    now = parse_http_date("Sun, 10 May 2026 12:00:00 GMT")
    just_within = parse_http_date("Sunday, 10-May-76 00:00:00 GMT", now=now)
    beyond = parse_http_date("Sunday, 11-May-76 00:00:00 GMT", now=now)
    assert just_within == parse_http_date("Sun, 10 May 2076 00:00:00 GMT")
    assert beyond == parse_http_date("Tue, 11 May 1976 00:00:00 GMT")


@given(st.integers(min_value=-60_000_000_000, max_value=250_000_000_000))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_http_date(http_date(seconds)) == seconds


@pytest.mark.parametrize("seconds", [784111777, 784111777.4, 784111777.999_999_9])
def test_a_fraction_is_cut_and_never_rounded_up(seconds: float) -> None:
    assert http_date(seconds) == "Sun, 06 Nov 1994 08:49:37 GMT"
