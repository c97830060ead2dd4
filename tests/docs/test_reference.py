"""The reference leaves nothing out, and names nothing that is not there."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

import refresher
from refresher import Outcome, Refresher, Stage, State, View, freshness, testing
from refresher.cli.commands import app as command_line
from refresher.config import json_schema
from refresher.model import DueReason, Format
from tests.docs import pages
from tests.docs.pages import ROOT, code, page, rows, section, spans

CONFIGURATION, HTTP = page("configuration.md"), page("http.md")
METRICS, PRODUCTION, PYTHON = page("metrics.md"), page("production.md"), page("python.md")
KEYS = ("key", "type", "default", "meaning")
SOURCES = list(Path(refresher.__file__).parent.rglob("*.py"))
SCHEMA: dict[str, Any] = json_schema()
NO_PART_OF_THE_API = {"close_soon", "endpoints", "freeze", "redact", "service"}
"""Members of `Refresher` that other modules of the package use."""
ASKED_ELSEWHERE = {"pending", "expired", "paused", "disabled"}
"""Kinds of problems that the code has in a variable where it makes one."""


def tables_of(key: str, *, of: dict[str, Any] = SCHEMA) -> list[dict[str, Any]]:
    """The tables that may stand at a key: several where their type decides."""
    found = of["properties"][key]
    found = found.get("additionalProperties", found)
    several = found.get("oneOf") or found.get("anyOf") or [found]
    return [SCHEMA["$defs"][each["$ref"].rpartition("/")[2]] for each in several]


def tables_in(path: str) -> list[dict[str, Any]]:
    found = [SCHEMA]
    for key in path.split("."):
        found = [inner for each in found for inner in tables_of(key, of=each)]
    return found


def default_of(key: str, tables: list[dict[str, Any]]) -> str:
    """How a key's default is written."""
    table = next(each for each in tables if key in each["properties"])
    if key in table.get("required", ()):
        return "required"
    default = table["properties"][key].get("default")
    return "none" if default is None else f"`{json.dumps(default)}`"


@pytest.mark.parametrize(
    ("heading", "paths"),
    [
        ("`[server]`", ["server"]),
        ("`[admin]`", ["admin"]),
        ("`[store]`", ["store"]),
        ("`[upstreams.X]`", ["upstreams", "upstreams.tls"]),
        ("`[jobs.X]`", ["jobs"]),
        ("Guard", ["jobs.guard"]),
        ("Pages", ["jobs.paginate"]),
    ],
)
def test_every_key_stands_in_its_section_with_its_default(heading: str, paths: list[str]) -> None:
    tables = [table for path in paths for table in tables_in(path)]
    keys = {key for table in tables for key in table["properties"]} - {"type"}
    written = {
        row["key"].strip("`"): row["default"]
        for row in rows(section(CONFIGURATION, heading), *KEYS)
    }
    assert written == {key: default_of(key, tables) for key in keys}


def test_every_table_has_a_section() -> None:
    headings = {"include": "`include`", "defaults": "`[defaults]`"}
    for table in SCHEMA["properties"]:
        dotted = table in {"jobs", "upstreams"}
        section(CONFIGURATION, headings.get(table, f"`[{table}{'.X' if dotted else ''}]`"))


@pytest.mark.parametrize(
    ("heading", "path", "column"),
    [("Authentication", "jobs.auth", "keys"), ("Pages", "jobs.paginate", "further keys")],
)
def test_every_type_of_table_stands_there_with_its_keys(
    heading: str, path: str, column: str
) -> None:
    shared = {"type", "items", "max_pages", "end_status"}
    there = {
        table["properties"]["type"]["const"]: set(table["properties"]) - shared
        for table in tables_in(path)
    }
    text = section(CONFIGURATION, heading)
    table = next(each for each in pages.tables(text) if column in each.columns)
    written = {row["`type`"].strip("`"): spans(row[column]) for row in table.rows}
    assert written == there


def test_every_variable_of_the_environment_is_in_the_configuration() -> None:
    read = re.compile(r"""(?:environ(?:\.get\(|\[)|envvar=|_VARIABLE = )"([A-Z_]+)\"""")
    found = {name for file in SOURCES for name in read.findall(file.read_text())}
    columns = ("variable", "of", "meaning")
    written = rows(section(CONFIGURATION, "Environment variables"), *columns)
    assert found - {"DEMO_UPSTREAM"} <= {span for row in written for span in spans(row["variable"])}


@pytest.mark.parametrize("name", [*Format, "auto"])
def test_every_format_is_in_the_configuration(name: str) -> None:
    assert {f'"{name}"', name} & spans(CONFIGURATION)


@cache
def application() -> FastAPI:
    """An application with two jobs, whose admin token is `token`."""
    cache = Refresher(admin_token="token")

    @cache.job()
    def names() -> list[str]:
        return ["Ada"]

    @cache.job(content_time="at", changes_by="0 0 * * *")
    def dated() -> dict[str, int]:
        return {"at": 0}

    app = FastAPI(lifespan=cache.lifespan)
    app.include_router(cache.router())
    return app


def test_every_endpoint_is_in_the_overview() -> None:
    routes = {
        f"{method.upper()} {path}"
        for path, methods in application().openapi()["paths"].items()
        for method in methods
    }
    written = [row["request"] for row in rows(section(HTTP, "Overview"), "request", "answers")]
    beside = {"GET /data/{job}/{a}/{b}", "GET /data/{job}?version=41"}
    beside |= {"GET /docs", "GET /openapi.json"}
    assert {span for row in written for span in spans(row)} == routes | beside


def test_every_parameter_and_key_of_a_request_is_named() -> None:
    for path, methods in application().openapi()["paths"].items():
        for found in methods.values():
            asked = [each["name"] for each in found.get("parameters", ())]
            body = found.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name in (*asked, *body.get("schema", {}).get("properties", ())):
                assert re.search(rf"\b{name}\b", code(HTTP)), f"{name} of {path}"


def test_every_status_of_a_read_is_explained() -> None:
    written = {row["status"].partition(" ")[0] for row in rows(HTTP, "status", "when")}
    there = application().openapi()["paths"]["/data/{job}"]["get"]["responses"]
    assert set(there) <= written


def test_every_header_of_a_read_is_explained() -> None:
    written = {
        span.lower()
        for row in rows(section(HTTP, "Headers of a read"), "header", "value")
        for span in spans(row["header"])
    }
    with TestClient(application()) as client:
        assert refreshed(client)
        headers = set(client.get("/data/names").headers) - {"content-length", "date"}
    assert written - headers == {"content-encoding"}, "of what is large enough"
    assert headers - written == set()


def test_every_field_of_a_job_is_explained() -> None:
    written = {
        span
        for row in rows(section(HTTP, "Fields of a job"), "field", "meaning")
        for span in spans(row["field"])
    }
    with TestClient(application()) as client:
        assert set(client.get("/jobs/names").json()) == written


def test_every_field_of_a_kept_version_is_explained() -> None:
    with TestClient(application()) as client:
        assert refreshed(client)
        version = client.get("/jobs/names/history").json()["versions"][0]
    assert set(version) <= spans(section(HTTP, "History"))


def refreshed(client: TestClient) -> bool:
    answer = client.post(
        "/admin/refresh", json={"wait": "30s"}, headers={"Authorization": "Bearer token"}
    )
    return answer.status_code == 200


def test_every_type_of_problem_is_explained() -> None:
    written = {
        row["type"].strip("`").removeprefix("urn:refresher:")
        for row in rows(section(HTTP, "Errors"), "type", "status", "when")
    }
    assert written == {*problems_in_the_code(), *ASKED_ELSEWHERE, "about:blank"}


def problems_in_the_code() -> Iterator[str]:
    """The second argument of each `problem(…)`, as far as it is written there."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="problem"), args=[_, kind, *_]):
                    for part in ast.walk(kind):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value
                case ast.Call(func=ast.Name(id="store_unavailable")):
                    yield "store-unavailable"


@pytest.mark.parametrize(
    ("heading", "tokens"),
    [
        ("States", [*State]),
        ("Outcomes", [*Outcome, *Stage]),
        ("Fields of a job", [*DueReason]),
        ("Headers of a read", [*Stage]),
    ],
)
def test_every_token_is_explained(heading: str, tokens: list[str]) -> None:
    assert set(tokens) <= spans(section(HTTP, heading))


def test_the_details_of_cache_status_are_those_that_are_given() -> None:
    source = ast.parse(inspect.getsource(freshness.detail_of))
    (function,) = source.body
    assert isinstance(function, ast.FunctionDef)
    told = {
        node.value
        for statement in function.body[1:]
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    written = {
        span
        for row in rows(section(HTTP, "Headers of a read"), "`detail=`", "meaning")
        for span in spans(row["`detail=`"])
    }
    assert written == {*Stage, *(told - {"status-"}), "status-503"}


def test_every_metric_is_there_with_its_type_and_labels() -> None:
    documented = {
        row["metric"].strip("`"): (row["type"], spans(row.get("labels", "")))
        for table in pages.tables(METRICS)
        for row in table.rows
        if "metric" in table.columns
    }
    with TestClient(application()) as client:
        assert refreshed(client)
        client.get("/data/names")
        text = client.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name: kind for name, (kind, _) in documented.items()} == types
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels[name] = {label for each in family.samples for label in each.labels} - {"le"}
    ours = {name for name in types if name.startswith("refresher_")}
    assert {name: documented[name][1] for name in ours} == {name: labels[name] for name in ours}


def test_every_command_and_option_is_explained() -> None:
    group = typer.main.get_command(command_line)
    assert isinstance(group, typer.core.TyperGroup)
    commands = rows(section(PRODUCTION, "Command line"), "command", "does")
    assert {row["command"].strip("`").split()[1] for row in commands} == set(group.commands)
    options = rows(section(PRODUCTION, "Command line"), "option", "of", "meaning")
    written = {
        span.partition(" ")[0]: spans(row["of"]) for row in options for span in spans(row["option"])
    }
    for name, command in group.commands.items():
        of_command = {o for each in command.params for o in each.opts if o.startswith("-")}
        assert {option for option, of in written.items() if name in of} == of_command, name
    of_all = {option for each in group.params for option in each.opts} | {"--help", "-h"}
    assert {option for option, of in written.items() if not of} == of_all


@pytest.mark.parametrize("text", pages.PAGES, ids=lambda path: path.name)
def test_no_page_names_a_command_that_is_not_there(text: Path) -> None:
    group = typer.main.get_command(command_line)
    assert isinstance(group, typer.core.TyperGroup)
    named = {
        found[1]
        for span in spans(text.read_text())
        if (found := re.match(r"refresher ([a-z]+)", span))
    }
    assert named <= set(group.commands)


@pytest.mark.parametrize("name", [*refresher.__all__, testing.freeze.__name__])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"\b{name}\b", code(section(PYTHON, "Reference")))


@pytest.mark.parametrize(
    ("owner", "heading", "left_out"),
    [(Refresher, "`Refresher`", NO_PART_OF_THE_API), (View, "`View`", set[str]())],
)
def test_every_member_is_in_the_reference(owner: type, heading: str, left_out: set[str]) -> None:
    members = {name for name in vars(owner) if not name.startswith("_")} - left_out
    for name in members - {"name"}:
        assert re.search(rf"\b{name}\b", code(section(PYTHON, heading))), name


def test_the_arguments_are_those_that_are_taken() -> None:
    written = next(
        span
        for span in spans(section(PYTHON, "`Refresher`"))
        if span.startswith("Refresher(config")
    )
    names = set(re.findall(r"(\w+)=", written))
    assert names == set(inspect.signature(Refresher).parameters)
    table = rows(section(PYTHON, "`Refresher`"), "argument", "meaning")
    assert {row["argument"].strip("`") for row in table} == names


def test_the_package_has_its_pages() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'packages = ["refresher"]' in project, "and so all that is in that folder"
    assert pages.DOCS.is_dir()
