import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from refresher.pipeline import GuardRules

from .answers import refined, refusal, serving


def rows(count: int) -> bytes:
    return b"[" + b",".join([b"1"] * count) + b"]"


@pytest.mark.parametrize("body", [b"[1, 2, 3]", b'{"a": 1, "b": 2, "c": 3}'])
def test_at_least_so_many_items(body: bytes) -> None:
    refined(body, guard=GuardRules(min_items=3))
    message = refusal(Stage.GUARD, body, guard=GuardRules(min_items=4))
    assert "4" in message
    assert "3" in message


def test_an_empty_array_is_no_empty_body() -> None:
    assert refined(b"[]").items == 0
    refined(b"{}", guard=GuardRules(min_items=0))
    refusal(Stage.GUARD, b"[]", guard=GuardRules(min_items=1, allow_empty=True))


@pytest.mark.parametrize(("body", "declared"), [(b"1", "application/json"), (b"a", "text/csv")])
def test_what_has_no_items_does_not_have_enough(body: bytes, declared: str) -> None:
    message = refusal(Stage.GUARD, body, declared, guard=GuardRules(min_items=1))
    assert "none to count" in message


def test_items_are_counted_after_select() -> None:
    body = b'{"rows": [1, 2, 3], "page": 1}'
    refined(body, select="rows", guard=GuardRules(min_items=3))
    refusal(Stage.GUARD, body, guard=GuardRules(min_items=3))


@pytest.mark.parametrize(
    ("before", "after", "allowed", "passes"),
    [
        (10, 5, 0.5, True),
        (10, 4, 0.5, False),
        (100, 42, 0.58, True),
        (100, 41, 0.58, False),
        (3, 2, 1 / 3, True),
        (10, 10, 0.0, True),
        (10, 9, 0.0, False),
        (10, 0, 1.0, True),
        (10, 99, 0.0, True),
        (0, 0, 0.0, True),
    ],
)
def test_not_too_many_items_may_go_at_once(
    before: int, after: int, allowed: float, *, passes: bool
) -> None:
    guard = GuardRules(max_shrink=allowed)
    served = serving(before, size=10**9)
    if passes:
        refined(rows(after), served=served, guard=guard)
    else:
        message = refusal(Stage.GUARD, rows(after), served=served, guard=guard)
        assert f"of {before} items served {after} would be left" in message


@given(st.integers(1, 10_000), st.integers(0, 100))
def test_a_percentage_is_exact(hundreds: int, percent: int) -> None:
    served = serving(None, size=100 * hundreds, kind=Format.BYTES)
    left = (100 - percent) * hundreds
    guard = GuardRules(max_shrink=percent / 100)
    if left > 1:
        refined(b"x" * left, "image/png", served=served, guard=guard)
        refusal(Stage.GUARD, b"x" * (left - 1), "image/png", served=served, guard=guard)


@pytest.mark.parametrize(
    ("body", "declared", "items", "kind"),
    [
        (b"12345", "text/csv", None, Format.TEXT),
        (b"12345", "image/png", None, Format.BYTES),
        (b"12345", "application/json", None, Format.JSON),
        (b"12345", "application/json", 3, Format.JSON),
        (b"[1,2]", "application/json", None, Format.JSON),
    ],
)
def test_where_there_are_no_items_bytes_count(
    body: bytes, declared: str, items: int | None, kind: Format
) -> None:
    guard = GuardRules(max_shrink=0.5)
    refined(body, declared, served=serving(items, 10, kind), guard=guard)
    message = refusal(Stage.GUARD, body, declared, served=serving(items, 11, kind), guard=guard)
    assert "50 %" in message
    assert "of 11 bytes served 5 would be left" in message


def test_without_a_snapshot_nothing_can_shrink() -> None:
    refined(b"[]", guard=GuardRules(max_shrink=0.0))


def test_after_an_empty_snapshot_nothing_can_shrink() -> None:
    empty = serving(None, 0, Format.BYTES)
    refined(b"a", "image/png", served=empty, guard=GuardRules(max_shrink=0.0))


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        (b'{"USD": 1, "EUR": null, "x": 2}', True),
        (b'{"\\u0055SD": 1, "EUR": 1}', True),
        (b'{"USD": 1}', False),
        (b'{"a": {"USD": 1, "EUR": 1}}', False),
        (b'[{"USD": 1, "EUR": 2}, {"EUR": 1, "USD": 2}]', True),
        (b'[{"USD": 1, "EUR": 2}, {"EUR": 1}]', False),
        (b'[{"USD": 1, "EUR": 2}, 7]', False),
        (b"[]", True),
        (b"7", False),
        (b'"USD EUR"', False),
    ],
)
def test_required_members_are_looked_for_in_the_root_or_in_every_row(
    body: bytes, *, passes: bool
) -> None:
    guard = GuardRules(required=("USD", "EUR"))
    if passes:
        assert refined(b" \n" + body, guard=guard).body == b" \n" + body
    else:
        assert "guard.required" in refusal(Stage.GUARD, body, guard=guard)


def test_what_is_missing_is_named_and_where() -> None:
    guard = GuardRules(required=("a", "b", "c"))
    message = refusal(Stage.GUARD, b'[{"a": 1, "b": 1, "c": 1}, {"b": 1}]', guard=guard)
    assert "row 1 of the answer lacks a, c" in message


@pytest.mark.parametrize("declared", ["text/csv", "image/png"])
def test_required_members_need_json(declared: str) -> None:
    assert declared in refusal(Stage.GUARD, b"a", declared, guard=GuardRules(required=("a",)))
