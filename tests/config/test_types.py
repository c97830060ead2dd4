import pytest

from refresher.config import BasicAuth, HeaderAuth, JobConfig, QueryAuth, StoreConfig
from refresher.model import Rate
from tests.config.configs import config, job, job_problems, problems

WRONG: dict[str, list[object]] = {
    "method": ["get", "GE T", "", 1],
    "headers": [
        {"": "x"},
        {"X A": "x"},
        {"X:A": "x"},
        {"X-Ä": "x"},
        {"X-A": "x\r\nX-B: y"},
        {"X-A": " x"},
        {"X-A": "x\t"},
        {"X-A": "ä"},
        {"X-A": "\x00"},
        {"X-A": 1},
        {"X-A": True},
        {"Content-Length": "1"},
        {"transfer-encoding": "chunked"},
        {"A": "1", "a": "2"},
    ],
    "params": [{"": "x"}, {"a": {}}, {"a": [[]]}, []],
    "json": [float("inf"), {"a": [float("nan")]}, {"a": object()}],
    "body": [1, {}],
    "interval": [1, 1.5, True, [], {}, "9ms", "x"],
    "cron": ["* * * *", "@hourly", "60 * * * *", "0 0 31 2 *", "0 0 */25 * MON#3", "", 5],
    "timezone": ["Mars/Phobos", "", "../../etc/passwd", "/etc/passwd", "Europe", 1],
    "max_bytes": ["0B", "513MiB", "1"],
    "ok_status": [[], [199], [300], [True], ["200"], [200.0], 200],
    "max_redirects": [-1, 101, 1.0, "1", True],
    "conditional": ["true", 1, 0],
    "full_refresh": ["Never", "sometimes", 1, True, "1w"],
    "select": ["[", "a.", "foo(", "", "lenght(@)", "a[?map(&foo(x), y)]", "!" * 5000 + "a"],
    "python": ["a", "a.b", ":b", "a:", "a b:c", "1:a", "a:b:c", 1],
    "guard": [
        {"min_items": -1},
        {"max_shrink": "101%"},
        {"required": ["x", ""]},
        {"max_items": -1},
        {"max_growth": "x%"},
        {"accept_after": 0},
        {"max_growth": 2},
        {"duplicate_keys": "refuse"},
    ],
    "schema": ["", "\0", "no-such-file.json", "."],
    "auth": [
        {},
        {"type": "bearer"},
        {"type": "bearer", "token": ""},
        {"type": "bearer", "token": "a b"},
        {"type": "bearer", "token": "a\n"},
        {"type": "basic", "username": "a:b", "password": "x"},
        {"type": "basic", "username": "a", "password": "x\n"},
        {"type": "header", "name": "X A", "value": "x"},
        {"type": "header", "name": "X-A", "value": ""},
        {"type": "query", "name": "", "value": "x"},
        {"type": "none", "token": "x"},
        {"type": "oauth2", "token_url": "x", "client_id": "a", "client_secret": "b"},
        {"type": "custom", "auth": "x"},
    ],
    "tags": [["", "a"], [1], "a"],
    "timeout": ["0s"],
    "backoff": ["0s"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_one_problem_with_its_key(key: str, value: object) -> None:
    job_keys = {key: value} if key != "python" else {"python": value, "url": None}
    keys = {k: v for k, v in {"url": "https://h", **job_keys}.items() if v is not None}
    [problem] = problems({"jobs": {"a": keys}})
    assert f"jobs.a.{key}" in problem


@pytest.mark.parametrize(
    "key",
    [
        "sql",
        "from",
        "keyed",
        "keys",
        "foreach",
        "partial",
        "process",
    ],
)
def test_a_key_of_a_later_release_is_unknown(key: str) -> None:
    [problem] = job_problems(**{key: "x"})
    assert f"jobs.a.{key}: is an unknown key" in problem


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("server", "port", 65536),
        ("server", "port", -1),
        ("server", "port", True),
        ("server", "host", ""),
        ("server", "access_log", "false"),
        ("server", "shutdown_grace", 10),
        ("server", "keep_alive", 75),
        ("server", "keep_alive", "0s"),
        ("server", "read_tokens", [""]),
        ("server", "read_tokens", "token"),
        ("server", "cors_origins", ["https://h/"]),
        ("server", "cors_origins", ["https://H"]),
        ("server", "cors_origins", ["h"]),
        ("server", "cors_origins", ["https://h:443"]),
        ("server", "cors_origins", ["http://h:80"]),
        ("server", "cors_origins", 1),
        ("server", "root_path", "x"),
        ("server", "root_path", "/x/"),
        ("server", "dashboard", True),
        ("server", "startup", "serve"),
        ("admin", "token", ""),
        ("admin", "token", []),
        ("admin", "token", [""]),
        ("admin", "token", 1),
        ("store", "url", "memory:"),
        ("store", "url", "memory://x"),
        ("store", "url", "sqlite://refresher.db"),
        ("store", "url", "sqlite:///"),
        ("store", "url", "redis://"),
        ("store", "url", "redis:///0"),
        ("store", "url", "redis://h:99999"),
        ("store", "url", "redis://h/x"),
        ("store", "url", "redis://h?socket_timeout=9"),
        ("store", "url", "REDIS://h"),
        ("store", "url", "postgres://h/x"),
        ("store", "dir", ""),
        ("store", "history", 0),
        ("store", "prefix", ""),
        ("store", "prefix", "{x}"),
    ],
)
def test_a_wrong_value_of_another_table_is_one_problem_with_its_key(
    table: str, key: str, value: object
) -> None:
    [problem] = problems({table: {key: value}})
    assert problem.startswith(f"config: {table}.{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "/api"),
        ("base_url", "https://h/?a=1"),
        ("base_url", "https://h/#a"),
        ("rate", "60"),
        ("rate", 60),
        ("max_concurrency", 0),
        ("proxy", ""),
        ("proxy", "ftp://h"),
        ("proxy", "http://h/x"),
        ("tls", "ca.pem"),
        ("tls", {"ca": ""}),
        ("tls", {"verify": "no"}),
        ("tls", {"ca": "/no/such/file"}),
        ("tls", {"key": "/no/such/file"}),
        ("timeout", "1s"),
    ],
)
def test_a_wrong_value_of_an_upstream_is_one_problem_with_its_key(key: str, value: object) -> None:
    [problem] = problems({"upstreams": {"api": {key: value}}})
    assert problem.startswith(f"config: upstreams.api.{key}")


def test_values_arrive_in_the_units_the_service_works_in() -> None:
    found = job(
        interval="1h30m",
        max_bytes="64KiB",
        max_stale="2d",
        guard={"max_shrink": "25%", "max_growth": "250%", "required": ["x"]},
        ok_status=[200, 204],
        tags=["a"],
    ).config
    assert (found.interval, found.max_bytes, found.max_stale) == (5400.0, 65_536, 172_800.0)
    assert (found.guard.max_shrink, found.guard.max_growth) == (0.25, 2.5)
    assert found.guard.required == ("x",)
    assert (found.ok_status, found.tags) == ((200, 204), ("a",))
    tables = {"upstreams": {"api": {"rate": "60/1m", "max_concurrency": 2}}}
    upstream = config(tables).upstreams["api"]
    assert (upstream.rate, upstream.max_concurrency) == (Rate(60, 60.0), 2)


def test_parameters_are_texts_and_may_be_repeated() -> None:
    params = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": ["x", 2, False]}
    assert job(params=params).config.params == {
        "a": "x",
        "b": "1",
        "c": "1.5",
        "d": "true",
        "e": ("x", "2", "false"),
    }


def test_a_json_body_keeps_its_values() -> None:
    body = {"a": [1, 1.5, True, "x", {"b": []}], "n": 10**20}
    assert job(json=body).config.json == body


def test_every_kind_of_auth_is_understood() -> None:
    assert job(auth={"type": "basic", "username": "", "password": "p: ä"}).config.auth == BasicAuth(
        username="", password="p: ä"
    )
    assert job(auth={"type": "header", "name": "X-A", "value": "a b"}).config.auth == HeaderAuth(
        name="X-A", value="a b"
    )
    assert job(auth={"type": "query", "name": "k", "value": "ä b"}).config.auth == QueryAuth(
        name="k", value="ä b"
    )


def test_every_other_key_takes_what_it_is_for() -> None:
    assert job(timezone="America/Argentina/Buenos_Aires").config.timezone.endswith("Aires")
    assert config({"server": {"root_path": "/a/b"}}).server.root_path == "/a/b"


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "sqlite:///refresher.db",
        "sqlite:////var/lib/refresher/refresher.db",
        "redis://localhost",
        "redis://:p%40ss@[::1]:6380/12",
        "rediss://me:pass@cache.example.org/0?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false",
    ],
)
def test_every_kind_of_store_is_understood(url: str) -> None:
    assert config({"store": {"url": url, "prefix": "a:b.c_d-1"}}).store == StoreConfig(
        url=url, prefix="a:b.c_d-1"
    )


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("memory", 'did you mean "memory://"?'),
        ("sqlite:///:memory:", 'did you mean "memory://"?'),
        ("sqllite:///x.db", 'did you mean "sqlite:///PATH"?'),
        ("reddis://h", 'did you mean "redis://HOST"?'),
        ("valkey://h", 'did you mean "redis://HOST", for Valkey too?'),
        ("valkeys://h", 'did you mean "rediss://HOST", for Valkey too?'),
        ("s3://h", "write memory://, sqlite:///PATH, redis://HOST or rediss://HOST"),
    ],
)
def test_a_wrong_kind_of_store_gets_advice(url: str, advice: str) -> None:
    [problem] = problems({"store": {"url": url}})
    assert problem.endswith(f'got "{url}", {advice}')


def test_what_may_be_one_string_or_several_is_first_said_to_be_a_string() -> None:
    [problem] = problems({"server": {"cors_origins": 1}})
    assert problem.endswith(": is not a string, got 1, write it in quotes, or several in brackets")


def test_origins_may_be_one_star() -> None:
    assert config({"server": {"cors_origins": "*"}}).server.cors_origins == ("*",)
    origins = ["https://app.example.org", "http://localhost:8080", "http://[::1]"]
    assert config({"server": {"cors_origins": origins}}).server.cors_origins == tuple(origins)


def test_what_is_configured_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        job().config.interval = 1.0  # type: ignore[misc]
    assert job().config.headers is not JobConfig().headers
