import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.errors import GuardRefused, RefreshFailed
from refresher.fields.dates import http_date
from refresher.model import Content, GuardRules, Stage
from refresher.pipeline import Rules, refine, refine_telling
from refresher.pipeline.content_time import ContentTimeRule, instant_of, refusal

JSON = "application/json"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
AT = Rules(content_time=ContentTimeRule("at"))


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        ("2026-11-30T12:00:00Z", NOON),
        ("2026-11-30t12:00:00z", NOON),
        ("2026-11-30 12:00:00Z", NOON),
        ("2026-11-30T12:00:00+00:00", NOON),
        ("2026-11-30T13:30:00+01:30", NOON),
        ("2026-11-30T12:00:00.250Z", NOON + 0.25),
        ("2026-11-30T12:00:00.123456789Z", NOON + 0.123456),
        ("2026-11-30T11:59:60Z", NOON),
        ("2026-11-30T12:00Z", NOON),
        (" 2026-11-30T12:00:00Z\n", NOON),
        ("1969-12-31T23:59:59Z", -1),
        ("Mon, 30 Nov 2026 12:00:00 GMT", NOON),
        ("Monday, 30-Nov-26 12:00:00 GMT", NOON),
        ("Mon Nov 30 12:00:00 2026", NOON),
        ("Mon, 30 Nov 2026 13:00:00 +0100", NOON),
        (NOON, NOON),
        (int(NOON), NOON),
        (NOON + 0.5, NOON + 0.5),
        (int(NOON) * 1000 + 250, NOON + 0.25),
        (f"{NOON:.0f}", NOON),
        (f"{NOON:.0f}000", NOON),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
        (0, 0),
    ],
)
def test_an_instant_is_read_in_each_of_its_forms(found: object, seconds: float) -> None:
    assert instant_of(found, "UTC") == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("found", "timezone", "written"),
    [
        ("2026-11-30", "UTC", "2026-11-30T00:00:00+00:00"),
        ("2026-11-30", "Europe/Berlin", "2026-11-30T00:00:00+01:00"),
        ("2026-07-01", "Europe/Berlin", "2026-07-01T00:00:00+02:00"),
        ("2026-07-01", "America/New_York", "2026-07-01T00:00:00-04:00"),
        ("2026-07-01T08:00:00", "Europe/Berlin", "2026-07-01T08:00:00+02:00"),
        ("2026-07-01T08:00:00Z", "Europe/Berlin", "2026-07-01T08:00:00+00:00"),
    ],
)
def test_what_names_no_offset_is_of_the_jobs_time_zone(
    found: str, timezone: str, written: str
) -> None:
    assert instant_of(found, timezone) == datetime.fromisoformat(written).timestamp()


@pytest.mark.parametrize(
    "found",
    [
        None,
        True,
        False,
        [NOON],
        {"at": NOON},
        "",
        "yesterday",
        "12:00",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-11-30T25:00:00Z",
        "Mon, 30 Feb 2026 12:00:00 GMT",
        "Mon, once upon a time",
        "1e9",
        "0001-01-01T00:00:00+01:00",
        1e300,
        10**400,
        -1e300,
    ],
)
def test_what_is_no_instant_is_none(found: object) -> None:
    assert instant_of(found, "Europe/Berlin") is None


@given(st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_whatever_stands_there_is_an_instant_that_can_be_written_or_none(found: object) -> None:
    instant = instant_of(found, "Asia/Kathmandu")
    assert instant is None or datetime.fromtimestamp(instant, UTC)


@given(st.integers(0, 4_000_000_000))
def test_the_forms_of_an_instant_agree(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    forms = [moment.isoformat(), moment.strftime("%Y-%m-%dT%H:%M:%SZ"), http_date(seconds)]
    assert [instant_of(each, "Asia/Tokyo") for each in forms] == [seconds] * 3


def refined(value: object, rules: Rules = AT) -> Content:
    return refine(json.dumps(value).encode(), JSON, rules, None)


def refused(value: object, rules: Rules = AT) -> GuardRefused:
    with pytest.raises(GuardRefused) as caught:
        refined(value, rules)
    assert caught.value.failure.stage is Stage.GUARD
    return caught.value


def test_content_is_from_when_it_says() -> None:
    assert refined({"at": "2026-11-30T12:00:00Z"}).content_time == NOON
    newest = Rules(select="rows", content_time=ContentTimeRule("max([].at)"))
    assert refined({"rows": [{"at": 5}, {"at": NOON}]}, newest).content_time == NOON
    assert refined({"at": NOON}, Rules()).content_time is None


def test_it_is_looked_for_in_what_is_served_and_in_other_formats_too() -> None:
    assert (
        "found nothing"
        in refused(
            {"rows": [1], "at": NOON}, Rules(select="rows", content_time=ContentTimeRule("at"))
        ).failure.message
    )
    rules = Rules(raw=True, content_time=ContentTimeRule("[0].at"))
    found = refine(b"at,b\n2026-11-30T12:00:00Z,1\n", "text/csv", rules, None)
    assert (found.raw, found.content_time) == (True, NOON)


@pytest.mark.parametrize(
    ("value", "expression", "words"),
    [
        ({"b": 1}, "at", "content_time found nothing: at is null"),
        ({"at": None}, "at", "content_time found nothing: at is null"),
        ({"at": "soon"}, "at", "content_time is no instant: at is 'soon'"),
        ({"at": [1]}, "at", "content_time is no instant: at is no single value"),
        ({"at": True}, "at", "content_time is no instant"),
        ({"at": ["x", 1]}, "max(at)", "content_time failed: max(at): "),
    ],
)
def test_content_without_an_instant_is_refused(value: object, expression: str, words: str) -> None:
    found = refused(value, Rules(content_time=ContentTimeRule(expression)))
    assert found.failure.message.startswith(words)
    assert found.content.content_time is None


def test_so_is_what_is_empty_or_no_json() -> None:
    empty = Rules(guard=GuardRules(allow_empty=True), content_time=ContentTimeRule("at"))
    with pytest.raises(GuardRefused, match="empty"):
        refine(b"", JSON, empty, None)
    with pytest.raises(GuardRefused, match="JSON"):
        refine(b"hello", "text/plain", AT, None)


def test_what_the_guard_refuses_has_its_time_nevertheless() -> None:
    rules = Rules(guard=GuardRules(min_items=9), content_time=ContentTimeRule("at"))
    assert refused({"at": NOON}, rules).content.content_time == NOON


def test_other_rules_come_first() -> None:
    with pytest.raises(RefreshFailed) as caught:
        refined({"a": 1}, Rules(schema='{"type": "array"}', content_time=ContentTimeRule("at")))
    assert caught.value.failure.stage is Stage.SCHEMA


def test_the_time_is_told() -> None:
    told: list[str] = []
    refine_telling(b'{"at": "2026-11-30"}', JSON, AT, None, told.append)
    assert told[1:] == ["content_time: 2026-11-30T00:00:00Z"]


@pytest.mark.parametrize(
    ("instant", "served", "words"),
    [
        (NOON, None, None),
        (NOON, NOON, None),
        (NOON, NOON - 1, None),
        (NOON - 1, NOON, "before that of what is served, 2026-11-30T12:00:00Z"),
        (NOON + 300, NOON, None),
        (NOON + 301, NOON, "yet to come"),
        (NOON + 301, None, "yet to come"),
        # what is served is from the future, so somebody has accepted it
        (NOON, NOON + 9000, None),
        (NOON, NOON + 200, "before"),
        (None, NOON, None),
    ],
)
def test_older_never_replaces_newer(
    instant: float | None, served: float | None, words: str | None
) -> None:
    reason = refusal(instant, served, NOON)
    assert reason is None if words is None else words in (reason or "")
