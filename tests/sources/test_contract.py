"""What every source promises, whatever its kind."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.payload import NotModified, Payload
from refresher.protocols import Source
from refresher.sources import UNCHANGED, CallableSource, FileSource, HttpRequest, HttpSource
from refresher.upstream.client import open_client
from tests.faults import Answer, Request, answer, json_answer, serving


@dataclass
class Kind:
    source: Source
    provide: Callable[[bytes], None]
    """Let the source have these bytes from now on."""
    remove: Callable[[], None]
    """Let the source fail from now on."""


LIMIT = 1000


@asynccontextmanager
async def http(_: Path) -> AsyncIterator[Kind]:
    def provide(body: bytes) -> None:
        etag = f'"{len(body)}"'

        def respond(request: Request) -> Answer:
            if request.header("if-none-match") == etag:
                return answer(304)
            return json_answer(body, {"ETag": etag})

        upstream.script("/x", respond)

    def remove() -> None:
        upstream.script("/x", answer(500))

    async with serving() as upstream, open_client() as client:
        request = HttpRequest(url=upstream.url("/x"), max_bytes=LIMIT)
        yield Kind(HttpSource(request, client=client), provide, remove)


@asynccontextmanager
async def file(directory: Path) -> AsyncIterator[Kind]:
    path = directory / "a.json"

    def provide(body: bytes) -> None:
        path.write_bytes(body)
        os.utime(path, (0, 0))

    yield Kind(FileSource(path, max_bytes=LIMIT), provide, path.unlink)


@asynccontextmanager
async def plain_callable(_: Path) -> AsyncIterator[Kind]:
    content: list[bytes] = []
    returned: list[bytes] = []

    def call() -> object:
        if not content:
            raise LookupError
        if returned and returned[-1] == content[-1]:
            return UNCHANGED
        returned.append(content[-1])
        return content[-1]

    yield Kind(CallableSource(call, max_bytes=LIMIT), content.append, content.clear)


@asynccontextmanager
async def async_callable(_: Path) -> AsyncIterator[Kind]:
    async with plain_callable(_) as plain:

        async def call() -> object:
            found = await plain.source.fetch("returned")
            return found.body if isinstance(found, Payload) else UNCHANGED

        yield Kind(CallableSource(call, max_bytes=LIMIT), plain.provide, plain.remove)


@pytest.fixture(params=[http, file, plain_callable, async_callable], ids=lambda kind: kind.__name__)
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    async with request.param(tmp_path) as kind:
        yield kind


async def test_it_gives_its_data_then_says_that_they_are_the_same_then_gives_new_ones(
    kind: Kind,
) -> None:
    kind.provide(b"[1]")
    first = await kind.source.fetch(None)
    assert isinstance(first, Payload)
    assert first.body == b"[1]"
    assert first.revision is not None

    second = await kind.source.fetch(first.revision)
    assert isinstance(second, NotModified)
    assert second.revision is not None

    kind.provide(b"[1,2]")
    third = await kind.source.fetch(second.revision)
    assert isinstance(third, Payload)
    assert third.body == b"[1,2]"


async def test_it_fails_with_a_sentence_and_recovers(kind: Kind) -> None:
    kind.provide(b"[1]")
    await kind.source.fetch(None)
    kind.remove()
    with pytest.raises(RefreshFailed) as caught:
        await kind.source.fetch(None)
    assert caught.value.failure.stage.outcome == "failed"
    assert str(caught.value)
    kind.provide(b"[1,2,3]")
    assert isinstance(await kind.source.fetch(None), Payload)


async def test_it_gives_no_more_than_it_may(kind: Kind) -> None:
    kind.provide(b"1" * (LIMIT + 1))
    with pytest.raises(RefreshFailed, match=f"max_bytes = {LIMIT}") as caught:
        await kind.source.fetch(None)
    assert caught.value.failure.stage is Stage.BODY
