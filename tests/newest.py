"""The newest of everything, tested in an environment of its own: `python -m tests.newest`."""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from tests.locked import BUILD, LOCKED, locked, required

_HEAD = """\
# The version of each package that the README's test command installs, on every supported Python.
# `python -m tests.newest --write` writes it, where all gates pass with the newest of everything.
# There are no hashes: with them pip installs nothing that is editable.
"""
_COMPARES_WITH_LOCKED = "tests/test_locked.py::test_what_is_installed_is_what_is_pinned"


def main() -> int:
    """Install the newest packages that our requirements allow, run all gates, tell what is new."""
    parser = argparse.ArgumentParser(prog="python -m tests.newest", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help=f"pin them in tests/{LOCKED.name}, if all gates pass"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="refresher-newest-") as folder:
        python = Path(folder, "bin", "python")
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "-qq", *BUILD)
        _run(python, "-m", "pip", "install", "-qq", "--no-build-isolation", "-e", ".[dev]")
        if missing := required(_installed(folder)) - _versions(folder).keys():
            # These are for another Python; a file for all of them names them as well.
            _run(python, "-m", "pip", "install", "-qq", *sorted(missing))
        _run(python, "-m", "pip", "check")
        print("== kept back by an upper bound, ours or another's:", flush=True)  # noqa: T201  a command's output
        _run(python, "-m", "pip", "list", "--outdated", "--exclude", "pip")
        versions = _versions(folder)
        failed = subprocess.run(  # noqa: S603  our own words
            [python, "-m", "tests", "--deselect", _COMPARES_WITH_LOCKED], check=False
        ).returncode
    print(_changes(locked(LOCKED.read_text()), versions))  # noqa: T201
    if asked.write and not failed:
        pins = (f"{name}=={version}\n" for name, version in sorted(versions.items()))
        LOCKED.write_text(_HEAD + "".join(pins))
    return failed


def _installed(folder: str) -> list[Distribution]:
    place = sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder})
    return list(distributions(path=[place]))


def _versions(folder: str) -> dict[NormalizedName, str]:
    """The versions in an environment, of what is required."""
    installed = _installed(folder)
    versions = {canonicalize_name(each.name): each.version for each in installed}
    return {name: versions[name] for name in required(installed) if name in versions}


def _changes(before: Mapping[NormalizedName, str], after: Mapping[NormalizedName, str]) -> str:
    lines = [
        f"== {name}: {before.get(name, 'not pinned')} -> {after.get(name, 'not needed')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    return "\n".join(lines or ["== every package is pinned at its newest version"])


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)  # noqa: S603  our own words


if __name__ == "__main__":
    sys.exit(main())
