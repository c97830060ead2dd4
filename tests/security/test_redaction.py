import json
import re
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.security.redaction import Redactor


def test_every_occurrence_of_every_secret_is_replaced() -> None:
    redactor = Redactor(["first", "second"])
    assert redactor.redact("first, second and first") == "***, *** and ***"
    assert redactor.redact("nothing here") == "nothing here"
    assert Redactor([]).redact("first") == "first"


def test_of_secrets_that_begin_together_the_longest_goes() -> None:
    redactor = Redactor(["abcd", "abcdef", "abcdefgh"])
    assert redactor.redact("abcdefgh abcdefg abcde") == "*** ***g ***e"


def test_a_secret_within_what_looks_like_a_longer_one_is_found() -> None:
    redactor = Redactor(["aaaab", "abcdef", "bcde"])
    assert redactor.redact("aaaaab abcdeX") == "a*** a***X"


def test_secrets_that_overlap_leave_nothing_of_either() -> None:
    redactor = Redactor(["abcdef", "defghi", "bcde"])
    assert redactor.redact("<abcdefghi> <abcde>") == "<***> <a***>"
    assert redactor.redact("abcdefabcdef") == "******"


def test_secrets_shorter_than_four_characters_are_left_in_free_text() -> None:
    assert Redactor(["abc", ""]).redact("abc abcd") == "abc abcd"


def test_a_secret_is_found_whatever_its_case() -> None:
    redactor = Redactor(["Zq7QUERY"])
    assert redactor.redact("http://zq7query.example, İ ZQ7query") == "http://***.example, İ ***"


@pytest.mark.parametrize("secret", ["Straße ΑΣ", "İstanbul", "ΑΣΑΣ"])
def test_a_secret_is_found_where_lower_case_takes_more_or_other_letters(secret: str) -> None:
    assert Redactor([secret]).redact(f"İΣ <{secret}> {secret}Σ") == "İΣ <***> ***Σ"


def test_what_a_quotation_left_of_a_secret_goes_whatever_its_case() -> None:
    assert Redactor(["Zq7QUERY-tail"]).redact("see zq7quer… there") == "see ***… there"


SECRET = "p ä/?&=+%\"\\'\n@x"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        urlencode({"": SECRET})[1:],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
    ],
)
def test_a_secret_is_found_in_every_form_it_is_spelled_in(form: str) -> None:
    assert Redactor([SECRET]).redact(f"<{form}>") == "<***>"


VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
SECRETS = VISIBLE.map(lambda text: f"Zq{text}~1")  # nothing that the URL around it has too


@given(SECRETS)
def test_a_secret_is_found_in_the_urls_that_httpx_makes_of_it(secret: str) -> None:
    redactor = Redactor([secret])
    query = str(httpx.URL("https://h/x", params={"key": secret}))
    assert redactor.redact(query) == "https://h/x?key=***"


@given(SECRETS)
def test_a_secret_is_found_in_a_path_that_httpx_has_quoted(secret: str) -> None:
    path = re.sub(r"[?#/.]", "_", secret)
    shown = Redactor([path]).redact(str(httpx.URL(f"https://h/x/{path}/y")))
    assert shown == "https://h/x/***/y"


@given(
    st.lists(st.text("abc%", min_size=4, max_size=6), max_size=5),
    st.text("abc%d", max_size=40),
)
def test_no_secret_is_left_and_nothing_else_is_touched(secrets: list[str], text: str) -> None:
    shown = Redactor(secrets).redact(text)
    assert not any(secret in part for secret in secrets for part in shown.split("***"))
    pattern = ".+".join(re.escape(part) for part in shown.split("***"))
    assert re.fullmatch(pattern, text, re.DOTALL)


def test_the_userinfo_of_a_url_is_masked_whatever_it_is() -> None:
    redactor = Redactor(["s3cret"])
    assert redactor.redact_url("https://a:b@h/x?k=s3cret") == "https://***@h/x?k=***"
    assert redactor.redact_url("https://a:b@c@h/@x") == "https://***@h/@x"
    assert redactor.redact_url("https://h/x@y") == "https://h/x@y"


def test_a_secret_with_a_lone_surrogate_is_no_error() -> None:
    assert Redactor(["abc\udcff"]).redact("abc") == "abc"


def test_a_secret_may_be_learned_and_more_may_be_added() -> None:
    redactor = Redactor(["first-secret"])
    redactor.learn("learned secret")
    redactor.add(["second-secret", "first-secret"])
    text = "first-secret second-secret learned secret learned+secret"
    assert redactor.redact(text) == "*** *** *** ***"


def test_of_what_is_learned_the_latest_is_kept_and_what_was_given_stays() -> None:
    redactor = Redactor(["secret-0"])
    for n in range(5000):
        redactor.learn(f"secret-{n}")
    assert redactor.redact("secret-0 secret-4999 secret-4500") == "*** *** ***"
    assert (
        redactor.redact("secret-0007 is one no more: secret-77")
        == "***007 is one no more: secret-77"
    )


def test_of_secrets_that_begin_alike_the_longest_is_replaced_whenever_it_came() -> None:
    redactor = Redactor(["token-long-er"])
    redactor.learn("token")
    redactor.learn("token-long-er-still")
    assert redactor.redact("token-long-er-still token-long-er token") == "*** *** ***"


@pytest.mark.parametrize(
    "text",
    [
        "near 'x correct horse battery …'",
        "near '…horse battery staple'",
        "correct horse …; then … battery staple, and corr…",
    ],
)
def test_what_a_cut_has_left_of_a_secret_is_hidden(text: str) -> None:
    hidden = Redactor({"correct horse battery staple"}).redact(text)
    assert "***" in hidden
    assert not any(word in hidden for word in ("corr", "horse", "battery", "staple"))


def test_a_cut_hides_nothing_else() -> None:
    text = "the correction of a horse…or a staple"
    assert Redactor({"correct horse battery staple"}).redact(text) == text
