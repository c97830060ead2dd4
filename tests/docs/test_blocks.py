"""The examples of README and documentation do what they say."""

import json
import re
import shlex
import tomllib
from itertools import groupby
from pathlib import Path

import pytest
import typer
import typer.main
import yaml

from refresher.cli.commands import app
from refresher.config import load
from refresher.errors import ConfigError
from tests.docs.pages import PAGES, Block, blocks, page

PYTHON = {
    path: list(found) for path, found in groupby(blocks("python"), key=lambda block: block.page)
}
COMMAND = re.compile(r"(?:\S*/)?refresher")
RUNNABLE = typer.main.get_command(app)


def test_every_page_is_there() -> None:
    assert {path.stem for path in PAGES} == {
        "README",
        "architecture",
        "benchmarks",
        "configuration",
        "http",
        "metrics",
        "production",
        "python",
        "tutorial",
    }


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_the_python_of_a_page_runs_in_the_order_it_stands_in(path: Path) -> None:
    names: dict[str, object] = {"__name__": path.stem}
    for block in PYTHON[path]:
        code = "\n" * block.line + block.text  # so that a traceback names the line of the page
        exec(compile(code, str(path), "exec", dont_inherit=True), names)  # noqa: S102  our own text
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert tests, "a page that shows how to use it shows how to test it"
    for test in tests:
        assert callable(test)
        test()


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_the_configurations_are_accepted(block: Block, tmp_path: Path) -> None:
    if block.is_excerpt:
        tomllib.loads(block.text)
        return
    file = tmp_path / "config.toml"
    file.write_text(block.text)
    load(file, environ=dict.fromkeys(re.findall(r"\$\{(\w+)\}", block.text), "x"))


def test_what_is_said_of_a_wrong_configuration_is_what_is_shown(tmp_path: Path) -> None:
    wrong, said = (
        re.search(rf"```{info}\n(.*?)```", page("configuration.md"), re.DOTALL)
        for info in ("toml excerpt", "text")
    )
    assert wrong
    assert said
    file = tmp_path / "config.toml"
    file.write_text(wrong[1])
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    told = [problem.replace(str(file), file.name) for problem in caught.value.problems]
    assert told == said[1].splitlines()


@pytest.mark.parametrize("block", blocks("json", "yaml"), ids=str)
def test_other_examples_are_well_formed(block: Block) -> None:
    read = json.loads if block.language == "json" else yaml.safe_load
    assert read(block.text)


@pytest.mark.parametrize("block", blocks("sh", "console"), ids=str)
def test_the_commands_exist_and_have_these_options(block: Block) -> None:
    for words in commands(block):
        assert isinstance(RUNNABLE, typer.core.TyperGroup)
        command = RUNNABLE.commands[words[0]]
        options = {option for each in command.params for option in each.opts}
        given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
        assert given <= options


def commands(block: Block) -> list[list[str]]:
    """What a block has the command line do: the words behind `refresher`."""
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        for part in re.split(r"&&|[|;]", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]
            if words and COMMAND.fullmatch(words[0]):
                found.append(words[1:])
    return found
