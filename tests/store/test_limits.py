import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Rate
from refresher.store import limits
from refresher.store.limits import Allowance

START = 1_800_000_000.0
STEPS = st.lists(st.floats(min_value=0.0, max_value=20.0), min_size=1, max_size=120)
RATES = st.builds(Rate, st.integers(1, 12) | st.integers(101, 130), st.sampled_from([1.0, 60.0]))


def started(known: Allowance, rate: Rate, *, now: float) -> Allowance:
    after = limits.started(known, rate, now=now)
    assert after is not None
    return after


def as_fast_as_allowed(rate: Rate, steps: list[float]) -> list[float]:
    """When attempts start that each come so much later than the one before, or when they may."""
    known, now, starts = Allowance(), START, []
    for step in steps:
        now += step * rate.period / 60
        while (after := limits.started(known, rate, now=now)) is None:
            free = limits.free_at(known, rate, now=now)
            assert free > now
            now = free
        known = after
        starts.append(now)
    return starts


@given(RATES, STEPS)
def test_no_period_has_more_starts_than_the_rate(rate: Rate, steps: list[float]) -> None:
    starts = as_fast_as_allowed(rate, [*steps, *([0.0] * 2 * rate.count)])
    for one, another in zip(starts, starts[rate.count :], strict=False):
        assert another - one >= rate.period - 1e-6


@given(st.integers(1, 100), st.lists(st.floats(0.0, 59.0), min_size=100, max_size=100))
def test_up_to_a_hundred_a_start_is_free_as_soon_as_the_rate_allows(
    count: int, offsets: list[float]
) -> None:
    rate, known = Rate(count, 60.0), Allowance()
    for offset in sorted(offsets[:count]):
        known = started(known, rate, now=START + offset)
    first = START + min(offsets[:count])
    assert limits.started(known, rate, now=first + 59.9) is None
    assert limits.free_at(known, rate, now=first + 59.9) == first + 60
    assert started(known, rate, now=first + 60)


def test_above_a_hundred_the_window_is_late_by_a_hundredth_at_most_and_the_document_small() -> None:
    rate, known = Rate(10_000, 60.0), Allowance()
    for n in range(10_000):
        known = started(known, rate, now=START + n / 200)
    assert limits.started(known, rate, now=START + 50) is None
    assert START + 60 <= limits.free_at(known, rate, now=START + 50) <= START + 60.6
    assert len(known.starts) <= 101
    assert len(limits.encoded(known)) < 2000


def test_starts_by_clocks_that_differ_a_little_are_counted_in_order() -> None:
    rate, known = Rate(2, 60.0), Allowance()
    known = started(known, rate, now=START + 0.004)
    known = started(known, rate, now=START)
    assert limits.free_at(known, rate, now=START + 1) == START + 60
    known = started(known, rate, now=START + 60.001)
    assert limits.free_at(known, rate, now=START + 60.002) == START + 60.004


def test_a_start_that_was_not_made_is_given_back() -> None:
    rate = Rate(2, 60.0)
    known = started(started(Allowance(), rate, now=START), rate, now=START)
    assert limits.started(known, rate, now=START) is None
    after = limits.given_back(known)
    assert after is not None
    assert started(after, rate, now=START).starts == known.starts
    assert limits.given_back(Allowance()) is None


def test_a_hold_is_moved_out_and_never_in() -> None:
    known = limits.held(Allowance(), START + 10)
    assert known is not None
    assert known.held_until == START + 10
    assert limits.held(known, START + 5) is None
    assert limits.held(known, START + 10) is None


def test_a_clock_set_back_leaves_nothing_in_the_future() -> None:
    known = Allowance(held_until=START + 9000, starts=((START + 5000, 3), (START + 5001, 1)))
    after = limits.not_after(known, latest=START + 3600, now=START)
    assert after is not None
    assert after.held_until == START + 3600
    assert limits.free_at(after, Rate(4, 60.0), now=START) == START + 60
    assert limits.not_after(after, latest=START + 3600, now=START) is None


def test_what_was_started_on_both_sides_counts() -> None:
    ours = Allowance(held_until=START + 5, starts=((START, 1), (START + 2, 1)))
    theirs = Allowance(held_until=START + 3, starts=((START, 1), (START + 1, 1)))
    both = Allowance(held_until=START + 5, starts=((START, 1), (START + 1, 1), (START + 2, 1)))
    assert limits.merged(theirs, ours) == both
    assert limits.merged(ours, theirs) == both
    assert limits.merged(None, ours) == ours


@given(RATES, STEPS)
def test_an_allowance_reads_as_it_was_written(rate: Rate, steps: list[float]) -> None:
    known, now = Allowance(held_until=START), START
    for step in steps:
        now += step
        known = limits.started(known, rate, now=now) or known
    assert limits.decoded(limits.encoded(known)) == known


def test_what_is_no_allowance_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        limits.decoded(b"\xc1")
