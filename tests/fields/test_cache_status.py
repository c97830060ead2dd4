import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.cache_status import overdue_for


@pytest.mark.parametrize(
    ("cache_status", "seconds"),
    [
        ("", 0),
        ("cdn; hit; ttl=30", 0),
        ("cdn; hit; ttl=0", 0),
        ("cdn; hit; ttl=-18", 18),
        ('"cdn.example"; hit; ttl=-18', 18),
        ("origin; hit; ttl=-500, cdn; hit; ttl=30", 500),
        ("cdn; hit; ttl=-5, other; hit; ttl=-20; detail=x", 20),
        ("cdn; fwd=stale; fwd-status=503; ttl=-7", 7),
        ("cdn; hit; ttl=-2.5", 2.5),
        ("refresher; hit; ttl=-3; detail=updating", 3),
        ("refresher; hit; ttl=20; detail=status-503", 0),
        ("refresher; hit; ttl=20; detail=content", math.inf),
        ("refresher; hit; ttl=20; detail=upstream", math.inf),
        ("refresher; hit; ttl=20; detail=expired", math.inf),
        ('"refresher"; hit; ttl=20; detail="expired"', math.inf),
        ("refresher; hit; ttl=20; detail=upstream, cdn; hit; ttl=9", math.inf),
        ("squid; hit; ttl=20; detail=expired", 0),
        ("refresher; hit; ttl=20; detail=expired-soon", 0),
        # said in another way than a number, or in no way at all
        ("cdn; hit; ttl", 0),
        ("cdn; hit; ttl=?1", 0),
        ('cdn; hit; ttl="-18"', 0),
        ("cdn; hit; ttl=-", 0),
        ("cdn; hit; TTL=-18", 0),
        ("cdn; hit; ttl=-999999999999999", 999999999999999),
        ("HIT from cache, MISS;;", 0),
    ],
)
def test_the_worst_word_of_the_caches_on_the_way_counts(cache_status: str, seconds: float) -> None:
    assert overdue_for({"cache-status": cache_status}) == seconds


def test_an_answer_without_the_field_is_not_stale() -> None:
    assert overdue_for({}) == 0


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF)))
def test_whatever_stands_there_is_no_error(text: str) -> None:
    assert overdue_for({"cache-status": text}) >= 0
