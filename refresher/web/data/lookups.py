"""Values inside JSON texts, looked up once and kept for the next reader."""

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
from refresher.offload.parsed import Parsed, Texts
from refresher.offload.pool import LARGE
from refresher.pipeline import representation
from refresher.pipeline.representation import Representation
from refresher.web.answer import Answer
from refresher.web.problems import no_json, no_value

logger = logging.getLogger("refresher")

JSON = "application/json"

Found: TypeAlias = Representation | NotThere

_AT_ONCE = 32 * 1024
"""Bytes of a body that the loop itself parses, and of a value that it compresses."""
_KEPT = 32 * 1024 * 1024
_KEPT_PARSED = 32 * 1024 * 1024
_OVERHEAD = 512

LookUp = Callable[[str, bytes, Sequence[Path]], Awaitable[list[bytes | NotThere]]]
"""Finds values in a body, known by its ETag, that is too large for any thread of this process."""


class _Kept(NamedTuple):
    """A value, and the pointer to it, which its sender makes as long as it likes."""

    path: Path
    found: Found


class Text(NamedTuple):
    """A version of a job that is JSON, to be looked into."""

    job: str
    etag: str
    """Of the whole: what tells it from every other text, whatever its number and whosever it is."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """A text that could not be looked into, for a reason that may be gone the next time."""

    why: str


def pointed_at(job: str, content: Content, etag: str, pointer: bytes) -> tuple[Text, Path] | Answer:
    """What a raw pointer such as `/a/0` asks for in a version, or why there is no such thing."""
    if not content.is_json:
        return no_json(job, content.content_type)
    path = parse(pointer)
    if isinstance(path, NotThere):
        return no_value(job, pointer, path.depth)
    return Text(job, etag, content.body), path


class Lookups:
    """Finds values by JSON Pointer; what was found, and what was parsed for it, is kept a while.

    A large body is parsed elsewhere, by `look_up`, which is asked once for all who ask before it
    has begun, whatever they ask for, and once more for those who ask meanwhile.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._found: LRUCache[tuple[str, Path], _Kept] = LRUCache(_KEPT, getsizeof=_size_of)
        self._texts = Texts(_KEPT_PARSED)
        self._desks: dict[str, _Desk] = {}

    def at_once(self, text: Text, path: Path) -> Found | None:
        """The value; None where finding it takes longer than the loop may be held up."""
        kept = self._found.get((text.etag, path))
        found = None if kept is None else kept.found
        parsed = None if found else self._texts.take(text.etag)
        if parsed is None and found is None and len(text.body) <= _AT_ONCE:
            parsed = Parsed(text.body)
        if parsed is None:
            return found
        if parsed.unread(path) > _AT_ONCE:
            self._texts.keep(text.etag, parsed)
            return None
        (value,) = parsed.find([path])
        self._texts.keep(text.etag, parsed)
        if isinstance(value, bytes) and len(value) > _AT_ONCE:
            return None
        found = _prepared(value)
        self.keep(text, path, found)
        return found

    async def later(self, text: Text, path: Path) -> Found | Unread:
        """The value, however long it takes."""
        desk = self._desks.setdefault(text.etag, _Desk())
        desk.waiting += 1
        try:
            answer = desk.ask(path)
            async with desk.lock:
                if not answer.done():  # nobody's turn before has answered it too
                    await self._serve(desk, text)
            return answer.result()
        finally:
            desk.waiting -= 1
            if not desk.waiting:
                self._desks.pop(text.etag, None)

    def keep(self, text: Text, path: Path, found: Found) -> None:
        """Keep a value for the next reader."""
        with suppress(ValueError):  # larger than all that is kept
            self._found[text.etag, path] = _Kept(path, found)

    async def _serve(self, desk: "_Desk", text: Text) -> None:
        """Answer all who ask by now; who is sent away meanwhile leaves them to the next."""
        paths = list(desk.asked)
        values = await self._values(text, paths)
        if isinstance(values, Unread):
            for path in paths:
                desk.asked.pop(path).set_result(values)
            return
        for path, value in zip(paths, values, strict=True):
            found = await to_thread.run_sync(_prepared, value)
            self.keep(text, path, found)
            desk.asked.pop(path).set_result(found)

    async def _values(self, text: Text, paths: Sequence[Path]) -> list[bytes | NotThere] | Unread:
        if len(text.body) >= LARGE:
            return await self._values_elsewhere(text, paths)
        parsed = self._texts.take(text.etag) or Parsed(text.body)
        values = await to_thread.run_sync(parsed.find, paths)
        self._texts.keep(text.etag, parsed)
        return values

    async def _values_elsewhere(
        self, text: Text, paths: Sequence[Path]
    ) -> list[bytes | NotThere] | Unread:
        """Look them up, and once more if that process dies: it may have been killed for another."""
        try:
            return await self._look_up(text.etag, text.body, paths)
        except RefreshFailed as failure:
            logger.warning("%s: %s; its values are looked up once more", text.job, failure)
        try:
            return await self._look_up(text.etag, text.body, paths)
        except RefreshFailed as failure:
            logger.error("%s: %s; who asked for its values gets a 503", text.job, failure)  # noqa: TRY400  ours to tell, not to trace
            return Unread(str(failure))


class _Desk:
    """Those who wait for values of one text; one of them at a time has them looked up."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.asked: dict[Path, asyncio.Future[Found | Unread]] = {}
        self.waiting = 0

    def ask(self, path: Path) -> "asyncio.Future[Found | Unread]":
        if path not in self.asked:
            self.asked[path] = asyncio.get_running_loop().create_future()
        return self.asked[path]


def _prepared(value: bytes | NotThere) -> Found:
    return value if isinstance(value, NotThere) else representation.prepare(value, JSON)


def _size_of(kept: _Kept) -> int:
    path, found = kept
    size = _OVERHEAD + sys.getsizeof(path) + sum(map(sys.getsizeof, path))
    if isinstance(found, NotThere):
        return size
    return size + len(found.identity) + sum(map(len, found.coded.values()))
