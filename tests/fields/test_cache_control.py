import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.cache_control import age, fresh_for
from refresher.fields.dates import http_date

NOW = 1_800_000_000.0


def fresh(**fields: str) -> float | None:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return fresh_for(httpx.Headers(headers), now=NOW)


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("max-age=600", 600),
        ("public, MAX-AGE=600, must-revalidate", 600),
        ('max-age="600"', 600),
        ('private="a, no-store", max-age=600', 600),
        ("max-age=600, max-age=60", 600),
        ("s-maxage=60, max-age=600", 600),
        ("s-maxage=600", None),
        ("max-age=0", None),
        ("max-age=600, no-cache", None),
        ('max-age=600, no-cache="Set-Cookie"', None),
        ("max-age=600, no-store", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ("max-age", None),
        ("xmax-age=600", None),
        ("max-age=" + "9" * 400, 3_650 * 86_400),
        ("", None),
    ],
)
def test_max_age_decides_unless_reuse_is_forbidden(
    cache_control: str, seconds: float | None
) -> None:
    assert fresh(Cache_Control=cache_control) == seconds


def test_age_is_subtracted() -> None:
    assert fresh(Cache_Control="max-age=600", Age="200") == 400
    assert fresh(Cache_Control="max-age=600", Age="200, 300") == 400
    assert fresh(Cache_Control="max-age=600", Age="x") == 600
    assert fresh(Cache_Control="max-age=600", Age="600") is None
    assert fresh(Cache_Control="max-age=600", Age="9" * 400) is None


def test_expires_counts_from_the_date_of_the_answer() -> None:
    wrong_clock = NOW - 86_400
    assert fresh(Expires=http_date(wrong_clock + 60), Date=http_date(wrong_clock)) == 60
    assert fresh(Expires=http_date(NOW + 60)) == 60
    assert fresh(Expires=http_date(NOW + 60), Age="20") == 40
    assert fresh(Expires=http_date(NOW - 60)) is None
    assert fresh(Expires="0") is None


def test_max_age_comes_before_expires_even_when_it_is_nonsense() -> None:
    assert fresh(Expires=http_date(NOW + 60), Cache_Control="max-age=10") == 10
    assert fresh(Expires=http_date(NOW + 60), Cache_Control="max-age=x") is None


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")))
def test_no_value_breaks_the_parser(text: str) -> None:
    for name in (b"cache-control", b"expires", b"age", b"date"):
        fields = [(b"cache-control", b"max-age=60"), (name, text.encode("latin-1"))]
        found = fresh_for(httpx.Headers(fields), now=NOW)
        assert found is None or found > 0


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("3000", 3000),
        ("0", 0),
        (" 7\t", 7),
        ("7, 9", 7),
        ("x, 9", 0),
        (", 9", 0),
        ("", 0),
        ("-5", 0),
        ("+5", 0),
        ("5.5", 0),
        ("5s", 0),
        ("\u0665", 0),
        ("9" * 400, 3_650 * 86_400),
    ],
)
def test_age_is_the_first_member_if_it_is_a_number_of_seconds(field: str, seconds: float) -> None:
    assert age({"age": field}) == seconds
    assert age({}) == 0
