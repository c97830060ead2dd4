"""Values inside JSON texts by JSON Pointer: found off the loop where that takes long; cached."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from anyio import to_thread
from cachetools import LRUCache

from refresher.errors import RefreshFailed
from refresher.jsontext.pointer import NotThere, Path, parse
from refresher.model import Content
from refresher.offload.parsed import ParsedCache, ParsedText
from refresher.offload.pool import LARGE
from refresher.pipeline import representation
from refresher.pipeline.representation import Representation
from refresher.web.answer import Answer
from refresher.web.problems import no_json, no_value

logger = logging.getLogger("refresher")

JSON = "application/json"

Found: TypeAlias = Representation | NotThere

_SMALL = 32 * 1024
"""Bytes of a body that the loop itself parses, and of a value that it compresses."""
_CACHED_VALUES = 32 * 1024 * 1024
"""Bytes; as estimated by `_size_of`."""
_CACHED_TEXTS = 32 * 1024 * 1024
"""Bytes of texts that stay parsed."""
_OVERHEAD = 512
"""Bytes of a cached value beside its content and its path."""

LookUp = Callable[[str, bytes, Sequence[Path]], Awaitable[list[bytes | NotThere]]]
"""Finds values in a body, given after its ETag, that is too large to be parsed in this process."""


class _Cached(NamedTuple):
    """A value and the pointer to it, whose length only its sender limits: it counts as size."""

    path: Path
    found: Found


class Text(NamedTuple):
    """The content of a version, which is JSON."""

    job: str
    etag: str
    """Of the whole content: equal for equal texts, whatever job and version they are of."""
    body: bytes


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """Whether there is such a value could not be found out; another try may succeed."""

    why: str


def resolve(job: str, content: Content, etag: str, pointer: bytes) -> tuple[Text, Path] | Answer:
    """Where to look for a raw pointer such as `/a/0`, or the problem that nothing can be there."""
    if not content.is_json:
        return no_json(job, content.content_type)
    path = parse(pointer)
    if isinstance(path, NotThere):
        return no_value(job, pointer, path.depth)
    return Text(job, etag, content.body), path


class Lookups:
    """Finds values by JSON Pointer, and caches values and parsed texts.

    A large body is parsed in another process, by `look_up`. One call at a time is made for a text;
    requests that come meanwhile are answered by the next call, all of them together.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._found: LRUCache[tuple[str, Path], _Cached] = LRUCache(
            _CACHED_VALUES, getsizeof=_size_of
        )
        self._texts = ParsedCache(_CACHED_TEXTS)
        self._batches: dict[str, _Batch] = {}

    def find_now(self, text: Text, path: Path) -> Found | None:
        """The value; None where finding it takes longer than the loop may be held up."""
        cached = self._found.get((text.etag, path))
        found = None if cached is None else cached.found
        parsed = None if found else self._texts.take(text.etag)
        if parsed is None and found is None and len(text.body) <= _SMALL:
            parsed = ParsedText(text.body)
        if parsed is None:
            return found
        if parsed.unread(path) > _SMALL:
            self._texts.put(text.etag, parsed)
            return None
        (value,) = parsed.find([path])
        self._texts.put(text.etag, parsed)
        if isinstance(value, bytes) and len(value) > _SMALL:
            return None
        found = _prepared(value)
        self.keep(text, path, found)
        return found

    async def find(self, text: Text, path: Path) -> Found | LookupFailed:
        """The value, however long it takes."""
        batch = self._batches.setdefault(text.etag, _Batch())
        batch.requests += 1
        try:
            answer = batch.answer_to(path)
            async with batch.lock:
                if not answer.done():  # the task that had the lock before may have set it
                    await self._find_all(batch, text)
            return answer.result()
        finally:
            batch.requests -= 1
            if not batch.requests:
                self._batches.pop(text.etag, None)

    def keep(self, text: Text, path: Path, found: Found) -> None:
        """Cache a value."""
        with suppress(ValueError):  # larger than the whole cache
            self._found[text.etag, path] = _Cached(path, found)

    async def _find_all(self, batch: "_Batch", text: Text) -> None:
        """Answer all requests made so far; a cancelled call leaves them to the next holder."""
        paths = list(batch.answers)
        values = await self._values(text, paths)
        if isinstance(values, LookupFailed):
            for path in paths:
                batch.answers.pop(path).set_result(values)
            return
        for path, value in zip(paths, values, strict=True):
            found = await to_thread.run_sync(_prepared, value)
            self.keep(text, path, found)
            batch.answers.pop(path).set_result(found)

    async def _values(
        self, text: Text, paths: Sequence[Path]
    ) -> list[bytes | NotThere] | LookupFailed:
        if len(text.body) >= LARGE:
            return await self._values_elsewhere(text, paths)
        parsed = self._texts.take(text.etag) or ParsedText(text.body)
        values = await to_thread.run_sync(parsed.find, paths)
        self._texts.put(text.etag, parsed)
        return values

    async def _values_elsewhere(
        self, text: Text, paths: Sequence[Path]
    ) -> list[bytes | NotThere] | LookupFailed:
        """Look them up, once more if the process dies: another text may have been the cause."""
        try:
            return await self._look_up(text.etag, text.body, paths)
        except RefreshFailed as failure:
            logger.warning("%s: %s; its values are looked up once more", text.job, failure)
        try:
            return await self._look_up(text.etag, text.body, paths)
        except RefreshFailed as failure:
            logger.error("%s: %s; requests for its values get a 503", text.job, failure)  # noqa: TRY400  ours to tell, not to trace
            return LookupFailed(str(failure))


class _Batch:
    """The requests that wait for values of one text; one at a time looks up all of them."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.answers: dict[Path, asyncio.Future[Found | LookupFailed]] = {}
        """Of the paths that have yet to be looked up."""
        self.requests = 0

    def answer_to(self, path: Path) -> "asyncio.Future[Found | LookupFailed]":
        if path not in self.answers:
            self.answers[path] = asyncio.get_running_loop().create_future()
        return self.answers[path]


def _prepared(value: bytes | NotThere) -> Found:
    return value if isinstance(value, NotThere) else representation.prepare(value, JSON)


def _size_of(cached: _Cached) -> int:
    path, found = cached
    size = _OVERHEAD + sys.getsizeof(path) + sum(map(sys.getsizeof, path))
    if isinstance(found, NotThere):
        return size
    return size + len(found.identity) + sum(map(len, found.coded.values()))
