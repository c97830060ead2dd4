"""What the test command installs is pinned, all of it, and CI runs that very command."""

import re
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locked import BUILD, LOCKED, locked, required

ROOT = Path(__file__).parents[1]


def test_each_package_that_any_python_needs_is_pinned() -> None:
    assert required(distributions()) - locked(LOCKED.read_text()).keys() == set()


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {canonicalize_name(each.name): each.version for each in distributions()}
    needed = required(distributions()) & installed.keys()
    pinned = locked(LOCKED.read_text())
    assert {name: installed[name] for name in needed} == {name: pinned[name] for name in needed}


def test_what_builds_the_package_is_pinned() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert (
        {Requirement(each).name for each in build}
        <= set(BUILD)
        <= locked(LOCKED.read_text()).keys()
    )


def test_what_is_needed_elsewhere_is_needed(tmp_path: Path) -> None:
    here = [
        distribution(tmp_path, "refresher", "one; extra == 'dev'", "docs; extra == 'docs'"),
        distribution(tmp_path, "one", "old; python_full_version < '3.11.3'", "two[fast]"),
        distribution(tmp_path, "two", "three; extra == 'fast'", "win; sys_platform == 'win32'"),
    ]
    assert required(here) == {*BUILD, "one", "old", "two", "three"}


def distribution(folder: Path, name: str, *requires: str) -> Distribution:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    path = folder / f"{name}-1.dist-info"
    path.mkdir()
    (path / "METADATA").write_text("\n".join(lines))
    return Distribution.at(path)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "rich @ https://packages.example/rich.whl",
        "rich>=15",
        "rich",
        "-r other.txt",
    ],
)
def test_a_line_that_names_no_exact_version_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a pin"):
        locked(line)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    (block,) = (
        block
        for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
        if block.endswith(" -m tests\n")
    )
    commands = [line.removesuffix(" &&") for line in block.splitlines()]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-len(commands) :] == commands
    assert f"-c tests/{LOCKED.name}" in block
    assert all(name in block for name in BUILD)
