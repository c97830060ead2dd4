from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refresher.fields.negotiation import acceptable, choose

OFFERED = ("br", "gzip")


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1, br;q=0.9", "gzip"),
        ("gzip; q=0.5 , br;\tq=0.5", "br"),
        ("deflate", "identity"),
        ("*", "br"),
        ("*, br;q=0", "gzip"),
        ("*;q=0", "identity"),
        ("*;q=0, gzip", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000", "identity"),
        ("gzip;q=0.001", "gzip"),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.9", "identity"),
        ("identity;q=0.5, gzip;q=0.8", "gzip"),
        ("gzip;q=0.5, *;q=0.9", "br"),
        ("gzip;q=0.5, *;q=0.9, br;q=0", "identity"),
        ("identity;q=0, br;q=0", "identity"),
        ("identity;q=0", "identity"),
        ("identity;q=0, *", "br"),
        ("gzip;Q=0.1", "gzip"),
        ("gzip;level=9;q=0, br;q=0.1", "br"),
    ],
)
def test_the_coding_of_the_greatest_weight_is_chosen(field: str | None, coding: str) -> None:
    assert choose(field, OFFERED) == coding
    assert choose(None if field is None else field.encode(), OFFERED) == coding


@pytest.mark.parametrize(
    "broken", ["gzip;q=", "gzip;q=x", "gzip;q=2", "gzip;q=-1", "gz ip", ";q=1", "gzip;q=1.5", "é"]
)
def test_a_malformed_element_is_ignored(broken: str) -> None:
    assert choose(broken, OFFERED) == "identity"
    assert choose(f"{broken}, br;q=0.2", OFFERED) == "br"


def test_with_nothing_else_on_offer_it_is_identity() -> None:
    assert choose("gzip, identity;q=0", ()) == "identity"


@pytest.mark.parametrize(
    ("field", "coding", "expected"),
    [
        (None, "gzip", True),
        (None, "identity", True),
        ("", "identity", True),
        ("", "gzip", False),
        ("identity", "gzip", False),
        ("gzip", "identity", True),
        ("*;q=0", "identity", False),
        ("*;q=0, identity;q=0.1", "identity", True),
        ("gzip;q=0, *", "gzip", False),
        ("x-gzip", "gzip", True),
    ],
)
def test_what_a_client_takes(field: str | None, coding: str, *, expected: bool) -> None:
    assert acceptable(field, coding) is expected


def test_a_header_too_long_to_be_cached_is_read_as_well() -> None:
    assert choose("x," * 5000 + "gzip", OFFERED) == "gzip"


codings = ("br", "gzip", "x-gzip", "deflate", "identity", "*")
weights = st.one_of(st.none(), st.integers(0, 1000).map(lambda q: f"{q / 1000:.3f}"))
headers = st.dictionaries(st.sampled_from(codings), weights).filter(
    lambda asked: not {"gzip", "x-gzip"} <= asked.keys()
)


@given(headers, st.lists(st.sampled_from(["br", "gzip", "deflate"]), unique=True))
@example({"identity": "0.000", "gzip": "0.000"}, ["gzip"])
def test_it_agrees_with_the_rules_written_out(
    asked: dict[str, str | None], offered: list[str]
) -> None:
    """RFC 9110, 12.5.3, rule by rule, without a thought for speed."""

    def liking(coding: str) -> Fraction:
        for name in (coding, f"x-{coding}", "*"):
            if name in asked:
                return Fraction(asked[name] or "1")
        return Fraction(1, 10_000) if coding == "identity" else Fraction(0)

    able = [coding for coding in (*offered, "identity") if liking(coding) > 0]
    best = max(able, key=liking, default="identity")  # the first of equals

    field = ", ".join(name if q is None else f"{name};q={q}" for name, q in asked.items())
    assert choose(field, offered) == best
    assert {c for c in codings if c != "*" and "x-" not in c and acceptable(field, c)} == {
        c for c in codings if c != "*" and "x-" not in c and liking(c) > 0
    }
