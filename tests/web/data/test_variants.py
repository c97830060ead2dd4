from collections.abc import Mapping

import pytest

from refresher.fields.dates import http_date
from refresher.freshness import Policy
from refresher.pipeline import representation
from tests.fakes import START
from tests.shelf import BODY, TEXT, Shelf, failed, snapshot
from tests.web.data.reading import GZIP, Reader, Reply, reader_of


class TestNotModified:
    def conditional(self, reader: Reader, headers: Mapping[str, str]) -> Reply:
        return reader.get(headers=headers)

    @pytest.mark.parametrize("coding", ["identity", "gzip"])
    def test_has_every_field_of_the_200_but_three(self, coding: str) -> None:
        shelf = Shelf()
        shelf.put(snapshot(TEXT), Policy(max_stale=60.0))
        reader = Reader(shelf, origins=["*"])
        asked = {"accept-encoding": coding, "origin": "https://app.example"}
        full = reader.get(headers=asked)
        reply = reader.get(headers={**asked, "if-none-match": full.headers["etag"]})
        assert (reply.status, reply.body) == (304, b"")
        without = {"content-type", "content-encoding", "content-length"}
        assert reply.headers == {k: v for k, v in full.headers.items() if k not in without}
        assert len(reply.headers) == 12, "Vary, CORS and what hinders scripts among them"

    def test_says_how_old_the_snapshot_is_now(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(checked_at=START - 130), failing_since=START, last_attempt=failed())
        reply = Reader(shelf).get(headers={"if-none-match": "*"})
        assert reply.status == 304
        assert reply.headers["age"] == "130"
        assert reply.headers["cache-status"] == "refresher; hit; ttl=-30; detail=connect"
        assert reply.headers["x-accel-expires"] == "0"

    @pytest.mark.parametrize("template", ["{}", "W/{}", '"x", {}', '"x",W/{} , "y"', "*", ",{},"])
    def test_answers_lists_stars_and_weak_tags(self, template: str) -> None:
        tag = representation.etag_of(BODY, "application/json")
        assert reader_of().get(headers={"if-none-match": template.format(tag)}).status == 304

    @pytest.mark.parametrize("field", ['"x"', "", 'W/"x"', "x", '"*"'])
    def test_is_not_the_answer_to_other_tags(self, field: str) -> None:
        assert reader_of().get(headers={"if-none-match": field}).status == 200

    def test_answers_a_tag_in_a_second_line_of_the_field(self) -> None:
        tag = representation.etag_of(BODY, "application/json")
        pairs = [("if-none-match", '"x"'), ("if-none-match", tag)]
        assert reader_of().get(headers=pairs).status == 304

    @pytest.mark.parametrize(
        ("accept", "known", "status"),
        [
            ("gzip", "gzip", 304),
            ("gzip", "identity", 304),
            ("identity", "identity", 304),
            ("identity", "gzip", 200),
            ("gzip;q=0", "gzip", 200),
            ("gzip;q=0.5, identity", "gzip", 304),
            ("gzip, identity;q=0", "identity", 200),
            ("gzip, *;q=0", "identity", 200),
        ],
    )
    def test_is_for_the_tag_of_any_coding_that_the_request_accepts(
        self, accept: str, known: str, status: int
    ) -> None:
        reader = reader_of(TEXT)
        tag = reader.get(headers={"accept-encoding": known}).headers["etag"]
        asked = {"accept-encoding": accept, "if-none-match": tag}
        assert reader.get(headers=asked).status == status

    def test_carries_the_tag_of_the_coding_that_the_200_would_have(self) -> None:
        reader = reader_of(TEXT)
        asked = {**GZIP, "if-none-match": reader.get().headers["etag"]}
        assert reader.get(headers=asked).headers["etag"] == reader.get(headers=GZIP).headers["etag"]

    @pytest.mark.parametrize(("offset", "status"), [(-1, 200), (0, 304), (60, 304)])
    def test_goes_by_the_date_where_there_are_no_tags(self, offset: int, status: int) -> None:
        reply = reader_of().get(headers={"if-modified-since": http_date(START + offset)})
        assert reply.status == status

    def test_goes_by_tags_alone_where_there_are_any(self) -> None:
        date = http_date(START)
        asked = {"if-none-match": '"x"', "if-modified-since": date}
        assert reader_of().get(headers=asked).status == 200

    def test_never_goes_by_the_date_of_a_version_that_shares_its_second(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(dated=False))
        reader = Reader(shelf)
        reply = reader.get(headers={"if-modified-since": http_date(START + 60)})
        assert reply.status == 200
        assert "last-modified" not in reply.headers
        known = reader.get(headers={"if-none-match": reply.headers["etag"]})
        assert known.status == 304

    def test_answers_head_too(self) -> None:
        assert reader_of().get(method="HEAD", headers={"if-none-match": "*"}).status == 304

    def test_is_no_answer_where_there_is_nothing_to_serve(self) -> None:
        shelf = Shelf()
        shelf.put_pending()
        assert Reader(shelf).get(headers={"if-none-match": "*"}).status == 503
