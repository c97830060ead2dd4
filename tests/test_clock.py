import itertools
from datetime import datetime

import pytest

from refresher.clock import Moments, zone


def instants(moments: Moments, after: str, count: int) -> list[str]:
    place = zone(moments.timezone)
    begin = datetime.fromisoformat(after).timestamp()
    found = itertools.islice(moments.after(begin), count)
    return [datetime.fromtimestamp(each, place).isoformat() for each in found]


def test_moments_are_those_of_the_zones_clock_and_later() -> None:
    workdays = Moments("0 17 * * 1-5", "Europe/Berlin")
    assert instants(workdays, "2026-11-27T17:00:00+01:00", 2) == [
        "2026-11-30T17:00:00+01:00",
        "2026-12-01T17:00:00+01:00",
    ]
    assert instants(workdays, "2026-11-27T16:59:59.9+01:00", 1) == ["2026-11-27T17:00:00+01:00"]


@pytest.mark.parametrize(
    ("after", "moments"),
    [
        ("2026-03-28T12:00:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("2026-10-24T12:00:00+02:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
    ],
)
def test_a_moment_that_the_clock_skips_or_repeats_comes_once(
    after: str, moments: list[str]
) -> None:
    assert instants(Moments("30 2 * * *", "Europe/Berlin"), after, 2) == moments
