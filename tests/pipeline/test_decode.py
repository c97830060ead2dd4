import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from refresher.pipeline import FormatRule, GuardRules, Served

from .answers import JSON, json_values, refined, refusal, serving

OCTETS = "application/octet-stream"
UTF8_TEXT = "text/plain; charset=utf-8"
PNG = b"\x89PNG\r\n\x1a\n\x00"


@pytest.mark.parametrize(
    ("declared", "body", "kind", "served_as"),
    [
        (JSON, b"{}", Format.JSON, JSON),
        ("Application/JSON; charset=UTF-8", b"{}", Format.JSON, JSON),
        ("application/geo+json; charset=utf-8", b"{}", Format.JSON, "application/geo+json"),
        ("text/json", b"{}", Format.JSON, JSON),
        (JSON, b"42", Format.JSON, JSON),
        (None, b"{}", Format.JSON, JSON),
        ("", b" [1]", Format.JSON, JSON),
        (OCTETS, b"[1]", Format.JSON, JSON),
        ("text/plain", b"\r\n\t {}", Format.JSON, JSON),
        (None, "{}".encode("utf-16"), Format.JSON, JSON),
        (None, b"42", Format.BYTES, OCTETS),
        (None, b'"a"', Format.BYTES, OCTETS),
        (None, b'{"a": NaN}', Format.BYTES, OCTETS),
        (None, b"hello", Format.BYTES, OCTETS),
        (OCTETS, PNG, Format.BYTES, OCTETS),
        ("text/plain", b"[1", Format.TEXT, UTF8_TEXT),
        ("text/plain", b"hello", Format.TEXT, UTF8_TEXT),
        ("text/plain", b"42", Format.TEXT, UTF8_TEXT),
        ("text/markdown; header=present", b"a,b", Format.TEXT, "text/markdown; charset=utf-8"),
        ("text/markdown", b"{}", Format.TEXT, "text/markdown; charset=utf-8"),
        ("application/x-ndjson", b"1\n2", Format.NDJSON, JSON),
        ("application/jsonl; charset=utf-8", b"1\n2", Format.NDJSON, JSON),
        ("text/csv; header=present", b"a,b", Format.CSV, JSON),
        ("Text/XML", b"<a/>", Format.XML, JSON),
        ("application/xml", b"<a/>", Format.XML, JSON),
        ("application/atom+xml", b"<a/>", Format.XML, JSON),
        ("image/svg+xml", b"<svg/>", Format.BYTES, "image/svg+xml"),
        ("application/yaml", b"a: 1", Format.YAML, JSON),
        ("text/x-yaml", b"a: 1", Format.YAML, JSON),
        ("application/vnd.oai.openapi+yaml", b"a: 1", Format.YAML, JSON),
        ("application/toml", b"a = 1", Format.TOML, JSON),
        (
            "text/tab-separated-values",
            b"a",
            Format.TEXT,
            "text/tab-separated-values; charset=utf-8",
        ),
        ("image/png", PNG, Format.BYTES, "image/png"),
        ("application/pdf", b"{}", Format.BYTES, "application/pdf"),
    ],
)
def test_under_auto_the_media_type_decides_and_where_it_says_nothing_the_body(
    declared: str | None, body: bytes, kind: Format, served_as: str
) -> None:
    content = refined(body, declared)
    assert (content.format, content.content_type) == (kind, served_as)


@pytest.mark.parametrize(
    ("rule", "declared", "served_as"),
    [
        ("json", "text/markdown", JSON),
        ("json", "application/hal+json; v=1", "application/hal+json"),
        ("json", None, JSON),
        ("text", "application/xml; charset=utf-8", "application/xml; charset=utf-8"),
        ("text", OCTETS, UTF8_TEXT),
        ("text", None, UTF8_TEXT),
        ("bytes", JSON, JSON),
        ("bytes", None, OCTETS),
    ],
)
def test_a_format_written_down_is_the_format(
    rule: FormatRule, declared: str | None, served_as: str
) -> None:
    content = refined(b"{}", declared, format=rule)
    assert (content.format, content.content_type) == (Format(rule), served_as)


AS_HTML = ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml", "text/html, x"]


@pytest.mark.parametrize("rule", ["auto", *Format])
@pytest.mark.parametrize("declared", AS_HTML)
def test_html_is_never_accepted(rule: FormatRule, declared: str) -> None:
    body = b"<html>" if rule == "json" else b"{}"
    assert "HTML" in refusal(Stage.DECODE, body, declared, format=rule)


@pytest.mark.parametrize("declared", AS_HTML)
def test_json_that_is_asked_for_may_be_labelled_as_html(declared: str) -> None:
    content = refined(b'{"a": 1}', declared, format="json")
    assert (content.body, content.content_type) == (b'{"a": 1}', JSON)
    refusal(Stage.DECODE, b"Please log in", declared, format="json")
    assert "HTML" in refusal(Stage.DECODE, b"{}", declared, served=serving(1))


@pytest.mark.parametrize(
    ("rule", "served", "expected"),
    [
        ("json", None, "JSON"),
        ("auto", serving(1), "JSON"),
        ("csv", None, "CSV"),
        ("auto", serving(1, kind=Format.XML), "XML"),
    ],
)
def test_html_instead_of_data_is_called_that(
    rule: FormatRule, served: Served | None, expected: str
) -> None:
    message = refusal(Stage.DECODE, b"<html>", "text/html", format=rule, served=served)
    assert f"HTML where {expected} was expected" in message


@pytest.mark.parametrize(
    "body",
    [
        b" <!DOCTYPE html><p>",
        b"\n<!doctype  HTML>",
        b"<HTML lang=en>",
        b"<!-- down --><p>",
        b"<h1>502 Bad Gateway</h1>",
        "<html>".encode("utf-16"),
        b"\xef\xbb\xbf<html>",
    ],
)
@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (JSON, "JSON"),
        ("application/x-ndjson", "NDJSON"),
        ("text/csv", "CSV"),
        ("application/yaml", "YAML"),
        ("application/toml", "TOML"),
    ],
)
def test_html_that_claims_to_be_data_is_recognised(
    body: bytes, declared: str, expected: str
) -> None:
    assert f"HTML where {expected} was expected" in refusal(Stage.DECODE, body, declared)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><p>",
        b"<html>",
        b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"/>',
        b"<?xml version='1.0'?><!-- x --><!DOCTYPE html PUBLIC 'x' 'y'><html/>",
    ],
)
def test_html_that_claims_to_be_xml_is_recognised(body: bytes) -> None:
    assert "HTML where XML was expected" in refusal(Stage.DECODE, body, "text/xml")


def test_in_xml_any_other_element_may_be_the_root() -> None:
    assert refined(b"<!-- x --><table><p/></table>", "text/xml").items == 1


@pytest.mark.parametrize("declared", [JSON, "text/csv", "application/yaml"])
def test_xml_that_claims_to_be_something_else_is_recognised(declared: str) -> None:
    message = refusal(Stage.DECODE, b"<?xml version='1.0'?><Error/>", declared)
    assert message.startswith("XML where")


@pytest.mark.parametrize("body", [b'{"error": "quota"}', b' ["a"]', b"[" * 9999])
def test_json_that_claims_to_be_csv_is_recognised(body: bytes) -> None:
    assert "JSON where CSV was expected" in refusal(Stage.DECODE, body, "text/csv")


def test_text_and_bytes_may_look_like_anything() -> None:
    assert refined(b"<html>", "text/plain").body == b"<html>"
    assert refined(b"<html>", OCTETS).body == b"<html>"


@pytest.mark.parametrize(
    ("declared", "served_as"),
    [
        ('multipart/mixed; boundary="a b"', 'multipart/mixed; boundary="a b"'),
        (" image/png ", "image/png"),
        ("image/png;", "image/png;"),
        ("image", OCTETS),
        ("image/", OCTETS),
        ("image/png\r\nSet-Cookie: a=b", OCTETS),
        ("image/png; a=\x00", OCTETS),
        ("image/png; a=\xe9", OCTETS),
        ('image/png; a="', OCTETS),
        ("image/png, image/gif", OCTETS),
    ],
)
def test_bytes_keep_their_media_type_where_it_is_fit_for_a_header(
    declared: str, served_as: str
) -> None:
    assert refined(PNG, declared, format="bytes").content_type == served_as


@pytest.mark.parametrize(
    ("kind", "declared", "body"),
    [
        (Format.JSON, "text/markdown", b"a,b"),
        (Format.JSON, "image/png", PNG),
        (Format.JSON, "text/plain", b"down for maintenance"),
        (Format.JSON, None, b"text, perhaps"),
        (Format.TEXT, JSON, b'{"error": "quota"}'),
        (Format.TEXT, "image/png", PNG),
        (Format.TEXT, None, b"text, perhaps"),
        (Format.BYTES, JSON, b'{"error": "quota"}'),
        (Format.BYTES, "text/plain", b"down for maintenance"),
        (Format.CSV, "text/plain", b"down for maintenance"),
        (Format.CSV, JSON, b'{"error": "quota"}'),
        (Format.YAML, "text/plain", b"down for maintenance"),
        (Format.XML, None, b'{"error": "quota"}'),
        (Format.JSON, "text/xml", b"<a/>"),
    ],
)
def test_the_first_snapshot_fixes_the_format(
    kind: Format, declared: str | None, body: bytes
) -> None:
    message = refusal(Stage.DECODE, body, declared, served=serving(None, 9, kind))
    assert kind in message.lower()


@pytest.mark.parametrize(
    ("kind", "declared", "body"),
    [
        (Format.JSON, "text/plain", b"42"),
        (Format.TEXT, "text/plain", b"{}"),
        (Format.TEXT, "text/markdown", b"{}"),
        (Format.BYTES, None, b"{}"),
        (Format.BYTES, OCTETS, b"[1]"),
        (Format.BYTES, "image/png", PNG),
    ],
)
def test_an_ambiguous_body_has_the_format_of_the_first_one(
    kind: Format, declared: str | None, body: bytes
) -> None:
    assert refined(body, declared, served=serving(None, 9, kind)).format is kind


def test_a_format_written_down_does_not_mind_what_was_served() -> None:
    assert refined(b"{}", format="json", served=serving(None, 9, Format.TEXT)).items == 0


@pytest.mark.parametrize("body", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE])
@pytest.mark.parametrize("rule", ["auto", *Format])
def test_an_empty_body_is_refused(body: bytes, rule: FormatRule) -> None:
    assert "allow_empty" in refusal(Stage.DECODE, body, None, format=rule)


@pytest.mark.parametrize(
    ("rule", "declared", "kind", "served_as"),
    [
        ("auto", None, Format.BYTES, OCTETS),
        ("auto", JSON, Format.BYTES, JSON),
        ("auto", "text/html", Format.BYTES, OCTETS),
        ("json", None, Format.JSON, JSON),
        ("csv", "text/csv", Format.CSV, JSON),
        ("text", None, Format.TEXT, UTF8_TEXT),
    ],
)
def test_an_empty_body_that_is_allowed_is_zero_bytes_past_every_other_rule(
    rule: FormatRule, declared: str | None, kind: Format, served_as: str
) -> None:
    content = refined(
        b"",
        declared,
        format=rule,
        select="a.b",
        schema='{"type": "object"}',
        guard=GuardRules(allow_empty=True, min_items=1, max_shrink=0.1, required=("a",)),
        served=serving(100) if rule == "json" else None,
    )
    assert content.body == b""
    assert content.items is None
    assert (content.format, content.content_type) == (kind, served_as)


def test_an_empty_answer_keeps_the_format_but_a_first_one_fixes_none() -> None:
    allowed = GuardRules(allow_empty=True)
    empty = refined(b"", None, guard=allowed)
    after_empty = serving(empty.items, 0, empty.format)
    assert refined(b"{}", JSON, served=after_empty, guard=allowed).format is Format.JSON
    assert refined(b"a", "text/plain", served=after_empty, guard=allowed).format is Format.TEXT
    emptied = refined(b"", None, served=serving(3), guard=allowed)
    assert emptied.format is Format.JSON
    refusal(Stage.DECODE, b"a", "text/markdown", served=serving(None, 0, emptied.format))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{'a': 1}", "byte 1"),
        (b'{"a": 1,}', "trailing comma"),
        (b'{"a": 1} x', "trailing characters"),
        (b'{"a": 1', "more was to come"),
        (b"nul", "more was to come"),
        (b" \n ", "nothing but white space"),
        (b"[01]", "byte"),
        (b"[.5]", "byte"),
        (b"[1.]", "byte"),
        (b"[+1]", "byte"),
        (b"[0x10]", "byte"),
        (b"[1] \x00", "trailing characters"),
        (b"// x\n[1]", "byte 0"),
        (b'["a\x01"]', "byte 3"),
        (b'["a\nb"]', "byte 3"),
        (b'["\\x41"]', "escape"),
        (b'["\\ud800]', "more was to come"),
        (b'["\\ud800",]', "trailing comma"),
        (b'["\\ud800" x]', "byte 10, near"),
        (b"[\\ud800]", "byte 1"),
        (b'["\\ud80"]', "escape"),
        (b"\x0c[1]", "byte 0"),
    ],
)
def test_json_that_is_none_is_refused_with_the_place(body: bytes, said: str) -> None:
    message = refusal(Stage.DECODE, body)
    assert "not JSON" in message
    assert said in message


@pytest.mark.parametrize(
    "value",
    [rb"\ud83d", rb"\udc00", rb"\uD83D\u0041", rb"\ud83d\ud83d\ude00", rb"\udfff\\", rb"a\uDBFFz"],
)
def test_a_lone_surrogate_is_json_and_stays_as_it_is(value: bytes) -> None:
    for body, items in ((b'["%s"]' % value, 1), (b'{"%s": 1, "b": 2}' % value, 2)):
        for declared in (JSON, None):
            content = refined(body, declared, guard=GuardRules(duplicate_keys="reject"))
            assert (content.body, content.items, content.format) == (body, items, Format.JSON)


def test_a_lone_surrogate_hides_no_other_error() -> None:
    half = rb'"\ud83d"'
    assert "is no number" in refusal(Stage.DECODE, b"[%s, NaN]" % half)
    assert "deeper" in refusal(Stage.DECODE, b"[" * 600 + half + b"]" * 600)
    assert "stands twice" in refusal(
        Stage.GUARD, b"{%s: 1, %s: 2}" % (half, half), guard=GuardRules(duplicate_keys="reject")
    )


@given(st.text(alphabet='\\u"dD8cCfea09 /n', max_size=30))
def test_what_the_grammar_allows_in_a_string_is_taken(text: str) -> None:
    body = f'["{text}"]'.encode()
    try:
        json.loads(body)
    except ValueError:
        refusal(Stage.DECODE, body)
    else:
        assert refined(body).body == body


@pytest.mark.parametrize("body", [b'{"a": NaN}', b"[Infinity]", b"[-Infinity]", b"NaN"])
def test_not_a_number_is_not_json(body: bytes) -> None:
    assert "is no number" in refusal(Stage.DECODE, body)


@pytest.mark.parametrize(
    "body",
    [
        b'["\xff"]',
        b'{"\xff": 1}',
        b'["\xc0\x80"]',
        b'["\xed\xa0\x80"]',
        b'["\xf5\x80\x80\x80"]',
        '["é"]'.encode("latin-1"),
    ],
)
@pytest.mark.parametrize("declared", [JSON, "application/json; charset=utf-8", "text/markdown"])
def test_invalid_utf8_is_refused(body: bytes, declared: str) -> None:
    assert "not utf-8" in refusal(Stage.DECODE, body, declared)


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"b":', b"}]")]
)
def test_512_levels_pass_and_one_more_does_not(opening: bytes, closing: bytes) -> None:
    levels = 512 // (opening.count(b"[") + opening.count(b"{"))
    refined(opening * levels + b"1" + closing * levels)
    assert "512 levels" in refusal(
        Stage.DECODE, b"[" + opening * levels + b"1" + closing * levels + b"]"
    )


@pytest.mark.parametrize("levels", [1_000, 100_000, 3_000_000])
def test_no_depth_breaks_the_depth_check(levels: int) -> None:
    assert "512 levels" in refusal(Stage.DECODE, b"[" * levels + b"]" * levels)
    refusal(Stage.DECODE, b"[" * levels)
    refusal(Stage.DECODE, b'{"":' * levels, None, format="json")
    assert "512 levels" in refusal(Stage.DECODE, b"[" * levels + b"]" * levels, "text/plain")


def test_brackets_in_strings_are_not_depth() -> None:
    body = json.dumps(['[{"\\' * 300, '\\"[', {"]}[[": "[" * 600}]).encode()
    assert refined(body).items == 3


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b"[]", 0),
        (b" [ \n] ", 0),
        (b"[1]", 1),
        (b"[[1, 2, 3], {}, []]", 3),
        (b'["a,b", ",", "\\",", "\\\\", "[,"]', 5),
        (b"{}", 0),
        (b'{"a": [1, 2], "b": {"c": 1}}', 2),
        (b'{"a": 1, "a": 2, "\\u0061": 3}', 1),
        (b"1", None),
        (b'"[1,2]"', None),
        (b"null", None),
    ],
)
def test_items_are_the_length_of_the_root(body: bytes, items: int | None) -> None:
    assert refined(body).items == items


def test_text_and_bytes_have_no_items() -> None:
    assert refined(b"[1]", "text/markdown").items is None
    assert refined(b"[1]", "image/png").items is None


spaces = st.text(" \t\r\n", max_size=3)


@given(json_values, st.booleans(), spaces, spaces, st.sampled_from([None, 0, 2, "\t"]))
def test_utf8_json_is_served_byte_for_byte(
    value: object,
    ascii_only: bool,  # noqa: FBT001  hypothesis fills the parameters in by position
    before: str,
    after: str,
    indent: int | str | None,
) -> None:
    text = before + json.dumps(value, ensure_ascii=ascii_only, indent=indent) + after
    body = text.encode("utf-8", "surrogatepass")
    content = refined(body)
    assert content.body is body, "kept, not made again"
    assert content.items == (len(value) if isinstance(value, list | dict) else None)


@given(st.text(st.sampled_from('[]{},:"\\ a1\n')))
def test_only_what_a_json_parser_takes_is_taken(text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        if text:
            refusal(Stage.DECODE, text.encode())
    else:
        content = refined(text.encode())
        assert content.items == (len(value) if isinstance(value, list | dict) else None)


@pytest.mark.parametrize("digits", ["1.10", "1e999", "-0", "1E+2", "9" * 6000, "0.1" + "0" * 400])
def test_every_number_keeps_its_digits(digits: str) -> None:
    assert refined(f"[{digits}]".encode()).body == f"[{digits}]".encode()


ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("declared", [JSON, f"{JSON}; charset=latin-1", None])
def test_json_in_any_unicode_encoding_becomes_utf8_and_nothing_else(
    encoding: str, declared: str | None
) -> None:
    text = '{ "é":\t1.10 , "b" :"☃" }'
    assert refined(text.encode(encoding), declared).body == text.encode()


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("text/plain; charset=ISO-8859-1", "latin-1"),
        ("text/plain;charset='iso-8859-1'", "latin-1"),
        ('text/plain; format=flowed; Charset = "windows-1252"', "cp1252"),
        ("text/plain; charset=Shift_JIS", "shift_jis"),
        ("text/plain; charset=gb18030", "gb18030"),
        ("text/plain; charset=gb18030", "gb18030 with a mark"),
        ("text/plain; charset=utf-16le", "utf-16-le"),
        ("text/plain", "utf-16"),
        ("text/plain; charset=latin-1", "utf-32"),
        ("text/plain; charset=latin-1", "utf-8-sig"),
        ("text/plain", "utf-8"),
    ],
)
def test_text_becomes_utf8_and_nothing_else(declared: str, encoding: str) -> None:
    text = "ABC, \xd7 1\r\n"
    marked = "\ufeff" * encoding.endswith(" with a mark") + text
    content = refined(marked.encode(encoding.removesuffix(" with a mark")), declared)
    assert content.body == text.encode()
    assert content.content_type == UTF8_TEXT


def test_json_in_a_declared_legacy_charset_becomes_utf8() -> None:
    body = '{"é": 1.10}'.encode("latin-1")
    assert refined(body, f"{JSON}; charset=iso-8859-1").body == '{"é": 1.10}'.encode()


# Each of these formats with a body that says Zürich.
OF_UTF8 = [
    (JSON, '{"city":"Zürich"}', Format.JSON),
    ("text/json", '{"city":"Zürich"}', Format.JSON),
    ("application/geo+json", '{"city":"Zürich"}', Format.JSON),
    ("text/plain", '{"city":"Zürich"}', Format.JSON),
    ("application/x-ndjson", '{"city":"Zürich"}', Format.NDJSON),
    ("application/yaml", "city: Zürich", Format.YAML),
    ("application/toml", 'city = "Zürich"', Format.TOML),
]


@pytest.mark.parametrize(("kind", "text", "format_"), OF_UTF8)
@pytest.mark.parametrize(
    "label", ["ISO-8859-1", "windows-1252", "us-ascii", "utf-16", "shift_jis", "nonsense", "utf-8"]
)
def test_what_is_utf8_is_read_as_utf8_whatever_it_is_labelled(
    kind: str, text: str, format_: Format, label: str
) -> None:
    for body in (text.encode(), text.encode("utf-8-sig")):
        content = refined(body, f"{kind}; charset={label}")
        assert "Zürich" in content.body.decode()
        assert content.format is format_


@pytest.mark.parametrize(("kind", "text", "format_"), OF_UTF8)
@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("ISO-8859-1", "latin-1"),
        ("Windows-1252", "cp1252"),
        ("macintosh", "mac_roman"),
        ("utf-16le", "utf-16-le"),
        ("utf-16", "utf-16"),
        ("latin-1", "utf-16-be"),
        ("cp500", "cp500"),
    ],
)
def test_what_is_not_utf8_is_read_as_it_is_labelled(
    kind: str, text: str, format_: Format, label: str, encoding: str
) -> None:
    content = refined(text.encode(encoding), f"{kind}; charset={label}")
    assert "Zürich" in content.body.decode()
    assert content.format is format_


@pytest.mark.parametrize("label", ["iso-2022-jp", "hz-gb-2312"])
def test_a_charset_that_writes_everything_in_ascii_is_taken_at_its_word(label: str) -> None:
    body = '{"city":"北京"}'.encode(label)
    assert refined(body, f"{JSON}; charset={label}").body == '{"city":"北京"}'.encode()


@pytest.mark.parametrize("label", ["us-ascii", "utf-8", "shift_jis"])
def test_what_is_neither_utf8_nor_what_its_label_says_is_refused(label: str) -> None:
    message = refusal(Stage.DECODE, b'{"city":"Z\xfcrich!"}', f"{JSON}; charset={label}")
    assert f"not {label} as it should be" in message
    assert "charset = would say" in message


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (JSON, '["Zürich"]'),
        ("application/yaml", "- Zürich"),
        ("text/csv", "city\nZürich"),
        ("text/plain", "Zürich"),
        ("text/xml", "<a>Zürich</a>"),
        ("text/xml", '<?xml version="1.0" encoding="utf-16"?><a>Zürich</a>'),
    ],
)
@pytest.mark.parametrize(
    ("configured", "encoding"),
    [("utf-8", "utf-8"), ("windows-1252", "cp1252"), ("cp437", "cp437"), ("cp437", "utf-8-sig")],
)
@pytest.mark.parametrize("label", ["", "; charset=koi8-r", "; charset=utf-8", "; charset=what"])
def test_a_charset_that_is_configured_decides(
    kind: str, text: str, configured: str, encoding: str, label: str
) -> None:
    content = refined(text.encode(encoding), kind + label, charset=configured)
    assert "Zürich" in content.body.decode()


def test_a_charset_that_is_configured_decides_over_utf8_too() -> None:
    body = '["Ã¼"]'.encode("latin-1")
    assert refined(body, JSON, charset="latin-1").body == '["Ã¼"]'.encode()
    assert "not utf-8" in refusal(
        Stage.DECODE, b'["\xfc"]', f"{JSON}; charset=latin-1", charset="utf-8"
    )


@pytest.mark.parametrize(
    "charset",
    ["nonsense", "hex", "base64", "zlib", "rot13", "idna", "punycode", "charmap", "utf-7",
     "unicode_escape", "undefined", "os.path", "../x", "a" * 500, "\u0438", "raw_unicode_escape",
     "aliases", "a\x00b"],
)  # fmt: skip
def test_what_is_no_charset_is_refused(charset: str) -> None:
    for kind, body in ((JSON, b'["\xe9"]'), ("text/markdown", b"68656c6c6f")):
        assert repr(charset if len(charset) <= 40 else "…") in refusal(
            Stage.DECODE, body, f"{kind}; charset={charset}"
        )
    assert refined(b"[1]", f"{JSON}; charset={charset}").body == b"[1]"


def test_text_that_is_not_in_its_declared_charset_is_refused() -> None:
    assert "shift_jis" in refusal(Stage.DECODE, b"\x81", "text/markdown; charset=shift_jis")
    assert "utf-16" in refusal(Stage.DECODE, b"\xff\xfe\x00\xd8", "text/markdown")


def test_text_with_zeros_in_it_is_not_taken_for_utf16() -> None:
    assert refined(b"a\x00b\x00", "text/plain").body == b"a\x00b\x00"


@given(st.binary(min_size=5), st.sampled_from([None, "text/plain", "image/png", "nonsense"]))
def test_bytes_are_served_as_they_are_whatever_they_claim_to_be(
    body: bytes, declared: str | None
) -> None:
    assert refined(body, declared, format="bytes").body == body
