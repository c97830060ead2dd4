from pathlib import Path

import pytest

from refresher.config import BearerAuth
from tests.config.configs import URL, config, problems, written

TABLES = {
    "server": {"port": 8000},
    "upstreams": {"my-api": {"auth": {"type": "bearer", "token": "t"}}},
    "jobs": {
        "exchange-rates": {"url": URL, "headers": {"X-Api-Key": "k"}, "json": {"n": 1, "s": "x"}}
    },
}


def names() -> list[str]:
    return []


def test_the_command_line_is_over_the_environment_is_over_the_file() -> None:
    assert config(TABLES).server.port == 8000
    environ = {"REFRESHER__SERVER__PORT": "9000"}
    assert config(TABLES, environ).server.port == 9000
    assert config(TABLES, environ, {"server.port": 9001}).server.port == 9001


@pytest.mark.parametrize(
    "name",
    [
        "REFRESHER__JOBS__EXCHANGE_RATES__INTERVAL",
        "REFRESHER__jobs__exchange-rates__interval",
        "refresher__Jobs__Exchange_Rates__Interval",
    ],
)
def test_case_and_hyphens_make_no_difference(name: str) -> None:
    assert config(TABLES, {name: "1m"}).jobs["exchange-rates"].config.interval == 60.0


def test_a_string_key_takes_the_value_verbatim_and_any_other_takes_toml() -> None:
    job = config(
        TABLES,
        {
            "REFRESHER__JOBS__EXCHANGE_RATES__BODY": "",
            "REFRESHER__JOBS__EXCHANGE_RATES__TAGS": '["a", "b"]',
            "REFRESHER__JOBS__EXCHANGE_RATES__ENABLED": "false",
            "REFRESHER__JOBS__EXCHANGE_RATES__MAX_REDIRECTS": "7",
            "REFRESHER__JOBS__EXCHANGE_RATES__GUARD": "{ min_items = 3 }",
            "REFRESHER__JOBS__EXCHANGE_RATES__SELECT": "\"x\" | 'y'",
            "REFRESHER__JOBS__EXCHANGE_RATES__HEADERS__X_API_KEY": '"${UNSET}"',
            "REFRESHER__JOBS__EXCHANGE_RATES__METHOD": "PUT",
            "REFRESHER__JOBS__EXCHANGE_RATES__PARAMS": "{ a = 1 }",
        },
    ).jobs["exchange-rates"]
    assert job.config.tags == ("a", "b")
    assert (job.config.enabled, job.config.max_redirects) == (False, 7)
    assert job.config.guard.min_items == 3
    assert (job.config.body, job.config.json) == ("", None)
    assert job.config.select == "\"x\" | 'y'"
    assert job.config.headers == {"X-Api-Key": '"${UNSET}"'}
    assert job.config.params == {"a": "1"}


def test_an_override_displaces_what_it_is_an_alternative_to() -> None:
    tables = {"jobs": {"a": {"url": URL, "interval": "1m"}}}
    environ = {"REFRESHER__JOBS__A__CRON": "* * * * *", "REFRESHER__JOBS__A__FILE": "x.json"}
    found = config(tables, environ).jobs["a"]
    assert (found.config.cron, found.kind) == ("* * * * *", "file")
    [problem] = problems(tables, environ | {"REFRESHER__JOBS__A__INTERVAL": "2m"})
    assert "jobs.a.cron: cannot stand beside interval" in problem


def test_within_a_json_body_what_stands_there_sets_the_type() -> None:
    job = config(
        TABLES,
        {
            "REFRESHER__JOBS__EXCHANGE_RATES__JSON__N": "2",
            "REFRESHER__JOBS__EXCHANGE_RATES__JSON__S": "3",
        },
    ).jobs["exchange-rates"]
    assert job.config.json == {"n": 2, "s": "3"}


def test_a_key_that_takes_one_or_many_takes_either() -> None:
    assert config({}, {"REFRESHER__ADMIN__TOKEN": "one"}).admin.token == ("one",)
    assert config({}, {"REFRESHER__ADMIN__TOKEN": '["a", "b"]'}).admin.token == ("a", "b")


def test_defaults_upstreams_and_jobs_in_code_can_be_overridden() -> None:
    found = config(
        TABLES,
        {
            "REFRESHER__DEFAULTS__TIMEOUT": "2s",
            "REFRESHER__UPSTREAMS__MY_API__AUTH__TOKEN": "rotated",
            "REFRESHER__JOBS__NAMES__INTERVAL": "1h",
        },
        jobs={"names": {"python": names}},
    )
    assert found.jobs["names"].config.timeout == 2.0
    assert found.jobs["names"].config.interval == 3600.0
    assert found.upstreams["my-api"].auth == BearerAuth(token="rotated")
    assert "rotated" in found.secrets


def test_an_override_spares_a_reference_that_has_no_value() -> None:
    tables = {"admin": {"token": "${UNSET}"}}
    assert config(tables, {"REFRESHER__ADMIN__TOKEN": "t"}).admin.token == ("t",)


def test_a_relative_path_from_the_environment_belongs_to_the_folder_of_the_main_file(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "")
    assert config(path, {"REFRESHER__STORE__DIR": "state"}).store.dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "REFRESHER__SERVER__PROT",
            'sets "PROT", which is not there, did you mean REFRESHER__SERVER__PORT?',
        ),
        (
            "REFRESHER__JOBS__EXCHANGE_RATE__INTERVAL",
            (
                'sets "EXCHANGE_RATE", which is not there, '
                "did you mean REFRESHER__JOBS__EXCHANGE_RATES__INTERVAL?"
            ),
        ),
        (
            "REFRESHER__JOBS__NEW__URL",
            'sets "NEW", which is not there, known here: exchange-rates',
        ),
        ("REFRESHER__SERVER__PORT__X", 'sets "X", which is not there, there is none'),
        (
            "REFRESHER__INCLUDE",
            (
                'sets "INCLUDE", which is not there, '
                "known here: server, admin, store, defaults, upstreams, jobs"
            ),
        ),
        ("REFRESHER__JOBS", "jobs: sets a whole table, set a key of it"),
        (
            "REFRESHER__JOBS__EXCHANGE_RATES",
            "jobs.exchange-rates: sets a whole table, set a key of it",
        ),
    ],
)
def test_a_variable_that_sets_no_known_key_is_a_problem(name: str, problem: str) -> None:
    assert problems(TABLES, {name: "x"}) == [f"{name}: {problem}"]


def test_what_is_known_has_no_key_of_the_file_that_is_unknown_itself() -> None:
    found = problems({"admin": {"tokn": "t"}}, {"REFRESHER__ADMIN__XXX": "x"})
    assert found == [
        'config: admin.tokn: is an unknown key, got "tokn", did you mean "token"?',
        'REFRESHER__ADMIN__XXX: sets "XXX", which is not there, known here: token',
    ]


def test_a_wrong_value_is_a_problem_that_names_its_variable() -> None:
    found = problems(
        TABLES,
        {
            "REFRESHER__SERVER__PORT": "http",
            "REFRESHER__JOBS__EXCHANGE_RATES__INTERVAL": "1",
            "REFRESHER__JOBS__EXCHANGE_RATES__HEADERS__X_API_KEY": "s3cret\n",
            "REFRESHER__JOBS__EXCHANGE_RATES__ENABLED": "1",
        },
        {"server.workers": 0},
    )
    assert sorted(problem.partition(", write")[0].partition(" a line")[0] for problem in found) == [
        (
            "REFRESHER__JOBS__EXCHANGE_RATES__ENABLED: jobs.exchange-rates.enabled: "
            "is not true or false, got 1"
        ),
        (
            "REFRESHER__JOBS__EXCHANGE_RATES__HEADERS__X_API_KEY: "
            "jobs.exchange-rates.headers.X-Api-Key: has"
        ),
        (
            "REFRESHER__JOBS__EXCHANGE_RATES__INTERVAL: jobs.exchange-rates.interval: "
            'is not a duration, got "1"'
        ),
        'REFRESHER__SERVER__PORT: server.port: is not a whole number, got "http"',
        "command line: server.workers: is out of range, got 0",
    ]
    assert "s3cret" not in "".join(found)


def test_two_variables_for_one_key_are_a_problem() -> None:
    environ = {"REFRESHER__SERVER__PORT": "1", "REFRESHER__server__port": "2"}
    [problem] = problems({}, environ)
    assert "server.port: is set by REFRESHER__SERVER__PORT too, unset one" in problem


def test_a_whole_table_comes_before_a_key_in_it() -> None:
    environ = {
        "REFRESHER__JOBS__EXCHANGE_RATES__GUARD__MIN_ITEMS": "1",
        "REFRESHER__JOBS__EXCHANGE_RATES__GUARD": "{ min_items = 2, allow_empty = true }",
    }
    guard = config(TABLES, environ).jobs["exchange-rates"].config.guard
    assert (guard.min_items, guard.allow_empty) == (1, True)


def test_a_value_is_one_value_of_toml_and_no_more() -> None:
    for value in ('1\nhost = "x"', "1\n[jobs]", "", "0x", "[" * 10_000):
        [problem] = problems({}, {"REFRESHER__SERVER__PORT": value})
        assert "server.port: is not a whole number" in problem


def test_a_dotted_key_that_is_not_there_is_a_problem() -> None:
    assert problems({}, overrides={"server.prot": 1}) == [
        'command line: sets "prot", which is not there, did you mean server.port?'
    ]


def test_an_override_makes_the_tables_it_needs_and_replaces_what_is_none() -> None:
    environ = {"REFRESHER__JOBS__A__GUARD__MIN_ITEMS": "1"}
    for guard in ({}, {"guard": 3}):
        tables = {"jobs": {"a": {"url": URL, **guard}}}
        assert config(tables, environ).jobs["a"].config.guard.min_items == 1


def test_a_variable_with_one_underscore_is_none_of_these() -> None:
    assert config({}, {"REFRESHER_SERVER_PORT": "x", "REFRESHER_CONFIG": "y"}).server.port == 8000
