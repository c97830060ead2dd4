import json
import re
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import jsonschema_rs
import pytest

from refresher.jobs.schedule import Cron, Interval, Schedule, due_from, seed_of
from tests.cli.commands import configured, refresher
from tests.faults import FaultServer, closed_port, json_answer

EXAMPLE = Path(__file__).parents[2] / "config.toml"


def moments(line: str) -> list[datetime]:
    """The due moments in a row of the table, as a person reads them."""
    found, day = [], ""
    for date, clock in re.findall(r"(\d{4}-\d\d-\d\d )?(\d\d:\d\d:\d\d(?:\.\d+)?)", line):
        day = date or day
        found.append(datetime.fromisoformat(f"{day}{clock}+00:00"))
    return found


def test_the_example_at_the_top_is_accepted(tmp_path: Path) -> None:
    ended = refresher("check", "--config", str(EXAMPLE), folder=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert {"rates", "quakes", "fastapi-releases"} <= {words[0] for words in ended.lines if words}


def test_the_table_says_what_runs_and_when(tmp_path: Path) -> None:
    configured(
        tmp_path,
        """
        [server]
        seed = "fleet"
        [jobs.rates]
        url = "https://example.com/rates"
        cron = "*/15 16-18 * * 1-5"
        timezone = "Europe/Berlin"
        [jobs.quakes]
        file = "quakes.json"
        interval = "90m"
        """,
    )
    before = time.time()
    ended = refresher("check", folder=tmp_path)
    after = time.time()
    assert (ended.status, ended.err) == (0, "")
    assert "UTC" in ended.out
    rates, quakes = (
        next(line for line in ended.out.splitlines() if line.startswith(name))
        for name in ("rates", "quakes")
    )
    assert "https://example.com/rates" in rates
    assert "*/15 16-18 * * 1-5 (Europe/Berlin)" in rates
    assert str(tmp_path / "quakes.json") in quakes
    assert "every 1h30m + up to 4m30s" in quakes
    cron = Cron("*/15 16-18 * * 1-5", "Europe/Berlin")
    for line, name, schedule in (
        (rates, "rates", cron),
        (quakes, "quakes", Interval(5400, 5400 * 0.05)),
    ):
        # Whichever it was when it looked: a moment may have passed since.
        assert moments(line) in [
            next_three(schedule, seed_of(name, "fleet"), now) for now in (before, after)
        ]


def test_moments_that_only_the_store_can_tell_are_left_open(tmp_path: Path) -> None:
    configured(
        tmp_path,
        """
        [jobs.nightly]
        file = "a"
        cron = "0 3 * * *"
        jitter = "10m"
        [jobs.quakes]
        file = "quakes.json"
        interval = "90m"
        """,
    )
    nightly, quakes = refresher("check", folder=tmp_path).out.splitlines()[3:5]
    assert "within 1h34m30s" in quakes
    assert [moment.time() for moment in moments(nightly)] == [
        datetime.min.time().replace(hour=3)
    ] * 3


def next_three(schedule: Schedule, seed: str, at: float) -> list[datetime]:
    first = due_from(schedule, seed, at)
    second = due_from(schedule, seed, first + 1)
    found = (first, second, due_from(schedule, seed, second + 1))
    return [datetime.fromtimestamp(at, UTC).replace(microsecond=0) for at in found]


def test_moments_that_are_close_together_are_told_apart(tmp_path: Path) -> None:
    configured(tmp_path, '[server]\nseed = "x"\n[jobs.a]\nfile = "a"\ninterval = "500ms"')
    line = refresher("check", folder=tmp_path).out.splitlines()[3]
    assert len(set(moments(line))) == 3


def test_a_disabled_job_is_said_to_be_so(tmp_path: Path) -> None:
    configured(tmp_path, '[jobs.a]\nfile = "a"\nenabled = false')
    assert "disabled" in refresher("check", folder=tmp_path).out


def test_a_cron_that_never_comes_is_said_to_be_so(tmp_path: Path) -> None:
    configured(tmp_path, '[jobs.a]\nfile = "a"\ncron = "0 0 1 1 *"')
    assert "01-01 00:00:00" in refresher("check", folder=tmp_path).out


def test_no_jobs_are_no_problem(tmp_path: Path) -> None:
    configured(tmp_path, "")
    assert "0 jobs" in refresher("check", folder=tmp_path).out


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    configured(
        tmp_path,
        """
        [admin]
        token = "hidden-admin"
        [store]
        dir = "${HIDDEN}"
        [jobs.a]
        url = "https://user:hidden-pass@example.com/x?key=${HIDDEN}"
        headers = { X-Key = "hidden-header" }
        auth = { type = "bearer", token = "${HIDDEN}" }
        """,
    )
    ended = refresher("check", folder=tmp_path, HIDDEN="hidden-env")
    assert ended.status == 0
    assert "https://***@example.com/x?key=***" in ended.out
    assert "hidden" not in ended.out + ended.err


def test_functions_are_imported_from_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "feeds_of_check.py").write_text("async def names(client): return []")
    path = configured(tmp_path, '[jobs.names]\npython = "feeds_of_check:names"')
    assert "feeds_of_check:names" in refresher("check", "-c", str(path), folder=Path("/")).out


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("no_such_module:names", "no_such_module"),
        ("feeds_of_problems:nobody", "nobody"),
        ("feeds_of_problems:greedy", "'more'"),
        ("feeds_that_break:names", "ValueError: two lines"),
    ],
)
def test_a_function_that_cannot_be_called_is_a_problem_with_its_line(
    function: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "feeds_of_problems.py").write_text("def greedy(more): return more")
    (tmp_path / "feeds_that_break.py").write_text("raise ValueError('two\\nlines')")
    configured(tmp_path, f'[jobs.good]\nfile = "x"\n[jobs.names]\npython = "{function}"')
    ended = refresher("check", folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("config.toml:4: jobs.names.python: ")
    assert what in ended.err
    assert len(ended.err.splitlines()) == 1


def test_the_schema_needs_no_configuration_and_fits_the_example(tmp_path: Path) -> None:
    ended = refresher("check", "--schema", folder=tmp_path)
    assert ended.status == 0
    schema = json.loads(ended.out)
    assert jsonschema_rs.is_valid(schema, tomllib.loads(EXAMPLE.read_text()))
    assert not jsonschema_rs.is_valid(schema, {"jobs": {"a": {"intervall": "1m"}}})


def test_ten_thousand_jobs_are_a_table_of_as_many_lines(tmp_path: Path) -> None:
    jobs = (f'[jobs.job-{n}]\nurl = "https://example.com/{n}"\n' for n in range(10_000))
    configured(tmp_path, "".join(jobs))
    ended = refresher("check", folder=tmp_path)
    assert sum(line.startswith("job-") for line in ended.out.splitlines()) == 10_000


def test_live_attempts_every_enabled_job_and_fails_if_one_does(
    upstream: FaultServer, tmp_path: Path
) -> None:
    good = upstream.script("/good", json_answer(b"[1, 2]"))
    configured(
        tmp_path,
        f"""
        [jobs.good]
        url = "{good}"
        [jobs.bad]
        url = "http://127.0.0.1:{closed_port()}/"
        [jobs.off]
        url = "{upstream.url("/off")}"
        enabled = false
        """,
    )
    ended = refresher("check", "--live", folder=tmp_path)
    assert ended.status == 1
    assert re.search(
        r"^good: changed in .*: 6 bytes of application/json, 2 items", ended.out, re.MULTILINE
    )
    assert re.search(r"^bad: failed at stage connect in ", ended.out, re.MULTILINE)
    assert [request.target for request in upstream.requests] == ["/good"]


def test_live_prints_one_line_without_secrets_whatever_is_said(tmp_path: Path) -> None:
    (tmp_path / "feeds_that_shout.py").write_text(
        "async def names():\n    raise ValueError('two\\nlines \\x1b[31m of hidden-header')"
    )
    configured(
        tmp_path,
        '[jobs.names]\npython = "feeds_that_shout:names"\nheaders = { X-Key = "hidden-header" }',
    )
    ended = refresher("check", "--live", folder=tmp_path)
    line = next(line for line in ended.out.splitlines() if line.startswith("names: "))
    assert "two lines" in line
    assert line.endswith("of ***")
    assert line.isprintable()


def test_live_is_content_when_all_is_well(upstream: FaultServer, tmp_path: Path) -> None:
    configured(tmp_path, f'[jobs.good]\nurl = "{upstream.script("/", json_answer(b"{}"))}"')
    assert refresher("check", "--live", folder=tmp_path).status == 0


def test_live_keeps_to_the_limits_of_an_upstream(upstream: FaultServer, tmp_path: Path) -> None:
    for n in range(5):
        upstream.script(f"/{n}", json_answer(b"{}"))
    jobs = (f'[jobs.j{n}]\nurl = "/{n}"\nupstream = "one"\n' for n in range(5))
    table = f'[upstreams.one]\nbase_url = "{upstream.url("")}"\nmax_concurrency = 1\n'
    configured(tmp_path, table + "".join(jobs))
    assert refresher("check", "--live", folder=tmp_path).status == 0
    assert len(upstream.requests) == 5
    assert upstream.connections == 1
