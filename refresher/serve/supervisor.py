"""The parent of the workers: starts them, replaces those that die, and ends with them.

It is what uvicorn's `Multiprocess` is, and inherits nothing of it: every method would be another.
That one looks at signals and workers twice a second; kills a worker that does not answer a ping
within 5 s, which eight that import all of this at once on two cores need not; starts processes by
`multiprocessing`, which imports the caller's `__main__` again and shows Ctrl+C as a traceback;
replaces what dies quickly without a pause; and waits for the end without an end.
"""

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from refresher.offload.subprocess import ending_of
from refresher.serve.logs import say
from refresher.serve.server import SIGNALS
from refresher.serve.spawn import INSIST, LISTENS, Worker

_QUICK = 10.0
"""Seconds; a worker that answers for no longer has died quickly."""
_LONGEST_PAUSE = 30.0
_LATE = 0.5
"""Seconds after the grace: workers end by themselves with it, but for one that is stopped."""


@dataclass(slots=True)
class _Post:
    """A place for one worker."""

    number: int
    worker: Worker | None = None
    proven: bool = False
    """Whether a worker has once answered here."""
    quick_deaths: int = 0
    """How many there were in a row."""
    due: float = 0.0
    """When a worker is wanted here, if there is none; by the monotonic clock."""

    @property
    def answers(self) -> bool:
        """Whether there is a worker that answers requests."""
        return self.worker is not None and self.worker.listens_since is not None


def pause_after(quick_deaths: int) -> float:
    """Seconds until a worker is replaced, when so many in a row have died quickly."""
    return 0.0 if quick_deaths <= 1 else min(_LONGEST_PAUSE, 2.0 ** min(quick_deaths - 2, 10))


class Supervisor:
    """Has a worker at every post until a signal, and none `grace` seconds later.

    `hire` starts one for the post of a number, from 0. The first is alone until it answers: what is
    wrong with all of them is said once, and they do not all begin with the same work at once.
    `listening` is called once it does, `closing` when the end begins.
    """

    def __init__(
        self,
        hire: Callable[[int], Worker],
        *,
        workers: int,
        grace: float,
        listening: Callable[[], object] = lambda: None,
        closing: Callable[[], object] = lambda: None,
    ) -> None:
        self._hire = hire
        self._posts = [_Post(number) for number in range(workers)]
        self._grace = grace
        self._listening = listening
        self._closing = closing
        self._poll = select.poll()
        self._ends_by: float | None = None
        self._status = 0

    def run(self) -> int:
        """Work until a signal, or until a worker cannot start; return the exit status."""
        with _woken_by_signals() as woken:
            self._poll.register(woken, select.POLLIN)
            try:
                while not self._is_over():
                    self._fill()
                    self._poll.poll(self._milliseconds())
                    for number in _taken(woken):
                        self._take(number)
                    for post in self._posts:
                        self._look_after(post)
            finally:
                for worker in self._workers():
                    worker.process.kill()
                    worker.process.wait()
                    worker.channel.close()
        return self._status

    def _workers(self) -> list[Worker]:
        return [post.worker for post in self._posts if post.worker is not None]

    def _is_over(self) -> bool:
        if self._ends_by is None:
            return False
        return not self._workers() or time.monotonic() >= self._ends_by + _LATE

    def _milliseconds(self) -> float | None:
        """How long there will be nothing to do but for what wakes us; None: for ever."""
        if self._ends_by is not None:
            moments = [self._ends_by + _LATE]
        else:
            moments = [post.due for post in self._wanting()]
        return max(0.0, min(moments) - time.monotonic()) * 1000 + 1 if moments else None

    def _wanting(self) -> list[_Post]:
        posts = self._posts if self._posts[0].proven else self._posts[:1]
        return [post for post in posts if post.worker is None]

    def _fill(self) -> None:
        for post in self._wanting():
            if self._ends_by is not None or post.due > time.monotonic():
                continue
            try:
                post.worker = self._hire(post.number)
            except OSError as error:
                self._lost(post, None, str(error))
            else:
                self._poll.register(post.worker.channel, select.POLLIN)

    def _take(self, number: int) -> None:
        """Take a signal."""
        if number not in SIGNALS:
            return  # it has woken us, for somebody has died
        if self._ends_by is None:
            self._end(0)
            say(logging.INFO, "%s: closing", signal.Signals(number).name)
        else:
            for worker in self._workers():
                with suppress(OSError):  # it is gone, or has been told a hundred times
                    worker.channel.send(INSIST, socket.MSG_DONTWAIT)

    def _end(self, status: int) -> None:
        self._status = status
        self._ends_by = time.monotonic() + self._grace
        threading.Thread(target=self._end_anyhow, daemon=True).start()
        for worker in self._workers():
            worker.process.terminate()
        self._closing()

    def _end_anyhow(self) -> None:
        time.sleep(self._grace + _LATE)  # the log may be a pipe that nobody reads
        for _ in range(100):  # of which a machine that stands still takes but one
            time.sleep(_LATE / 100)
        os._exit(self._status)

    def _look_after(self, post: _Post) -> None:
        """Note whether a worker answers, and whether it has died."""
        worker = post.worker
        if worker is None:
            return
        died = worker.process.poll() is not None  # before its last words are read
        if worker.listens_since is None and _says_that_it_listens(worker):
            worker.listens_since = time.monotonic()
            self._poll.unregister(worker.channel)  # it has nothing more to say
            if not any(each.proven for each in self._posts):
                self._listening()
            post.proven = True
        if died:
            if worker.listens_since is None:
                self._poll.unregister(worker.channel)
            worker.channel.close()
            post.worker = None
            self._lost(post, worker, ending_of(worker.process.returncode))

    def _lost(self, post: _Post, worker: Worker | None, how: str) -> None:
        """Decide what follows when there is no worker any more, or could be none, at a post."""
        if self._ends_by is not None:
            return
        who = f"worker {post.number + 1} of {len(self._posts)}"
        if worker is not None:
            who += f" (process {worker.process.pid})"
        since = None if worker is None else worker.listens_since
        if since is None and not (post.proven and any(each.answers for each in self._posts)):
            self._end(1)
            say(logging.ERROR, "%s cannot start, and so the service ends: %s", who, how)
            return
        now = time.monotonic()
        lived_on = since is not None and now - since >= _QUICK
        post.quick_deaths = 0 if lived_on else post.quick_deaths + 1
        pause = pause_after(post.quick_deaths)
        post.due = now + pause
        when = f" in {pause:g} s, for it has died quickly before" if pause else ""
        say(logging.WARNING, "%s is replaced%s: %s", who, when, how)


def _says_that_it_listens(worker: Worker) -> bool:
    try:
        return worker.channel.recv(1, socket.MSG_DONTWAIT) == LISTENS
    except OSError:  # nothing yet, or never more
        return False


@contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """A socket that can be read from when a signal has come; what it says is its number.

    Python's own handlers run between two instructions of the main thread, and can do next to
    nothing there without the risk of waiting for what that very thread holds.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (*SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        try:
            yield ours
        finally:  # the end has begun: a further signal would make it look like a crash
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)


def _taken(woken: socket.socket) -> bytes:
    """The numbers of the signals that have come."""
    try:
        return woken.recv(4096)
    except BlockingIOError:
        return b""
