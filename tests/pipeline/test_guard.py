import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from refresher.pipeline import GuardRules

from .answers import json_values, refined, refusal, serving


def rows(count: int) -> bytes:
    return b"[" + b",".join([b"1"] * count) + b"]"


@pytest.mark.parametrize("body", [b"[1, 2, 3]", b'{"a": 1, "b": 2, "c": 3}'])
def test_at_least_so_many_items(body: bytes) -> None:
    refined(body, guard=GuardRules(min_items=3))
    message = refusal(Stage.GUARD, body, guard=GuardRules(min_items=4))
    assert "4" in message
    assert "3" in message


@pytest.mark.parametrize("body", [b"[1, 2, 3]", b'{"a": 1, "b": 2, "c": 3}'])
def test_at_most_so_many_items(body: bytes) -> None:
    refined(body, guard=GuardRules(max_items=3))
    message = refusal(Stage.GUARD, body, guard=GuardRules(max_items=2))
    assert "allows 2 items, the answer has 3" in message


def test_what_has_no_items_has_not_too_many() -> None:
    refined(b"1", guard=GuardRules(max_items=0))


def test_at_least_none_asks_for_nothing() -> None:
    refined(b"1", guard=GuardRules(min_items=0))
    refined(b"a", "text/markdown", guard=GuardRules(min_items=0))


def test_rows_are_items() -> None:
    refined(b"a\n1\n2", "text/csv", guard=GuardRules(min_items=2, max_items=2))
    refined(b"1\n2\n", "application/x-ndjson", guard=GuardRules(min_items=2, max_items=2))


def test_an_empty_array_is_no_empty_body() -> None:
    assert refined(b"[]").items == 0
    refined(b"{}", guard=GuardRules(min_items=0))
    refusal(Stage.GUARD, b"[]", guard=GuardRules(min_items=1, allow_empty=True))


@pytest.mark.parametrize(
    ("body", "declared"), [(b"1", "application/json"), (b"a", "text/markdown")]
)
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


@pytest.mark.parametrize(
    ("before", "after", "allowed", "passes"),
    [
        (10, 15, 0.5, True),
        (10, 16, 0.5, False),
        (100, 158, 0.58, True),
        (100, 258, 1.58, True),
        (100, 259, 1.58, False),
        (10, 10, 0.0, True),
        (10, 11, 0.0, False),
        (10, 0, 0.0, True),
        (0, 1000, 0.0, True),
    ],
)
def test_not_too_many_items_may_come_at_once(
    before: int, after: int, allowed: float, *, passes: bool
) -> None:
    guard = GuardRules(max_growth=allowed)
    served = serving(before, size=1)
    body = rows(after) if after else b"[]"
    if passes:
        refined(body, served=served, guard=guard)
    else:
        message = refusal(Stage.GUARD, body, served=served, guard=guard)
        assert f"the {before} items served would become {after}" in message


def test_where_there_are_no_items_growth_counts_bytes() -> None:
    guard = GuardRules(max_growth=0.5)
    served = serving(None, 10, Format.BYTES)
    refined(b"x" * 15, "image/png", served=served, guard=guard)
    message = refusal(Stage.GUARD, b"x" * 16, "image/png", served=served, guard=guard)
    assert "the 10 bytes served would become 16" in message


def test_without_a_snapshot_nothing_can_grow() -> None:
    refined(b"[1, 2]", guard=GuardRules(max_growth=0.0))


TWICE = [
    (b'{"a": 1, "b": 2, "a": 1}', "application/json", "a"),
    (b'{"a": 1, "\\u0061": 2}', "application/json", "a"),
    (b'[[{"x": {"\xc3\xa9": 1, "y": [], "\xc3\xa9": {}}}]]', "application/json", "é"),
    (b'{"": 1, "": 2}', "application/json", ""),
    (b'{"a": 1}\n{"b": 1, "b": 1}', "application/x-ndjson", "b"),
    (b"x:\n  a: 1\n  b: 2\n  a: 3\n", "application/yaml", "a"),
    (b"1: x\n'1': y\n", "application/yaml", "1"),
    (b"{a: {b: 1, b: 2}, a: 1}", "application/yaml", "b"),
]


@pytest.mark.parametrize(("body", "declared", "key"), TWICE)
def test_a_key_that_stands_twice_is_refused_where_that_is_asked_for(
    body: bytes, declared: str, key: str
) -> None:
    guard = GuardRules(duplicate_keys="reject")
    assert f"the key {key!r} stands twice" in refusal(Stage.GUARD, body, declared, guard=guard)


@pytest.mark.parametrize(
    ("body", "declared", "served"),
    [
        (b'{"a": 1, "a": 2}', "application/json", b'{"a": 1, "a": 2}'),
        (b"a: 1\nb: 0\na: 2", "application/yaml", b'{"a":2,"b":0}'),
    ],
)
def test_else_json_keeps_both_and_the_last_one_counts(
    body: bytes, declared: str, served: bytes
) -> None:
    assert refined(body, declared).body == served


def test_a_repeated_key_that_select_would_drop_is_found() -> None:
    guard = GuardRules(duplicate_keys="reject")
    body = b'{"a": 1, "b": {"c": 1, "c": 2}}'
    assert "'c'" in refusal(Stage.GUARD, body, select="a", guard=guard)


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b'[{"a": 1}, {"a": 2}, {"a": {"a": "a"}}, "a", "a", 1e999, -0, null]', "application/json"),
        (b'{"a": 1}\n{"a": 1}', "application/x-ndjson"),
        (b"a: &x {k: 1}\nb: {k: 2, <<: *x}\n", "application/yaml"),
        (b"<a><b/><b/></a>", "text/xml"),
        (b"a,b\n1,1", "text/csv"),
        (b"9" * 9999, "application/json"),
        (b'"a"', "application/json"),
        (b'{"a": 1, "a": 2}', "text/markdown"),
    ],
)
def test_a_key_in_different_objects_stands_once(body: bytes, declared: str) -> None:
    refined(body, declared, guard=GuardRules(duplicate_keys="reject"))


@given(json_values)
def test_what_python_wrote_has_no_key_twice(value: object) -> None:
    refined(json.dumps(value).encode(), guard=GuardRules(duplicate_keys="reject"))


@pytest.mark.parametrize("levels", [512])
def test_keys_are_checked_at_every_level(levels: int) -> None:
    guard = GuardRules(duplicate_keys="reject")
    body = b'{"a":' * (levels - 1) + b'{"b":1,"b":2}' + b"}" * (levels - 1)
    assert "'b'" in refusal(Stage.GUARD, body, guard=guard)


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
        (b"12345", "text/markdown", None, Format.TEXT),
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


@pytest.mark.parametrize("declared", ["text/markdown", "image/png"])
def test_required_members_need_json(declared: str) -> None:
    assert declared in refusal(Stage.GUARD, b"a", declared, guard=GuardRules(required=("a",)))
