import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.model import Format, Stage
from tests.pipeline.answers import refined, refusal

TOML = "application/toml"

plain = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=6)
values = st.recursive(
    plain | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4),
)


def made_of(text: str) -> str:
    return refined(text.encode(), TOML).body.decode()


def test_the_root_table_is_an_object() -> None:
    content = refined(b'title = "x"\n[a]\nb.c = [1, 2]\n[[d]]\ne = true\n[[d]]\n', TOML)
    assert content.body == b'{"title":"x","a":{"b":{"c":[1,2]}},"d":[{"e":true},{}]}'
    assert (content.format, content.content_type) == (Format.TOML, "application/json")
    assert content.items == 3


@pytest.mark.parametrize(
    ("literal", "made"),
    [
        ("1.10", "1.10"),
        ("+1.5", "1.5"),
        ("-0.0", "-0.0"),
        ("1_000.000_1", "1000.0001"),
        ("1e06", "1e06"),
        ("6.626e-34", "6.626e-34"),
        ("1e999", "1e999"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1_000", "1000"),
        ("0xff", "255"),
        ("0o17", "15"),
        ("1979-05-27T07:32:00Z", '"1979-05-27T07:32:00Z"'),
        ("1979-05-27 00:32:00.5-07:00", '"1979-05-27T00:32:00.500000-07:00"'),
        ("1979-05-27T07:32:00", '"1979-05-27T07:32:00"'),
        ("1979-05-27", '"1979-05-27"'),
        ("07:32:00", '"07:32:00"'),
    ],
)
def test_numbers_keep_their_digits_and_times_are_strings(literal: str, made: str) -> None:
    assert made_of(f"a = {literal}") == f'{{"a":{made}}}'
    assert refined(f"a = {literal}".encode(), TOML, select="[a]").body.decode() == f"[{made}]"


@given(st.dictionaries(plain, values, max_size=5))
def test_what_was_written_is_read(table: dict[str, object]) -> None:
    def literal(value: object) -> str:
        # Keys, strings and arrays are written alike in both, but for DEL.
        return json.dumps(value).replace("\x7f", "\\u007f")

    text = "".join(f"{literal(key)} = {literal(value)}\n" for key, value in table.items())
    assert json.loads(made_of(f"# a table\n{text}")) == table


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a", "not TOML: Expected '='"),
        (b"a = 1\n\nb = ?", "line 3"),
        (b"a = 1\na = 2\n", "overwrite"),
        (b"[a]\n[a]", "twice"),
        (b"a = nan", "nan for a number"),
        (b"a = [+inf]", "+inf for a number"),
        (b"a = " + b"9" * 5000, "digits"),
        (b"a = 0x" + b"f" * 9000, "digits"),
        (b'a = "\\ud800"', "not TOML"),
        (b'a = "\xff"', "not utf-8"),
        (b'{"a": 1}', "not TOML"),
    ],
)
def test_what_is_not_toml_or_not_json_is_refused(body: bytes, said: str) -> None:
    message = refusal(Stage.DECODE, body, TOML)
    assert said in message
    assert len(message) < 250


def test_keys_may_be_512_levels_deep_and_no_deeper() -> None:
    assert made_of("a." * 511 + "a = 1") == '{"a":' * 512 + "1" + "}" * 512
    for key in ("a." * 512 + "a", '"a" . ' * 512 + "a", "'a'." * 30_000 + "a"):
        for text in (f"{key} = 1", f"[{key}]", f"x = {{{key} = 1}}"):
            assert "512 levels" in refusal(Stage.DECODE, text.encode(), TOML)


def test_dots_in_strings_are_no_depth() -> None:
    text = "x." * 600
    assert json.loads(made_of(f"a = '{text}'\n# {text}\nb = \"{text}\"")) == {"a": text, "b": text}


@pytest.mark.parametrize("levels", [600, 100_000])
def test_no_depth_breaks_the_parser(levels: int) -> None:
    assert "too deep" in refusal(Stage.DECODE, b"a = " + b"[" * levels + b"]" * levels, TOML)


def test_an_infinite_double_is_no_infinity() -> None:
    assert math.isinf(json.loads(made_of("a = 1e999"))["a"])
