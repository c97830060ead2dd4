import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from tests.pipeline.answers import refined, refusal

YAML = "application/yaml"

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | texts
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
)


def made_of(text: str | bytes) -> str:
    return refined(text.encode() if isinstance(text, str) else text, YAML).body.decode()


def test_a_document_is_served_as_the_json_it_makes() -> None:
    content = refined(b"- a: x\n  b: |\n    two\n    lines\n- [1, null]\n", YAML)
    assert content.body == b'[{"a":"x","b":"two\\nlines\\n"},[1,null]]'
    assert (content.format, content.content_type) == (Format.YAML, "application/json")
    assert content.items == 2


@pytest.mark.parametrize(
    ("scalar", "made"),
    [
        ("", "null"), ("~", "null"), ("Null", "null"), ("nULL", '"nULL"'),
        ("true", "true"), ("FALSE", "false"),
        ("yes", '"yes"'), ("no", '"no"'), ("on", '"on"'), ("y", '"y"'),
        ("1.10", "1.10"), ("+3", "3"), ("-0.0", "-0.0"), ("007", "7"), ("000", "0"),
        (".5", "0.5"), ("-.5e3", "-0.5e3"), ("5.", "5.0"), ("1e3", "1e3"), ("1.E+2", "1.0E+2"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("0x1F", "31"), ("0o17", "15"), ("0b11", '"0b11"'), ("1_000", '"1_000"'),
        ("1:30", '"1:30"'), ("1.2.3", '"1.2.3"'), (".", '"."'), ("+", '"+"'), ("1e", '"1e"'),
        ("2024-01-01", '"2024-01-01"'),
        ("2024-01-01T00:00:00Z", '"2024-01-01T00:00:00Z"'),
        ("'1'", '"1"'), ('"null"', '"null"'), ('"\\0\\u00e9"', '"\\u0000é"'),
        ("!!str 1.0", '"1.0"'), ("! 1.0", '"1.0"'), ("!!int '3'", "3"), ("!!float 3", "3"),
        ("!!null ''", "null"), ("!!bool 'true'", "true"),
        ("!!timestamp 2024-01-01", '"2024-01-01"'), ("!!binary aGk=", '"aGk="'),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema_with_their_digits(scalar: str, made: str) -> None:
    assert made_of(f"[{scalar}, x]" if scalar else "-\n- x") == f'[{made},"x"]'
    if made != "null":
        body = f"a: {scalar}".encode()
        assert refined(body, YAML, select="[a]").body.decode() == f"[{made}]"


def test_a_key_is_the_text_it_is_written_with() -> None:
    text = "404: a\n1.10: b\ntrue: c\non: d\n~: e\n2024-01-01: f\n'x y': g\n? z\n: h\n"
    assert list(json.loads(made_of(text))) == [
        "404", "1.10", "true", "on", "~", "2024-01-01", "x y", "z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a: &x 1\nb: *x", '{"a":1,"b":1}'),
        ("a: &x [1]\nb: *x\nc: [*x]", '{"a":[1],"b":[1],"c":[[1]]}'),
        ("a: &x 1\nb: &x 2\nc: *x", '{"a":1,"b":2,"c":2}'),
        ("&x a: b\nc: *x", '{"a":"b","c":"a"}'),
        ("&x a: 1\nb: {*x : 2}", '{"a":1,"b":{"a":2}}'),
        ("- &x {a: 1, b: 2}\n- <<: *x\n  b: 3", '[{"a":1,"b":2},{"a":1,"b":3}]'),
        ("- &x {a: 1, b: 2}\n- b: 3\n  <<: *x", '[{"a":1,"b":2},{"a":1,"b":3}]'),
        ("<<: [{a: 1}, {a: 2, b: 2}]\nc: 3", '{"a":1,"b":2,"c":3}'),
        ("'<<': 1", '{"<<":1}'),
        ("- <<", '["<<"]'),
    ],
)
def test_aliases_and_merges_stand_for_what_they_name(text: str, made: str) -> None:
    assert made_of(text) == made


def test_an_alias_in_one_place_is_not_changed_by_another() -> None:
    text = "- &x {a: 1}\n- <<: *x\n  a: 2\n- *x"
    assert made_of(text) == '[{"a":1},{"a":2},{"a":1}]'


@given(values)
def test_json_is_yaml(value: object) -> None:
    assert json.loads(made_of(json.dumps(value, ensure_ascii=False))) == value


@given(values, st.booleans())
def test_what_was_written_is_read(value: object, flow: bool) -> None:  # noqa: FBT001
    # Quoted and tagged, for what is written plain is read by other rules in YAML 1.1.
    text = yaml.safe_dump(value, default_style='"', default_flow_style=flow, allow_unicode=True)
    assert json.loads(made_of(text)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not YAML: line 2"),
        ("a: b\n  c: d", "not YAML: line 2: mapping values are not allowed"),
        ("a: 'x", "not YAML"),
        ("\t- a", "not YAML"),
        ("a: \x01", "character 4: control characters are not allowed"),
        ('a: "\\uD800"', "not YAML: line 1"),
        ("# nothing\n", "without a document"),
        ("---\n...\n---\n", "second YAML document, from line 3 on"),
        ("a: 1\n---\nb: 2", "second YAML document, from line 2 on"),
        ("a: .nan", "line 1 of the body has .nan for a number"),
        ("\n- -.INF", "line 2 of the body has -.INF for a number"),
        ("!!float .inf", "has .inf for a number"),
        ("!!int x", "has 'x' for int"),
        ("!!int 1.5", "has '1.5' for int"),
        ("!!bool yes", "has 'yes' for bool"),
        ("a: !!python/object/apply:os.system [id]", "python/object/apply:os.system"),
        ("!!python/name:os.system ''", "python/name"),
        ("!Ref x", "tag '!Ref'"),
        ("!!set {a, b}", "yaml.org,2002:set"),
        ("!!map [a]", "yaml.org,2002:map"),
        ("? [a]\n: b", "key that is not a scalar"),
        ("{{a: b}: c}", "key that is not a scalar"),
        ("- &x [a]\n- *x : b", "key that is not a scalar"),
        ("&x [*x]", "*x, which stands within what it stands for"),
        ("- &x 1\n- &x [*x]", "stands within"),
        ("a: *x", "*x, which has no anchor"),
        ("<<: 3", "merges (<<) what is no mapping"),
        ("<<: [{a: 1}, 3]", "merges (<<) what is no mapping"),
        ("0x" + "f" * 9000, "digits"),
        ("%TAG !a! x\n" * 999 + "--- a", "directives"),
    ],
)
def test_what_is_not_yaml_or_not_json_is_refused(text: str, said: str) -> None:
    message = refusal(Stage.DECODE, text.encode(), YAML)
    assert said in message
    assert len(message) < 250


def test_what_is_not_in_its_charset_is_refused() -> None:
    assert "not utf-8" in refusal(Stage.DECODE, b"a: \xff", YAML)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_become_utf8(encoding: str) -> None:
    assert made_of("a: é".encode(encoding)) == '{"a":"é"}'


def bomb(times: int, levels: int) -> str:
    lines = [f"a0: &a0 [{', '.join(['x'] * times)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * times)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9, 9),
        bomb(2, 400),
        "- &m {" + ", ".join(f"k{n}: xxxx" for n in range(3000)) + "}\n" + "- {<<: *m}\n" * 100,
        "- &s " + "x" * 20_000 + "\n" + "- *s\n" * 100,
        "- &s " + "x" * 20_000 + "\n- {" + "*s : 1, " * 100 + "}",
        "- &s " + "x" * 20_000 + "\n- {" + "a: *s, " * 100 + "}",
    ],
)
def test_aliases_that_multiply_are_refused_before_anything_is_made(text: str) -> None:
    assert "aliases stand for too much" in refusal(Stage.DECODE, text.encode(), YAML)


def test_what_aliases_make_may_be_much_larger_than_what_came() -> None:
    assert len(made_of("- &s " + "x" * 5_000 + "\n" + "- *s\n" * 150)) > 30 * 6_000 * 4


@pytest.mark.parametrize(
    ("opening", "closing", "each"),
    [("[", "]", 1), ("{a: ", "}", 1), ("[{a: ", "}]", 2), ("{a: [", "]}", 2), ("- ", "", 1)],
)
def test_512_levels_pass_and_one_more_does_not(opening: str, closing: str, each: int) -> None:
    def nested(levels: int) -> str:
        times, odd = divmod(levels, each)
        return "[" * odd + opening * times + "x" + closing * times + "]" * odd

    assert made_of(nested(512)).count("x") == 1
    for levels in (513, 1_000, 1_001, 2_001, 100_000):  # libyaml 0.2.6 has a bound at 1,000
        assert "512 levels" in refusal(Stage.DECODE, nested(levels).encode(), YAML)


@pytest.mark.parametrize("links", [3, 8])
def test_depth_that_aliases_make_is_depth(links: int) -> None:
    lines = ["- &a0 x"]
    lines += [f"- &a{n} {'[' * 200}*a{n - 1}{']' * 200}" for n in range(1, links + 1)]
    assert "512 levels" in refusal(Stage.DECODE, "\n".join(lines).encode(), YAML)
