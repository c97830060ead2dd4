"""Blocking calls on daemon threads: one that never returns must not hold up the end of the process.

An executor's threads are joined when the loop and the interpreter end, so a call that hangs on a
dead name server or file server would hold up both (measured: 30 s after the loop had ended).
"""

import asyncio
import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from refresher.errors import RefreshFailed
from refresher.model import Stage

P = ParamSpec("P")
T = TypeVar("T")


class SoloThread:
    """A thread for calls that must not pile up: while one still hangs, no other is started."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_at: float | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in a thread; a cancelled wait abandons the call, which then runs on.

        Raises:
            RefreshFailed: an abandoned call of an earlier attempt has not returned yet.
        """
        if self._started_at is not None:
            raise still_hangs(self._started_at)
        self._started_at = time.monotonic()

        def tracked() -> T:
            try:
                return call()
            finally:
                self._started_at = None

        work, result = future_of(tracked)
        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError:  # the machine has no thread left: nothing was started
            self._started_at = None
            raise
        return await result


def still_hangs(started_at: float) -> RefreshFailed:
    """The failure of a call that is not made: an abandoned one, begun then, still runs.

    `started_at` is by the monotonic clock.
    """
    seconds = time.monotonic() - started_at
    return RefreshFailed(
        Stage.TIMEOUT,
        f"the call of an earlier attempt still hangs, after {seconds:.0f} s; "
        "it is not started again before it returns",
        transient=True,
    )


class ThreadPool:
    """At most `size` threads that share the calls; each is started when it is first needed."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._unstarted = size
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in one of the threads, once one is free."""
        work, result = future_of(call)
        if self._unstarted:
            self._unstarted -= 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        self._work.put(work)
        return await result

    def _serve(self) -> None:
        while True:
            self._work.get()()


class SerialThread:
    """A thread that runs calls one after the other, in their order, until it is closed."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in its turn; a call whose wait was cancelled before that is skipped.

        Raises:
            RuntimeError: it has been closed.
        """
        if self._closed:
            raise RuntimeError(f"{self._thread.name} has been closed, and takes no more calls")
        work, result = future_of(call)
        self._work.put(lambda: None if result.cancelled() else work())
        return await result

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call it in its turn, and wait for nothing; from any thread.

        The call must not raise. It is dropped where the thread has ended by then.
        """
        self._work.put(call)

    def close(self) -> "asyncio.Future[None]":
        """Take no further calls; what is returned is done once those made before are."""
        self._closed = True
        work, ended = future_of(lambda: None)
        self._work.put(work)
        self._work.put(None)
        return ended

    def join(self) -> None:
        """Block the calling thread until this one has been closed and has ended."""
        self._thread.join()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it may hold a body, and the wait for the next one may be long


def future_of(call: Callable[P, T]) -> tuple[Callable[P, None], "asyncio.Future[T]"]:
    """The call, to be run in another thread, and the future of this loop that gets its outcome.

    It runs in a copy of the caller's context.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def work(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            value = context.run(call, *args, **kwargs)
        except StopIteration as error:  # a future cannot carry it; a coroutine turns it into this
            settle = _raising(result, RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001  the caller gets whatever it is
            settle = _raising(result, error)
        else:
            settle = _returning(result, value)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    return work, result


def _returning(result: "asyncio.Future[T]", value: T) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_result(value)


def _raising(result: "asyncio.Future[T]", error: BaseException) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_exception(error)
