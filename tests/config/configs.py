"""Configurations for tests: tables in, plans or problems out."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from refresher.config import Config, JobPlan, load
from refresher.errors import ConfigError

URL = "https://api.example.org/x"

Tables = Mapping[str, object]


def written(folder: Path, text: str, **included: str) -> Path:
    """A config.toml with this text, and files jobs.d/NAME.toml beside it."""
    (folder / "jobs.d").mkdir(exist_ok=True)
    for name, content in included.items():
        (folder / "jobs.d" / f"{name}.toml").write_text(content)
    (folder / "config.toml").write_text(text)
    return folder / "config.toml"


def config(
    source: Path | Tables | None,
    environ: Mapping[str, str] | None = None,
    overrides: Tables | None = None,
    jobs: Mapping[str, Tables] | None = None,
) -> Config:
    return load(source, environ=environ or {}, overrides=overrides or {}, jobs=jobs or {})


def job(environ: Mapping[str, str] | None = None, /, **keys: object) -> JobPlan:
    """The plan of a job with these keys; it has a `url` unless there is another source."""
    if not {"url", "file", "python"} & keys.keys():
        keys["url"] = URL
    return config({"jobs": {"a": keys}}, environ).jobs["a"]


def problems(
    source: Path | Tables | None,
    environ: Mapping[str, str] | None = None,
    overrides: Tables | None = None,
    jobs: Mapping[str, Tables] | None = None,
) -> list[str]:
    """What is wrong with a configuration; a file's folder is left out of it."""
    with pytest.raises(ConfigError) as caught:
        config(source, environ, overrides, jobs)
    folder = f"{source.parent}/" if isinstance(source, Path) else "\0"
    return [problem.replace(folder, "") for problem in caught.value.problems]


def job_problems(environ: Mapping[str, str] | None = None, /, **keys: object) -> list[str]:
    return problems({"jobs": {"a": {"url": URL, **keys}}}, environ)
