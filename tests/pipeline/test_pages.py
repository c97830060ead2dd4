import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.pipeline.pages import Page, PageRule, read_page
from tests.pipeline.answers import JSON, json_values


def page(
    body: bytes, items: str = "@", path: str | None = None, content_type: str | None = JSON
) -> Page:
    rule = PageRule(items=items, path=path)
    return read_page(body, content_type, rule)


def refused(
    body: bytes, items: str = "@", path: str | None = None, content_type: str | None = JSON
) -> tuple[Stage, str]:
    with pytest.raises(RefreshFailed) as caught:
        page(body, items, path, content_type)
    assert not caught.value.transient
    return caught.value.failure.stage, caught.value.failure.message


EXACT = b'{"n": 12345678901234567890, "x": 1.10, "x": 1.100, "s": "\\u00e4/\\/"}'


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"\n[ %b ]\n", "@"),
        (b'{"data": [%b]}', "data"),
        (b'{"a": {"data": [1], "data": [\t%b] } }', "a.data"),
        (b'\xef\xbb\xbf{"data": [%b]}', "data"),
    ],
)
def test_the_items_at_a_plain_path_are_the_bytes_that_came(body: bytes, items: str) -> None:
    found = page(body % (EXACT + b" ,\n2"), items)
    assert (found.items, found.count) == (EXACT + b" ,\n2", 2)


def test_any_other_expression_passes_numbers_on_digit_for_digit() -> None:
    found = page(b'{"a": [{"n": 12345678901234567890}, {"n": 1.100}]}', "a[].n")
    assert (found.items, found.count) == (b"12345678901234567890,1.100", 2)


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
def test_an_empty_page_has_no_items(body: bytes) -> None:
    assert page(body) == Page(b"", 0, None)


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"null", "@"),
        (b'{"data": null}', "data"),
        (b"{}", "data"),
        (b"{}", "a.data"),
        (b'{"a": null}', "a.data"),
        (b'{"a": {}, "total": 0}', "a.data"),
        (b'{"a": {}, "total": 0}', "a.data[].x"),
        (b'{"kind": "list", "links": [{"rel": "self"}], "warnings": []}', "data"),
        (b'{"error": null, "errors": [], "exception": "", "data": null}', "data"),
        (b"[]", "data"),
        (b"null", "data"),
    ],
)
def test_items_that_are_null_or_absent_are_an_empty_page(body: bytes, items: str) -> None:
    for rule in ("accept", "reject"):
        found = read_page(body, JSON, PageRule(items=items, duplicate_keys=rule))
        assert found == Page(b"", 0, None)


@given(st.lists(json_values, max_size=5))
def test_items_are_the_same_whichever_way_they_are_found(values: list[object]) -> None:
    body = json.dumps({"a": {"b": values}}).encode()
    plain, evaluated = page(body, "a.b"), page(body, "(a.b)")
    assert plain.count == evaluated.count == len(values)
    one, other = (msgspec.json.decode(b"[%b]" % found.items) for found in (plain, evaluated))
    assert one == other == values


@pytest.mark.parametrize("path", ["next", "(next)", '"next"'])
@pytest.mark.parametrize(
    ("value", "following"),
    [
        (b'"/x?page=2"', "/x?page=2"),
        (b'"a\\/b\\u00e4"', "a/bä"),
        (b"12345678901234567890123", "12345678901234567890123"),
        (b"1.50", "1.50"),
        (b"0", "0"),
        (b"null", None),
        (b"false", None),
        (b'""', None),
        (b'" "', None),
        (b"[ ]", None),
        (b"{}", None),
    ],
)
def test_the_next_page_is_named_by_a_text_or_the_digits_of_a_number(
    path: str, value: bytes, following: str | None
) -> None:
    assert page(b'{"next": %b, "i": []}' % value, "i", path).following == following


@pytest.mark.parametrize("path", ["next", "meta.next", "meta.next.at", "(next)", '"@next"'])
def test_without_a_value_there_the_page_is_the_last(path: str) -> None:
    assert page(b'{"meta": null, "i": []}', "i", path).following is None
    assert page(b"[]", "@", path).following is None


@pytest.mark.parametrize(
    "meta",
    [
        b"null",
        b"{}",
        b'{"more": false, "next": "x"}',
        b'{"more": true, "next": null}',
        b'{"more": true, "next": ""}',
        b'{"more": [], "next": "x"}',
    ],
)
@pytest.mark.parametrize("path", ["meta.more && meta.next", "meta && meta.more && meta.next"])
def test_the_page_is_the_last_where_the_one_or_the_other_says_so(meta: bytes, path: str) -> None:
    assert page(b'{"meta": %b, "i": []}' % meta, "i", path).following is None


def test_a_condition_leads_on_where_all_of_it_holds() -> None:
    body = b'{"meta": {"more": true, "next": "x"}, "i": []}'
    assert page(body, "i", "meta.more && meta.next").following == "x"


@pytest.mark.parametrize("path", ["next", "(next)"])
@pytest.mark.parametrize("value", [b"true", b'{"a":1}', b'["a"]'])
def test_any_other_value_there_is_a_failure(path: str, value: bytes) -> None:
    stage, message = refused(b'{"next": %b, "i": []}' % value, "i", path)
    assert stage is Stage.BODY
    assert f"is neither text nor a number but {value.decode()}" in message


@pytest.mark.parametrize(
    ("body", "items", "says"),
    [
        (b'{"error": "no"}', "data", "found nothing: data is null; the root is an object with er"),
        (b'{"error": "no", "data": null}', "data", "found nothing: data is null"),
        (b'{"Errors": [{"message": "no"}], "data": null}', "data[].a", "found nothing"),
        (b'{"error": {"code": 429}, "a": {}}', "a.data", "found nothing: a.data is null"),
        (b'{"results": [1]}', "data", "found nothing: data is null; the root is an object with re"),
        (b'{"a": {"results": [1]}}', "a.data", "found nothing"),
        (b"[1]", "data", "found nothing: data is null; the root is an array of 1"),
        (b'"busy"', "data", "found nothing"),
        (b'{"data": false}', "data", "data is no array here but false"),
        (b'{"data": {}}', "data", "data is no array here but {}"),
        (b'{"data": {"a": 1}}', "data", 'data is no array here but {"a": 1}'),
        (b'{"data": 1}', "@", '@ is no array here but {"data": 1}'),
        (b'{"data": "x"}', "sum(data)", "select failed"),
        (b"1", "@", "@ is no array here but 1"),
    ],
)
def test_a_page_without_an_array_of_items_that_says_why_or_has_another_is_refused(
    body: bytes, items: str, says: str
) -> None:
    stage, message = refused(body, items)
    assert stage is Stage.SELECT
    assert message.startswith("paginate.items: ")
    assert says in message


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1", JSON),
        (b"<html>", "text/html"),
        (b"<html>", JSON),
        (b"hello", "text/plain"),
        (b"a,b", "text/csv"),
        (b"", JSON),
        (b"[" * 600 + b"]" * 600, JSON),
    ],
)
def test_a_page_that_is_not_json_is_refused_as_such(body: bytes, content_type: str) -> None:
    assert refused(body, content_type=content_type)[0] is Stage.DECODE


def test_a_path_that_cannot_be_evaluated_is_told_with_its_key() -> None:
    stage, message = refused(b'{"next": 1, "i": []}', "i", "starts_with(next, 'a')")
    assert stage is Stage.BODY
    assert message.startswith("paginate.path: ")


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b'{"i": [{"a": 1, "a": 2}]}', "i[*].a"),
        (b'{"i": [1], "i": [2]}', "i"),
        (b'{"i": [1], "z": {"k": 1, "k": 1}}', "i"),
    ],
)
def test_a_key_that_stands_twice_is_seen_before_it_is_lost(body: bytes, items: str) -> None:
    read_page(body, JSON, PageRule(items=items))
    with pytest.raises(RefreshFailed) as caught:
        read_page(body, JSON, PageRule(items=items, duplicate_keys="reject"))
    assert caught.value.failure.stage is Stage.GUARD
    assert "stands twice" in caught.value.failure.message


def test_a_key_that_stands_twice_in_the_items_is_left_to_the_guard_of_the_whole() -> None:
    body = b'{"i": [{"a": 1, "a": 2}]}'
    assert read_page(body, JSON, PageRule(items="i", duplicate_keys="reject")).count == 1
