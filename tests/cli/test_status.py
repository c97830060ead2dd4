from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Ended, configured, refresher, serving
from tests.faults import FaultServer, answer, closed_port

TOKEN = "admin-token"  # the file that the service makes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    (folder / "menu.json").write_text('["soup", "bread"]')
    (folder / "slow.py").write_text("import time\ndef wait():\n    time.sleep(60)")
    configured(
        folder,
        f"""
        [server]
        port = {closed_port()}
        shutdown_grace = "1s"
        [jobs.menu]
        file = "menu.json"
        format = "json"
        [jobs.bad]
        url = "http://127.0.0.1:{closed_port()}/"
        backoff = "5m"
        [jobs.off]
        file = "menu.json"
        enabled = false
        [jobs.thin]
        file = "menu.json"
        guard = {{ min_items = 9 }}
        [jobs.slow]
        python = "slow:wait"
        timeout = "1m"
        """,
    )
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as url:
        ended = refresher("refresh", "menu", "bad", "--url", url, folder=folder)
        assert "menu" in ended.out, ended.err
        yield url


def row(ended: Ended, job: str) -> str:
    return next(line for line in ended.out.splitlines() if line.split()[0] == job)


def test_status_is_a_table_for_a_person(url: str, folder: Path) -> None:
    ended = refresher("status", "--url", url, folder=folder)
    assert (ended.status, ended.err) == (0, "")
    assert [words[0] for words in ended.lines] == ["JOB", "menu", "bad", "off", "thin", "slow"]
    menu = row(ended, "menu").split()
    assert menu[1:3] == ["fresh", "1"]
    assert menu[3].endswith("s")
    assert menu[4] == "in"
    assert menu[-1] in {"changed", "unchanged"}
    assert "pending" in row(ended, "bad")
    assert "failed, connect: cannot connect" in row(ended, "bad")
    assert "pending, disabled" in row(ended, "off")
    assert "pending, quarantine" in row(ended, "thin")


def test_status_of_one_job_is_its_row(url: str, folder: Path) -> None:
    ended = refresher("status", "menu", "--url", url, folder=folder)
    assert [words[0] for words in ended.lines] == ["JOB", "menu"]


def test_status_as_json_is_what_the_service_answers(url: str, folder: Path) -> None:
    every = refresher("status", "--json", "--url", url, folder=folder).json
    one = refresher("status", "menu", "--json", "--url", url, folder=folder).json
    assert [job["name"] for job in every["jobs"]] == ["menu", "bad", "off", "thin", "slow"]
    assert one["name"] == "menu"
    assert one["attempts"]["changed"] == 1
    assert one["source"]["kind"] == "file"


def test_url_alone_needs_no_configuration(url: str, tmp_path: Path) -> None:
    other = {"REFRESHER__JOBS__RATES__INTERVAL": "1m"}  # of a configuration that is not here
    assert refresher("status", "--url", f"{url}/", folder=tmp_path, **other).status == 0


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104  nothing listens here
        ("::", "[::1]"),
        ("::1", "[::1]"),
    ],
)
def test_the_configuration_says_where_to_ask(host: str, shown: str, tmp_path: Path) -> None:
    port = closed_port()
    configured(tmp_path, f'[server]\nhost = "{host}"\nport = {port}\nroot_path = "/proxied"')
    ended = refresher("status", folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert f"no service at http://{shown}:{port} (" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_no_more_of_the_configuration_has_to_be_right_than_is_needed(tmp_path: Path) -> None:
    port = closed_port()
    configured(
        tmp_path,
        f"""
        [server]
        port = {port}
        read_tokens = ["${{UNSET}}"]
        [store]
        url = "${{UNSET}}"
        [upstreams.api]
        base_url = "https://${{UNSET}}"
        [jobs.rates]
        url = "https://example.com/${{UNSET}}"
        interval = 5
        """,
    )
    wrong = {"REFRESHER__JOBS__OTHER__URL": "x", "REFRESHER__SERVER__WORKERS": "many"}
    for command in ("status", "refresh"):
        ended = refresher(command, folder=tmp_path, **wrong)
        assert (ended.status, ended.out) == (1, "")
        assert f"no service at http://127.0.0.1:{port} (" in ended.err
    port = closed_port()
    ended = refresher("status", folder=tmp_path, REFRESHER__SERVER__PORT=str(port))
    assert f"no service at http://127.0.0.1:{port} (" in ended.err


def test_what_is_needed_of_the_configuration_has_to_be_right(tmp_path: Path) -> None:
    configured(tmp_path, '[server]\nhost = "${UNSET}"\n[admin]\ntoken = "${UNSET_TOO}"')
    ended = refresher("status", folder=tmp_path)
    assert ended.status == 2
    assert "config.toml:2: server.host: needs ${UNSET}" in ended.err
    assert "config.toml:4: admin.token: needs " in ended.err
    asked = refresher("status", folder=tmp_path, UNSET="127.0.0.1", REFRESHER_ADMIN_TOKEN="t")
    assert asked.status == 1
    assert "no service at http://127.0.0.1:8000" in asked.err


def test_any_free_port_has_to_be_named(tmp_path: Path) -> None:
    configured(tmp_path, "[server]\nport = 0")
    ended = refresher("status", folder=tmp_path)
    assert ended.status == 2
    assert "--url" in ended.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port"])
def test_what_is_no_url_is_wrong_usage(url: str, tmp_path: Path) -> None:
    ended = refresher("status", "--url", url, folder=tmp_path)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)


def test_a_job_that_is_not_there_ends_with_1(url: str, folder: Path) -> None:
    for command in ("status", "refresh"):
        ended = refresher(command, "nobody", "--url", url, folder=folder)
        assert (ended.status, ended.out) == (1, "")
        assert "'nobody'" in ended.err
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("page", [answer(200, b"<html>"), answer(404, b"no"), answer(200, b"[1]")])
def test_another_service_is_recognised(
    page: tuple[bytes], upstream: FaultServer, tmp_path: Path
) -> None:
    upstream.script("/jobs", page)
    ended = refresher("status", "--url", upstream.url(""), folder=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "is not refresher" in ended.err


def test_a_proxy_is_not_asked_for_this_machine(upstream: FaultServer, tmp_path: Path) -> None:
    upstream.script("/jobs", answer(200, b'{"jobs": []}'))
    proxy = f"http://127.0.0.1:{closed_port()}"
    environ = {"HTTP_PROXY": proxy, "http_proxy": proxy, "no_proxy": "", "NO_PROXY": ""}
    ended = refresher("status", "--url", upstream.url(""), folder=tmp_path, **environ)
    assert (ended.status, ended.out) == (0, "no jobs\n")


def test_the_token_is_the_variables_then_the_configured_one_then_the_kept_one(
    upstream: FaultServer, tmp_path: Path
) -> None:
    upstream.script("/jobs", answer(200, b'{"jobs": []}'))

    def shown(**environ: str) -> str | None:
        ended = refresher("status", "--url", upstream.url(""), folder=tmp_path, **environ)
        assert ended.status == 0, ended.err
        return upstream.requests[-1].header("authorization")

    assert shown() is None
    (tmp_path / "admin-token").write_text("kept\n")
    assert shown() == "Bearer kept"
    state = tmp_path / "state"
    state.mkdir()
    (state / "admin-token").write_text("elsewhere\n")
    assert shown(REFRESHER_STATE_DIR=str(state)) == "Bearer elsewhere"
    configured(tmp_path, '[admin]\ntoken = ["configured", "older"]')
    assert shown() == "Bearer configured"
    assert shown(REFRESHER_ADMIN_TOKEN="given") == "Bearer given"


def test_url_and_token_need_nothing_of_a_configuration_that_cannot_be_read(
    upstream: FaultServer, tmp_path: Path
) -> None:
    upstream.script("/jobs", answer(200, b'{"jobs": []}'))
    configured(tmp_path, '[admin]\ntoken = "${SET_FOR_THE_SERVICE_ALONE}"')
    arguments = ("status", "--url", upstream.url(""))
    assert refresher(*arguments, folder=tmp_path, REFRESHER_ADMIN_TOKEN="given").status == 0


def test_a_refused_token_is_named_and_not_shown(url: str, folder: Path) -> None:
    ended = refresher("refresh", "--url", url, folder=folder, REFRESHER_ADMIN_TOKEN="not-that-one")
    assert (ended.status, ended.out) == (1, "")
    assert "401" in ended.err
    assert "$REFRESHER_ADMIN_TOKEN" in ended.err
    assert "not-that-one" not in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_missing_token_is_said_to_be_missing(url: str, tmp_path: Path) -> None:
    ended = refresher("refresh", "--url", url, folder=tmp_path)
    assert ended.status == 1
    assert f"there is no {tmp_path / TOKEN}" in ended.err
    assert "$REFRESHER_ADMIN_TOKEN" in ended.err


def test_what_cannot_be_sent_is_not_shown_either(url: str, tmp_path: Path) -> None:
    for token in ("hid\nden-token", "hïdden-token"):
        ended = refresher("status", "--url", url, folder=tmp_path, REFRESHER_ADMIN_TOKEN=token)
        assert "den-token" not in ended.err
        assert "Traceback" not in ended.err
    for place in ("127.0.0.2:1", "127.0.0.1:port"):
        named = f"http://user:hidden-password@{place}"
        assert "hidden" not in refresher("status", "--url", named, folder=tmp_path).err


def test_refresh_prints_the_outcome_of_what_was_asked_for(url: str, folder: Path) -> None:
    ended = refresher("refresh", "menu", "--url", url, folder=folder)
    assert (ended.status, ended.err) == (0, "")
    assert "unchanged" in row(ended, "menu")
    assert "version 1" in row(ended, "menu")


def test_refresh_ends_with_1_if_an_attempt_fails(url: str, folder: Path) -> None:
    ended = refresher("refresh", "menu", "bad", "--url", url, folder=folder)
    assert ended.status == 1
    assert "unchanged" in row(ended, "menu")
    assert "connect: cannot connect" in row(ended, "bad")


def test_refresh_ends_with_1_if_it_is_refused(url: str, folder: Path) -> None:
    ended = refresher("refresh", "off", "--url", url, folder=folder)
    assert (ended.status, ended.out) == (1, "")
    assert "off is disabled" in ended.err


def test_refresh_of_all_lists_what_it_skips_and_what_still_runs(url: str, folder: Path) -> None:
    ended = refresher("refresh", "--wait", "300ms", "--url", url, folder=folder)
    assert ended.status == 1
    assert "skipped: disabled" in row(ended, "off")
    assert "still running" in row(ended, "slow")


def test_refresh_ends_with_1_if_an_attempt_still_runs(url: str, folder: Path) -> None:
    ended = refresher("refresh", "slow", "--wait", "100ms", "--url", url, folder=folder)
    assert (ended.status, ended.err) == (1, "")
    assert "still running" in row(ended, "slow")


def test_refresh_need_not_wait(url: str, folder: Path) -> None:
    ended = refresher("refresh", "slow", "--wait", "0s", "--url", url, folder=folder)
    assert ended.status == 0
    assert "asked for" in row(ended, "slow")
