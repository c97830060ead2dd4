import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.dates import http_date
from refresher.fields.retry_after import retry_after

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17\t", 17.0),
        ("0017", 17.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        (http_date(NOW + 30), 30.0),
        (http_date(NOW - 30), 0.0),
        (http_date(NOW + 90_000), 3600.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
    ],
)
def test_both_forms_are_read_and_capped_at_an_hour(value: str, seconds: float) -> None:
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize("value", [None, "", "-5", "+5", "1.5", "soon", "٣", "5, 6", "1e3"])
def test_what_is_neither_form_is_ignored(value: str | None) -> None:
    assert retry_after(value, now=NOW) is None


@given(st.text())
def test_no_text_asks_for_a_negative_wait_or_more_than_an_hour(value: str) -> None:
    seconds = retry_after(value, now=NOW)
    assert seconds is None or 0.0 <= seconds <= 3600.0
