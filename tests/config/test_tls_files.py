import shutil
from pathlib import Path

from tests.config.configs import config, written
from tests.config.test_problems import GOLDEN


def test_files_are_relative_to_the_one_that_names_them(tmp_path: Path) -> None:
    path = written(
        tmp_path, 'include = ["jobs.d/*.toml"]', api='[upstreams.api]\ntls = { ca = "ca.pem" }'
    )
    shutil.copy(GOLDEN / "authority.pem", tmp_path / "jobs.d" / "ca.pem")
    found = config(path, {"REFRESHER__UPSTREAMS__API__PROXY": "none"}).upstreams["api"]
    assert (found.tls.ca, found.proxy) == (tmp_path / "jobs.d" / "ca.pem", "none")
