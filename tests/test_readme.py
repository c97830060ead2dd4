"""The README's promises: its code runs, and its tables name what there is."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from refresher.config import JobConfig, ServerConfig, StoreConfig, UpstreamConfig, load

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_blocks_run_in_the_order_they_stand_in() -> None:
    names: dict[str, object] = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec", dont_inherit=True), names)  # noqa: S102  our own text
    test = names["test_the_message_of_the_day"]
    assert callable(test)
    test()


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_configurations_are_accepted(block: str) -> None:
    load(tomllib.loads(block), environ={})


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        (JobConfig, ""),
        (ServerConfig, "server."),
        (StoreConfig, "store."),
        (UpstreamConfig, "upstreams.X."),
    ],
)
def test_every_key_is_in_the_reference(model: type, prefix: str) -> None:
    reference = README[README.index("## Configuration") : README.index("## Command line")]
    for field in dataclasses.fields(model):
        assert f"`{prefix}{field.name}`" in reference, field.name
