import math
from pathlib import Path

import pytest

from refresher.config import BearerAuth, JobConfig, NoAuth
from tests.config.configs import URL, config, job, job_problems, problems, written

DAY = 86_400.0


def inheriting(defaults: dict[str, object], **keys: object) -> JobConfig:
    return config({"defaults": defaults, "jobs": {"a": {"url": URL, **keys}}}).jobs["a"].config


def test_a_job_inherits_the_defaults_then_its_upstream_then_has_its_own_keys() -> None:
    tables = {
        "defaults": {
            "headers": {"X-A": "default", "X-B": "default", "X-C": "default"},
            "auth": {"type": "bearer", "token": "default"},
            "timeout": "3s",
            "upstream": "api",
        },
        "upstreams": {
            "api": {
                "base_url": "https://api.example.org/v1",
                "headers": {"x-b": "upstream", "X-C": "upstream"},
                "auth": {"type": "bearer", "token": "upstream"},
            }
        },
        "jobs": {
            "a": {"url": "/a", "headers": {"X-c": "own"}},
            "b": {"url": "/b", "auth": {"type": "none"}, "timeout": "4s"},
        },
    }
    jobs = config(tables).jobs
    assert jobs["a"].url == "https://api.example.org/v1/a"
    assert jobs["a"].config.headers == {"X-A": "default", "x-b": "upstream", "X-c": "own"}
    assert jobs["a"].config.auth == BearerAuth(token="upstream")
    assert jobs["a"].config.timeout == 3.0
    assert jobs["b"].config.auth == NoAuth()
    assert jobs["b"].config.timeout == 4.0


def test_headers_params_and_guard_merge_and_everything_else_replaces() -> None:
    defaults: dict[str, object] = {
        "params": {"a": "1", "b": "1"},
        "guard": {"min_items": 3, "required": ["x"]},
        "tags": ["default"],
        "json": {"a": 1},
    }
    found = inheriting(
        defaults, params={"b": 2}, guard={"required": ["y"]}, tags=["own"], json={"b": 2}
    )
    assert found.params == {"a": "1", "b": "2"}
    assert (found.guard.min_items, found.guard.required) == (3, ("y",))
    assert found.tags == ("own",)
    assert found.json == {"b": 2}


@pytest.mark.parametrize(
    ("inherited", "own"),
    [
        ({"interval": "1m"}, {"cron": "* * * * *"}),
        ({"cron": "* * * * *"}, {"interval": "1m"}),
        ({"url": URL}, {"file": "x.json"}),
        ({"python": "a:b"}, {"url": URL}),
        ({"json": {"a": 1}}, {"body": "a"}),
    ],
)
def test_one_of_a_group_displaces_an_inherited_other(
    inherited: dict[str, object], own: dict[str, object]
) -> None:
    tables = {"defaults": {"url": URL, **inherited} if "json" in inherited else inherited}
    keys = {"url": URL, **own} if not own.keys() & {"file", "url"} else own
    found = config({**tables, "jobs": {"a": keys}}).jobs["a"].config
    for key in inherited:
        assert getattr(found, key) == getattr(JobConfig(), key)
    for key in own.keys() - {"file"}:
        assert getattr(found, key) != getattr(JobConfig(), key)


def test_a_default_timeout_is_cut_to_the_interval() -> None:
    assert job(interval="3s").config.timeout == 3.0
    assert job(interval="3s").config.connect_timeout == 3.0
    assert inheriting({"timeout": "1m"}, interval="20s").timeout == 20.0
    assert inheriting({"timeout": "1m"}, interval="2m").timeout == 60.0


def test_a_timeout_above_the_interval_on_the_job_itself_is_a_problem() -> None:
    [problem] = job_problems(interval="20s", timeout="21s")
    assert "jobs.a.timeout: is longer than the interval" in problem
    assert job(interval="20s", timeout="20s").config.timeout == 20.0


def test_cron_bounds_no_timeout() -> None:
    assert job(cron="* * * * *", timeout="2h").config.timeout == 7200.0


def test_jitter_is_a_share_of_the_interval_in_seconds() -> None:
    assert job(interval="10m").config.jitter == 30.0
    assert job(interval="10m", jitter="50%").config.jitter == 300.0
    assert job(interval="10m", jitter="0%").config.jitter == 0.0
    assert inheriting({"jitter": "10%"}, interval="1m").jitter == 6.0


def test_jitter_of_a_cron_job_is_a_duration_and_an_inherited_share_counts_as_none() -> None:
    assert job(cron="* * * * *").config.jitter == 0.0
    assert job(cron="* * * * *", jitter="30s").config.jitter == 30.0
    assert inheriting({"jitter": "10%"}, cron="* * * * *").jitter == 0.0
    [problem] = job_problems(cron="* * * * *", jitter="10%")
    assert "jobs.a.jitter: is a share of an interval, and cron has none" in problem


def test_jitter_above_half_the_interval_is_a_problem_unless_it_is_inherited_as_a_duration() -> None:
    assert len(job_problems(jitter="50.1%")) == 1
    assert len(job_problems(interval="10s", jitter="5001ms")) == 1
    assert inheriting({"jitter": "30s"}, interval="10s").jitter == 5.0


def test_a_body_makes_the_request_a_post_unless_a_method_is_given() -> None:
    assert job(json={"a": 1}).config.method == "POST"
    assert job(body="").config.method == "POST"
    assert job(json={"a": 1}, method="PUT").config.method == "PUT"
    assert inheriting({"method": "QUERY"}, body="x").method == "QUERY"


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        ({}, DAY),
        ({"interval": "1s"}, DAY),
        ({"interval": "2h24m"}, DAY),
        ({"interval": "3h"}, 30 * 3600),
        ({"cron": "* * * * *"}, DAY),
        ({"cron": "0 6 * * *"}, 10 * DAY),
        ({"cron": "0 6 * * 1"}, 70 * DAY),
        ({"full_refresh": "1h"}, 3600),
        ({"full_refresh": "never"}, math.inf),
    ],
)
def test_all_is_fetched_once_a_day_or_in_ten_intervals_unless_said_otherwise(
    keys: dict[str, str], seconds: float
) -> None:
    assert job(**keys).config.full_refresh == seconds


def test_only_a_get_is_conditional() -> None:
    assert job().config.conditional
    assert not job(method="POST").config.conditional
    assert not inheriting({"conditional": True}, method="POST").conditional
    [problem] = job_problems(method="POST", conditional=True)
    assert "jobs.a.conditional: is for GET" in problem


def test_backoff_may_not_begin_above_its_end_where_both_are_written() -> None:
    [problem] = job_problems(backoff="1h", backoff_max="5m")
    assert "jobs.a.backoff_max: is shorter than backoff" in problem


def test_backoff_or_backoff_max_alone_is_accepted_whatever_it_is() -> None:
    assert job(backoff="1h").config.backoff_max == 300
    assert job(backoff_max="10ms").config.backoff == 1


def test_the_place_of_an_inherited_problem_is_where_it_was_written(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
[defaults]
params = {{ a = "x" }}
guard = {{ min_items = -1 }}
[upstreams.api]
headers = {{ X-A = "1\\n", X-B = "2" }}
[jobs.a]
url = "{URL}"
upstream = "api"
headers = {{ X-B = "3\\n" }}
guard = {{ max_shrink = "x" }}
""",
    )
    assert [problem.split(": ")[:2] for problem in problems(path)] == [
        ["config.toml:4", "defaults.guard.min_items"],
        ["config.toml:6", "upstreams.api.headers.X-A"],
        ["config.toml:10", "jobs.a.headers.X-B"],
        ["config.toml:11", "jobs.a.guard.max_shrink"],
    ]


def test_one_wrong_key_does_not_hide_what_else_is_wrong_with_a_job() -> None:
    found = problems({"jobs": {"a": {"interval": 3, "upstream": "none", "schema": "none.json"}}})
    assert sorted(problem.split(": ")[1] for problem in found) == [
        "jobs.a",
        "jobs.a.interval",
        "jobs.a.schema",
        "jobs.a.upstream",
    ]
