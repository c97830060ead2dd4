import json
from typing import Any, TypeAlias

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.jsontext.patch import patch

Json: TypeAlias = Any


class Number(str):
    """A number as it is written; equal to another that is written the same."""

    __slots__ = ()


def read(text: bytes) -> Json:
    """JSON as a value that has every digit."""
    return json.loads(text, parse_int=Number, parse_float=Number)


def kinds(value: Json) -> Json:
    """The value with its numbers told from strings."""
    match value:
        case dict():
            return {name: kinds(each) for name, each in value.items()}
        case list():
            return [kinds(each) for each in value]
        case Number():
            return ("number", str(value))
        case _:
            return value


def operations(before: bytes, after: bytes) -> list[dict[str, Any]]:
    """The patch, once somebody else has applied it and got what it is to give."""
    found: list[dict[str, Any]] = read(patch(before, after))
    applied = jsonpatch.apply_patch(read(before), found)
    assert kinds(applied) == kinds(read(after))
    return found


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b'{"a":1}', b'{"a":1}', []),
        (b'{"a":1,"b":2}', b' { "b" : 2,\n "a":1 }\n', []),
        (b'"caf\\u00e9"', '"café"'.encode(), []),
        (b'{"a":1,"b":2}', b'{"a":1,"b":3}', [("replace", "/b", "3")]),
        (b'{"a":1,"b":2}', b'{"a":1}', [("remove", "/b", None)]),
        (b'{"a":1}', b'{"a":1,"b":null}', [("add", "/b", None)]),
        (b'{"a/b~c":[1]}', b'{"a/b~c":[2]}', [("replace", "/a~1b~0c/0", "2")]),
        (b'{"":{"":1}}', b'{"":{"":2}}', [("replace", "//", "2")]),
        (b"[1,2,3]", b"[1,3]", [("remove", "/1", None)]),
        (b"[1,3]", b"[1,2,3]", [("add", "/1", "2")]),
        (b"[2,3]", b"[1,2,3,4]", [("add", "/0", "1"), ("add", "/3", "4")]),
        (b"[1,2]", b"[]", [("remove", "/0", None), ("remove", "/0", None)]),
        (b"[0,1,0,1,0,1]", b"[1,0,1,0,1]", [("remove", "/0", None)]),
        (
            b'[{"i":1},{"i":2,"v":5},{"i":3}]',
            b'[{"i":0},{"i":1},{"i":2,"v":6},{"i":3}]',
            [("add", "/0", {"i": "0"}), ("replace", "/2/v", "6")],
        ),
        (b"1", b"[]", [("replace", "", [])]),
        (b"true", b"false", [("replace", "", False)]),
        (b"{}", b"[]", [("replace", "", [])]),
        (b'{"a":"1"}', b'{"a":1}', [("replace", "/a", "1")]),
        (b'["\\ud83d"]', b'["\\ud83d" ]', [("replace", "", ["\ud83d"])]),
        (b'{"a":"x"}', b'{"a":"\\udc00"}', [("replace", "", {"a": "\udc00"})]),
        (b'"\\udc00"', b'"x"', [("replace", "", "x")]),
    ],
)
def test_a_patch_says_what_has_changed_and_no_more(
    before: bytes, after: bytes, expected: list[tuple[str, str, Any]]
) -> None:
    found = operations(before, after)
    assert [(each["op"], each["path"], each.get("value")) for each in found] == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"12345678901234567890", b"12345678901234567891"),
        (b"0.1000000000000000000000001", b"0.1000000000000000000000002"),
        (b"1.0", b"1.00"),
        (b"1", b"1.0"),
        (b"1e400", b"1E400"),
        (b"0", b"-0"),
    ],
)
def test_numbers_differ_where_their_digits_do(before: bytes, after: bytes) -> None:
    for frame in (b"%b", b'{"n":%b}', b"[0,%b,1]"):
        found = patch(frame % before, frame % after)
        assert b'"value":%b}' % after in found
        assert len(operations(frame % before, frame % after)) == 1


numbers = st.one_of(
    st.integers().map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
leaves = st.one_of(
    numbers,
    st.sampled_from(["true", "false", "null", '"a"', '"b"', "1", "2"]),
    st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps),
)
names = st.one_of(
    st.sampled_from(["a", "b", "a/b", "~", "~1", ""]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)


def written(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    space = st.sampled_from(["", " ", "\n\t"])
    array = st.tuples(space, st.lists(inner, max_size=7)).map(
        lambda found: f"[{found[0]}{','.join(found[1])}{found[0]}]"
    )
    members = st.dictionaries(names, inner, max_size=5)
    record = st.tuples(space, members).map(
        lambda found: (
            "{" + ",".join(f"{json.dumps(k)}{found[0]}:{v}" for k, v in found[1].items()) + "}"
        )
    )
    return array | record


texts = st.recursive(leaves, written, max_leaves=25)


@given(texts, texts)
def test_applied_to_the_one_it_gives_the_other(before: str, after: str) -> None:
    operations(before.encode(), after.encode())


@given(
    st.lists(st.integers(0, 9), max_size=30).flatmap(
        lambda rows: st.tuples(
            st.just(rows),
            st.permutations(rows) | st.lists(st.integers(0, 9), max_size=30),
        )
    )
)
def test_arrays_with_repeated_rows_are_compared(both: tuple[list[int], list[int]]) -> None:
    before, after = (json.dumps(rows).encode() for rows in both)
    operations(before, after)


@given(st.data())
def test_an_added_or_removed_row_is_one_operation(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(), min_size=1, unique=True))
    place = data.draw(st.integers(0, len(rows) - 1))
    fewer = rows[:place] + rows[place + 1 :]
    longer, shorter = json.dumps(rows).encode(), json.dumps(fewer).encode()
    (removed,) = operations(longer, shorter)
    (added,) = operations(shorter, longer)
    assert (removed["op"], removed["path"]) == ("remove", f"/{place}")
    assert (added["op"], added["path"], added["value"]) == ("add", f"/{place}", str(rows[place]))


class TestWhatWouldBeDear:
    def test_is_replaced_whole_where_a_patch_would_be_longer(self) -> None:
        before = json.dumps(list(range(20_000))).encode()
        after = json.dumps(list(range(20_000, 40_000))).encode()
        assert patch(before, after) == b'[{"op":"replace","path":"","value":%b}]' % after

    def test_is_replaced_where_it_lies_too_deep(self) -> None:
        before, after = b"[" * 200 + b"1" + b"]" * 200, b"[" * 200 + b"2" + b"]" * 200
        (operation,) = operations(before, after)
        assert set(operation["path"]) == {"/", "0"}
        assert len(operation["path"]) < 100

    def test_is_replaced_where_there_are_too_many_items(self) -> None:
        many = b"1," * 1_000_001
        before, after = b'{"a":1,"b":[%b2]}' % many, b'{"a":1,"b":[%b3]}' % many
        assert patch(before, after) == b'[{"op":"replace","path":"","value":%b}]' % after
