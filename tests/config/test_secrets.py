from base64 import b64encode
from pathlib import Path

import pytest

from tests.config.configs import URL, config, problems
from tests.config.test_auth import IDP


def secrets(environ: dict[str, str] | None = None, /, **job: object) -> frozenset[str]:
    return config({"jobs": {"a": {"url": URL, **job}}}, environ).secrets


def test_whatever_a_reference_brought_is_secret(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from-file\n")
    found = secrets(
        {"A": "aaaa", "B": "bbbb", "C": "cccc", "D": "dddd"},
        headers={"X-A": "a ${A}"},
        params={"b": "${B}"},
        json={"deep": [{"c": "x${C}"}]},
        tags=["${D:-default}", f"${{file:{tmp_path}/file}}"],
    )
    assert {"aaaa", "a aaaa", "bbbb", "cccc", "dddd", "from-file"} <= found


def test_a_written_default_a_number_and_a_boolean_are_none() -> None:
    found = secrets(
        {"N": "7777", "T": "true"},
        tags=["${D:-default}"],
        max_redirects="${R:-77}",
        required="${T}",
        guard={"min_items": "${N}"},
    )
    assert found == frozenset()


def test_the_host_of_a_url_is_none_but_all_else_of_it_that_a_reference_brought() -> None:
    assert secrets({"HOST": "api.example.org"}, url="https://${HOST}/x") == frozenset()
    assert secrets({"BASE": "https://api.example.org:8443"}, url="${BASE}/x") == frozenset()
    assert secrets({"BASE": "https://api.example.org/"}, url="${BASE}x") == frozenset()
    found = secrets({"BASE": "https://h/hook/T0123456789?key=K0123456789"}, url="${BASE}&a=${A:-b}")
    assert found == {"/hook/T0123456789?key=K0123456789", "T0123456789", "K0123456789"}
    assert secrets({"KEY": "k"}, url="https://h/x?key=${KEY}") == {"k"}


def test_digits_and_booleans_where_a_string_is_wanted_are_secret() -> None:
    found = secrets({"A": "true", "B": "123456"}, params={"a": "${A}", "b": "${B}"})
    assert found == {"true", "123456"}


def test_what_a_reference_brought_to_a_relative_url_is_secret() -> None:
    tables = {
        "upstreams": {"api": {"base_url": "https://h"}},
        "jobs": {"a": {"url": "/x/${KEY}", "upstream": "api"}},
    }
    assert config(tables, {"KEY": "k3y"}).secrets == {"k3y"}


def test_userinfo_is_secret_in_every_form_it_is_sent_in() -> None:
    found = secrets(url="https://me:p%40ss@h/x")
    pair = b64encode(b"me:p@ss").decode()
    assert found == {"me:p%40ss", "me:p@ss", "p%40ss", "p@ss", pair}
    assert "alice" in secrets({"USER": "alice"}, url="https://${USER}:pw@h/x")
    tables = {"upstreams": {"api": {"base_url": "https://token@h"}}}
    assert "token" in config(tables).secrets


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:s3cr%2Ft@cache.example.org:6379/0",
        "rediss://:s3cr%2Ft@cache.example.org",
        "${SCHEME}://me:s3cr%2Ft@cache.example.org",
        "redis://me:${PASSWORD}@cache.example.org:6379/0",
        "${ALL}",
    ],
)
def test_the_password_of_a_store_is_secret_and_its_host_is_none(url: str) -> None:
    environ = {
        "SCHEME": "redis",
        "PASSWORD": "s3cr%2Ft",
        "ALL": "redis://me:s3cr%2Ft@cache.example.org:6379/0",
    }
    found = config({"store": {"url": url}}, environ).secrets
    assert {"s3cr%2Ft", "s3cr/t"} <= found
    assert not any("cache.example.org" in secret for secret in found)
    assert "s3cr" not in repr(config({"store": {"url": url}}, environ).store)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:s3cr/t@cache.example.org",
        "redis:me:s3cr@cache.example.org",
        "redis://me:s3cr?t@cache.example.org",
        "redis://me:s3cr@t@cache.example.org:x",
        "reddis://me:s3cr/t@cache.example.org",
        "redis://cache.example.org?password=s3cr%2Ft",
        "redis://${PASSWORD}",
    ],
)
def test_the_password_of_a_store_is_in_no_problem(url: str) -> None:
    [problem] = problems({"store": {"url": url}}, {"PASSWORD": "me:s3cr/t@cache"})
    assert "s3cr" not in problem
    assert problem.startswith("config: store.url: ")


def test_every_configured_header_value_is_secret_and_so_is_its_credential() -> None:
    assert secrets(headers={"Authorization": "Bearer abcdef", "X-A": "plain"}) == {
        "Bearer abcdef",
        "abcdef",
        "plain",
    }
    tables = {
        "defaults": {"headers": {"X-D": "default"}},
        "upstreams": {"api": {"headers": {"X-U": "upstream"}}},
    }
    assert config(tables).secrets == {"default", "upstream"}


def test_a_header_value_that_stands_in_every_log_anyway_is_left_in_peace() -> None:
    assert secrets(headers={"Accept": "application/json", "X-Format": "json"}) == frozenset()
    assert secrets({"A": "application/json"}, headers={"Accept": "${A}"}) == {"application/json"}


def test_every_value_of_auth_is_secret_and_its_names_are_not() -> None:
    assert secrets(auth={"type": "bearer", "token": "t0k"}) == {"t0k"}
    assert secrets(auth={"type": "header", "name": "X-Key", "value": "v4l"}) == {"v4l"}
    assert secrets(auth={"type": "query", "name": "key", "value": "v4l"}) == {"v4l"}
    pair = b64encode(b"me:pw").decode()
    found = secrets(auth={"type": "basic", "username": "me", "password": "pw"})
    assert found == {"pw", "me:pw", pair}


def test_every_token_is_secret() -> None:
    tables = {"admin": {"token": ["one", "two"]}, "server": {"read_tokens": ["three"]}}
    assert config(tables).secrets == {"one", "two", "three"}


def test_a_secret_that_a_problem_quotes_elsewhere_is_masked_there_too() -> None:
    tables = {
        "admin": {"token": "t0ken"},
        "jobs": {"a": {"url": "ftp://h/t0ken", "cron": "${CRON}"}},
    }
    found = "\n".join(problems(tables, {"CRON": "s3cret * *"}))
    assert 'got "ftp://h/***"' in found
    assert "t0ken" not in found
    assert "s3cret" not in found


def test_a_secret_that_a_schema_repeats_is_masked_in_what_is_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "s3cret"}')
    tables = {
        "admin": {"token": "s3cret"},
        "jobs": {"a": {"url": URL, "schema": str(tmp_path / "a.json")}},
    }
    [problem] = problems(tables)
    assert '"***" is not valid' in problem


def test_a_wrongly_shaped_secret_is_masked_all_the_same() -> None:
    tables = {
        "admin": {"token": {"value": "s3cret"}},
        "server": {"read_tokens": "s3cret x"},
        "defaults": {"auth": ["s3cret"], "headers": [["X-A", "s3cret"]]},
        "upstreams": {"api": {"base_url": "http//u:s3cret@h", "headers": {"X": ["s3cret"]}}},
        "jobs": {"a": {"url": {"s3cret": 1}, "tags": [["${KEY}"]], "auth": "bearer s3cret"}},
    }
    assert "s3cret" not in "\n".join(problems(tables, {"KEY": "s3cret"}))


def test_the_password_of_a_proxy_is_secret_and_its_host_is_not() -> None:
    upstreams = {"api": {"proxy": "${PROXY}"}}
    found = config({"upstreams": upstreams}, {"PROXY": "http://me:word@proxy.example:3128"})
    login = b64encode(b"me:word").decode()
    assert found.secrets == {"me:word", "word", login}
    assert config({"upstreams": upstreams}, {"PROXY": "http://p.example"}).secrets == frozenset()


def test_of_oauth2_the_secret_is_one_and_the_rest_is_not() -> None:
    auth = {**IDP, "token_url": "${URL}", "client_secret": "p+w", "scope": "read"}
    found = config({"jobs": {"a": {"url": URL, "auth": auth}}}, {"URL": "https://idp/token"})
    assert found.secrets == {"p+w", "me:p%2Bw", b64encode(b"me:p%2Bw").decode(), "/token"}


def test_a_parameter_called_like_a_url_is_as_secret_as_any() -> None:
    found = config({"jobs": {"a": {"url": URL, "params": {"url": "${KEY}"}}}}, {"KEY": "k3y"})
    assert "k3y" in found.secrets
