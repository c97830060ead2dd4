import json
import tracemalloc
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.jsontext.pointer import NotThere, Opened, Path, find, parse, unread

TEXT = b"""
 {"a": [1.50, {"x/y": 1e400, "m~n": -0.0, "": {"": 7}}], "a\\u0062" : 12345678901234567890.10,
  "d": 1, "d": [ ], "caf\\u00e9": "\\ud83d\\ude00", "0": "zero", "s p": null, "[": {"k":"]}"} } """


def at(raw: bytes, text: bytes = TEXT) -> bytes | NotThere:
    path = parse(raw)
    return path if isinstance(path, NotThere) else find(text, path, {})


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"/a/0", b"1.50"),
        (b"/a/1/x~1y", b"1e400"),
        (b"/a/1/x%2Fy", b"1e400"),
        (b"/a/1/m~0n", b"-0.0"),
        (b"/a/1/m%7E0n", b"-0.0"),
        (b"/a/1/", b'{"": 7}'),
        (b"/a/1//", b"7"),
        (b"/ab", b"12345678901234567890.10"),
        (b"/%61b", b"12345678901234567890.10"),
        (b"/d", b"[ ]"),
        (b"/caf%C3%A9", b'"\\ud83d\\ude00"'),
        (b"/0", b'"zero"'),
        (b"/s%20p", b"null"),
        (b"/%5B/k", b'"]}"'),
        (b"/[/k", b'"]}"'),
    ],
)
def test_it_points_to_the_text_of_a_value_digit_for_digit(raw: bytes, value: bytes) -> None:
    assert at(raw) == value


@pytest.mark.parametrize(
    ("raw", "depth"),
    [
        (b"/", 0),
        (b"/nope", 0),
        (b"/a/-", 1),
        (b"/a/2", 1),
        (b"/a/-1", 1),
        (b"/a/00", 1),
        (b"/a/01", 1),
        (b"/a/+1", 1),
        (b"/a/1.0", 1),
        (b"/a/%D9%A1", 1),  # a digit, but not of ours
        (b"/a/" + b"9" * 5000, 1),
        (b"/a/", 1),
        (b"/a/0/x", 2),
        (b"/a/0/", 2),
        (b"/d/0", 1),
        (b"/a/1/m~n", 2),
        (b"/a/1/m~2n", 2),
        (b"/a/1/m~", 2),
        (b"/%ff", 0),
        (b"/a%2F0", 0),
        (b"/s+p", 0),
    ],
)
def test_it_says_how_far_it_led_where_it_points_to_nothing(raw: bytes, depth: int) -> None:
    assert at(raw) == NotThere(depth)


def test_unescaping_is_done_once() -> None:
    assert parse(b"/~01/~0~1/%7E1") == ("~1", "~/", "/")


@pytest.mark.parametrize("text", [b"7", b'"{}"', b"null", b" true "])
def test_a_value_that_has_no_members_has_nothing_to_point_to(text: bytes) -> None:
    assert at(b"/", text) == at(b"/0", text) == NotThere(0)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"/a", b"2"),
        (b"/deep/1/half", b'"\\uDC00"'),
        (b"/deep/0", b"1.50"),
        (b"/deep/1/long", b"1" * 5000),
        (b"/twice", b'{ "b" :[ ] }'),
        (b"/twice/b", b"[ ]"),
        (b"/empty", b"{ }"),
    ],
)
def test_a_lone_surrogate_hides_no_value(raw: bytes, value: bytes) -> None:
    text = (
        b' { "\\ud800" : 1, "a":2 ,"twice": 0, "deep" : [1.50 , {"half": "\\uDC00", "long":'
        + b"1" * 5000
        + b'}],"twice":{ "b" :[ ] },\n"empty":{ } }'
    )
    assert at(raw, text) == value
    assert at(raw, b'{"x": "\\udfff", "y":' + text + b"}") == NotThere(0)
    assert at(b"/1/y" + raw, b' [ "\\udfff" , {"x": "\\udfff", "y":' + text + b"} ] ") == value


def test_a_key_that_no_text_can_be_is_named_by_no_pointer() -> None:
    text = b'{"\\ud800": 1, "a": []}'
    for raw in (b"/%ED%A0%80", b"/\\ud800", b"/%EF%BF%BD", b"/a/0", b"/a/"):
        assert isinstance(at(raw, text), NotThere)


def test_what_was_parsed_is_cached_for_the_next_pointer() -> None:
    opened: dict[Path, Opened] = {}
    assert find(TEXT, ("a", "1", "", ""), opened) == b"7"
    assert set(opened) == {(), ("a",), ("a", "1"), ("a", "1", "")}
    assert find(b"not looked at", ("a", "0"), opened) == b"1.50"


values = st.recursive(
    st.none() | st.booleans() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def written(value: object) -> str:
    match value:
        case Decimal():
            return str(value)
        case list():
            return f"[{' , '.join(map(written, value))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(k)} :{written(v)}' for k, v in value.items())}}}"
        case _:
            return json.dumps(value)


def raw_of(path: Sequence[str]) -> bytes:
    tokens = (token.replace("~", "~0").replace("/", "~1").encode() for token in path)
    return b"".join(b"/" + b"".join(b"%%%02x" % octet for octet in token) for token in tokens)


@given(values, st.data())
def test_every_value_of_a_document_is_found(document: object, data: st.DataObject) -> None:
    path: list[str] = []
    value = document
    while isinstance(value, dict | list) and value and (not path or data.draw(st.booleans())):
        if isinstance(value, dict):
            key = data.draw(st.sampled_from(sorted(value)))
            path.append(key)
            value = value[key]
        else:
            index = data.draw(st.integers(0, len(value) - 1))
            path.append(str(index))
            value = value[index]
    if path:
        assert at(raw_of(path), written(document).encode()) == written(value).encode()
        odd = f'["\\ud83d", {written(document)}]'.encode()
        assert at(b"/1" + raw_of(path), odd) == written(value).encode()


def test_members_that_are_read_leniently_are_not_copied() -> None:
    deep = b'{"a":' * 300 + b'["' + b"x" * 100_000 + b'", "\\ud83d"]' + b"}" * 300
    opened: dict[Path, Opened] = {}
    tracemalloc.start()
    try:
        assert find(deep, ("a",) * 300 + ("1",), opened) == b'"\\ud83d"'
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000, "where 300 copies take 30 MB"


def test_unread_is_the_size_of_the_nearest_value_that_was_not_parsed() -> None:
    text, opened = b'{"x": 1, "a": [1, 2, 3]}', dict[Path, Opened]()
    assert unread(text, ("x",), opened) == len(text)
    find(text, ("x",), opened)
    assert unread(text, ("x",), opened) == 0
    assert unread(text, ("nope", "0"), opened) == 0
    assert unread(text, ("a", "0"), opened) == len(b"[1, 2, 3]")
