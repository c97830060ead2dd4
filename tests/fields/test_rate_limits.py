import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.rate_limits import exhausted_for
from refresher.upstream.headers import utf8_fields

NOW = 1_800_000_000.0


def quiet(**fields: str) -> float | None:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return exhausted_for(utf8_fields(headers), now=NOW)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ('"default";r=0;t=30', 30),
        ('"default";r=0;t=30;pk=:cHsdsRa894==:', 30),
        ("default;r=0;t=30", 30),
        ('"burst";r=0;t=5, "daily";r=0;t=50', 50),
        ('"burst";r=9;t=5, "daily";r=0;t=50', 50),
        ('"default";r=1;t=30', None),
        ('"default";r=0', None),
        ('"default";t=30', None),
        ('"default";r=0;t=0', None),
        ('"default";r=0;t=86400', 3600),
        ("limit=100, remaining=0, reset=30", 30),
        ("limit=100, remaining=0;x=1, reset=30", 30),
        ("limit=100, remaining=1, reset=30", None),
        ("limit=100, remaining=0", None),
        ("limit=100, remaining=-1, reset=30", None),
        ("limit=0, remaining=0, reset=30", None),
        ("limit=100, remaining=0, reset=30, limit=100, remaining=0, reset=30", 30),
        ("limit=9, remaining=0, reset=30, limit=100, remaining=5, reset=40", 40),
        ("limit=100, remaining=0, reset=1m30s", 90),
        ("limit=100, remaining=0, reset=2027-01-15T08:00:45Z", 45),
        ('"default";r=-1;t=30', None),
        ('"default";r=0;t=30, "default";r=0;t=30', 30),
        ('"default";r=0;t=30,', None),
        ('"default";r="0";t=30', None),
        ("default", None),
        ("ä", None),
        ("", None),
    ],
)
def test_ratelimit_is_read_as_the_drafts_have_it(limit: str, seconds: float | None) -> None:
    assert quiet(RateLimit=limit) == seconds


def test_a_limit_without_a_time_takes_the_window_of_its_policy() -> None:
    policy = '"burst";q=5;w=7, "daily";q=1000;w=900'
    assert quiet(RateLimit='"daily";r=0', RateLimit_Policy=policy) == 900
    assert quiet(RateLimit='"other";r=0', RateLimit_Policy=policy) is None
    assert quiet(RateLimit='"daily";r=0;t=3', RateLimit_Policy=policy) == 3


def test_a_policy_without_a_quota_tells_nothing() -> None:
    assert quiet(RateLimit='"off";r=0;t=3', RateLimit_Policy='"off";q=0;w=7') is None


@pytest.mark.parametrize("prefix", ["X-RateLimit", "RateLimit", "X-Rate-Limit", "x-ratelimit"])
@pytest.mark.parametrize(
    ("remaining", "reset", "seconds"),
    [
        ("0", "30", 30),
        ("0.0", "30.5", 30.5),
        ("-1", "30", None),
        ("-1.0", "30", None),
        ("-1, -1", "30", None),
        ("-2", "30", 30),
        (" 0 ", " 30", 30),
        ("0", str(int(NOW) + 45), 45),
        ("0", f"{NOW + 45.5:.1f}", 45.5),
        ("0", str(int(NOW * 1000) + 45_000), 45),
        ("0", str(int(NOW) - 45), None),
        ("0", str(int(NOW) + 86_400), 3600),
        ("0", "999999999", 3600),
        ("1", "30", None),
        ("0", "soon", None),
        ("0", "", None),
        ("none", "30", None),
        ("0, 0", "30", 30),
        ("0, 0", "30, 30", 30),
        ("5, 0", "20, 30", 30),
        ("0, -1", "30", 30),
        ("5, 1", "30", None),
        ("0;w=60", "30;w=60", 30),
        ("0", "30m0s", 1800),
        ("0", "6m0s", 360),
        ("0", "120ms", 0.12),
        ("0", "30 seconds", 30),
        ("0", "2027-01-15T08:00:45Z", 45),
        ("0", "2027-01-15T08:00:45.5+00:00", 45.5),
        ("0", "2027-01-15 08:00:45 UTC", 45),
        ("0", "Fri, 15 Jan 2027 08:00:45 GMT", 45),
        ("0", "Fri, 15 Jan 2027 08:00:45 GMT, Fri, 15 Jan 2027 08:00:50 GMT", 50),
        ("0", "2027-01-15T07:00:00Z", None),
        ("0", "-1", None),
        ("\u0660", "30", None),
        ("0", "1" * 40, 3600),
        ("0", "1" * 400, 3600),
        ("1" * 400, "30", None),
        ("-" + "1" * 400, "30", 30),
        ("0", "-" + "1" * 400, None),
    ],
)
def test_a_reset_is_an_instant_or_a_span_by_its_size(
    prefix: str, remaining: str, reset: str, seconds: float | None
) -> None:
    fields = {f"{prefix}-Remaining": remaining, f"{prefix}-Reset": reset}
    assert exhausted_for(utf8_fields(fields), now=NOW) == seconds


@pytest.mark.parametrize("prefix", ["X-RateLimit", "RateLimit", "X-Rate-Limit"])
@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("0", None), ("-1", None), ("0, 0", None), ("100", 30), ("100, 100;w=60", 30), ("?", 30)],
)
def test_a_limit_of_nothing_tells_nothing(prefix: str, limit: str, seconds: float | None) -> None:
    fields = {f"{prefix}-Limit": limit, f"{prefix}-Remaining": "0", f"{prefix}-Reset": "30"}
    assert exhausted_for(utf8_fields(fields), now=NOW) == seconds


@pytest.mark.parametrize("prefix", ["X-RateLimit", "RateLimit", "X-Rate-Limit"])
def test_a_span_comes_before_an_instant_by_another_clock(prefix: str) -> None:
    fields = {f"{prefix}-Remaining": "0", f"{prefix}-Reset-After": "1.5"}
    assert exhausted_for(utf8_fields(fields), now=NOW) == 1.5
    fields[f"{prefix}-Reset"] = str(NOW + 300)
    assert exhausted_for(utf8_fields(fields), now=NOW) == 1.5
    fields[f"{prefix}-Reset-After"] = "soon"
    assert exhausted_for(utf8_fields(fields), now=NOW) == 300


def test_requests_and_tokens_may_have_a_limit_each() -> None:
    fields = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert quiet(**fields) == 360


def test_an_answer_that_says_nothing_asks_for_nothing() -> None:
    assert quiet() is None
    assert quiet(X_RateLimit_Remaining="0") is None
    assert quiet(X_RateLimit_Reset="30") is None


def test_of_all_that_is_told_what_takes_longest_decides() -> None:
    found = quiet(
        RateLimit='"a";r=0;t=3', X_RateLimit_Remaining="0", X_RateLimit_Reset="40", Age="1"
    )
    assert found == 40


@given(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")),
    st.sampled_from(["ratelimit", "ratelimit-policy", "x-ratelimit-reset"]),
)
def test_no_value_breaks_the_parser(text: str, name: str) -> None:
    fields = {"x-ratelimit-remaining": "0", "ratelimit": '"a";r=0', name: text}
    headers = [(key.encode(), value.encode("latin-1")) for key, value in fields.items()]
    found = exhausted_for(httpx.Headers(headers), now=NOW)
    assert found is None or 0 < found <= 3600
