import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.config.units import (
    InvalidValue,
    Share,
    duration,
    rate,
    size,
    written_duration,
    written_size,
)
from refresher.model import Rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d1h1m1s1ms", 90_061.001),
        ("0s", 0),
        ("3650d", 315_360_000),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        "1.5s",
        "-5s",
        "30m1h",
        "5M",
        "1w",
        "\u0665s",
        "5s\n",
        "5ms5s",
        "+1s",
        "1e3s",
    ],
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["3650d1ms", "9999999999999999999999d", "876001h"])
def test_a_duration_beyond_ten_years_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is too long"):
        duration(text)


@given(st.integers(0, 315_360_000_000))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    assert duration(written_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.text("0123456789dhms", max_size=12))
def test_any_text_is_a_duration_or_unfit(text: str) -> None:
    try:
        seconds = duration(text)
    except InvalidValue:
        return
    assert duration(written_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("0B", 0), ("1KB", 1000), ("64KiB", 65_536), ("10MB", 10_000_000), ("1GiB", 1 << 30)],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    "text", ["", "10", "10M", "10 MB", "1.5MB", "10mb", "10TB", "9" * 20 + "B"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a size"):
        size(text)


@given(st.integers(0, 1 << 36))
def test_a_size_is_written_as_it_is_read(count: int) -> None:
    assert size(written_size(count)) == count


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0%", 0), ("2.5%", 0.025), ("100%", 1)])
def test_a_percentage_is_read_as_a_share_of_one(text: str, share: float) -> None:
    assert Share.of(text) == share


@pytest.mark.parametrize("text", ["", "5", "%", "-5%", "5 %", "101%", "1e1%", "100.1%"])
def test_what_is_not_a_percentage_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        Share.of(text)


def test_a_rate_is_read_as_a_count_in_a_time() -> None:
    assert rate("60/1m") == Rate(60, 60.0)


@pytest.mark.parametrize("text", ["", "60", "60/m", "0/1m", "60/0s", "60/1m/1m", "-1/1m", "/1m"])
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a rate"):
        rate(text)
