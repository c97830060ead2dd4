import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from tests.pipeline.answers import refined, refusal

CSV = "text/csv"

cells = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(',"\r\n ', max_size=4)


def rows_of(body: bytes) -> object:
    return json.loads(refined(body, CSV).body)


def test_the_header_row_names_the_members_of_every_row() -> None:
    content = refined(b"id,name\r\n007,James\r\n8,\r\n", CSV)
    assert content.body == b'[{"id":"007","name":"James"},{"id":"8","name":""}]'
    assert (content.format, content.content_type) == (Format.CSV, "application/json")
    assert content.items == 2


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'a,b\n"x, ""y""\r\nz",2', [{"a": 'x, "y"\r\nz', "b": "2"}]),
        (b"a,b\r1,2\r3,4", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b'a\n5" disk\n', [{"a": '5" disk'}]),
        (b' a ,"b"\n 1 ,2', [{" a ": " 1 ", "b": "2"}]),
        (b"\n\na\n\n1\n\n", [{"a": "1"}]),
        (b'a\n""\n', [{"a": ""}]),
        (b",a\n1,2", [{"": "1", "a": "2"}]),
        (b"a,b", []),
        (b"a\n1;2", [{"a": "1;2"}]),
        (b"a;b,c|d\n1;2,3", [{"a;b": "1;2", "c|d": "3"}]),
        (b"sep=;\r\na;b\r\n1;2,3\r\n", [{"a": "1", "b": "2,3"}]),
        (b"\xef\xbb\xbfSEP=;\na;b\n1;2", [{"a": "1", "b": "2"}]),
        (b'"sep=|"\ra|b\r1|2', [{"a": "1", "b": "2"}]),
        (b"sep=\t\na\tb\n1\t2", [{"a": "1", "b": "2"}]),
        (b"sep=,\na;b\n1;2", [{"a;b": "1;2"}]),
        (b"sep=x\n1", [{"sep=x": "1"}]),
        (b"\xef\xbb\xbfa\n1", [{"a": "1"}]),
        ("a\né".encode("utf-16"), [{"a": "é"}]),
    ],
)
def test_csv_is_read_as_the_rfc_says(body: bytes, rows: object) -> None:
    assert rows_of(body) == rows


@given(st.data(), st.lists(cells, min_size=1, max_size=4, unique=True), st.booleans())
def test_what_was_written_is_read(data: st.DataObject, names: list[str], quoted: bool) -> None:  # noqa: FBT001
    names = list(dict.fromkeys([f"n{names[0]}", *names[1:]]))  # nothing that looks like a page
    width = len(names)
    row = st.lists(cells, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, max_size=4))
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([names, *rows])
    content = refined(written.getvalue().encode(), f"{CSV}; charset=utf-8")
    assert json.loads(content.body) == [dict(zip(names, row, strict=True)) for row in rows]
    assert content.items == len(rows)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a,b\n1,2\n3\n", "line 3 of the body has 1 fields, and its header row has 2"),
        (b'a,b\n"x\ny",2\n1,2,3', "line 4 of the body has 3 fields"),
        (b"a,b,a\n", "has the name 'a' more than once"),
        (b",,b\n", "has the name '' more than once"),
        (b"\n\r\n", "no header row"),
        (b'a\n"x', "line 2: unexpected end of data"),
        (b'a\n"x"y', "line 2"),
        (b"a\n\xff", "not utf-8"),
        (b"sep=;\na;b\n1", "line 3 of the body has 1 fields"),
        (b'sep=;\na;b\n"', "line 3: unexpected end"),
        (b"sep=;", "no header row"),
    ],
)
def test_what_has_no_such_rows_is_refused(body: bytes, said: str) -> None:
    assert said in refusal(Stage.DECODE, body, CSV)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (b"id;name\n1;Ada", 'delimiter = ";"'),
        (b"id\tname\n1\tAda", r'delimiter = "\t"'),
        (b"id|name\n1|Ada", 'delimiter = "|"'),
        (b'"id";"name"\n1;"Ada"', 'delimiter = ";"'),
        (b"id;name", 'delimiter = ";"'),
        (b"\n\nid;name\n1;2,5\n", 'delimiter = ";"'),
        ("id;größe\n1;2".encode("utf-16"), 'delimiter = ";"'),
    ],
)
def test_a_header_without_commas_that_holds_another_delimiter_is_refused_with_advice(
    body: bytes, advice: str
) -> None:
    assert advice in refusal(Stage.DECODE, body, CSV)


@pytest.mark.parametrize(
    ("delimiter", "body", "rows"),
    [
        (";", b"a;b\n1;2,5", [{"a": "1", "b": "2,5"}]),
        ("\t", b"a\tb\n1\t2", [{"a": "1", "b": "2"}]),
        (";", b"a|b\n1|2", [{"a|b": "1|2"}]),
        (",", b"a;b\n1;2", [{"a;b": "1;2"}]),
        (";", b"sep=,\na;b\n1;2", [{"a": "1", "b": "2"}]),
        ("§", "a§b\n1§2".encode(), [{"a": "1", "b": "2"}]),
        ("\x01", b"a\x01b\n1\x012", [{"a": "1", "b": "2"}]),
    ],
)
def test_a_delimiter_that_is_configured_decides(delimiter: str, body: bytes, rows: object) -> None:
    content = refined(body, CSV, delimiter=delimiter)
    assert json.loads(content.body) == rows


def test_a_field_may_be_long() -> None:
    field = "x" * 300_000
    assert rows_of(f"a\n{field}".encode()) == [{"a": field}]


def test_long_names_times_many_rows_are_refused_before_they_fill_the_memory() -> None:
    message = refusal(Stage.DECODE, b"x" * 10_000 + b"\n" + b"1\n" * 10_000, CSV)
    assert "30,001 bytes make more than 1,048,576 bytes" in message


def test_the_rules_see_the_rows() -> None:
    body = b"a,b\n1,2\n3,4"
    assert refined(body, CSV, select="[*].b").body == b'["2","4"]'
    schema = '{"items": {"properties": {"a": {"type": "number"}}}}'
    assert "/0/a" in refusal(Stage.SCHEMA, body, CSV, schema=schema)
