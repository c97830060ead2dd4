from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.dates import http_date
from refresher.freshness import Policy
from refresher.model import Due, DueReason, Stage
from refresher.pipeline import representation
from tests.fakes import START
from tests.shelf import BODY, LIFETIME, PROMISE, TEXT, TIMEOUT, Shelf, failed, snapshot
from tests.web.data.reading import GZIP, RATES, Reader, reader_of

seconds = st.integers(0, 4000).map(lambda quarters: quarters / 4)


class TestASnapshot:
    def test_is_served_byte_for_byte(self) -> None:
        body = b'{ "b": 1.10,\n "a" : 1e400, "b": 2 }'
        assert reader_of(body).get().body == body

    def test_has_all_its_fields_and_no_others(self) -> None:
        reply = reader_of().get()
        assert reply.status == 200
        assert reply.headers == {
            "content-type": "application/json",
            "content-length": str(len(BODY)),
            "etag": representation.etag_of(BODY, "application/json"),
            "last-modified": http_date(START),
            "cache-control": "public, max-age=100",
            "age": "0",
            "cache-status": "refresher; hit; ttl=100",
            "x-accel-expires": "100",
            "vary": "Accept-Encoding",
            "refresher-version": "1",
            "x-content-type-options": "nosniff",
            "content-security-policy": ("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        }

    @pytest.mark.parametrize(
        ("checked", "age", "ttl"), [(0.0, 0, 100), (0.9, 0, 100), (1.0, 1, 99), (99.99, 99, 1)]
    )
    def test_grows_older_by_the_whole_second(self, checked: float, age: int, ttl: int) -> None:
        shelf = Shelf()
        shelf.put(snapshot(checked_at=START - checked))
        reply = Reader(shelf).get()
        assert reply.headers["age"] == str(age)
        assert reply.headers["cache-status"] == f"refresher; hit; ttl={ttl}"
        assert reply.headers["x-accel-expires"] == str(ttl)
        assert reply.headers["cache-control"] == "public, max-age=100", "that never moves"

    def test_of_a_clock_that_was_set_back_is_of_age_zero(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(checked_at=START + 500))
        assert Reader(shelf).get().headers["age"] == "0"

    def test_that_is_checked_again_is_young_again_under_the_same_version(self) -> None:
        reader = reader_of()
        first = reader.get()
        shelf = reader.shelf
        again = snapshot(checked_at=START - 3, lifetime=200.7)
        shelf.states.update("rates", lambda record: replace(record, snapshot=again))
        reply = reader.get()
        assert reply.headers["age"] == "3"
        assert reply.headers["cache-control"] == "public, max-age=200"
        same = ("etag", "last-modified", "refresher-version")
        assert [reply.headers[name] for name in same] == [first.headers[name] for name in same]

    def test_is_replaced_whole(self) -> None:
        reader = reader_of()
        reader.shelf.swap(snapshot(b"[2]", version=2, changed_at=START + 7))
        reply = reader.get()
        assert reply.body == b"[2]"
        assert reply.headers["refresher-version"] == "2"
        assert reply.headers["etag"] == representation.etag_of(b"[2]", "application/json")
        assert reply.headers["last-modified"] == http_date(START + 7)
        assert reply.headers["content-length"] == "3"

    @pytest.mark.parametrize(
        "content_type", ["application/geo+json", "text/plain; charset=utf-8", "image/png"]
    )
    def test_keeps_its_media_type(self, content_type: str) -> None:
        shelf = Shelf()
        shelf.put(snapshot(content_type=content_type))
        assert Reader(shelf).get().headers["content-type"] == content_type

    def test_of_no_bytes_is_a_snapshot_too(self) -> None:
        reply = reader_of(b"").get()
        assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")

    def test_is_asked_for_by_head_with_the_same_fields_and_no_body(self) -> None:
        reader = reader_of(TEXT)
        for headers in ({}, GZIP):
            head, get = reader.get(method="HEAD", headers=headers), reader.get(headers=headers)
            assert head.body == b""
            assert (head.status, head.headers) == (get.status, get.headers)

    def test_is_served_whole_whatever_range_is_asked_for(self) -> None:
        reply = reader_of().get(headers={"range": "bytes=0-1", "if-range": '"x"'})
        assert (reply.status, reply.body) == (200, BODY)
        assert "accept-ranges" not in reply.headers


class TestCacheControl:
    @pytest.mark.parametrize(
        ("policy", "expected"),
        [
            (Policy(), "public, max-age=100"),
            (Policy(max_age=30.0), "public, max-age=30"),
            (Policy(max_age=1000.0), "public, max-age=100"),
            (Policy(max_age=0.5), "public, max-age=0"),
            (Policy(max_stale=86_400.0), "public, max-age=100, stale-if-error=86400"),
            (Policy(max_stale=0.0), "public, max-age=100, stale-if-error=0"),
            (Policy(max_age=5.9, max_stale=1.5), "public, max-age=5, stale-if-error=1"),
        ],
    )
    def test_says_what_the_job_promises(self, policy: Policy, expected: str) -> None:
        reply = reader_of(policy=policy).get()
        assert reply.headers["cache-control"] == expected
        ttl = expected.partition("max-age=")[2].partition(",")[0]
        assert reply.headers["cache-status"] == f"refresher; hit; ttl={ttl}"

    def test_is_in_whole_seconds_of_the_lifetime(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(lifetime=59.999))
        assert Reader(shelf).get().headers["cache-control"] == "public, max-age=59"

    def test_is_private_where_reading_needs_a_token(self) -> None:
        shelf = Shelf()
        shelf.put()
        reader = Reader(shelf, read_tokens=["r"])
        reply = reader.get(headers={"authorization": "Bearer r"})
        assert reply.headers["cache-control"] == "private, max-age=100"
        assert reply.headers["x-accel-expires"] == "0", "nginx heeds it before `private`"


class TestTheDetailOfCacheStatus:
    def status(self, policy: Policy = PROMISE, age: float = 0.0, **known: object) -> str:
        shelf = Shelf()
        shelf.put(snapshot(checked_at=START - age), policy, **known)
        return Reader(shelf).get().headers["cache-status"]

    def test_is_absent_while_the_state_is_fresh_and_time_is_left(self) -> None:
        assert self.status(age=LIFETIME) == "refresher; hit; ttl=0"
        assert self.status(paused=True) == "refresher; hit; ttl=100"
        assert self.status(enabled=False) == "refresher; hit; ttl=100"
        assert self.status(running_since=START) == "refresher; hit; ttl=100"

    @pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.STATUS])
    def test_is_the_stage_at_which_the_last_attempt_ended(self, stage: Stage) -> None:
        status = self.status(failing_since=START, last_attempt=failed(stage))
        assert status == f"refresher; hit; ttl=100; detail={stage}"

    @pytest.mark.parametrize("code", [403, 429, 503])
    def test_is_the_status_that_the_upstream_answered(self, code: int) -> None:
        attempt = failed(Stage.STATUS, http_status=code)
        status = self.status(failing_since=START, last_attempt=attempt)
        assert status == f"refresher; hit; ttl=100; detail=status-{code}"

    def test_of_data_whose_time_is_over_is_that_an_attempt_runs_or_is_overdue(self) -> None:
        within_timeout = LIFETIME + 1
        for age in (within_timeout, LIFETIME + TIMEOUT + 5):
            status = f"refresher; hit; ttl=-{int(age - LIFETIME)}; detail="
            assert self.status(age=age) == f"{status}overdue"
            assert self.status(age=age, running_since=START) == f"{status}updating"

    def test_is_there_when_max_age_is_over_though_the_state_is_fresh(self) -> None:
        status = self.status(Policy(max_age=10.0, timeout=TIMEOUT), age=12)
        assert status == "refresher; hit; ttl=-2; detail=overdue"

    def test_of_a_paused_or_disabled_job_is_why(self) -> None:
        overdue = "refresher; hit; ttl=-50; detail="
        assert self.status(age=150, paused=True) == f"{overdue}paused"
        assert self.status(age=150, enabled=False) == f"{overdue}disabled"

    def test_of_data_past_max_stale_is_expired_whatever_else_is_wrong(self) -> None:
        status = self.status(
            Policy(max_stale=50.0), age=151, failing_since=START, last_attempt=failed(), paused=True
        )
        assert status == "refresher; hit; ttl=-51; detail=expired"


@pytest.mark.parametrize(
    ("known", "detail"),
    [
        ({}, None),
        ({"detached": True}, "detached"),
        ({"outdated": True}, "definition"),
        ({"outdated": True, "detached": True}, "detached"),
        ({"paused": True}, None),
        ({"paused": True, "detached": True}, "paused"),
        ({"failing_since": START, "last_attempt": failed(), "detached": True}, "detached"),
        ({"failing_since": START, "last_attempt": failed(), "outdated": True}, "definition"),
    ],
)
def test_a_detail_says_what_keeps_data_from_being_all_that_it_may_be(
    known: dict[str, object], detail: str | None
) -> None:
    shelf = Shelf()
    shelf.put(**known)  # type: ignore[arg-type]
    status = Reader(shelf).get().headers["cache-status"]
    assert status == "refresher; hit; ttl=100" + ("" if detail is None else f"; detail={detail}")


@given(
    lifetime=seconds,
    age=seconds.map(lambda age: age - 100),
    cap=st.none() | seconds,
    max_stale=st.none() | seconds,
    failing=st.booleans(),
)
def test_max_age_less_age_is_what_is_left_and_a_detail_says_why_there_is_none(
    *, lifetime: float, age: float, cap: float | None, max_stale: float | None, failing: bool
) -> None:
    shelf = Shelf()
    policy = Policy(max_age=cap, max_stale=max_stale, timeout=TIMEOUT)
    shelf.put(
        snapshot(checked_at=START - age, lifetime=lifetime),
        policy,
        failing_since=START if failing else None,
        last_attempt=failed() if failing else None,
    )
    headers = Reader(shelf).get().headers
    left = int(headers["cache-control"].partition("max-age=")[2].partition(",")[0])
    left -= int(headers["age"])
    status, _, detail = headers["cache-status"].partition("; detail=")
    assert status == f"refresher; hit; ttl={left}"
    fresh = not failing and age <= lifetime + min(
        TIMEOUT, TIMEOUT if max_stale is None else max_stale
    )
    assert bool(detail) == (left < 0 or not fresh)
    assert int(headers["age"]) >= 0


class TestNothingToServe:
    def test_yet_is_503_with_when_to_ask_again(self) -> None:
        shelf = Shelf()
        shelf.put_pending(due=Due(START + 7.2, DueReason.BACKOFF))
        reply = Reader(shelf).get()
        assert reply.status == 503
        assert reply.headers["retry-after"] == "8"
        assert reply.problem["type"] == "urn:refresher:pending"
        assert "rates" in reply.problem["detail"]

    @pytest.mark.parametrize(
        ("due_at", "running_since", "seconds"),
        [
            (START, None, "1"),
            (START - 10, None, "1"),
            (START + 500, None, "500"),
            (START + 500, START, "1"),
            (None, None, "60"),
        ],
    )
    def test_says_a_whole_number_of_seconds_that_makes_sense(
        self, due_at: float | None, running_since: float | None, seconds: str
    ) -> None:
        shelf = Shelf()
        shelf.put_pending(due=Due(due_at, DueReason.SCHEDULE), running_since=running_since)
        assert Reader(shelf).get().headers["retry-after"] == seconds

    def test_says_at_which_stage_but_nothing_of_what_was_said(self) -> None:
        shelf = Shelf()
        shelf.put_pending(last_attempt=failed(Stage.TLS))
        detail = Reader(shelf).get().problem["detail"]
        assert "tls" in detail
        assert "no route" not in detail

    def test_any_longer_is_503_where_the_job_says_so(self) -> None:
        shelf = Shelf()
        due = Due(START + 3, DueReason.SCHEDULE)
        policy = Policy(max_stale=50.0, fail_when_expired=True)
        shelf.put(snapshot(checked_at=START - 150), policy, due=due)
        assert Reader(shelf).get().status == 200, "the last moment"
        shelf.put(snapshot(checked_at=START - 150.01), policy, due=due)
        reply = Reader(shelf).get()
        assert reply.status == 503
        assert reply.headers["retry-after"] == "3"
        assert reply.problem["type"] == "urn:refresher:expired"

    def test_any_longer_is_served_all_the_same_by_default(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(checked_at=START - 1e6), Policy(max_stale=50.0))
        assert Reader(shelf).get().status == 200

    @pytest.mark.parametrize("path", [RATES, "/data/nope"])
    def test_has_no_body_for_head(self, path: str) -> None:
        shelf = Shelf()
        shelf.put_pending()
        reader = Reader(shelf)
        head, get = reader.get(path, method="HEAD"), reader.get(path)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
        assert int(head.headers["content-length"]) == len(get.body)


class TestThePath:
    @pytest.mark.parametrize(
        "path",
        [
            "/data/rates",
            "/data/rates?",
            "/data/rates?versions=latest&x[]=%zz",
            "/data/%72ates",
            "/data/r%61%74es",
        ],
    )
    def test_names_a_job_however_it_is_spelled(self, path: str) -> None:
        assert reader_of().get(path).status == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/data/",
            "/data/nope",
            "/data/Rates",
            "/data//rates",
            "/data/./rates",
            "/data/rates%2F",
            "/data/rates%2Fa",
            "/data/%2Frates",
            "/data/rates%00",
            "/data/rates%20",
            "/data/rates;v=1",
            "/data/%ff%fe",
            "/data/%",
            "/data/%zz",
            "/data/r\xe9",
            "/data/%C3%A9",
            "/data/%F0%9F%90%8D",
            "/data/" + "x" * 100_000,
        ],
    )
    def test_that_names_none_is_a_problem(self, path: str) -> None:
        reply = reader_of().get(path)
        assert reply.status == 404
        assert reply.problem["type"] == "urn:refresher:unknown-job"
        assert reply.headers["vary"] == "Accept-Encoding"
        assert len(reply.body) < 2000, "what was asked for is not repeated at length"

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
    @pytest.mark.parametrize("path", [RATES, "/data/nope"])
    def test_is_only_read(self, path: str, method: str) -> None:
        reply = reader_of().get(path, method=method)
        assert reply.status == 405
        assert reply.headers["allow"] == "GET, HEAD"
        assert reply.headers["vary"] == "Accept-Encoding"
        assert reply.problem["type"] == "about:blank"


class TestTokens:
    def reader(self) -> Reader:
        shelf = Shelf()
        shelf.put()
        return Reader(shelf, read_tokens=["r3ad", "other"], admin=["adm1n"])

    @pytest.mark.parametrize("token", ["r3ad", "other", "adm1n"])
    def test_any_read_token_and_the_admin_token_open_reading(self, token: str) -> None:
        assert self.reader().get(headers={"authorization": f"Bearer {token}"}).status == 200

    @pytest.mark.parametrize("path", [RATES, "/data/nope"])
    @pytest.mark.parametrize(
        "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic cjNhZDo="}]
    )
    def test_without_one_nobody_learns_what_there_is(
        self, headers: Mapping[str, str], path: str
    ) -> None:
        reply = self.reader().get(path, headers)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.headers["vary"] == "Accept-Encoding"
        assert "rates" not in str(reply.problem)
        assert reply.headers.keys().isdisjoint({"etag", "age", "cache-status"})


class TestOtherOrigins:
    APP = "https://app.example"

    def reader(self, *origins: str, read_tokens: tuple[str, ...] = ()) -> Reader:
        shelf = Shelf()
        shelf.put()
        return Reader(shelf, origins=origins, read_tokens=read_tokens)

    def test_are_nobody_where_none_are_configured(self) -> None:
        reader = self.reader()
        reply = reader.get(headers={"origin": self.APP})
        assert not any(name.startswith("access-control") for name in reply.headers)
        assert reply.headers["vary"] == "Accept-Encoding"
        asked = {"origin": self.APP, "access-control-request-method": "GET"}
        assert reader.get(method="OPTIONS", headers=asked).status == 405

    def test_that_are_named_may_read_and_see_the_fields_that_matter(self) -> None:
        reply = self.reader(self.APP).get(headers={"origin": self.APP})
        assert reply.headers["access-control-allow-origin"] == self.APP
        exposed = reply.headers["access-control-expose-headers"]
        assert set(exposed.split(", ")) == {
            "Age",
            "ETag",
            "Last-Modified",
            "Cache-Status",
            "Refresher-Version",
            "Retry-After",
        }
        assert reply.headers["vary"] == "Accept-Encoding, Origin"
        assert "access-control-allow-credentials" not in reply.headers

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "http://app.example", "https://app.example:8443", "null", ""],
    )
    def test_that_are_not_named_may_not(self, origin: str) -> None:
        reply = self.reader(self.APP).get(headers={"origin": origin})
        assert reply.status == 200
        assert not any(name.startswith("access-control") for name in reply.headers)
        assert reply.headers["vary"] == "Accept-Encoding, Origin", "a cache must know"

    @pytest.mark.parametrize("headers", [{}, {"origin": "https://any.example"}])
    def test_are_all_let_in_by_a_star(self, headers: Mapping[str, str]) -> None:
        reply = self.reader("*").get(headers=headers)
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["vary"] == "Accept-Encoding, Origin"

    def test_can_read_what_went_wrong_too(self) -> None:
        reader = self.reader(self.APP, read_tokens=("r",))
        for path, method, status in ((RATES, "GET", 401), (RATES, "POST", 405)):
            reply = reader.get(path, {"origin": self.APP}, method=method)
            assert reply.status == status
            assert reply.headers["access-control-allow-origin"] == self.APP

    def test_are_told_by_a_preflight_without_any_token(self) -> None:
        reader = self.reader(self.APP, read_tokens=("r",))
        asked = {
            "origin": self.APP,
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        }
        reply = reader.get(method="OPTIONS", headers=asked)
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["access-control-allow-origin"] == self.APP
        assert "GET" in reply.headers["access-control-allow-methods"]
        allowed = reply.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "if-none-match", "traceparent", "tracestate"} <= set(allowed)
        assert {"Accept-Encoding", "Origin"} <= set(reply.headers["vary"].split(", "))
        assert reader.codes == {204: 1}

    def test_that_are_not_named_get_a_preflight_without_any_grant(self) -> None:
        asked = {"origin": "https://evil.example", "access-control-request-method": "GET"}
        reply = self.reader(self.APP).get(method="OPTIONS", headers=asked)
        assert reply.status == 204
        assert not any(name.startswith("access-control") for name in reply.headers)
        assert "Origin" in reply.headers["vary"]

    def test_read_with_get_whatever_else_they_say(self) -> None:
        asked = {"origin": self.APP, "access-control-request-method": "GET"}
        reply = self.reader(self.APP).get(headers=asked)
        assert (reply.status, reply.body) == (200, BODY)

    def test_ask_with_options_only_in_a_preflight(self) -> None:
        reply = self.reader(self.APP).get(method="OPTIONS", headers={"origin": self.APP})
        assert reply.status == 405


def test_every_answer_is_counted_by_its_code() -> None:
    shelf = Shelf()
    shelf.put()
    shelf.put_pending("pending")
    reader = Reader(shelf)
    for path, method, headers in (
        (RATES, "GET", {}),
        (RATES, "HEAD", {}),
        (RATES, "GET", {"if-none-match": "*"}),
        (RATES, "POST", {}),
        ("/data/nope", "GET", {}),
        ("/data/pending", "GET", {}),
    ):
        reader.get(path, headers, method=method)
    assert reader.codes == {200: 2, 304: 1, 404: 1, 405: 1, 503: 1}
