"""Credentials as configured; what is wrong with them is in the golden files."""

import httpx
import pytest

from refresher.config.auth import CustomAuth, OAuth2Auth
from tests.config.configs import URL, config, job, problems

IDP = {"type": "oauth2", "token_url": "https://idp/token", "client_id": "me", "client_secret": "pw"}


@pytest.mark.parametrize(
    ("url", "token_url"),
    [
        ("https://api/x", "https://idp/token"),
        ("http://api/x", "http://idp/token"),
        ("https://api/x", "http://localhost:8080/token"),
        ("https://api/x", "http://127.0.0.1/token?a=b"),
        ("https://api/x", "http://[::1]/token"),
        ("http://api/x", "https://idp/token"),
    ],
)
def test_a_token_endpoint_is_asked_in_clear_where_nothing_is_lost(url: str, token_url: str) -> None:
    auth = job(url=url, auth={**IDP, "token_url": token_url}).config.auth
    assert isinstance(auth, OAuth2Auth)
    assert auth.token_url == token_url


def test_an_inherited_token_endpoint_that_is_invalid_is_one_problem_for_all_its_jobs() -> None:
    upstreams = {"api": {"base_url": "https://api", "auth": {**IDP, "token_url": "http://idp/t"}}}
    jobs = {name: {"upstream": "api", "url": "/x"} for name in "abc"}
    found = problems({"upstreams": upstreams, "jobs": jobs})
    assert {problem.split(": ")[1] for problem in found} == {"upstreams.api.auth.token_url"}
    assert len(found) == 1


def test_an_httpx_auth_is_taken_as_it_is_wherever_a_table_may_stand() -> None:
    given = httpx.BasicAuth("me", "word")
    tables = {
        "defaults": {"auth": given},
        "jobs": {"a": {"url": URL}, "b": {"url": URL, "auth": {"type": "none"}}},
    }
    found = config(tables)
    assert found.jobs["a"].config.auth == CustomAuth(auth=given)
    assert found.jobs["b"].config.auth.type == "none"
    assert config(tables) == found


def test_the_class_of_an_auth_is_none() -> None:
    [problem] = problems({"defaults": {"auth": httpx.BasicAuth}})
    assert problem.startswith("config: defaults.auth: is not a table")
