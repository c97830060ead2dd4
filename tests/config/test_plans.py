from pathlib import Path

import pytest

from refresher.config import JobPlan
from tests.config.configs import URL, config, job, job_problems, problems


def names() -> list[str]:
    return []


class Names:
    def __call__(self) -> list[str]:
        return []


def under(base: str, url: str, **upstream: object) -> JobPlan:
    tables = {
        "upstreams": {"api": {"base_url": base, **upstream}},
        "jobs": {"a": {"url": url, "upstream": "api"}},
    }
    return config(tables).jobs["a"]


@pytest.mark.parametrize(
    ("base", "url", "joined"),
    [
        ("https://h/api", "/x", "https://h/api/x"),
        ("https://h/api/", "/x", "https://h/api/x"),
        ("https://h/api", "x", "https://h/api/x"),
        ("https://h", "x?a=1#f", "https://h/x?a=1#f"),
        ("https://h", "/", "https://h/"),
        ("https://h/api", "?a=1", "https://h/api/?a=1"),
        ("https://h/api", "x:y", None),
        ("https://h/api", "https://h/other", "https://h/other"),
        ("https://h:443/api", "https://H/other", "https://H/other"),
    ],
)
def test_a_relative_url_is_appended_to_its_base_and_an_absolute_one_is_not(
    base: str, url: str, joined: str | None
) -> None:
    if joined is None:
        tables = {"upstreams": {"api": {"base_url": base}}}
        jobs = {"jobs": {"a": {"url": url, "upstream": "api"}}}
        assert "is not an http or https URL" in problems({**tables, **jobs})[0]
    else:
        assert under(base, url, auth={"type": "bearer", "token": "t"}).url == joined


@pytest.mark.parametrize(
    "url", ["http://h/x", "https://other/x", "https://h:8443/x", "https://h.evil/x"]
)
def test_an_absolute_url_of_another_origin_under_an_upstream_with_auth_is_a_problem(
    url: str,
) -> None:
    upstream: dict[str, object] = {"base_url": "https://h/api"}
    tables = {"upstreams": {"api": upstream}, "jobs": {"a": {"url": url, "upstream": "api"}}}
    assert config(tables).jobs["a"].url == url
    upstream["auth"] = {"type": "bearer", "token": "t"}
    [problem] = problems(tables)
    assert "jobs.a.url: is of another origin than [upstreams.api]" in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://h",
        "HTTPS://H/x",
        "http://h:0/",
        "http://127.0.0.1:8000/x?y=ä#z",
        "http://[::1]:80/x",
        "https://user:pw@h/x@y",
        "https://münchen.example/x",
        "https://h.example./x y",
        "https://under_score.example/x",
    ],
)
def test_an_http_url_is_taken_as_it_is(url: str) -> None:
    assert job(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "h/x",
        "//h/x",
        "ftp://h/x",
        "file:///etc/passwd",
        "https://",
        "https://:80/x",
        "https://h:x/",
        "https://h:65536/",
        "https://a b/x",
        "https://h\\@evil/x",
        "https://[::1/x",
        "https://[1::2::3]/x",
        "https://a..b/x",
        "https://h/\x00",
        "https://h/x\r\nHost: evil",
        " https://h/x",
        "",
    ],
)
def test_what_is_no_http_url_is_a_problem(url: str) -> None:
    assert len(job_problems(url=url)) == 1


def test_what_is_shown_of_a_url_has_no_userinfo_and_nothing_that_a_reference_brought() -> None:
    environ = {
        "BASE": "https://me:pw@api.example.org:8443/v1/s3cret",
        "KEY": "k",
        "HOST": "api.example.org",
        "USER": "me",
    }
    cases = {
        "https://u:p@h/x?key=literal": "https://***@h/x?key=literal",
        "${BASE}/x?key=${KEY}&n=1": "https://***@api.example.org:8443***/x?key=***&n=1",
        "https://${HOST}/x": "https://api.example.org/x",
        "https://${HOST}:1/${KEY}${KEY}": "https://api.example.org:1/***",
        "https://${USER}:${KEY}@${HOST}/${D:-shown}": "https://***@api.example.org/shown",
        "https://h/?${KEY}": "https://h/?***",
    }
    for url, shown in cases.items():
        plan = job(environ, url=url)
        assert plan.shown == shown
        assert plan.userinfo == ("@" in shown)


def test_what_is_shown_of_a_joined_url_hides_what_came_with_either_part() -> None:
    tables = {
        "upstreams": {"api": {"base_url": "${BASE}/"}},
        "jobs": {"a": {"url": "${SLASH}x/${KEY}", "upstream": "api"}},
    }
    plan = config(tables, {"BASE": "https://h/v1", "SLASH": "/", "KEY": "k"}).jobs["a"]
    assert plan.url == "https://h/v1/x/k"
    assert plan.shown == "https://h***/x/***"


def test_a_file_is_shown_by_its_path_and_a_callable_by_its_name() -> None:
    assert job(file="x.json").shown == str(Path.cwd() / "x.json")
    assert job({"DIR": "/hidden"}, file="${DIR}/x.json").shown == "***/x.json"
    assert job(python="a.b:c.d").shown == "a.b:c.d"
    assert job(python=names).shown == "tests.config.test_plans:names"
    assert job(python=Names()).shown == "tests.config.test_plans:Names"


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "bearer", "token": "s3cret"},
        {"type": "basic", "username": "u", "password": "s3cret"},
        {"type": "header", "name": "X-Key", "value": "s3cret"},
        {"type": "query", "name": "key", "value": "s3cret"},
    ],
)
def test_the_representation_of_a_configuration_has_no_secret(auth: dict[str, str]) -> None:
    found = config(
        {
            "admin": {"token": "s3cret"},
            "server": {"read_tokens": ["s3cret"]},
            "upstreams": {"api": {"base_url": "https://u:s3cret@h", "auth": auth}},
            "jobs": {
                "a": {
                    "url": "/${KEY}",
                    "upstream": "api",
                    "headers": {"X-A": "s3cret"},
                    "params": {"a": "${KEY}"},
                    "json": {"a": "${KEY}"},
                },
                "b": {"url": URL, "body": "${KEY}"},
            },
        },
        {"KEY": "s3cret"},
    )
    assert "s3cret" not in repr(found)
