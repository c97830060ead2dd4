"""Where bodies are parsed and versions compared: small ones here, large ones in worker processes.

Refining 50 MB of JSON stops every reader for seconds, in the loop and in a thread, which holds the
interpreter lock just as well; in another process it costs them nothing.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from anyio import to_thread

from refresher.errors import RefreshFailed
from refresher.jsontext.pointer import NotThere, Path
from refresher.model import Content, Format, Snapshot
from refresher.offload.tasks import CompareTask, LookupTask, PageTask, RefineTask, Task, Verdict
from refresher.offload.workers import Workers
from refresher.payload import Payload, Spool
from refresher.pipeline import FormatRule, Rules, Served, media, representation
from refresher.pipeline.pages import Page, PageRule
from refresher.pipeline.representation import Representation

T = TypeVar("T")

# Measured, by what readers wait at p99 while it is done over and over. Checked and hashed, 128 KiB
# cost them 3 ms in the loop, and 1 MiB 9 ms there, 6 ms in a thread, 4 ms in a process. Where every
# value becomes an object it is 7 ms in the loop for 64 KiB, and for 1 MiB 130, 14 and 4 ms.
LARGE = 1024 * 1024
"""Bytes of a body from which a worker refines it, whatever is done to it."""
_LARGE_TO_PARSE = 64 * 1024
"""The same, where its values become objects."""
_LARGE_TO_CONVERT: Mapping[str, int] = {
    Format.NDJSON: 64 * 1024,
    Format.CSV: 64 * 1024,
    Format.XML: 8 * 1024,
    Format.YAML: 8 * 1024,
    Format.TOML: 8 * 1024,
}
"""The same, where JSON is made of it: of the last three, 1 MiB takes 170 to 490 ms."""
_SMALL = 32 * 1024
"""Bytes of a body up to which the loop itself refines it; between this and `LARGE`, a thread.

Compressed in three codings they take 1.3 ms.
"""

_WORKERS = max(2, min(4, os.cpu_count() or 1))
_IDLE = 60.0
"""Seconds without work after which a worker ends, and gives back the memory that it took."""


class WorkerPool:
    """Runs work on bodies in the loop, in a thread or in a worker process, by how long it takes.

    A context manager, for one event loop. Worker processes are started when there is work for them,
    `workers` of them at most, and end after `idle` seconds without any. Each has a cache of the
    texts that values were looked up in.
    """

    def __init__(self, *, workers: int = _WORKERS, idle: float = _IDLE) -> None:
        self._workers = Workers(most=workers, idle=idle)
        self._comparing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._workers.close()

    async def refine(self, payload: Payload, rules: Rules, served: Snapshot | None) -> Verdict:
        """Make content fit to serve of an answer, which the caller closes.

        Cancelling kills a worker process that does it; a thread is abandoned.

        Raises:
            RefreshFailed: another rule than the guard refused the content, or the worker process
                died over it (stage `source`).
        """
        task = RefineTask(
            content_type=payload.content_type,
            rules=rules,
            served=None if served is None else _measured(served),
            etag=None if served is None else served.etag,
        )
        guard = rules.guard
        looks_inside = guard.required or guard.duplicate_keys == "reject"
        parses = bool(looks_inside) or any(
            rule is not None for rule in (rules.select, rules.schema, rules.content_time)
        )
        large = _large_from(payload.content_type, rules.reading.format, parses=parses)
        return await self._run(task, payload.body, large)

    async def read_page(self, payload: Payload, rule: PageRule) -> Page:
        """Read one page of a paginated answer, which the caller closes.

        Raises:
            RefreshFailed: the page was refused, or a worker process died over it (`source`).
        """
        task = PageTask(content_type=payload.content_type, rule=rule)
        large = _large_from(payload.content_type, rule.reading.format, parses=rule.builds_values)
        return await self._run(task, payload.body, large)

    async def compare(self, before: bytes, after: bytes) -> bytes:
        """Make a JSON Patch (RFC 6902) from one JSON text to another.

        Cancelling kills a worker process that does it. Large texts are compared one pair at a time,
        so that requests for a comparison cannot take all the workers from refreshes.

        Raises:
            RefreshFailed: the worker process died over it.
        """
        task = CompareTask(before)
        if len(before) + len(after) < _LARGE_TO_PARSE:
            return await to_thread.run_sync(task.run, after, abandon_on_cancel=True)
        async with self._comparing:
            outcome = await self._workers.run(task, after)
        if isinstance(outcome, RefreshFailed):
            raise outcome
        return outcome

    async def look_up(
        self, etag: str, body: bytes, paths: Sequence[Path]
    ) -> list[bytes | NotThere]:
        """Find values in a large body that is JSON and has that ETag.

        The worker caches what it parses of the body, and is not sent a body that it has cached.

        Raises:
            RefreshFailed: the worker process died over it.
        """
        outcome = await self._workers.run(LookupTask(etag, tuple(paths)), body)
        if not isinstance(outcome, RefreshFailed):
            return outcome.values
        try:
            raise outcome
        finally:
            del outcome  # its traceback leads here, and to the body

    async def prepare(self, content: Content) -> Representation:
        """Prepare content to be sent that has been refined before."""
        body = content.body
        # Hashing and compressing leave the interpreter lock to others.
        prepare = partial(representation.prepare, body, content.content_type)
        return await self.call(prepare, len(body))

    async def call(self, function: Callable[[], T], size: int) -> T:
        """Do what only this process can with a body of `size` bytes; a large one in a thread."""
        if size < _SMALL:
            return function()
        return await to_thread.run_sync(function, abandon_on_cancel=True)

    async def _run(self, task: Task[T], body: bytes | Spool, large: int) -> T:
        """Run a task; by a worker where the body is in a file, or has `large` bytes or more."""
        if isinstance(body, bytes) and len(body) < large:
            if len(body) < _SMALL:
                return task.run(body)
            return await to_thread.run_sync(task.run, body, abandon_on_cancel=True)
        outcome = await self._workers.run(task, body)
        if not isinstance(outcome, RefreshFailed):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # its traceback leads here, and to the body


def _large_from(content_type: str | None, rule: FormatRule, *, parses: bool) -> int:
    """Bytes from which a worker takes such a body; `parses`: its values become objects."""
    # A format that only the body itself tells is not one that is slow to read.
    kind = media.read(content_type).format if rule == "auto" else rule
    large = LARGE if kind is None else _LARGE_TO_CONVERT.get(kind, LARGE)
    return min(large, _LARGE_TO_PARSE) if parses else large


def _measured(served: Snapshot) -> Served:
    content = served.content
    return Served(content.items, len(content.body), content.format)
