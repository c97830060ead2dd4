import json

import pytest
from hypothesis import given

from refresher.model import Format, Stage

from .answers import json_values, refined, refusal

# What a double cannot hold, or would write in another way.
NUMBERS = [
    "12345678901234567890",
    "-123456789012345678901234567890",
    "0.1000000000000000055511151231257827021181583404541015625",
    "1.10",
    "100.00",
    "1e2",
    "1E+400",
    "-1e-400",
    "-0.0",
]


def selected(body: str, expression: str) -> str:
    content = refined(body.encode(), select=expression)
    assert (content.format, content.content_type) == (Format.JSON, "application/json")
    return content.body.decode()


def test_what_is_found_is_served_as_compact_json() -> None:
    assert selected('{"a": { "é": [1, null,\ttrue] } }', "a") == '{"é":[1,null,true]}'


def test_order_is_kept() -> None:
    assert selected('{"a": {"z": 1, "b": 2, "a": 3}}', "a") == '{"z":1,"b":2,"a":3}'


def test_the_media_type_is_that_of_plain_json() -> None:
    content = refined(b'{"a": 1}', "application/geo+json; charset=utf-8", select="a")
    assert content.content_type == "application/json"


@pytest.mark.parametrize(
    ("expression", "items"), [("a", 3), ("b", 2), ("c", None), ("d", None), ("a[0]", None)]
)
def test_items_are_those_of_what_was_found(expression: str, items: int | None) -> None:
    body = b'{"a": [1, 2, 3], "b": {"x": 1, "y": 2}, "c": "text", "d": false}'
    assert refined(body, select=expression).items == items


@pytest.mark.parametrize("expression", ["b", "a[7]", "a.b", "max(`[]`)"])
def test_null_is_refused_with_what_there_is_instead(expression: str) -> None:
    message = refusal(Stage.SELECT, b'{"a": [1], "other": 2}', select=expression)
    assert expression in message
    assert "an object with a, other" in message


@pytest.mark.parametrize(
    ("body", "said"), [(b"[1, 2]", "array of 2"), (b"1", "single value"), (b"{}", "no members")]
)
def test_whatever_the_root_is_it_is_named(body: bytes, said: str) -> None:
    assert said in refusal(Stage.SELECT, body, select="a.b")


@pytest.mark.parametrize("literal", NUMBERS)
@pytest.mark.parametrize("expression", ["a", "a[*]", "a[?@ == @]", "{x: a}.x", "a[] | [0:9]"])
def test_a_number_that_is_passed_on_keeps_its_digits(literal: str, expression: str) -> None:
    assert selected(f'{{"a": [{literal}]}}', expression) == f"[{literal}]"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("sort(n)", "[0.50,1.10,12345678901234567890]"),
        ("sort_by(r, &v)[*].v", "[0.50,1.10]"),
        ("max(n)", "12345678901234567890"),
        ("max_by(r, &v).v", "1.10"),
        ("min_by(r, &v).v", "0.50"),
        ("sum(r[*].v)", "1.6"),
        ("avg(r[*].v)", "0.8"),
        ("r[?v > `1`].v", "[1.10]"),
        ("r[?v == `1.1`].v", "[1.10]"),
        ("ceil(n[0])", "2"),
        ("abs(n[0])", "1.1"),
        ("type(n[0])", '"number"'),
        ("to_string(n[0])", '"1.1"'),
        ("reverse(n)", "[12345678901234567890,0.50,1.10]"),
    ],
)
def test_calculations_are_those_of_doubles(expression: str, result: str) -> None:
    body = '{"n": [1.10, 0.50, 12345678901234567890], "r": [{"v": 1.10}, {"v": 0.50}]}'
    assert selected(body, expression) == result


@pytest.mark.parametrize("expression", ["sum(a)", "[sum(a)]", "{x: avg(a)}", "to_number('nan')"])
def test_a_calculation_that_leaves_the_numbers_is_refused(expression: str) -> None:
    assert "cannot hold" in refusal(Stage.SELECT, b'{"a": [1e999, 1.5]}', select=expression)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(b)",
        "sort(a)",
        "sort_by(c, &v)",
        "a[::0]",
        "&a",
        "[&a]",
        "nonsense(a)",
        "sum(d)",
        '`"\\ud800"`',
    ],
)
def test_an_expression_that_fails_is_refused_with_a_sentence(expression: str) -> None:
    body = b'{"a": [1, "x"], "b": "%s", "c": [{"v": 1}, {"v": "x"}], "d": [1.5, %s]}'
    message = refusal(Stage.SELECT, body % (b"x" * 9999, b"9" * 400), select=expression)
    assert message.startswith(f"select failed: {expression}: ")
    assert len(message) < 400


@pytest.mark.parametrize("literal", ["-0", "9" * 10_000, "-" + "9" * 10_000])
def test_an_integer_too_long_for_python_is_a_double_in_calculations(literal: str) -> None:
    assert selected(f'{{"a": [{literal}, 1]}}', "[a[0], a[1], length(a)]") == f"[{literal},1,2]"
    assert selected(f'{{"a": [{literal}, "-05"]}}', "a[?@ == `7`]") == "[]"


@pytest.mark.parametrize("expression", ["@", "*", "[a, b]", "keys(@)", "sort(values(@)[:2])"])
def test_a_lone_surrogate_is_read_as_the_replacement_character(
    expression: str,
) -> None:
    body = r'{"a": "\ud83d", "\udc00": "\ud83d\ude00", "b": 1}'
    whole = '{"a": "\ufffd", "\ufffd": "😀", "b": 1}'
    assert selected(body, expression) == selected(whole, expression)


def test_512_levels_can_be_selected_from() -> None:
    body = "[" * 511 + "1.10" + "]" * 511
    assert selected(body, "[0]") == body[1:-1]
    assert selected(body, "[@]") == f"[{body}]"


@pytest.mark.parametrize("declared", ["text/markdown", "image/png"])
def test_select_needs_json(declared: str) -> None:
    assert declared in refusal(Stage.SELECT, b"a", declared, select="a")


@given(json_values)
def test_selecting_everything_changes_nothing_but_the_spacing(value: object) -> None:
    body = json.dumps({"a": value})
    if value is None:
        refusal(Stage.SELECT, body.encode(), select="a")
    else:
        assert json.loads(selected(body, "a")) == value
