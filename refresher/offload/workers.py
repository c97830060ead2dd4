"""Worker processes: each is started when a task finds none free, and ends when it has been idle."""

import asyncio
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Generic, Self, TypeVar

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.offload import messages
from refresher.offload.subprocess import ending_of, start
from refresher.offload.tasks import LookupResult, LookupTask, Task
from refresher.offload.threads import future_of
from refresher.payload import Spool

T = TypeVar("T")

_PROGRAM = "refresher.offload.runner"


class Workers:
    """Runs tasks in at most `most` worker processes; for one event loop.

    Each process has a thread that waits for it. A process that died, or was killed because its task
    was cancelled, is replaced with the next task; one without a task for `idle` seconds is ended.
    """

    def __init__(self, *, most: int, idle: float) -> None:
        self._most = most
        self._idle = idle
        self._queue: queue.SimpleQueue[Callable[[_WorkerProcess], None] | None]
        self._queue = queue.SimpleQueue()
        self._pending = 0
        """How many tasks are queued or running."""
        self._threads: set[asyncio.Future[None]] = set()
        """Each is done when its thread has ended."""

    async def run(self, task: Task[T], body: bytes | Spool) -> T | RefreshFailed:
        """The outcome of a task: a failure where the task raised one, or its process died.

        Cancelling kills the process that runs it.
        """
        call = _Call(task, body)
        work, outcome = future_of(call.run)
        self._pending += 1
        self._queue.put(work)
        self._start_threads()
        try:
            return await outcome
        finally:
            self._pending -= 1
            call.cancel()

    async def close(self) -> None:
        """End all processes; no task may be pending."""
        threads = list(self._threads)
        for _ in threads:
            self._queue.put(None)
        if threads:
            await asyncio.wait(threads)

    def _start_threads(self) -> None:
        """Have a thread for each pending task, as far as there may be so many."""
        while len(self._threads) < min(self._pending, self._most):
            run, ended = future_of(self._run_worker)
            self._threads.add(ended)
            ended.add_done_callback(self._thread_ended)
            threading.Thread(target=run, name="refresher pool", daemon=True).start()

    def _thread_ended(self, thread: "asyncio.Future[None]") -> None:
        self._threads.discard(thread)
        self._start_threads()  # for a task that was queued while it ended

    def _run_worker(self) -> None:
        """Give tasks to one worker process, until it has been idle."""
        with _WorkerProcess() as process:
            while (work := self._next()) is not None:
                work(process)
                del work  # it holds a body, and the wait for the next one may be long

    def _next(self) -> Callable[["_WorkerProcess"], None] | None:
        try:
            return self._queue.get(timeout=self._idle)
        except queue.Empty:
            return None


class _Call(Generic[T]):
    """One task with its body, from the loop to a worker's thread."""

    def __init__(self, task: Task[T], body: bytes | Spool) -> None:
        self._task = task
        # A caller that is cancelled may close its file while the thread still uses it.
        self._body = body.duplicate() if isinstance(body, Spool) else body
        self._lock = threading.Lock()
        self._process: _WorkerProcess | None = None
        """The one that runs it at the moment."""
        self._cancelled = False

    def run(self, process: "_WorkerProcess") -> T | RefreshFailed:
        """Have a worker process run it; in the thread of that process."""
        try:
            return self._outcome(process)
        except RefreshFailed as failure:
            return failure.with_traceback(None)  # which would lead here, and to the body
        finally:
            if isinstance(self._body, Spool):
                self._body.close()

    def _outcome(self, process: "_WorkerProcess") -> T | RefreshFailed:
        process.ensure_started()
        with self._lock:
            if self._cancelled:
                return RefreshFailed(Stage.SOURCE, "nobody waits for it any more")
            self._process = process
        try:
            return process.run(self._task, self._body)
        finally:
            with self._lock:
                self._process = None

    def cancel(self) -> None:
        """Do not run it; kill the process that runs it already. From any thread."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()


class _WorkerProcess:
    """One worker process, or its successor after it died; used by one thread."""

    def __init__(self) -> None:
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._cached: frozenset[str] = frozenset()
        """The ETags of the texts that the process has in its cache."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def ensure_started(self) -> None:
        """Start a process, unless one is running.

        Raises:
            RefreshFailed: it cannot be started.
        """
        if self._running is not None and self._running[0].poll() is not None:
            self._end()
        if self._running is None:
            try:
                self._running = _started()
            except OSError as error:
                message = f"no worker process can be started: {error.strerror}"
                raise RefreshFailed(Stage.SOURCE, message, transient=True) from error

    def run(self, task: Task[T], body: bytes | Spool) -> T | RefreshFailed:
        """Send a task to the process, and block until its outcome comes.

        Raises:
            RefreshFailed: the process died.
        """
        assert self._running is not None  # noqa: S101  see ensure_started
        _, channel = self._running
        with ExitStack() as files:
            sent = [files.enter_context(closing(messages.pack_task(task)))]
            if isinstance(body, Spool):
                sent.append(body)
            elif not (isinstance(task, LookupTask) and task.etag in self._cached):
                sent.append(files.enter_context(closing(_file_of(body))))
            try:
                messages.send(channel, *sent)
                received = messages.receive(channel)
            except ConnectionError:
                received = []
            if not received:
                raise RefreshFailed(
                    Stage.SOURCE,
                    f"worker process died over {len(body)} bytes: {self._end()}",
                    transient=True,
                )
            file = files.enter_context(closing(received[0]))
            outcome = messages.unpack_outcome(file, task, body)
            if isinstance(task, LookupTask):
                self._cached = outcome.cached if isinstance(outcome, LookupResult) else frozenset()
            return outcome

    def kill(self) -> None:
        """Kill the process; from any thread."""
        running = self._running
        if running is not None:
            running[0].kill()

    def _end(self) -> str:
        """End the process, where there is one, and say how it ended."""
        if self._running is None:
            return ""
        (process, channel), self._running = self._running, None
        self._cached = frozenset()
        channel.close()
        process.kill()
        return ending_of(process.wait())


def _started() -> tuple["subprocess.Popen[bytes]", socket.socket]:
    return start(
        _PROGRAM,
        search_path=sys.path,
        stdout=subprocess.DEVNULL,
        # Ctrl+C is for the service. In a session of its own, where Linux groups processes by
        # session to share out the processors, being nice would be of no effect.
        process_group=0,
    )


def _file_of(body: bytes) -> Spool:
    spool = Spool()
    spool.write(body)
    return spool
