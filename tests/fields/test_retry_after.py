from datetime import UTC, datetime

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
        ("40.5", 40.5),
        ("40s", 40.0),
        ("40, 40", 40.0),
        ("5, 6", 6.0),
        ("6, soon", 6.0),
        ("1.5", 1.5),
        ("+5", 5.0),
        ("1e3", 1000.0),
        ("PT2H", 3600.0),
        (f"{http_date(NOW + 30)}, {http_date(NOW + 40)}", 40.0),
        (http_date(NOW + 30).replace("GMT", "UTC"), 30.0),
        (http_date(NOW + 30).replace("GMT", "+0000"), 30.0),
        (datetime.fromtimestamp(NOW + 30, UTC).isoformat(), 30.0),
        (f"{NOW + 30:.0f}", 30.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
    ],
)
def test_every_form_asks_for_a_wait_of_an_hour_at_most(value: str, seconds: float) -> None:
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize("value", [None, "", "-5", "soon", "٣", "5 moons", ","])
def test_what_cannot_be_read_asks_for_nothing(value: str | None) -> None:
    assert retry_after(value, now=NOW) is None


@given(st.text())
def test_no_text_asks_for_a_negative_wait_or_more_than_an_hour(value: str) -> None:
    seconds = retry_after(value, now=NOW)
    assert seconds is None or 0.0 <= seconds <= 3600.0
