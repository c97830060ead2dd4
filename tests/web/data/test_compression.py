import asyncio
import gzip
import threading
from collections.abc import Sequence

import anyio
import pytest

from refresher.fields.dates import http_date
from refresher.jsontext.pointer import NotThere, Path, find
from refresher.pipeline import representation
from tests.fakes import START
from tests.pipeline.test_representation import UNPACK
from tests.shelf import TEXT, Shelf, snapshot
from tests.web.data.reading import GZIP, LARGE, RATES, Reader, Reply, reader_of


class TestCompression:
    @pytest.mark.parametrize(
        ("accept", "coding"),
        [
            (None, None),
            ("", None),
            ("identity", None),
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip;q=0.9, br;q=0.8, zstd;q=0.7", "gzip"),
            ("br, zstd;q=0.9", "br"),
            ("br", "br"),
            ("deflate", None),
            ("*", "zstd"),
            ("*, zstd;q=0", "br"),
            ("gzip;q=0", None),
            ("*;q=0.1, gzip;q=0", "zstd"),
            ("*;q=0, gzip", "gzip"),
            ("gzip;q=0.5, identity;q=0.6", None),
            ("gzip;q=0.6, identity;q=0.5", "gzip"),
        ],
    )
    def test_is_chosen_by_q_values(self, accept: str | None, coding: str | None) -> None:
        headers = {} if accept is None else {"accept-encoding": accept}
        reply = reader_of(TEXT).get(headers=headers)
        assert reply.headers.get("content-encoding") == coding
        assert reply.headers["content-length"] == str(len(reply.body))
        assert (UNPACK[coding](reply.body) if coding else reply.body) == TEXT
        assert reply.headers["vary"] == "Accept-Encoding"

    def test_has_an_etag_of_its_own(self) -> None:
        reader = reader_of(TEXT)
        plain, coded = reader.get().headers["etag"], reader.get(headers=GZIP).headers["etag"]
        assert plain != coded
        assert not coded.startswith("W/")

    @pytest.mark.parametrize("size", [0, 1, 1023])
    def test_is_not_for_the_small(self, size: int) -> None:
        reply = reader_of(b"a" * size).get(headers=GZIP)
        assert "content-encoding" not in reply.headers

    async def test_of_a_large_body_is_made_when_first_asked_for(self) -> None:
        reader = reader_of(LARGE)
        assert reader.get().body == LARGE, "without waiting"
        reply = await reader.get_later(headers=GZIP)
        assert reply.headers["content-encoding"] == "gzip"
        assert gzip.decompress(reply.body) == LARGE
        assert reader.get(headers=GZIP).body == reply.body, "and is there from then on"
        assert reader.codes == {200: 3}

    async def test_of_a_large_body_is_made_once_for_all_who_ask_meanwhile(self) -> None:
        held = HeldCompression()
        reader = Reader(held.shelf, compress=held.compress)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(held.ask, reader)
            await held.started()
            held.go_on.set()
        assert held.calls == 1
        assert {reply.headers["content-encoding"] for reply in held.replies} == {"gzip"}
        assert len(held.replies) == 10

    async def test_is_not_ended_by_an_asker_that_goes_away(self) -> None:
        held = HeldCompression()
        reader = Reader(held.shelf, compress=held.compress)
        async with anyio.create_task_group() as staying:
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(held.ask, reader)
                await held.started()
                staying.start_soon(held.ask, reader)
                await anyio.wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
            held.go_on.set()
        assert [reply.headers["content-encoding"] for reply in held.replies] == ["gzip"]
        assert held.calls == 1
        assert reader.codes == {200: 1}, "who left got no answer"

    async def test_that_everybody_has_left_is_there_for_the_next(self) -> None:
        held = HeldCompression()
        reader = Reader(held.shelf, compress=held.compress)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held.ask, reader)
            await held.started()
            tasks.cancel_scope.cancel()
        held.go_on.set()
        reply = await reader.get_later(headers=GZIP)
        assert reply.headers["content-encoding"] == "gzip"

    async def test_that_fails_leaves_the_body_as_it_is(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: bytes, __: str) -> bytes:
            raise MemoryError

        shelf = Shelf()
        shelf.put(snapshot(LARGE))
        reader = Reader(shelf, compress=fail)
        reply = await reader.get_later(headers=GZIP)
        assert (reply.status, reply.body) == (200, LARGE)
        assert "content-encoding" not in reply.headers
        assert reader.get(headers=GZIP).body == LARGE, "and is not tried again"
        assert [each.getMessage() for each in caplog.records] == [
            f"rates: no memory to compress {len(LARGE)} bytes; served as they are"
        ]

    async def test_that_saves_too_little_leaves_the_body_as_it_is(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(LARGE))
        reader = Reader(shelf, compress=lambda *_: None)
        assert (await reader.get_later(headers=GZIP)).body == LARGE
        assert reader.get(headers=GZIP).body == LARGE

    async def test_never_brings_back_a_version_that_was_replaced_meanwhile(self) -> None:
        held = HeldCompression()
        reader = Reader(held.shelf, compress=held.compress)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held.ask, reader)
            await held.started()
            held.shelf.swap(snapshot(b"[2]", version=2))
            held.go_on.set()
        assert [reply.headers["refresher-version"] for reply in held.replies] == ["2"]
        assert reader.get(headers=GZIP).body == b"[2]"

    async def test_of_a_large_body_is_made_for_each_coding_by_itself(self) -> None:
        reader = reader_of(LARGE)
        async with anyio.create_task_group() as tasks:

            async def ask(coding: str) -> None:
                reply = await reader.get_later(headers={"accept-encoding": coding})
                assert reply.headers["content-encoding"] == coding
                assert UNPACK[coding](reply.body) == LARGE

            for coding in UNPACK:
                tasks.start_soon(ask, coding)
        for coding in UNPACK:
            assert reader.get(headers={"accept-encoding": coding}).status == 200, "it is kept"

    async def test_of_a_large_body_that_saves_too_little_gives_way_to_the_next(self) -> None:
        shelf = Shelf()
        shelf.put(snapshot(LARGE))
        asked = []

        def only_brotli(body: bytes, coding: str) -> bytes | None:
            asked.append(coding)
            return body[:9] if coding == "br" else None

        reader = Reader(shelf, compress=only_brotli)
        reply = await reader.get_later(headers={"accept-encoding": "gzip, br, zstd"})
        assert (reply.headers["content-encoding"], reply.body) == ("br", LARGE[:9])
        assert asked == ["zstd", "br"]

    async def test_of_a_large_body_answers_the_tag_it_will_have_before_it_is_made(self) -> None:
        reader = reader_of(LARGE)
        tag = reader.get().headers["etag"][:-1] + '-gzip"'
        accept = "gzip;q=0.5, identity"
        reply = reader.get(headers={"accept-encoding": accept, "if-none-match": tag})
        assert reply.status == 304

    @pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
    @pytest.mark.parametrize("path", [RATES, f"{RATES}/text"])
    async def test_is_nothing_that_a_304_waits_for(self, coding: str, path: str) -> None:
        shelf = Shelf()
        shelf.put(snapshot(b'{"text": "%s"}' % LARGE.replace(b'"', b"'")))
        made = []

        def compress(body: bytes, coding: str) -> bytes | None:
            made.append(coding)
            return representation.compress(body, coding)

        async def look_up(_: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
            return [find(body, path, {}) for path in paths]

        reader = Reader(shelf, compress=compress, look_up=look_up)
        if path != RATES:
            await reader.get_later(path)
        plain = reader.get(path)
        suffix = "" if coding == "identity" else f"-{coding}"
        known = plain.headers["etag"][:-1] + f'{suffix}"'
        for asked in ({"if-none-match": known}, {"if-modified-since": http_date(START)}):
            reply = reader.get(path, {"accept-encoding": "zstd, gzip", **asked})
            assert (reply.status, made) == (304, [])
            full = dict(plain.headers)
            del full["content-type"], full["content-length"]
            tag = plain.headers["etag"][:-1] + '-zstd"'
            assert reply.headers == {**full, "etag": tag}, "the tag that the 200 will have"
        asked = {"accept-encoding": "zstd, gzip", "if-none-match": '"x"'}
        assert (await reader.get_later(path, asked)).headers["etag"] == tag

    async def test_of_a_large_body_is_made_for_head_too(self) -> None:
        reader = reader_of(LARGE)
        head = await reader.get_later(method="HEAD", headers=GZIP)
        get = reader.get(headers=GZIP)
        assert (head.headers, head.body) == (get.headers, b"")


class HeldCompression:
    """A large snapshot whose compression waits for a word."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.shelf.put(snapshot(LARGE))
        self.calls = 0
        self.go_on = threading.Event()
        self.replies: list[Reply] = []
        self._started = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def compress(self, body: bytes, coding: str) -> bytes | None:
        self.calls += 1
        self._loop.call_soon_threadsafe(self._started.set)
        assert self.go_on.wait(10)
        return representation.compress(body, coding)

    async def ask(self, reader: Reader) -> None:
        self.replies.append(await reader.get_later(headers=GZIP))

    async def started(self) -> None:
        await self._started.wait()
        await anyio.wait_all_tasks_blocked()
