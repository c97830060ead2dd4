import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.commands import PATIENCE, process, refresher
from tests.faults import closed_port

Jobs = dict[str, dict[str, Any]]
_PAUSE = 0.05
"""Seconds between two looks."""


class Demo:
    """A demo that runs: what it printed, and what it serves."""

    def __init__(self, running: "subprocess.Popen[str]") -> None:
        assert running.stdout is not None
        self.process = running
        self.printed = ""
        while "Ctrl-C" not in self.printed:
            line = running.stdout.readline()
            assert line, running.communicate()
            self.printed += line
        found = re.search(r"serves at (http://\S+)", self.printed)
        assert found
        self.url = found[1]
        # A connection that is kept may be closed by a stall before the next request is read.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(
            base_url=self.url, timeout=PATIENCE, limits=limits, trust_env=False
        )

    def jobs(self) -> Jobs:
        return {job["name"]: job for job in self.http.get("/jobs").json()["jobs"]}

    def until(self, what: Callable[[Jobs], object]) -> Jobs:
        """The jobs once that is so; a demo is watched by people, so it must not take them long."""
        looks = 0
        while not what(jobs := self.jobs()):
            held = {name for name in jobs if jobs[name]["due_reason"] == "upstream_limit"}
            assert held <= {"limited"}
            looks += 1  # and not seconds, which pass while the machine stands still
            assert looks < PATIENCE / _PAUSE, jobs
            time.sleep(_PAUSE)
        return jobs

    def token(self) -> str:
        found = re.search(r"cat (\S+)\)", self.printed)
        assert found
        return found[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    # What is set for another configuration is not the demo's, and no proxy is asked.
    other = {
        "REFRESHER__SERVER__PORT": "1",
        "REFRESHER__JOBS__RATES__INTERVAL": "1m",
        "REFRESHER_CONFIG": "nowhere.toml",
        "REFRESHER_STATE_DIR": "/nowhere",
        "http_proxy": f"http://127.0.0.1:{closed_port()}",
    }
    folder = tmp_path_factory.mktemp("demo")
    with process("demo", "--port", "0", folder=folder, TMPDIR=str(folder), **other) as running:
        demo = Demo(running)
        with demo.http:
            yield demo
        assert list(folder.iterdir())
        running.send_signal(signal.SIGTERM)
        _, complaints = running.communicate(timeout=PATIENCE)
        assert running.returncode == 0, complaints
        assert "Traceback" not in complaints
        assert list(folder.iterdir()) == []


def test_every_job_has_something_to_serve_within_moments(demo: Demo) -> None:
    jobs = demo.until(lambda jobs: all(job["version"] for job in jobs.values()))
    assert list(jobs) == ["feed", "slow", "flaky", "limited", "private", "rubbish", "large"]
    assert all(demo.http.get(f"/data/{name}").status_code == 200 for name in jobs)
    assert demo.http.get("/readyz").status_code == 200


def test_retry_after_is_obeyed_and_holds_nobody_else_back(demo: Demo) -> None:
    demo.until(lambda jobs: jobs["limited"]["version"])
    demo.until(lambda jobs: jobs["limited"]["last_attempt"]["http_status"] == 429)
    demo.until(lambda jobs: jobs["limited"]["due_reason"] == "retry_after")


def test_the_feed_is_asked_for_changes_only(demo: Demo) -> None:
    demo.until(lambda jobs: jobs["feed"]["attempts"]["unchanged"])
    assert demo.until(lambda jobs: jobs["feed"]["last_attempt"]["http_status"] == 304)


def test_the_flaky_one_fails_in_both_ways_and_is_served_all_the_while(demo: Demo) -> None:
    seen: set[str] = set()

    def both(jobs: Jobs) -> bool:
        assert demo.http.get("/data/flaky").status_code == 200
        error = jobs["flaky"]["last_attempt"]["error"]
        seen.update([error["stage"]] if error else [])
        return {"status", "timeout"} <= seen

    demo.until(lambda jobs: jobs["flaky"]["version"])
    demo.until(both)
    demo.until(lambda jobs: jobs["flaky"]["state"] == "fresh")


def test_rubbish_is_rejected_and_never_served(demo: Demo) -> None:
    demo.until(lambda jobs: jobs["rubbish"]["attempts"]["rejected"])
    demo.until(lambda jobs: jobs["rubbish"]["version"])
    assert len(demo.http.get("/data/rubbish").json()) == 20


def test_the_large_one_is_several_megabytes_and_sent_compressed(demo: Demo) -> None:
    demo.until(lambda jobs: jobs["large"]["version"])
    whole = demo.http.get("/data/large", headers={"Accept-Encoding": "identity"})
    assert len(whole.content) > 3_000_000
    coded = demo.http.get("/data/large", headers={"Accept-Encoding": "gzip"})
    assert coded.headers["content-encoding"] == "gzip"


def test_the_token_of_the_upstream_is_shown_nowhere(demo: Demo, tmp_path: Path) -> None:
    folder = Path(demo.token()).parent
    token = (folder / "upstream-token").read_text()
    demo.until(lambda jobs: jobs["private"]["version"])
    assert token not in demo.printed
    assert token not in refresher("status", "--json", "--url", demo.url, folder=tmp_path).out
    assert token not in demo.http.get("/metrics").text


def test_what_is_printed_can_be_typed(demo: Demo, tmp_path: Path) -> None:
    demo.until(lambda jobs: all(job["version"] for job in jobs.values()))
    lines = demo.printed.replace("\\\n", "").splitlines()
    commands = [line.strip() for line in lines if line.strip().startswith("curl -")]
    typed = [command for command in commands if demo.url in command]
    assert 5 <= len(typed) <= 8
    for command in typed:
        done = subprocess.run(  # noqa: S602  as a person would
            f"{command} --fail --noproxy '*'" if "|" not in command else command,
            shell=True,
            capture_output=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, (command, done)
        assert done.stdout, command


def test_a_signal_right_at_the_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with process("demo", "--port", "0", folder=tmp_path, TMPDIR=str(tmp_path)) as running:
        demo = Demo(running)
        running.send_signal(signal.SIGTERM)
        demo.http.close()
        _, complaints = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, complaints
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process("demo", "--port", port, folder=tmp_path, TMPDIR=str(tmp_path)) as running:
            out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (1, "")
    assert port in err
    assert "--port" in err
    assert list(tmp_path.iterdir()) == []
