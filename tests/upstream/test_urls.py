import httpx
import pytest

from refresher.upstream.urls import origin_of, resolved, shown, with_param, with_params


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


@pytest.mark.parametrize(
    ("query", "whole"),
    [
        ("", "?p%5B%5D=x+%2B"),
        ("?", "?p%5B%5D=x+%2B"),
        ("?sig=a%2Cb;c&&p=1", "?sig=a%2Cb;c&&p=1&p%5B%5D=x+%2B"),
        ("?p[]=1&a=2&p%5b%5D=3&P[]", "?a=2&P[]&p%5B%5D=x+%2B"),
    ],
)
def test_one_parameter_takes_the_place_of_those_of_its_name(query: str, whole: str) -> None:
    url = with_param(httpx.URL(f"https://api.example/{query}"), "p[]", "x +")
    assert str(url) == f"https://api.example/{whole}"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("?p=2", "https://api.example/a/x?p=2"),
        ("../y#z", "https://api.example/y"),
        ("//me:word@other.example/", "https://other.example/"),
        ("", "https://api.example/a/x?p=1"),
    ],
)
def test_a_reference_is_resolved_and_brings_no_userinfo(reference: str, url: str) -> None:
    assert str(resolved(httpx.URL("https://me:word@api.example/a/x?p=1"), reference)) == url


@pytest.mark.parametrize("reference", ["http://[::1", "http://h:port/", "\0"])
def test_a_reference_that_is_no_url_is_an_error(reference: str) -> None:
    with pytest.raises(ValueError, match=r"URL|port"):
        resolved(httpx.URL("https://api.example/"), reference)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of(httpx.URL("http://API.example")) == ("http", "api.example", 80)
    assert origin_of(httpx.URL("https://api.example:8443/x")) == ("https", "api.example", 8443)
