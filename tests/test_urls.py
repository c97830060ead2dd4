import httpx
import pytest

from refresher.urls import origin_of, shown, with_params


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://api.example", "https://api.example/"),
        ("https://user:SECRET@api.example:8443/a?key=SECRET#x", "https://api.example:8443/a?…"),
        ("http://[::1]:80/a%2Fb", "http://[::1]/a%2Fb"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_a_url_is_shown_without_userinfo_and_query(url: str, text: str) -> None:
    assert shown(httpx.URL(url)) == text


def test_an_endless_path_is_cut() -> None:
    assert len(shown(httpx.URL(f"https://api.example/{'a' * 5000}"))) < 250


@pytest.mark.parametrize(
    ("query", "whole"),
    [
        ("", "?a=1&b=x+y&b=2"),
        ("?", "?a=1&b=x+y&b=2"),
        ("?sig=a%2Cb;c&&d", "?sig=a%2Cb;c&&d&a=1&b=x+y&b=2"),
    ],
)
def test_parameters_are_added_to_a_query_that_stays_as_written(query: str, whole: str) -> None:
    url = with_params(httpx.URL(f"https://api.example/{query}"), {"a": 1, "b": ["x y", "2"]})
    assert str(url) == f"https://api.example/{whole}"


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of(httpx.URL("http://API.example")) == ("http", "api.example", 80)
    assert origin_of(httpx.URL("https://api.example:8443/x")) == ("https", "api.example", 8443)
