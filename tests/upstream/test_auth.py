from base64 import b64decode

import httpx
import pytest

from refresher.config.auth import BasicAuth, BearerAuth, HeaderAuth, QueryAuth
from refresher.upstream.auth import OriginHeader, OriginParameter
from refresher.upstream.urls import origin_of

URL = "https://api.example/rates?sig=a%2Cb+c&sig=2"
ORIGIN = origin_of(httpx.URL(URL))
KINDS = [
    OriginHeader(ORIGIN, BearerAuth(token="SECRET")),
    OriginHeader(ORIGIN, BasicAuth(username="SECRET", password="SECRET")),
    OriginHeader(ORIGIN, HeaderAuth(name="X-Key", value="SECRET")),
    OriginParameter(ORIGIN, QueryAuth(name="key", value="SECRET")),
]

KEY = OriginParameter(ORIGIN, QueryAuth(name="key", value="v"))


def applied(auth: httpx.Auth, url: str = URL) -> httpx.Request:
    return next(auth.auth_flow(httpx.Request("GET", url)))


def test_bearer_is_the_token_in_authorization() -> None:
    request = applied(OriginHeader(ORIGIN, BearerAuth(token="abc")))
    assert request.headers["Authorization"] == "Bearer abc"


def test_basic_is_utf8() -> None:
    request = applied(OriginHeader(ORIGIN, BasicAuth(username="jörg", password="p:ä")))
    scheme, _, pair = request.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(pair).decode()) == ("Basic", "jörg:p:ä")


def test_header_replaces_a_header_of_that_name() -> None:
    request = httpx.Request("GET", URL, headers={"x-key": "old"})
    next(OriginHeader(ORIGIN, HeaderAuth(name="X-Key", value="näw")).auth_flow(request))
    assert [value for name, value in request.headers.raw if name.lower() == b"x-key"] == [
        "näw".encode()
    ]


def test_query_adds_a_parameter_and_leaves_the_rest_as_it_is_written() -> None:
    request = applied(OriginParameter(ORIGIN, QueryAuth(name="key", value="a&b=c")))
    assert request.url.raw_path == b"/rates?sig=a%2Cb+c&sig=2&key=a%26b%3Dc"


def test_query_is_the_whole_query_where_there_was_none() -> None:
    request = applied(KEY, "https://api.example/rates")
    assert request.url.raw_path == b"/rates?key=v"


def test_a_query_secret_that_is_there_already_is_not_added_again() -> None:
    for query in ("key=v", "a=1&key=w&key=v"):
        request = applied(KEY, f"https://api.example/rates?{query}")
        assert request.url.query == query.encode()


@pytest.mark.parametrize("auth", KINDS)
@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/rates",
        "http://api.example/rates",
        "https://api.example:8443/rates",
        "https://api.example.evil.test/",
    ],
)
def test_another_origin_gets_nothing(auth: httpx.Auth, url: str) -> None:
    untouched = httpx.Request("GET", url)
    request = applied(auth, url)
    assert request.headers == untouched.headers
    assert request.url == untouched.url


@pytest.mark.parametrize("auth", KINDS)
def test_the_default_port_spelled_out_is_the_same_origin(auth: httpx.Auth) -> None:
    request = applied(auth, "https://API.example:443/rates")
    assert "SECRET" in f"{request.url} {request.headers.raw}" or "Authorization" in request.headers


@pytest.mark.parametrize("auth", KINDS)
def test_a_repr_does_not_show_the_secret(auth: httpx.Auth) -> None:
    assert "SECRET" not in repr(auth)
