"""Where bodies are parsed and versions compared: small ones here, large ones by workers.

Refining 50 MB of JSON stops every reader for seconds, in the loop and in a thread, which holds the
interpreter lock just as well; in another process it costs them nothing.
"""

import asyncio
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Generic, Self, TypeVar

from anyio import to_thread

from refresher.errors import RefreshFailed
from refresher.jsontext.pointer import NotThere, Path
from refresher.model import Content, Format, Snapshot, Stage
from refresher.offload import tasks
from refresher.offload.subprocess import ending_of, start
from refresher.offload.tasks import Comparison, Looked, Lookup, Paging, Refining, Task, Verdict
from refresher.offload.threads import future_of
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
_AT_ONCE = 32 * 1024
"""Bytes of a body up to which the loop itself refines it; between this and `LARGE`, a thread.

Compressed in three codings they take 1.3 ms.
"""

_PROGRAM = "refresher.offload.runner"
_WORKERS = max(2, min(4, os.cpu_count() or 1))
_IDLE = 60.0
"""Seconds without work after which a worker goes, and with it the memory that it came to need."""


class WorkerPool:
    """A few worker processes, each started for the first task that finds none free.

    A context manager, for one loop. Each worker has a thread of its own that waits for it; a worker
    that dies, or is killed because nobody waits any longer, is replaced when there is work again.
    There are `workers` of them at most; each keeps the texts that it has looked into.
    """

    def __init__(self, *, workers: int = _WORKERS, idle: float = _IDLE) -> None:
        self._workers = workers
        self._idle = idle
        self._work: queue.SimpleQueue[Callable[[_Worker], None] | None] = queue.SimpleQueue()
        self._open = 0
        self._keepers: set[asyncio.Future[None]] = set()
        self._comparing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keepers = list(self._keepers)
        for _ in keepers:
            self._work.put(None)
        if keepers:
            await asyncio.wait(keepers)

    async def refine(self, payload: Payload, rules: Rules, served: Snapshot | None) -> Verdict:
        """Make content fit to serve of an answer, which stays the caller's to let go of.

        Cancelling ends the work itself, wherever it is done.

        Raises:
            RefreshFailed: the content was refused, and not by the guard, or the worker process
                died over it (`source`).
        """
        task = Refining(
            content_type=payload.content_type,
            rules=rules,
            served=None if served is None else _known(served),
            etag=None if served is None else served.etag,
        )
        guard = rules.guard
        looks_inside = guard.required or guard.duplicate_keys == "reject"
        parses = bool(looks_inside) or rules.select is not None or rules.schema is not None
        large = _large_for(payload.content_type, rules.format, parses=parses)
        return await self._carried_out(task, payload.body, large)

    async def read_page(self, payload: Payload, rule: PageRule) -> Page:
        """Find in one page of an answer what it brings; the page stays the caller's to let go of.

        Raises:
            RefreshFailed: the page was refused, or the worker process died over it (`source`).
        """
        task = Paging(content_type=payload.content_type, rule=rule)
        large = _large_for(payload.content_type, rule.format, parses=rule.builds_values)
        return await self._carried_out(task, payload.body, large)

    async def compare(self, before: bytes, after: bytes) -> bytes:
        """Write a JSON Patch from one JSON text to another.

        Cancelling ends the work itself. One comparison of large texts is made at a time, so that
        refreshes do not wait for people.

        Raises:
            RefreshFailed: the worker process died over it.
        """
        comparison = Comparison(before)
        if len(before) + len(after) < _LARGE_TO_PARSE:
            return await to_thread.run_sync(comparison.carry_out, after, abandon_on_cancel=True)
        async with self._comparing:
            outcome = await self._outcome_elsewhere(comparison, after)
        if isinstance(outcome, RefreshFailed):
            raise outcome
        return outcome

    async def look_up(
        self, etag: str, body: bytes, paths: Sequence[Path]
    ) -> list[bytes | NotThere]:
        """Find values in a large body that is JSON, and known by that ETag.

        It is parsed once as long as the worker lives, and has room for what it parsed.

        Raises:
            RefreshFailed: the worker process died over it.
        """
        outcome = await self._outcome_elsewhere(Lookup(etag, tuple(paths)), body)
        if not isinstance(outcome, RefreshFailed):
            return outcome.values
        try:
            raise outcome
        finally:
            del outcome  # its traceback leads here, and to the body

    async def prepare(self, content: Content) -> Representation:
        """Make content ready to be sent that needs no refining any more."""
        body, content_type = content.body, content.content_type
        if len(body) < _AT_ONCE:
            return representation.prepare(body, content_type)
        # Hashing and compressing leave the interpreter lock to others.
        return await to_thread.run_sync(
            representation.prepare, body, content_type, abandon_on_cancel=True
        )

    async def _carried_out(self, task: Task[T], body: bytes | Spool, large: int) -> T:
        """What comes of a task, by a worker process where the body is in a file, or `large`."""
        if isinstance(body, bytes) and len(body) < large:
            if len(body) < _AT_ONCE:
                return task.carry_out(body)
            return await to_thread.run_sync(task.carry_out, body, abandon_on_cancel=True)
        outcome = await self._outcome_elsewhere(task, body)
        if not isinstance(outcome, RefreshFailed):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # its traceback leads here, and to the body

    async def _outcome_elsewhere(self, task: Task[T], body: bytes | Spool) -> T | RefreshFailed:
        errand = _Errand(task, body)
        work, outcome = future_of(errand.carry_out)
        self._open += 1
        self._work.put(work)
        self._staff()
        try:
            return await outcome
        finally:
            self._open -= 1
            errand.abandon()

    def _staff(self) -> None:
        """Have a worker for each task, as far as there may be one."""
        while len(self._keepers) < min(self._open, self._workers):
            keep, gone = future_of(self._keep)
            self._keepers.add(gone)
            gone.add_done_callback(self._left)
            threading.Thread(target=keep, name="refresher pool", daemon=True).start()

    def _left(self, keeper: "asyncio.Future[None]") -> None:
        self._keepers.discard(keeper)
        self._staff()  # for what came in while it left

    def _keep(self) -> None:
        """Run one worker, as long as there is work for it."""
        with _Worker() as hand:
            while (work := self._next()) is not None:
                work(hand)
                del work  # it holds a body, and the next one may be long in coming

    def _next(self) -> Callable[["_Worker"], None] | None:
        try:
            return self._work.get(timeout=self._idle)
        except queue.Empty:
            return None


def _large_for(content_type: str | None, rule: FormatRule, *, parses: bool) -> int:
    """Bytes from which a body of that kind goes to a worker; `parses`: values become objects."""
    # Where nothing but the body itself tells its format, it is none that is slow to read.
    kind = media.read(content_type).format if rule == "auto" else rule
    large = LARGE if kind is None else _LARGE_TO_CONVERT.get(kind, LARGE)
    return min(large, _LARGE_TO_PARSE) if parses else large


def _known(served: Snapshot) -> Served:
    content = served.content
    return Served(content.items, len(content.body), content.format)


class _Errand(Generic[T]):
    """A task on its way to a worker and back."""

    def __init__(self, task: Task[T], body: bytes | Spool) -> None:
        self._task = task
        # Whoever gives up the errand may let go of the file while a thread still has it in hand.
        self._body = body.duplicate() if isinstance(body, Spool) else body
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._abandoned = False

    def carry_out(self, hand: "_Worker") -> T | RefreshFailed:
        """Have it done by a worker, in the worker's thread."""
        try:
            return self._outcome(hand)
        except RefreshFailed as failure:
            return failure.with_traceback(None)  # which would lead here, and to the body
        finally:
            if isinstance(self._body, Spool):
                self._body.close()

    def _outcome(self, hand: "_Worker") -> T | RefreshFailed:
        hand.be_there()
        with self._lock:
            if self._abandoned:
                return RefreshFailed(Stage.SOURCE, "nobody waits for it any more")
            self._worker = hand
        try:
            return hand.carry_out(self._task, self._body)
        finally:
            with self._lock:
                self._worker = None

    def abandon(self) -> None:
        """Nobody waits for it any more: a worker that is busy with it is killed."""
        with self._lock:
            self._abandoned = True
            if self._worker is not None:
                self._worker.kill()


class _Worker:
    """One worker process at a time, used by one thread."""

    def __init__(self) -> None:
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._kept: frozenset[str] = frozenset()
        """The ETags of the texts that the process has kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def be_there(self) -> None:
        """Start a process, unless there is one.

        Raises:
            RefreshFailed: it cannot be started.
        """
        if self._running is not None and self._running[0].poll() is not None:
            self._end()
        if self._running is None:
            try:
                self._running = start(
                    _PROGRAM,
                    search_path=sys.path,
                    stdout=subprocess.DEVNULL,
                    # Ctrl+C is for the service. In a session of its own, where Linux groups
                    # processes by session to share out the processors, being nice would be of no
                    # effect.
                    process_group=0,
                )
            except OSError as error:
                message = f"no worker process can be started: {error.strerror}"
                raise RefreshFailed(Stage.SOURCE, message, transient=True) from error

    def carry_out(self, task: Task[T], body: bytes | Spool) -> T | RefreshFailed:
        """Have the process carry out a task, and wait until it has.

        Raises:
            RefreshFailed: it died.
        """
        assert self._running is not None  # noqa: S101  it was asked to be there
        _, channel = self._running
        with ExitStack() as files:
            sent = [files.enter_context(closing(tasks.pack_task(task)))]
            if isinstance(body, Spool):
                sent.append(body)
            elif not (isinstance(task, Lookup) and task.etag in self._kept):
                sent.append(files.enter_context(closing(_file_of(body))))
            try:
                tasks.send(channel, *sent)
                answer = tasks.receive(channel)
            except ConnectionError:
                answer = []
            if not answer:
                raise RefreshFailed(
                    Stage.SOURCE,
                    f"worker process died over {len(body)} bytes: {self._end()}",
                    transient=True,
                )
            outcome = tasks.unpack_outcome(files.enter_context(closing(answer[0])), task, body)
            if isinstance(task, Lookup):
                self._kept = outcome.kept if isinstance(outcome, Looked) else frozenset()
            return outcome

    def kill(self) -> None:
        """End the process at once; from any thread."""
        running = self._running
        if running is not None:
            running[0].kill()

    def _end(self) -> str:
        """Have no process; say how the one there was came to its end."""
        if self._running is None:
            return ""
        (process, channel), self._running = self._running, None
        self._kept = frozenset()
        channel.close()
        process.kill()
        return ending_of(process.wait())


def _file_of(body: bytes) -> Spool:
    spool = Spool()
    spool.write(body)
    return spool
