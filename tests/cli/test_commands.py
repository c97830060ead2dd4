import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import configured, refresher

COMMANDS = ["serve", "check", "try", "status", "refresh", "init", "demo"]
NEEDS_JOBS = [["serve"], ["check"], ["try", "rates"]]
NEEDS_A_FILE = [*NEEDS_JOBS, ["status"], ["refresh"]]
WRONG = """
[jobs.rates]
url = "https://example.com/"
intervall = "1m"
timeout = 3

[jobs.quakes]
file = "a.json"
url = "https://example.com/"
"""


def test_help_names_every_command_and_gives_examples(tmp_path: Path) -> None:
    ended = refresher("--help", folder=tmp_path)
    assert ended.status == 0
    assert [words[0] for words in ended.lines if words and words[0] in COMMANDS] == COMMANDS
    assert "refresher init " in ended.out
    assert "completion" not in ended.out
    assert "..." not in ended.out.split("Commands:")[1].split("Examples:")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    ended = refresher(command, "-h", folder=tmp_path)
    assert ended.status == 0
    assert f"Usage: refresher {command}" in ended.out


def test_python_m_refresher_is_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "refresher", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)  # noqa: S603  our own words
    assert done.stdout == refresher("--version", folder=tmp_path).body
    assert done.stdout.startswith(b"refresher ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["frobnicate"], ["serve", "--nope"], ["try"], ["refresh", "--wait", "5"], ["serve", "x"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path) -> None:
    assert refresher(*arguments, folder=tmp_path).status == 2


@pytest.mark.parametrize("arguments", NEEDS_A_FILE)
def test_without_a_configuration_one_line_names_init(arguments: list[str], tmp_path: Path) -> None:
    ended = refresher(*arguments, folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert "refresher init" in ended.err


@pytest.mark.parametrize("arguments", NEEDS_JOBS)
def test_every_problem_is_a_line_and_there_is_nothing_else(
    arguments: list[str], tmp_path: Path
) -> None:
    configured(tmp_path, WRONG)
    ended = refresher(*arguments, folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("config.toml:") for line in lines)
    assert any("intervall" in line and "interval" in line for line in lines)


def test_the_configuration_is_named_by_option_then_variable_then_folder(tmp_path: Path) -> None:
    for name in ("config", "variable", "option"):
        configured(tmp_path, f'[jobs.of-{name}]\nfile = "x"', f"{name}.toml")
    variable = {"REFRESHER_CONFIG": "variable.toml"}
    assert "of-config" in refresher("check", folder=tmp_path).out
    assert "of-variable" in refresher("check", folder=tmp_path, **variable).out
    option = refresher("check", "--config", "option.toml", folder=tmp_path, **variable)
    assert "of-option" in option.out


def test_an_empty_variable_names_nothing(tmp_path: Path) -> None:
    configured(tmp_path, "")
    assert refresher("check", folder=tmp_path, REFRESHER_CONFIG="").status == 0


def test_serve_takes_its_options_over_the_file(tmp_path: Path) -> None:
    configured(tmp_path, "[server]\nport = 1\n")
    ended = refresher("serve", "--port", "70000", "--workers", "0", folder=tmp_path)
    assert ended.status == 2
    assert "server.port" in ended.err
    assert "70000" in ended.err
    assert "server.workers" in ended.err


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    written = refresher("init", folder=tmp_path)
    assert written.status == 0
    assert "refresher check" in written.out
    text = (tmp_path / "config.toml").read_text()
    assert "[jobs." in text
    assert "# " in text
    assert refresher("check", folder=tmp_path).status == 0


def test_init_writes_where_it_is_told_and_says_how_to_go_on(tmp_path: Path) -> None:
    written = refresher("init", "my own.toml", folder=tmp_path)
    assert written.status == 0
    option = "--config 'my own.toml'"
    for step in (f"check {option}", f"try quakes -v {option}", f"serve {option}"):
        assert f"  refresher {step}\n" in written.out
    assert refresher("check", "--config", "my own.toml", folder=tmp_path).status == 0


def test_what_init_says_is_of_its_file_whatever_the_variable_names(tmp_path: Path) -> None:
    written = refresher("init", folder=tmp_path, REFRESHER_CONFIG="other.toml")
    assert "  refresher serve --config config.toml\n" in written.out


def test_init_never_overwrites(tmp_path: Path) -> None:
    path = configured(tmp_path, "mine")
    ended = refresher("init", folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert "config.toml is there already" in ended.err
    assert "refresher init my.toml" in ended.err
    assert path.read_text() == "mine"


def test_init_says_when_it_cannot_write(tmp_path: Path) -> None:
    ended = refresher("init", "nowhere/config.toml", folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "nowhere/config.toml" in ended.err
    assert list(tmp_path.iterdir()) == []
