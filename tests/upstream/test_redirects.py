import httpx
import pytest

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.upstream.redirects import Hop, follow

START = "https://api.example/a/b?q=1"


def hop(method: str = "GET", url: str = START, content: bytes | None = None) -> Hop:
    return Hop(method, httpx.URL(url), content)


def refused(start: Hop, location: str | None, *, max_redirects: int = 5) -> str:
    with pytest.raises(RefreshFailed) as caught:
        follow(start, 302, location, max_redirects=max_redirects)
    assert caught.value.failure.stage is Stage.REDIRECT
    assert not caught.value.transient
    return str(caught.value)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/c", "https://api.example/c"),
        ("c?x=%2C", "https://api.example/a/c?x=%2C"),
        ("?x", "https://api.example/a/b?x"),
        ("//other.example/c", "https://other.example/c"),
        ("https://api.example:8443/", "https://api.example:8443/"),
        ("/c#part", "https://api.example/c"),
        ("https://user:word@api.example/c", "https://api.example/c"),
    ],
)
def test_a_location_is_taken_relative_to_where_it_came_from(location: str, target: str) -> None:
    assert str(follow(hop(), 302, location, max_redirects=1).url) == target


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_the_method_and_the_body_change_as_in_a_browser(
    status: int, method: str, then: str
) -> None:
    after = follow(hop(method, content=b"body"), status, "/c", max_redirects=1)
    assert after.method == then
    assert after.content == (None if then == "GET" and method != "GET" else b"body")


@pytest.mark.parametrize(
    "location",
    ["https://other.example/", "https://api.example:8443/", "https://sub.api.example/"],
)
def test_another_origin_is_not_trusted_and_gets_no_body(location: str) -> None:
    away = follow(hop("POST", content=b"body"), 307, location, max_redirects=5)
    assert (away.trusted, away.method, away.content) == (False, "POST", None)
    further = follow(away, 307, "/further", max_redirects=5)
    assert (further.trusted, further.content) == (False, None)
    back = follow(away, 307, START + "2", max_redirects=5)
    assert (back.trusted, back.content) == (False, None)


def test_the_default_port_is_the_same_origin() -> None:
    assert follow(hop(), 302, "https://api.example:443/c", max_redirects=5).trusted


def test_http_to_https_is_followed_as_another_origin() -> None:
    after = follow(hop(url="http://api.example/"), 301, "https://api.example/", max_redirects=5)
    assert not after.trusted


@pytest.mark.parametrize("location", [None, ""])
def test_a_redirect_to_nowhere_is_refused(location: str | None) -> None:
    assert "without a Location" in refused(hop(), location)


@pytest.mark.parametrize("location", ["http://api.example/", "//api.example/"])
def test_https_never_leads_to_http(location: str) -> None:
    start = hop(url="https://api.example/")
    if location.startswith("//"):
        assert follow(start, 302, location + "x", max_redirects=5).url.scheme == "https"
    else:
        assert "from https to http" in refused(start, location)


@pytest.mark.parametrize("location", ["ftp://api.example/", "file:///etc/passwd", "data:x"])
def test_only_http_and_https_are_followed(location: str) -> None:
    assert "only http and https" in refused(hop(), location)


@pytest.mark.parametrize("location", ["https://[::1/", "https:///", "https://api.example:x/"])
def test_what_is_no_url_is_refused(location: str) -> None:
    refused(hop(url="http://api.example/"), location)


def test_a_circle_is_refused_at_its_first_turn() -> None:
    there = follow(hop(), 302, "/c", max_redirects=5)
    assert "in a circle" in refused(there, START)


def test_a_post_that_leads_back_to_its_own_url_as_a_get_is_no_circle() -> None:
    assert follow(hop("POST", content=b"x"), 303, START, max_redirects=5).method == "GET"


def test_no_more_hops_are_made_than_allowed() -> None:
    there = follow(hop(), 302, "/1", max_redirects=2)
    there = follow(there, 302, "/2", max_redirects=2)
    assert "max_redirects = 2" in refused(there, "/3", max_redirects=2)
    assert "max_redirects = 0" in refused(hop(), "/1", max_redirects=0)


def test_a_refusal_does_not_tell_the_query() -> None:
    text = refused(hop(url="https://api.example/?key=SECRET"), "http://api.example/?key=SECRET")
    assert "SECRET" not in text
