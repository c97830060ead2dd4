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

        def alone() -> T:
            try:
                return call()
            finally:
                self._started_at = None

        work, result = handover(alone)
        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError:  # the machine has no thread left: nothing was started
            self._started_at = None
            raise
        return await result


def still_hangs(started_at: float) -> RefreshFailed:
    """A call that is not made, since an abandoned one that began then has not returned yet."""
    seconds = time.monotonic() - started_at
    return RefreshFailed(
        Stage.TIMEOUT,
        f"the call of an earlier attempt still hangs, after {seconds:.0f} s; "
        "it is not started again before it returns",
        transient=True,
    )


class ThreadPool:
    """A few threads that share the calls; they start with the first calls and then wait."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._vacant = size
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in one of the threads, once one is free."""
        work, result = handover(call)
        if self._vacant:
            self._vacant -= 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        self._work.put(work)
        return await result

    def _serve(self) -> None:
        while True:
            self._work.get()()


class Lane:
    """A thread that takes calls one after the other, in their order, and ends when it is closed."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in its turn; if nobody waits for it any more by then, it is left out.

        Raises:
            RuntimeError: the lane has been closed.
        """
        if self._closed:
            raise RuntimeError(f"{self._thread.name} has been closed, and takes no more calls")
        work, result = handover(call)
        self._work.put(lambda: None if result.cancelled() else work())
        return await result

    def post(self, call: Callable[[], None]) -> None:
        """Have it called in its turn, unless that has ended, from any thread; it must not raise."""
        self._work.put(call)

    def close(self) -> "asyncio.Future[None]":
        """Take no calls after those that are there; what is returned waits until these are done."""
        self._closed = True
        work, ended = handover(lambda: None)
        self._work.put(work)
        self._work.put(None)
        return ended

    def join(self) -> None:
        """Block another thread until it has been closed and come to its end."""
        self._thread.join()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it may hold a body, and the next one may be long in coming


def handover(call: Callable[P, T]) -> tuple[Callable[P, None], "asyncio.Future[T]"]:
    """The call as a thread runs it, and the future that its outcome arrives at in this loop."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def work(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            value = context.run(call, *args, **kwargs)
        except StopIteration as error:  # a future cannot carry it; a coroutine turns it into this
            arrival = _settling(result, RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001  whatever it is belongs to who waits for it
            arrival = _settling(result, error)
        else:
            arrival = _settled(result, value)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(arrival)

    return work, result


def _settled(result: "asyncio.Future[T]", value: T) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_result(value)


def _settling(result: "asyncio.Future[T]", error: BaseException) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_exception(error)
