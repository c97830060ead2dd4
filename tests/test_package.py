import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest

import refresher
from refresher.api import Options


def test_everything_that_is_public_can_be_imported() -> None:
    for name in refresher.__all__:
        assert getattr(refresher, name) is not None


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="Refreshar"):
        getattr(refresher, "Refreshar")  # noqa: B009  a type checker knows better


def test_a_cache_takes_what_embedders_may_say_and_nothing_else() -> None:
    parameters = inspect.signature(refresher.Refresher).parameters.values()
    shown = [f"{each.name}={each.default!r}" for each in parameters]
    assert shown == [
        "config=None",
        "store=None",
        "transport=None",
        "clock=None",
        "admin_token=None",
        "name='refresher'",
    ]
    assert [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY] == ["config"]
    assert get_type_hints(Options).keys() == {each.name for each in parameters} - {"config"}


@pytest.mark.parametrize("module", ["refresher.cli", "refresher.offload.runner"])
def test_importing_loads_no_framework_and_says_nothing(module: str) -> None:
    heavy = ("fastapi", "httpx", "pydantic")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own words
    assert (done.stdout, done.stderr) == ("[]\n", "")
