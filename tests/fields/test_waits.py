from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.waits import waits

NOW = 1_796_047_200.0  # Mon, 30 Nov 2026 14:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("40", 40),
        ("+40", 40),
        ("40.5", 40.5),
        ("40.", 40),
        (".5", 0.5),
        ("4e1", 40),
        ("'40'", 40),
        ("40;comment", 40),
        ("40 (busy)", 40),
        ("40s", 40),
        ("40 S", 40),
        ("40.5s", 40.5),
        ("40 seconds", 40),
        ("1 minute", 60),
        ("2 mins", 120),
        ("500ms", 0.5),
        ("30m0s", 1800),
        ("1h30m", 5400),
        ("1 hour 30 minutes", 5400),
        ("1d", 86_400),
        ("PT40S", 40),
        ("PT1M30.5S", 90.5),
        ("P1DT1H", 90_000),
        ("00:01:30", 90),
        ("1.00:00:00", 86_400),
        (f"{NOW + 40:.0f}", 40),
        (f"{NOW + 40:.0f}000", 40),
        (f"{NOW + 40.5}", 40.5),
    ],
)
def test_spans_and_epochs_are_read_with_any_unit(value: str, seconds: float) -> None:
    assert waits(value, now=NOW) == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 30 Nov 2026 14:00:40 GMT",
        "mon, 30 nov 2026 14:00:40 gmt",
        "Mon, 30 Nov 2026 14:00:40 UTC",
        "Mon, 30 Nov 2026 14:00:40 UT",
        "Mon, 30 Nov 2026 14:00:40 Z",
        "Mon, 30 Nov 2026 14:00:40 +0000",
        "Mon, 30 Nov 2026 14:00:40 -0000",
        "Mon, 30 Nov 2026 16:00:40 +0200",
        "Mon, 30 Nov 2026 14:00:40 GMT+00:00",
        "Mon, 30 Nov 2026 09:00:40 EST",
        "Mon, 30 Nov 2026 14:00:40",
        "Monday, 30 November 2026 14:00:40 GMT",
        "Tue, 30 Nov 2026 14:00:40 GMT",
        "30 Nov 2026 14:00:40 GMT",
        "Mon 30 Nov 2026 14:00:40 GMT",
        "Mon, 30-Nov-2026 14:00:40 GMT",
        "Monday, 30-Nov-26 14:00:40 GMT",
        "Mon Nov 30 14:00:40 2026",
        "Mon Nov 30 14:00:40 UTC 2026",
        "Mon Nov 30 14:00:40 +0000 2026",
        "Nov 30, 2026 14:00:40 GMT".replace(",", ""),
        "2026-11-30T14:00:40Z",
        "2026-11-30t14:00:40z",
        "2026-11-30T14:00:40.000Z",
        "2026-11-30T14:00:40.000000000Z",
        "2026-11-30T14:00:40",
        "2026-11-30 14:00:40",
        "2026-11-30 14:00:40 UTC",
        "2026-11-30 14:00:40 +0000 UTC",
        "2026-11-30T15:00:40+01:00",
        "2026-11-30T12:30:40-0130",
        "20261130T140040Z",
        '"2026-11-30T14:00:40Z"',
    ],
)
def test_dates_are_read_with_any_zone_and_order(value: str) -> None:
    assert waits(value, now=NOW) == [40]


def test_the_day_and_the_hour_may_have_one_digit() -> None:
    assert waits("Sun, 6 Dec 2026 8:00:00 GMT", now=NOW) == [6 * 86_400 - 6 * 3600]
    assert waits("Sun Dec  6 08:00:00 2026", now=NOW) == [6 * 86_400 - 6 * 3600]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("40, 40", [40, 40]),
        ("40,50", [40, 50]),
        ("40, soon", [40]),
        ("40s, Mon, 30 Nov 2026 14:00:50 GMT, 60", [40, 50, 60]),
        ("Mon, 30 Nov 2026 14:00:40 GMT, Mon, 30 Nov 2026 14:00:40 GMT", [40, 40]),
        ("Mon, 30 Nov 2026 13:59:40 GMT", [-20]),
    ],
)
def test_a_field_that_came_several_times_is_a_list(value: str, seconds: list[float]) -> None:
    assert waits(value, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "soon",
        "-5",
        "-0.5",
        "40 parsecs",
        "s",
        "PT",
        "P",
        "14:00",
        "Mon",
        "Mon, 30 Foo 2026 14:00:40 GMT",
        "Mon, 31 Nov 2026 14:00:40 GMT",
        "Mon, 30 Nov 2026 14:00:40 XYZ",
        "Mon, 30 Nov 2026",
        "30 30 Nov 2026 14:00:40",
        "2026-13-30T14:00:40Z",
        "2026-11-30T14:00:40Mars",
        "٤٠",
        "nan",
        "inf",
        "0x28",
        "1s " * 100,
    ],
)
def test_what_is_no_wait_is_left_out(value: str) -> None:
    assert waits(value, now=NOW) == []


@given(st.text())
def test_no_text_breaks_the_reader(value: str) -> None:
    waits(value, now=NOW)


@given(st.text("0123456789 :-+.,;TZPDHMSGUCmonNovs", max_size=40))
def test_no_text_of_the_letters_of_dates_breaks_the_reader(value: str) -> None:
    waits(value, now=NOW)


_ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2400, 1, 1), timezones=_ZONES),  # noqa: DTZ001  hypothesis wants bounds without a zone
    st.sampled_from([format_datetime, datetime.isoformat]),
)
def test_what_the_standard_library_writes_is_read(moment: datetime, write: object) -> None:
    moment = moment.replace(microsecond=0)
    assert callable(write)
    assert waits(write(moment), now=NOW) == [
        pytest.approx(moment.astimezone(UTC).timestamp() - NOW)
    ]
