"""What holds for every format that becomes JSON."""

import json
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refresher.errors import RefreshFailed
from refresher.model import Content, Format, Stage
from refresher.pipeline import FormatRule, GuardRules
from tests.pipeline.answers import refined, refusal, serving

CONVERTED: dict[FormatRule, tuple[str, bytes, bytes]] = {
    "ndjson": ("application/x-ndjson", b'{"a": 1}\n{"a": 2}\n', b'[{"a": 1},{"a": 2}]'),
    "csv": ("text/csv", b"a\r\n1\r\n2\r\n", b'[{"a":"1"},{"a":"2"}]'),
    "xml": ("application/xml", b"<a><b>1</b></a>", b'{"a":{"b":"1"}}'),
    "yaml": ("application/yaml", b"a: 1\nb: 2\n", b'{"a":1,"b":2}'),
    "toml": ("application/toml", b"a = 1\nb = 2\n", b'{"a":1,"b":2}'),
}
each = pytest.mark.parametrize("rule", CONVERTED)


def no_constant(name: str) -> None:
    raise AssertionError(name)


SYNTAX = "abe019.-+:,;=\"'\\<>/&*!?%#|~@[]{}() \t\r\n_é\ufeff\x00"


@each
@given(
    body=st.text(SYNTAX, min_size=1).map(str.encode)
    | st.lists(st.sampled_from(["<a>", "</a>", "&a ", "*a", "- ", "a: ", "<<", "\n", "[[", "]]",
                                "a=", "nan", ".inf", "1e9", '"""', "'''", "<!", "]]>", "<?", "!!"]),
               min_size=1).map(lambda parts: "".join(parts).encode())
    | st.binary(min_size=1)
)  # fmt: skip
@example(body=b"\x00")
@example(body=b'"\\ud800"')
def test_whatever_comes_is_either_json_or_refused_with_a_sentence(
    rule: FormatRule, body: bytes
) -> None:
    try:
        content = refined(body, None, format=rule)
    except RefreshFailed:
        message = refusal(Stage.DECODE, body, None, format=rule)
        assert 10 < len(message) < 500
        return
    value = json.loads(content.body, parse_constant=no_constant)
    assert content.items == (len(value) if isinstance(value, list | dict) else None)
    assert content.format == rule


@each
def test_it_is_found_by_its_media_type_and_by_its_name(rule: FormatRule) -> None:
    declared, body, made = CONVERTED[rule]
    content = Content(
        body=made, content_type="application/json", format=Format(rule), items=content_items(made)
    )
    assert refined(body, declared) == content
    assert refined(body, None, format=rule) == content
    assert refined(body, "application/octet-stream", format=rule) == content


def content_items(made: bytes) -> int:
    return len(json.loads(made))


@each
def test_raw_serves_it_as_it_came(rule: FormatRule) -> None:
    declared, body, made = CONVERTED[rule]
    content = refined(body, declared, raw=True)
    assert (content.body, content.content_type) == (body, declared)
    assert (content.format, content.items) == (Format(rule), content_items(made))
    assert content.raw
    assert not content.is_json
    assert pickle.loads(pickle.dumps(content)) == content  # noqa: S301


@each
@pytest.mark.parametrize(
    ("encoding", "declared", "charset"),
    [
        ("utf-8", "text/plain", ""),
        ("latin-1", "text/plain; charset=latin-1", "; charset=latin-1"),
        ("utf-8-sig", None, ""),
        ("utf-16", "application/octet-stream", ""),
    ],
)
def test_raw_touches_neither_charset_nor_mark(
    rule: FormatRule, encoding: str, declared: str | None, charset: str
) -> None:
    media_type, body, _ = CONVERTED[rule]
    came = body.decode().encode(encoding)
    content = refined(came, declared, format=rule, raw=True)
    assert (content.body, content.content_type) == (came, media_type + charset)


def test_raw_keeps_the_parameters_of_its_own_media_type() -> None:
    content = refined(b"a\n1", "text/csv; charset=latin-1; header=present", raw=True)
    assert content.content_type == "text/csv; charset=latin-1; header=present"


@pytest.mark.parametrize(
    ("body", "declared", "charset", "served_as"),
    [
        ("a: é".encode(), "application/yaml; charset=latin-1; v=1", None, "utf-8"),
        ("a: é".encode("latin-1"), "application/yaml; charset=latin-1", None, "latin-1"),
        ("a: é".encode(), "application/yaml; charset=nonsense", None, None),
        ("a: é".encode("utf-8-sig"), "application/yaml; charset=latin-1", None, "utf-8"),
        ("a: é".encode("cp1252"), "application/yaml", "cp1252", "cp1252"),
        ("a: é".encode("cp1252"), "application/yaml; charset=utf-8", "cp1252", "cp1252"),
        ("a: é".encode("cp1252"), "application/yaml; charset=latin-1", "cp1252", "latin-1"),
    ],
)
def test_raw_names_the_charset_that_it_was_read_in(
    body: bytes, declared: str, charset: str | None, served_as: str | None
) -> None:
    content = refined(body, declared, raw=True, charset=charset)
    expected = f"application/yaml; charset={served_as}" if served_as else "application/yaml"
    assert (content.body, content.content_type) == (body, expected)


@pytest.mark.parametrize("declared", ["text/csv; charset=\x00", "text/csv; x"])
def test_raw_has_a_media_type_that_is_fit_for_a_header(declared: str) -> None:
    assert refined(b"\xef\xbb\xbfa\n1", declared, raw=True).content_type == "text/csv"


@pytest.mark.parametrize(
    ("declared", "body"),
    [("application/json", b'{"a": 1}'), ("text/plain", b"x"), ("image/png", b"\x89PNG")],
)
def test_raw_makes_no_difference_to_what_is_served_as_it_is(declared: str, body: bytes) -> None:
    assert refined(body, declared, raw=True) == refined(body, declared)


def test_raw_content_is_held_to_the_rules_as_the_json_it_stands_for() -> None:
    schema = '{"items": {"required": ["b"]}}'
    assert "/0" in refusal(Stage.SCHEMA, b"a\n1", "text/csv", schema=schema, raw=True)
    refused = refusal(Stage.GUARD, b"a\n1", "text/csv", guard=GuardRules(min_items=2), raw=True)
    assert "has 1" in refused
    required = GuardRules(required=("a",))
    assert refined(b"a\n1", "text/csv", guard=required, raw=True).body == b"a\n1"
    refusal(Stage.DECODE, b"a\n1,2", "text/csv", raw=True)
    twice = GuardRules(duplicate_keys="reject")
    refusal(Stage.GUARD, b"a: 1\na: 2", "application/yaml", guard=twice, raw=True)


def test_raw_content_without_items_is_measured_as_it_is_served() -> None:
    served = serving(None, 10, Format.YAML)
    guard = GuardRules(max_shrink=0.0, max_growth=0.0)
    body = b"x       # "
    assert refined(body, "application/yaml", served=served, guard=guard, raw=True).body == body


@each
def test_an_empty_body_is_zero_bytes_of_its_media_type(rule: FormatRule) -> None:
    declared, _, _ = CONVERTED[rule]
    guard = GuardRules(allow_empty=True)
    empty = refined(b"\xef\xbb\xbf", declared, format=rule, guard=guard, raw=True)
    assert (empty.body, empty.content_type) == (b"", declared)
    assert refined(b"", declared, format=rule, guard=guard).content_type == "application/json"


@each
def test_select_looks_into_it_and_keeps_its_format(rule: FormatRule) -> None:
    declared, body, _ = CONVERTED[rule]
    content = refined(body, declared, select="[@]")
    assert (content.format, content.content_type) == (Format(rule), "application/json")
    refined(body, declared, select="[@]", served=serving(1, kind=content.format))
