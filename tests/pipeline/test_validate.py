import json
import socket
from pathlib import Path

import pytest

from refresher.model import Stage

from .answers import refined, refusal

ROWS = json.dumps(
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["price"],
            "properties": {"price": {"type": "number", "maximum": 100}},
        },
    }
)


def test_content_that_fits_is_served_byte_for_byte() -> None:
    body = b'[ {"price": 1.10}, {"price":100.000} ]'
    assert refined(body, schema=ROWS).body == body


def test_content_that_does_not_fit_is_refused_with_the_place_and_the_reason() -> None:
    message = refusal(Stage.SCHEMA, b'[{"price": 1}, {"price": "x"}]', schema=ROWS)
    assert 'at /1/price: "x" is not of type "number"' in message


def test_at_most_three_places_are_told() -> None:
    message = refusal(Stage.SCHEMA, b"[1, 2, 3, 4]", schema=ROWS)
    assert all(f"at /{place}:" in message for place in (0, 1, 2))
    assert "at /3:" not in message
    assert "and more" in message
    assert "and more" not in refusal(Stage.SCHEMA, b"[1, 2, 3]", schema=ROWS)


def test_a_long_value_is_clipped() -> None:
    body = json.dumps({"a": "x" * 100_000}).encode()
    message = refusal(Stage.SCHEMA, body, schema=ROWS)
    assert "at the root:" in message
    assert 'is not of type "array"' in message
    assert len(message) < 300


def test_what_was_selected_is_what_must_fit() -> None:
    body = b'{"rows": [{"price": 1}]}'
    refined(body, select="rows", schema=ROWS)
    refusal(Stage.SCHEMA, body, schema=ROWS)


@pytest.mark.parametrize(
    ("schema", "fits", "does_not"),
    [
        ('{"type": "integer"}', "12345678901234567890123", "12345678901234567890123.5"),
        ('{"type": "integer"}', "1.0", "1.5"),
        ('{"const": 12345678901234567890}', "12345678901234567890", "12345678901234567891"),
        ('{"const": 1.1}', "1.10", "1.1000000000000000000000001"),
        ('{"maximum": 1}', "-1e999", "1e999"),
        ('{"type": "number"}', "1e999", "null"),
        ('{"multipleOf": 0.01}', "19.99", "19.999"),
        ('{"enum": [1]}', "1.0", "true"),
        ("true", "1", ""),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}', '"x"', "1"),
        ('{"prefixItems": [{"type": "string"}]}', '["a"]', "[1]"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#", "items": [true, false]}', "[1]",
         "[1, 2]"),
    ],
)  # fmt: skip
def test_the_schema_sees_numbers_exactly_and_is_of_draft_2020_12_unless_it_says_otherwise(
    schema: str, fits: str, does_not: str
) -> None:
    assert refined(fits.encode(), schema=schema).body == fits.encode()
    if does_not:
        refusal(Stage.SCHEMA, does_not.encode(), schema=schema)


def test_no_reference_leads_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"type": "object"}')
    for target in ((tmp_path / "other.json").as_uri(), "other.json"):
        message = refusal(Stage.SCHEMA, b"{}", schema=json.dumps({"$ref": target}))
        assert "cannot be checked" in message


def test_no_reference_leads_to_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        target = f"http://127.0.0.1:{listener.getsockname()[1]}/other.json"
        message = refusal(Stage.SCHEMA, b"{}", schema=json.dumps({"$ref": target}))
        assert target in message
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_lone_surrogate_is_one_character() -> None:
    body, schema = rb'["\ud83d"]', '{"items": {"maxLength": 1}}'
    assert refined(body, schema=schema).body == body


def test_512_levels_can_be_checked() -> None:
    recursive = '{"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}'
    refined(b"[" * 512 + b"]" * 512, schema=recursive)


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1e9999999999999999999999", "-1E-9999999999999999999"]
)
def test_a_number_beyond_all_bounds_is_refused(number: str) -> None:
    assert "cannot be checked" in refusal(Stage.SCHEMA, number.encode(), schema="true")


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999"])
def test_a_huge_exponent_costs_no_time(number: str) -> None:
    refined(f"[{number}]".encode(), schema='{"items": {"type": "number", "not": {"const": 1}}}')
    refusal(Stage.SCHEMA, f"[{number}]".encode(), schema='{"items": {"multipleOf": 3}}')


@pytest.mark.parametrize("declared", ["text/markdown", "image/png"])
def test_a_schema_needs_json(declared: str) -> None:
    assert declared in refusal(Stage.SCHEMA, b"a", declared, schema="true")
