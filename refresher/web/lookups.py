"""Values inside snapshots, looked up once and kept for the next reader."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from anyio import to_thread
from cachetools import LRUCache

from refresher import pointer, representation
from refresher.model import Snapshot
from refresher.pointer import NotThere, Opened, Path
from refresher.representation import Representation
from refresher.workshop import LARGE

JSON = "application/json"

Found: TypeAlias = Representation | NotThere
Version: TypeAlias = tuple[str, int]
"""A job, and the version of its snapshot."""

_AT_ONCE = 32 * 1024
"""Bytes of a body that the loop itself parses, and of a value that it compresses."""
_KEPT = 32 * 1024 * 1024
_KEPT_PARSED = 32 * 1024 * 1024
_OVERHEAD = 512
_PER_MEMBER = 160
"""Bytes that a parsed member takes, measured: its key, and a text that points into the body."""


class _Kept(NamedTuple):
    """A value, and the pointer to it, which its sender makes as long as it likes."""

    path: Path
    found: Found


LookUp = Callable[[bytes, Sequence[Path]], Awaitable[list[bytes | NotThere]]]
"""Finds values in a body that is too large for any thread of this process."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A body, as far as it has been looked into."""

    body: bytes
    opened: dict[Path, Opened]

    def find(self, paths: Sequence[Path]) -> list[bytes | NotThere]:
        return [pointer.find(self.body, path, self.opened) for path in paths]


class Lookups:
    """Finds values by JSON Pointer; what was found, and what was parsed for it, is kept a while.

    A large body is parsed elsewhere, by `look_up`: once for all who ask before that has begun,
    whatever they ask for, and once more for those who ask meanwhile.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._found: LRUCache[tuple[Version, Path], _Kept] = LRUCache(_KEPT, getsizeof=_size_of)
        self._parsed: LRUCache[Version, _Parsed] = LRUCache(_KEPT_PARSED, getsizeof=_size_of_parsed)
        self._desks: dict[Version, _Desk] = {}

    def at_once(self, snapshot: Snapshot, path: Path) -> Found | None:
        """The value; None where finding it takes longer than the loop may be held up."""
        version = snapshot.job, snapshot.version
        kept = self._found.get((version, path))
        found = None if kept is None else kept.found
        parsed = None if found else self._parsed.pop(version, None)
        if parsed is None and found is None and len(snapshot.content.body) <= _AT_ONCE:
            parsed = _Parsed(snapshot.content.body, {})
        if parsed is None:
            return found
        (value,) = parsed.find([path])
        self._keep_parsed(version, parsed)
        if isinstance(value, bytes) and len(value) > _AT_ONCE:
            return None
        found = _prepared(value)
        self.keep(snapshot, path, found)
        return found

    async def later(self, snapshot: Snapshot, path: Path) -> Found:
        """The value, however long it takes."""
        version = snapshot.job, snapshot.version
        desk = self._desks.setdefault(version, _Desk())
        desk.waiting += 1
        try:
            answer = desk.ask(path)
            async with desk.lock:
                if not answer.done():  # nobody's turn before has answered it too
                    await self._serve(desk, snapshot)
            return answer.result()
        finally:
            desk.waiting -= 1
            if not desk.waiting:
                self._desks.pop(version, None)

    def keep(self, snapshot: Snapshot, path: Path, found: Found) -> None:
        """Keep a value for the next reader."""
        with suppress(ValueError):  # larger than all that is kept
            self._found[(snapshot.job, snapshot.version), path] = _Kept(path, found)

    async def _serve(self, desk: "_Desk", snapshot: Snapshot) -> None:
        """Answer all who ask by now; who is sent away meanwhile leaves them to the next."""
        paths = list(desk.asked)
        values = await self._values(snapshot, paths)
        for path, value in zip(paths, values, strict=True):
            found = await to_thread.run_sync(_prepared, value)
            self.keep(snapshot, path, found)
            desk.asked.pop(path).set_result(found)

    async def _values(self, snapshot: Snapshot, paths: Sequence[Path]) -> list[bytes | NotThere]:
        version, body = (snapshot.job, snapshot.version), snapshot.content.body
        if len(body) >= LARGE:
            return await self._look_up(body, paths)
        parsed = self._parsed.pop(version, None) or _Parsed(body, {})
        values = await to_thread.run_sync(parsed.find, paths)
        self._keep_parsed(version, parsed)
        return values

    def _keep_parsed(self, version: Version, parsed: _Parsed) -> None:
        with suppress(ValueError):
            self._parsed[version] = parsed


class _Desk:
    """Those who wait for values of one version; one of them at a time has them looked up."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.asked: dict[Path, asyncio.Future[Found]] = {}
        self.waiting = 0

    def ask(self, path: Path) -> "asyncio.Future[Found]":
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


def _size_of_parsed(parsed: _Parsed) -> int:
    members = sum(len(each) for each in parsed.opened.values() if each is not None)
    return _OVERHEAD + len(parsed.body) + _PER_MEMBER * members
