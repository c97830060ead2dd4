import httpx
import pytest

from refresher.fields.dates import http_date
from refresher.upstream.cookies import Cookie, cookie_field, kept

NOW = 1_700_000_000.0
URL = httpx.URL("https://api.example/a/b?c")


def after(
    *lines: str, before: tuple[Cookie, ...] = (), private: bool = False
) -> tuple[Cookie, ...]:
    headers = httpx.Headers([("Set-Cookie", line) for line in lines])
    return kept(before, headers, URL, private=private, now=NOW)


def sent(cookies: tuple[Cookie, ...], url: str = "/a/b", *, trusted: bool = True) -> str:
    return cookie_field(cookies, URL.join(url), trusted=trusted)


def test_cookies_come_back_as_they_were_set_those_of_longer_paths_first() -> None:
    cookies = after("a=1; Path=/", 'b="x y"; HttpOnly; Secure', "c=; Path=/a/b")
    assert sent(cookies) == 'c=; b="x y"; a=1'


@pytest.mark.parametrize(
    ("path", "reached", "missed"),
    [
        ("", ["/a", "/a/x"], ["/", "/ab", "/x"]),
        ("; Path=/a/", ["/a/", "/a/x"], ["/a", "/x"]),
        ("; Path=/a", ["/a", "/a/x"], ["/ab"]),
        ("; Path=a", ["/a/x"], ["/"]),
        ("; path=/", ["/", "/x"], []),
    ],
)
def test_a_cookie_goes_where_its_path_leads(
    path: str, reached: list[str], missed: list[str]
) -> None:
    cookies = after(f"a=1{path}")
    assert {sent(cookies, url) for url in reached} == {"a=1"}
    assert not any(sent(cookies, url) for url in missed)


@pytest.mark.parametrize(
    "url", ["http://api.example/a", "https://api.example:8443/a", "https://x.api.example/a"]
)
def test_a_cookie_goes_to_no_other_origin_whatever_its_domain(url: str) -> None:
    for domain in ("", "; Domain=api.example", "; Domain=.example"):
        cookies = after(f"a=1; Path=/{domain}")
        assert sent(cookies) == "a=1"
        assert sent(cookies, url) == ""


@pytest.mark.parametrize(
    "line",
    [
        "a=1; Domain=other.example",
        "a=1; Domain=pi.example",
        "=1",
        "a",
        "",
        "a\x01=1",
        "a=" + "x" * 5000,
    ],
)
def test_what_is_no_cookie_of_the_host_is_none(line: str) -> None:
    assert after(line) == ()


def test_a_cookie_replaces_one_of_its_name_and_may_remove_it() -> None:
    first = after("a=1", "b=1")
    assert sent(after("a=2", before=first)) == "b=1; a=2"
    for end in (
        "Max-Age=0",
        "Max-Age=-1",
        f"Expires={http_date(NOW)}",
        "Expires=Thu, 01-Jan-1970 00:00:00 GMT",
    ):
        assert sent(after(f"a=2; {end}", before=first)) == "b=1"
    for end in ("Max-Age=9", f"Max-Age=9; Expires={http_date(0)}", "Max-Age=x", "Expires=x"):
        assert sent(after(f"a=2; {end}", before=first)) == "b=1; a=2"


def test_a_cookie_that_may_stand_for_credentials_goes_nowhere_where_they_do_not() -> None:
    cookies = after("a=1", private=True)
    assert (sent(cookies), sent(cookies, trusted=False)) == ("a=1", "")
    assert sent(after("a=1"), trusted=False) == "a=1"
