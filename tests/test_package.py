import subprocess
import sys

import pytest

import refresher


def test_everything_that_is_public_can_be_imported() -> None:
    for name in refresher.__all__:
        assert getattr(refresher, name) is not None


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="Refreshar"):
        getattr(refresher, "Refreshar")  # noqa: B009  a type checker knows better


def test_importing_loads_no_framework_and_says_nothing() -> None:
    code = "import sys, refresher.cli; print([m for m in ('fastapi', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own words
    assert (done.stdout, done.stderr) == ("[]\n", "")
