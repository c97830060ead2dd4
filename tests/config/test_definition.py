from pathlib import Path

import pytest

from refresher.model import Definition
from tests.config.configs import URL, config, job


def names() -> list[str]:
    return []


FULL = {
    "url": "https://h/x?a=1",
    "method": "PUT",
    "params": {"a": "1", "b": 2},
    "headers": {"X-A": "1", "X-B": "2"},
    "json": {"a": 1, "b": [1.5, "x"]},
}


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://h/x?a=2"},
        {"url": "http://h/x?a=1"},
        {"url": "https://h:8443/x?a=1"},
        {"method": "POST"},
        {"params": {"a": "1", "b": 3}},
        {"headers": {"X-A": "1"}},
        {"headers": {"X-A": "2", "X-B": "1"}},
        {"json": {"a": 1, "b": ["x", 1.5]}},
    ],
)
def test_what_is_asked_for_makes_another_source_under_the_same_rules(
    change: dict[str, object],
) -> None:
    one, other = job(**FULL).definition, job(**{**FULL, **change}).definition
    assert one.source != other.source
    assert one.rules == other.rules


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"b": "2", "a": 1}},
        {"headers": {"x-b": "2", "x-a": "1"}},
        {"json": {"b": [1.5, "x"], "a": 1}},
        {"url": "HTTPS://H:443/x?a=1"},
        {"url": "https://user:pw@h/x?a=1"},
        {"auth": {"type": "bearer", "token": "t"}},
        {"interval": "1h", "timeout": "1s", "tags": ["x"], "max_stale": "1d", "enabled": False},
    ],
)
def test_order_spelling_auth_and_schedule_make_no_other_definition(
    change: dict[str, object],
) -> None:
    assert job(**FULL).definition == job(**{**FULL, **change}).definition


def test_what_a_reference_brought_counts_unreplaced() -> None:
    def of(**environ: str) -> Definition:
        plan = job(
            environ,
            url="https://h/${A}?key=${B}",
            headers={"X-C": "c ${C}"},
            params={"d": "${D:-d}"},
            json={"e": ["${E}"]},
        )
        return plan.definition

    first = of(A="a", B="b", C="c", E="e")
    assert first == of(A="a2", B="b2", C="c2", D="d2", E="e2")
    assert first != job(url="https://h/a?key=b", headers={"X-C": "c c"}).definition


def test_but_in_a_scheme_a_host_and_a_port_replaced() -> None:
    def of(base: str) -> str:
        return job({"BASE": base}, url="${BASE}/x").definition.source

    assert of("https://one") != of("https://two")
    assert of("https://one") != of("http://one")
    assert of("https://one") != of("https://one:8443")
    assert of("https://one") == of("https://ONE:443")
    assert of("https://one") == of("https://user:pw@one")
    assert of("https://one/api") == of("https://one/other")
    assert of("https://one/api") != of("https://one")


def test_a_literal_that_looks_like_a_reference_is_not_taken_for_one() -> None:
    literal = job(params={"a": "$${A}"}).definition
    assert literal != job({"A": "${A}"}, params={"a": "${A}"}).definition


def test_where_the_same_url_comes_from_makes_no_other_source() -> None:
    tables = {
        "upstreams": {"api": {"base_url": "https://api.example.org", "headers": {"X-A": "1"}}},
        "jobs": {"a": {"url": "/x", "upstream": "api"}},
    }
    assert config(tables).jobs["a"].definition == job(url=URL, headers={"X-A": "1"}).definition


def test_files_and_callables_are_known_by_what_is_written(tmp_path: Path) -> None:
    def of_file(folder: Path) -> Definition:
        folder.mkdir()
        (folder / "config.toml").write_text('[jobs.a]\nfile = "data.json"')
        return config(folder / "config.toml").jobs["a"].definition

    assert of_file(tmp_path / "one") == of_file(tmp_path / "two")
    assert job(file="a.json").definition != job(file="b.json").definition
    assert job(python="a.b:c").definition != job(python="a.b:d").definition
    written = job(python=f"{__name__}:names").definition
    assert job(python=names).definition == written


@pytest.mark.parametrize(
    "change",
    [
        {"format": "json"},
        {"select": "a"},
        {"guard": {"min_items": 1}},
        {"guard": {"required": ["x"]}},
        {"raw": True},
        {"charset": "windows-1252"},
        {"delimiter": ";"},
        {"guard": {"max_items": 1}},
        {"guard": {"accept_after": 3}},
        {"guard": {"max_growth": "300%"}},
        {"guard": {"duplicate_keys": "reject"}},
        {"paginate": {"type": "link_header"}},
        {"content_time": "at"},
    ],
)
def test_the_rules_make_other_rules_of_the_same_source(change: dict[str, object]) -> None:
    assert job().definition.source == job(**change).definition.source
    assert job().definition.rules != job(**change).definition.rules


@pytest.mark.parametrize(
    "change",
    [
        {"type": "next_url", "path": "next"},
        {"path": "after"},
        {"param": "from"},
        {"items": "data"},
        {"max_pages": 7},
        {"end_status": [404]},
    ],
)
def test_every_key_of_the_pages_makes_other_rules(change: dict[str, object]) -> None:
    pages = {"type": "cursor", "path": "next", "param": "after"}
    changed = {**pages, **change}
    if changed["type"] == "next_url":
        del changed["param"]
    one, other = (job(paginate=given).definition for given in (pages, changed))
    assert (one.source, one.rules) != (other.source, other.rules)
    assert one.source == other.source


def test_the_time_zone_is_a_rule_where_content_has_a_time() -> None:
    berlin = {"timezone": "Europe/Berlin"}
    assert job(**berlin).definition == job().definition
    dated = {"content_time": "at"}
    assert job(**dated, **berlin).definition.rules != job(**dated).definition.rules
    limits = {"max_content_age": "1h", "changes_by": "0 17 * * *"}
    assert job(**dated, **limits).definition == job(**dated).definition


def test_what_is_said_by_default_makes_no_other_rules() -> None:
    pages = {"type": "page", "param": "page"}
    said = {**pages, "start": 1, "items": "@", "max_pages": 100}
    assert job(paginate=pages).definition == job(paginate=said).definition


def test_a_file_that_inherits_pages_has_none() -> None:
    tables = {
        "defaults": {"paginate": {"type": "link_header"}},
        "jobs": {"a": {"file": "a.json"}, "b": {"url": URL}},
    }
    jobs = config(tables).jobs
    assert jobs["a"].config.paginate is None
    assert jobs["b"].config.paginate is not None


def test_a_schema_counts_by_its_content(tmp_path: Path) -> None:
    def rules(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return job(schema=str(tmp_path / name)).definition.rules

    one = rules("a.json", '{"type": "object", "minProperties": 1}')
    assert one == rules("b.json", '{"minProperties":1,"type":"object"}')
    assert one != rules("a.json", '{"type": "object"}')
    assert one != job().definition.rules


def test_fingerprints_are_the_same_in_every_process_and_release() -> None:
    assert job(**FULL, guard={"min_items": 1}).definition == Definition(
        source="7b9b577f562ba6185d87f23f2c21cff118156f5c5dd2a7623580c29407972330",
        rules="e9ac1e5c31d5ad2bb49287b724fd05eac38456904d77525c7d311d191caa50f6",
    )
