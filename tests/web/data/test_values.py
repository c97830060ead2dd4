from collections.abc import Sequence

import pytest

from refresher.errors import RefreshFailed
from refresher.jsontext.pointer import NotThere, Path, find
from refresher.model import Format, Stage
from refresher.pipeline import representation
from tests.pipeline.test_representation import UNPACK
from tests.shelf import Shelf, snapshot
from tests.web.data.reading import RATES, Reader, reader_of


class TestAValue:
    """What `/data/{job}/{a}/{b}` answers."""

    DOCUMENT = b'{"rates": {"USD": 1.10, "x/y": [1e400, null]}, "": 7}'

    def reader(self) -> Reader:
        return reader_of(self.DOCUMENT)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("/rates/USD", b"1.10"),
            ("/r%61tes/x~1y/0", b"1e400"),
            ("/rates/x%2Fy", b"[1e400, null]"),
            ("/", b"7"),
            ("/rates?x=1", b'{"USD": 1.10, "x/y": [1e400, null]}'),
        ],
    )
    def test_is_served_digit_for_digit_with_the_fields_of_the_whole(
        self, path: str, value: bytes
    ) -> None:
        reader = self.reader()
        reply, whole = reader.get(RATES + path), reader.get()
        assert (reply.status, reply.body) == (200, value)
        own = {
            "etag": representation.etag_of(value, "application/json"),
            "content-length": str(len(value)),
        }
        assert reply.headers == {**whole.headers, **own}
        assert reader.codes == {200: 2}

    def test_is_json_whatever_json_the_whole_is(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(b'{"a": 1}', content_type="application/geo+json"))
        assert Reader(shelf).get("/data/rates/a").headers["content-type"] == "application/json"

    def test_is_asked_for_conditionally_and_by_head(self) -> None:
        reader = self.reader()
        reply = reader.get("/data/rates/rates")
        known = {"if-none-match": reply.headers["etag"]}
        assert reader.get("/data/rates/rates", known).status == 304
        assert reader.get(headers=known).status == 200
        head = reader.get("/data/rates/rates", method="HEAD")
        assert (head.headers, head.body) == (reply.headers, b"")
        assert reader.get("/data/rates/rates", method="PUT").status == 405

    def test_comes_in_the_coding_that_is_asked_for(self) -> None:
        reader = reader_of(b'{"text": "%s"}' % (b"a few words " * 200))
        for coding, unpack in UNPACK.items():
            reply = reader.get("/data/rates/text", {"accept-encoding": coding})
            assert reply.headers["content-encoding"] == coding
            assert unpack(reply.body) == b'"%s"' % (b"a few words " * 200)

    @pytest.mark.parametrize(
        ("path", "says"),
        [
            ("/nope", "no 'nope' at its root"),
            ("/rates/EUR/x", "no 'EUR' at /rates"),
            ("/rates/x~1y/-", "no '-' at /rates/x~1y"),
            ("/rates/x~1y/00", "no '00' at /rates/x~1y"),
            ("/rates/USD/0", "no '0' at /rates/USD"),
            ("/~", "no '~' at its root"),
        ],
    )
    def test_that_is_not_there_is_a_problem_that_names_the_place(
        self, path: str, says: str
    ) -> None:
        reply = self.reader().get(RATES + path)
        assert reply.status == 404
        assert reply.problem["type"] == "urn:refresher:no-value"
        assert says in reply.problem["detail"]
        assert reply.headers["vary"] == "Accept-Encoding"
        assert len(self.reader().get(RATES + path, method="HEAD").body) == 0

    def test_is_not_in_what_is_no_json(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(b"a,b", content_type="text/csv", form=Format.TEXT))
        reply = Reader(shelf).get("/data/rates/a")
        assert reply.status == 404
        assert "text/csv" in reply.problem["detail"]

    def test_is_behind_the_same_doors_as_the_whole(self) -> None:
        shelf = Shelf()
        shelf.put()
        shelf.put_pending("pending")
        reader = Reader(shelf, read_tokens=["r"], origins=["https://app.example"])
        assert reader.get("/data/rates/a").status == 401
        opened = {"authorization": "Bearer r", "origin": "https://app.example"}
        reply = reader.get("/data/rates/a", opened)
        assert (reply.status, reply.body) == (200, b"1")
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert reply.headers["cache-control"].startswith("private")
        assert reader.get("/data/pending/a", opened).status == 503
        assert reader.get("/data/nope/a", opened).problem["type"] == "urn:refresher:unknown-job"

    def test_is_of_the_version_that_is_current(self) -> None:
        reader = reader_of(b'{"a": 1}')
        assert reader.get("/data/rates/a").body == b"1"
        reader.shelf.swap(snapshot(b'{"a": 2}', version=2))
        assert reader.get("/data/rates/a").body == b"2"
        reader.shelf.swap(snapshot(b'{"b": 3}', version=3))
        assert reader.get("/data/rates/a").status == 404

    async def test_of_a_large_body_never_brings_back_a_version_replaced_meanwhile(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(b'{"a": 1, "b": "%s"}' % (b"x" * 2**21)))
        asked = []

        async def look_up(_: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
            asked.append(len(paths))
            shelf.swap(snapshot(b'{"a": 2}', version=2))
            return [find(body, path, {}) for path in paths]

        reply = await Reader(shelf, look_up=look_up).get_later("/data/rates/a")
        assert (reply.body, reply.headers["refresher-version"]) == (b"2", "2")
        assert asked == [1]

    async def test_that_nobody_could_look_up_is_503_with_when_to_ask_again(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(b'{"a": 1, "b": "%s"}' % (b"x" * 2**21)))

        async def look_up(_: str, __: bytes, ___: Sequence[Path]) -> list[bytes | NotThere]:
            raise RefreshFailed(Stage.SOURCE, "worker process died", transient=True)

        reader = Reader(shelf, look_up=look_up)
        reply = await reader.get_later("/data/rates/a")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.problem["type"] == "urn:refresher:lookup-failed"
        assert "worker process died" in reply.problem["detail"]
        assert reply.headers["vary"] == "Accept-Encoding"
        assert (await reader.get_later("/data/rates/a", method="HEAD")).body == b""
        assert reader.get().status == 200, "the whole is not affected"
        assert reader.codes == {503: 2, 200: 1}

    async def test_that_is_large_itself_is_compressed_when_asked_for(self) -> None:
        text = b'"%s"' % (b"a few words " * 200_000)
        shelf = Shelf()
        shelf.put(snapshot(b'{"text": %s}' % text))

        async def look_up(_: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
            return [find(body, path, {}) for path in paths]

        reader = Reader(shelf, look_up=look_up)
        for coding, unpack in UNPACK.items():
            reply = await reader.get_later("/data/rates/text", {"accept-encoding": coding})
            assert unpack(reply.body) == text
            assert reader.get("/data/rates/text", {"accept-encoding": coding}).body == reply.body
        assert reader.get("/data/rates/text").body == text
