import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from tests.pipeline.answers import json_values, refined, refusal

NDJSON = "application/x-ndjson"


def made_of(body: bytes) -> str:
    return refined(body, NDJSON).body.decode()


def test_the_lines_become_an_array_each_as_it_came() -> None:
    content = refined(b'{"a": 1.10}\r\n\n [1,\t2] \n"x"', NDJSON)
    assert content.body == b'[{"a": 1.10},[1,\t2],"x"]'
    assert (content.format, content.content_type) == (Format.NDJSON, "application/json")
    assert content.items == 3


@pytest.mark.parametrize("body", [b"\n", b" \r\n\t\n"])
def test_no_lines_are_no_items(body: bytes) -> None:
    assert (refined(body, NDJSON).body, refined(body, NDJSON).items) == (b"[]", 0)


@given(st.lists(json_values, max_size=4), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_what_was_written_is_read(values: list[object], ending: str, last: bool) -> None:  # noqa: FBT001
    lines = [json.dumps(value) for value in values]
    body = ending.join(lines) + (ending if last else "") or "\n"
    content = refined(body.encode(), NDJSON)
    assert content.body.decode() == f"[{','.join(lines)}]"
    assert content.items == len(values)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1}\n{"a":', "line 2 of the body is not JSON: more was to come"),
        (b"[1,\n2]", "line 1 of"),
        (b'1\n\n{"a": NaN}', "line 3 of the body is not JSON: NaN is no number"),
        (b'{"a": 1} {"b": 2}', "trailing characters"),
        (b"{}\n'x'", "line 2"),
        (b"1\n\xff", "not utf-8"),
        (b"\x1e{}\n", "line 1"),
    ],
)
def test_a_line_that_is_not_json_is_named(body: bytes, said: str) -> None:
    assert said in refusal(Stage.DECODE, body, NDJSON)


def test_the_array_counts_as_a_level() -> None:
    refined(b"[" * 511 + b"]" * 511, NDJSON)
    for levels in (512, 100_000):
        assert "512 levels" in refusal(Stage.DECODE, b"1\n" + b"[" * levels + b"]" * levels, NDJSON)


def test_numbers_keep_their_digits_through_select() -> None:
    body = b'{"a": 12345678901234567890123}\n{"a": 1.10}'
    assert refined(body, NDJSON, select="[*].a").body == b"[12345678901234567890123,1.10]"


def test_other_encodings_become_utf8() -> None:
    assert refined('"é"\n"x"'.encode("utf-16"), NDJSON).body == '["é","x"]'.encode()
    assert refined('"é"'.encode("latin-1"), f"{NDJSON}; charset=latin-1").body == '["é"]'.encode()
