"""Golden files: a wrong configuration, and beside it every problem in the words a person reads."""

from pathlib import Path

import pytest

from refresher.config import load
from refresher.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
ENVIRON = {"PORT": "99999", "PASSWORD": "s3cret-env"}


def problems_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=ENVIRON)
    return "".join(f"{problem}\n" for problem in caught.value.problems).replace(f"{GOLDEN}/", "")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.toml")), ids=lambda path: path.stem)
def test_every_problem_has_its_line_its_key_its_value_and_what_to_do(path: Path) -> None:
    assert problems_of(path) == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.toml")), ids=lambda path: path.stem)
def test_no_problem_shows_a_secret(path: Path) -> None:
    assert "s3cret" not in problems_of(path)
