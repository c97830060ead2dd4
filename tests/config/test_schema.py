import json
import tomllib
from dataclasses import fields

import jsonschema_rs
import pytest

from refresher.config import JobConfig, ServerConfig, json_schema
from tests.config.configs import URL


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json_schema(), offline=True)


def test_the_schema_is_one_of_draft_2020_12_and_nothing_but_json() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_every_key_has_a_description_and_its_default_as_it_would_be_written() -> None:
    schema = json.loads(json.dumps(json_schema()))
    tables = schema["$defs"]
    for model in (JobConfig, ServerConfig):
        keys = tables[model.__name__]["properties"]
        assert set(keys) == {field.name for field in fields(model)}
        assert all(key.get("description") for key in keys.values())
    assert "pages" in tables["CursorPages"]["properties"]["max_pages"]["description"]  # inherited
    job = tables["JobConfig"]["properties"]
    assert {key: job[key]["default"] for key in ("interval", "jitter", "max_bytes", "timeout")} == {
        "interval": "5m",
        "jitter": "5%",
        "max_bytes": "32MiB",
        "timeout": "10s",
    }
    assert "null" not in json.dumps(schema)


def test_the_schema_accepts_what_the_service_accepts(validator: jsonschema_rs.Validator) -> None:
    document = tomllib.loads(f"""
        include = ["jobs.d/*.toml"]
        [server]
        port = "${{PORT:-8000}}"
        drain = "500ms"
        cors_origins = "*"
        [admin]
        token = ["a", "b"]
        [defaults]
        timeout = "1h30m"
        [upstreams.api]
        base_url = "https://api.example.org"
        rate = "60/1m"
        auth = {{ type = "basic", username = "u", password = "${{PW}}" }}
        [jobs.rates]
        url = "{URL}"
        cron = "*/15 16-18 * * 1-5"
        jitter = "30s"
        guard = {{ min_items = 20, max_shrink = "50%" }}
        params = {{ a = 1, b = ["x"] }}
        json = {{ any = [1, {{ thing = true }}] }}
        paginate = {{ type = "offset", param = "skip", limit_param = "n", limit = "${{N}}" }}
        enabled = "${{ON}}"
        format = "${{FORMAT}}"
    """)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nport = 65536",
        "[server]\nprot = 1",
        "[jobs.a]\ninterval = 30",
        '[jobs.a]\ninterval = "30"',
        '[jobs.a]\nformat = "jsn"',
        '[jobs.a]\nauth = { type = "bearer" }',
        '[jobs.a]\nauth = { token = "x" }',
        '[jobs.a]\npaginate = { type = "cursor", path = "next" }',
        '[jobs.a]\npaginate = { type = "page", param = "page", path = "next" }',
        "[jobs.A]",
        "[jobs.a]\nok_status = [304]",
        '[jobs.a]\nmax_bytes = "10"',
    ],
)
def test_an_editor_sees_what_the_service_would_refuse(
    validator: jsonschema_rs.Validator, text: str
) -> None:
    assert not validator.is_valid(tomllib.loads(text))
