from pathlib import Path

import pytest

from refresher.config import load, state_directory
from tests.config.configs import URL, config, problems, written


def names() -> list[str]:
    return []


def test_an_empty_configuration_has_the_documented_defaults(tmp_path: Path) -> None:
    found = config(written(tmp_path, ""))
    assert (found.server.host, found.server.port, found.server.workers) == ("127.0.0.1", 8000, 1)
    assert (found.server.shutdown_grace, found.server.drain) == (10.0, 0.0)
    assert found.server.keep_alive == 75.0
    assert (found.server.read_tokens, found.server.cors_origins) == ((), ())
    assert found.admin.token == ()
    assert found.store.url is None
    assert (found.path, found.directory) == (tmp_path / "config.toml", tmp_path)
    assert (found.jobs, found.upstreams, found.secrets) == ({}, {}, frozenset())


def test_a_job_with_a_url_alone_has_the_documented_defaults() -> None:
    job = config({"jobs": {"a": {"url": URL}}}).jobs["a"].config
    assert (job.method, job.params, job.headers, job.json, job.body) == ("GET", {}, {}, None, None)
    assert (job.interval, job.cron, job.timezone, job.jitter) == (300.0, None, "UTC", 15.0)
    assert (job.timeout, job.connect_timeout) == (10.0, 5.0)
    assert (job.backoff, job.backoff_max) == (1.0, 300.0)
    assert (job.max_bytes, job.ok_status, job.max_redirects) == (32 << 20, (200,), 5)
    assert (job.conditional, job.format, job.select, job.schema) == (True, "auto", None, None)
    assert (job.max_age, job.max_stale, job.on_expired) == (None, None, "serve")
    assert (job.required, job.cooldown, job.tags, job.enabled) == (False, 0.0, (), True)
    assert job.auth.type == "none"


def test_the_jobs_of_files_and_of_code_stand_together_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, f'[jobs.z]\nurl = "{URL}"\n[jobs.a]\nurl = "{URL}"')
    found = config(path, jobs={"names": {"python": names, "interval": "1h", "tags": None}})
    assert list(found.jobs) == ["z", "a", "names"]
    plan = found.jobs["names"]
    assert (plan.kind, plan.config.python, plan.config.interval) == ("python", names, 3600.0)
    assert plan.shown == "tests.config.test_loading:names"


def test_a_job_in_code_inherits_like_any_other() -> None:
    tables = {"defaults": {"timeout": "3s"}, "upstreams": {"api": {"headers": {"X-A": "1"}}}}
    found = config(tables, jobs={"names": {"python": names, "upstream": "api"}})
    assert found.jobs["names"].config.timeout == 3.0
    assert found.jobs["names"].config.headers == {"X-A": "1"}


def test_jobs_in_code_need_no_configuration() -> None:
    found = config(None, jobs={"names": {"python": names}})
    assert (found.path, found.directory) == (None, Path.cwd())
    assert list(found.jobs) == ["names"]


def test_a_job_in_a_file_and_in_code_is_a_problem_that_names_both(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, f'\n[jobs.names]\nurl = "{URL}"')
    [problem] = problems(path, jobs={"names": {"python": names}})
    assert problem.startswith("@cache.job: jobs.names: is defined twice, first at config.toml:2")


def test_a_problem_with_a_job_in_code_names_the_code() -> None:
    [problem] = problems(None, jobs={"names": {"python": names, "interval": 30}})
    assert problem.startswith("@cache.job: jobs.names.interval: is a bare number, got 30")


def test_tables_given_as_a_mapping_are_left_as_they_are() -> None:
    tables = {"jobs": {"a": {"url": "https://${HOST}/x", "headers": {"X-A": "${KEY}"}}}}
    config(tables, {"HOST": "h", "KEY": "k", "REFRESHER__JOBS__A__HEADERS__X_A": "over"})
    assert tables == {"jobs": {"a": {"url": "https://${HOST}/x", "headers": {"X-A": "${KEY}"}}}}


def test_the_same_input_makes_equal_configurations(tmp_path: Path) -> None:
    path = written(tmp_path, f'[jobs.a]\nurl = "{URL}"\nguard = {{ required = ["x"] }}')
    assert config(path) == config(path)


def test_included_files_add_jobs_and_upstreams_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f'include = ["jobs.d/*.toml", "jobs.d/b.toml", "*.toml"]\n[jobs.main]\nurl = "{URL}"',
        b='[upstreams.api]\nbase_url = "https://api.example.org"',
        a='[jobs.one]\nupstream = "api"\nurl = "/one"\n[jobs.two]\nfile = "two.json"',
    )
    found = config(path)
    assert list(found.jobs) == ["main", "one", "two"]
    assert found.jobs["one"].url == "https://api.example.org/one"
    assert found.jobs["two"].config.file == tmp_path / "jobs.d" / "two.json"


def test_a_pattern_may_match_nothing_but_a_name_must_exist(tmp_path: Path) -> None:
    assert config(written(tmp_path, 'include = ["none.d/*.toml"]')).jobs == {}
    [problem] = problems(written(tmp_path, 'include = ["${FILE:-none}.toml"]'))
    assert problem.startswith('config.toml:1: include[0]: names no file, got "none.toml"')


def test_what_two_files_define_is_a_problem_that_names_both_places(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f'include = ["jobs.d/*.toml"]\n[jobs.a]\nurl = "{URL}"\n[server]\nport = 1',
        a="[server]\nport = 2",
        b=f'\n[jobs.a]\nurl = "{URL}"',
        c=f'[jobs]\na.url = "{URL}"',
    )
    assert [problem.partition(", take")[0] for problem in problems(path)] == [
        "jobs.d/a.toml:1: server: is defined twice, first at config.toml:4",
        "jobs.d/b.toml:2: jobs.a: is defined twice, first at config.toml:2",
        "jobs.d/c.toml:2: jobs.a: is defined twice, first at config.toml:2",
    ]


def test_a_wrong_pattern_is_one_problem() -> None:
    [one, two, three] = sorted(problems({"include": [1, "${NONE}", ""]}))
    assert one.startswith("config: include[0]: is not a string, got 1")
    assert two.startswith("config: include[1]: needs ${NONE}")
    assert three.startswith('config: include[2]: is empty, got ""')


def test_only_the_main_file_may_include(tmp_path: Path) -> None:
    path = written(tmp_path, 'include = ["jobs.d/*.toml"]', a='\ninclude = ["x.toml"]')
    [problem] = problems(path)
    assert problem.startswith("jobs.d/a.toml:2: include: stands in a file that is itself included")


def test_problems_of_included_files_have_their_own_names_and_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'include = ["jobs.d/*.toml"]\n[defaults]\ntimeout = 1',
        a=f'[jobs.a]\nurl = "{URL}"\ninterval = 2',
        b="x = ",
        c='x = "\xff',
    )
    (tmp_path / "jobs.d" / "c.toml").write_bytes(b"\n\xff")
    (tmp_path / "jobs.d" / "d.toml").mkdir()
    assert [problem.split(": ")[0] for problem in problems(path)] == [
        "config.toml:3",
        "jobs.d/a.toml:3",
        "jobs.d/b.toml:1",
        "jobs.d/c.toml:2",
        "jobs.d/d.toml",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb == 2\n", "config.toml:2: is not TOML: invalid value, at column 4"),
        (b"[a]\r\n[b]\r\n[a]\r\n", "config.toml:3: is not TOML: cannot declare a twice"),
        (b"a = [1,\n", "config.toml:2: is not TOML: invalid value, at the end"),
        (b"a = 1\n\xff = 2\n", "config.toml:2: is not UTF-8"),
        (b"a = " + b"[" * 20_000, "config.toml: nests too deeply"),
        (b"a = " + b"1" * 5_000, "config.toml:1: is not TOML: exceeds the limit"),
    ],
)
def test_a_file_that_is_no_toml_is_one_problem_with_its_place(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    [found] = problems(tmp_path / "config.toml")
    assert found.startswith(problem)


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    [problem] = problems(tmp_path / "config.toml")
    assert problem.startswith("config.toml: cannot be read (No such file or directory)")


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert config(tmp_path / "config.toml").server.port == 1


def test_lines_are_right_in_a_file_with_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'[server]\r\n\r\nhost = """\r\n"""\r\nport = "1"\r\n')
    assert [problem.split(":")[1] for problem in problems(tmp_path / "config.toml")] == ["3", "5"]


def test_a_thousand_jobs_that_inherit_a_wrong_value_make_one_problem() -> None:
    jobs = {f"job-{number}": {"url": URL} for number in range(1000)}
    found = problems({"defaults": {"timeout": 3, "backoff": "1h"}, "jobs": jobs})
    assert [problem.split(": ")[1] for problem in found] == ["defaults.timeout"]


def test_the_state_directory_is_the_first_that_is_given(tmp_path: Path) -> None:
    environ = {"REFRESHER_STATE_DIR": "/var/state", "STATE_DIRECTORY": "/var/lib/r:/var/lib/s"}
    path = written(tmp_path, '[store]\ndir = "state"')
    assert state_directory(config(path), environ) == tmp_path / "state"
    path = written(tmp_path, "")
    assert state_directory(config(path), environ) == Path("/var/state")
    del environ["REFRESHER_STATE_DIR"]
    assert state_directory(config(path), environ) == Path("/var/lib/r")
    assert state_directory(config(path), {"STATE_DIRECTORY": ""}) == tmp_path


def test_a_schema_that_is_no_json_is_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, f'[jobs.a]\nurl = "{URL}"\nschema = "a.json"')
    for content in (b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "a.json").write_bytes(content)
        [problem] = problems(path)
        assert problem.startswith("config.toml:3: jobs.a.schema: is not a JSON file in UTF-8")


def test_schemas_are_read_and_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'include = ["jobs.d/*.toml"]\n[defaults]\nschema = "all.json"',
        a=f'[jobs.a]\nurl = "{URL}"\n[jobs.b]\nurl = "{URL}"\nschema = "own.json"',
    )
    (tmp_path / "all.json").write_text('{"type": "object"}')
    (tmp_path / "jobs.d" / "own.json").write_text("true")
    jobs = config(path).jobs
    assert (jobs["a"].config.schema, jobs["a"].schema) == (
        tmp_path / "all.json",
        '{"type": "object"}',
    )
    assert (jobs["b"].config.schema, jobs["b"].schema) == (
        tmp_path / "jobs.d" / "own.json",
        "true",
    )


def test_the_mapping_of_the_environment_is_all_that_is_read_of_it() -> None:
    assert load(None, environ={"REFRESHER_ADMIN_TOKEN": "x", "REFRESHER_CONFIG": "y"}).jobs == {}
