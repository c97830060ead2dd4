import pytest

from refresher.jsontext.difference import difference
from refresher.model import Content, Format


def content(body: bytes, format_: Format = Format.JSON) -> Content:
    return Content(body=body, content_type="application/json", format=format_, items=None)


def test_members_are_told_by_name() -> None:
    before = content(b'{"a": 1, "b": [2], "c": 3}')
    found = difference(before, content(b'{"b": [2], "c": 4, "d": 5, "e": 6}'))
    assert found is not None
    assert (found.of, found.added, found.removed, found.changed) == ("members", 2, 1, 1)
    assert found.names == {"added": ["d", "e"], "removed": ["a"], "changed": ["c"]}


def test_a_few_names_are_told_and_none_is_long() -> None:
    body = b"{" + b",".join(b'"%s%d": 1' % (b"x" * 200, n) for n in range(50)) + b"}"
    found = difference(content(b"{}"), content(body))
    assert found is not None
    assert found.added == 50
    assert [len(name) for name in found.names["added"]] == [81] * 5


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (b"[1, 2, 3]", b"[2, 3]", (0, 1, 0)),
        (b"[2, 3]", b"[1, 2, 3]", (1, 0, 0)),
        (b"[1, 2, 3]", b"[1, 9, 3]", (0, 0, 1)),
        (b"[3, 1, 2]", b"[1, 2, 3]", (0, 0, 0)),
        (b"[1, 1, 1]", b"[1]", (0, 2, 0)),
        (b"[]", b"[]", (0, 0, 0)),
    ],
)
def test_rows_are_told_by_their_text(
    before: bytes, after: bytes, counts: tuple[int, int, int]
) -> None:
    found = difference(content(before), content(after))
    assert found is not None
    assert (found.of, found.added, found.removed, found.changed) == ("rows", *counts)


def test_lone_surrogates_are_compared_as_well() -> None:
    found = difference(content(rb'{"a": "\ud83d"}'), content(rb'{"a": "\ud83d", "b": 1}'))
    assert found is not None
    assert (found.added, found.changed) == (1, 0)
    found = difference(content(rb'["\ud83d"]'), content(rb'["\ud83d", 1]'))
    assert found is not None
    assert (found.added, found.changed) == (1, 0)


def test_what_has_no_like_roots_is_not_compared() -> None:
    assert difference(content(b"{}"), content(b"[]")) is None
    assert difference(content(b"1"), content(b"2")) is None
    assert difference(content(b"[]", Format.TEXT), content(b"[]", Format.TEXT)) is None
