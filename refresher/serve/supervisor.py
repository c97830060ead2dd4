"""The parent of the workers: spawns them, replaces those that die, and ends with them.

It does what uvicorn's `Multiprocess` does, and inherits nothing of it, because no method would be
the same. That one polls signals and workers twice a second; kills a worker that does not answer a
ping within 5 s, which eight that start at once on two cores may not; starts processes by
`multiprocessing`, which imports the caller's `__main__` again and shows Ctrl+C as a traceback;
replaces a worker that dies at its start without a pause; and waits for the end without a limit.
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
from refresher.serve.logs import log_briefly
from refresher.serve.server import SIGNALS
from refresher.serve.spawn import FORCE, LISTENS, WorkerProcess

_QUICK = 10.0
"""Seconds; a worker that answers for no longer has died quickly."""
_LONGEST_PAUSE = 30.0
"""Seconds between two workers in a slot."""
_LATE = 0.5
"""Seconds past the grace at which a worker that has not ended by itself is killed."""


@dataclass(slots=True)
class _Slot:
    """A place for one worker, and for the one that replaces it."""

    number: int
    worker: WorkerProcess | None = None
    proven: bool = False
    """Whether a worker of this slot has ever answered requests."""
    quick_deaths: int = 0
    """Workers in a row that died within `_QUICK` of their first answer."""
    due: float = 0.0
    """When the next worker is to be spawned, if there is none; by the monotonic clock."""

    @property
    def answers(self) -> bool:
        """Whether its worker answers requests."""
        return self.worker is not None and self.worker.listens_since is not None


def pause_after(quick_deaths: int) -> float:
    """Seconds until a worker is replaced, when so many in a row have died quickly."""
    return 0.0 if quick_deaths <= 1 else min(_LONGEST_PAUSE, 2.0 ** min(quick_deaths - 2, 10))


class Supervisor:
    """Keeps a worker in every slot until a signal, and has none left `grace` seconds later.

    The first worker is the only one until it answers: an error that all of them would have is
    logged once, and they do not all start with the same work at the same time.

    Args:
        spawn: Starts the worker of a slot, by its number from 0.
        workers: How many slots there are.
        grace: Seconds that the workers have to end.
        listening: Called once the first worker answers.
        closing: Called when the shutdown begins.
    """

    def __init__(
        self,
        spawn: Callable[[int], WorkerProcess],
        *,
        workers: int,
        grace: float,
        listening: Callable[[], object] = lambda: None,
        closing: Callable[[], object] = lambda: None,
    ) -> None:
        self._spawn = spawn
        self._slots = [_Slot(number) for number in range(workers)]
        self._grace = grace
        self._listening = listening
        self._closing = closing
        self._poll = select.poll()
        self._ends_by: float | None = None
        self._status = 0

    def run(self) -> int:
        """Work until a signal, or until a worker cannot start; return the exit status."""
        with _signals() as signals:
            self._poll.register(signals, select.POLLIN)
            try:
                while not self._is_over():
                    self._fill_slots()
                    self._poll.poll(self._poll_timeout())
                    for number in _received(signals):
                        self._handle_signal(number)
                    for slot in self._slots:
                        self._check(slot)
            finally:
                for worker in self._workers():
                    worker.process.kill()
                    worker.process.wait()
                    worker.channel.close()
        return self._status

    def _workers(self) -> list[WorkerProcess]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def _is_over(self) -> bool:
        if self._ends_by is None:
            return False
        return not self._workers() or time.monotonic() >= self._ends_by + _LATE

    def _poll_timeout(self) -> float | None:
        """Milliseconds until there is something to do unless something happens; None: for ever."""
        if self._ends_by is not None:
            moments = [self._ends_by + _LATE]
        else:
            moments = [slot.due for slot in self._empty_slots()]
        return max(0.0, min(moments) - time.monotonic()) * 1000 + 1 if moments else None

    def _empty_slots(self) -> list[_Slot]:
        """Those that are to get a worker."""
        slots = self._slots if self._slots[0].proven else self._slots[:1]
        return [slot for slot in slots if slot.worker is None]

    def _fill_slots(self) -> None:
        for slot in self._empty_slots():
            if self._ends_by is not None or slot.due > time.monotonic():
                continue
            try:
                slot.worker = self._spawn(slot.number)
            except OSError as error:
                self._replace_or_end(slot, None, str(error))
            else:
                self._poll.register(slot.worker.channel, select.POLLIN)

    def _handle_signal(self, number: int) -> None:
        if number not in SIGNALS:
            return  # SIGCHLD: the poll has ended, and `_check` sees which worker died
        if self._ends_by is None:
            self._end(0)
            log_briefly(logging.INFO, "%s: closing", signal.Signals(number).name)
        else:
            for worker in self._workers():
                with suppress(OSError):  # it has died, or has been sent this a hundred times
                    worker.channel.send(FORCE, socket.MSG_DONTWAIT)

    def _end(self, status: int) -> None:
        self._status = status
        self._ends_by = time.monotonic() + self._grace
        threading.Thread(target=self._exit_after_grace, daemon=True).start()
        for worker in self._workers():
            worker.process.terminate()
        self._closing()

    def _exit_after_grace(self) -> None:
        time.sleep(self._grace + _LATE)  # `run` may hang: the log may be a pipe that nobody reads
        for _ in range(100):  # of short waits: a machine that was suspended has spent only one
            time.sleep(_LATE / 100)
        os._exit(self._status)

    def _check(self, slot: _Slot) -> None:
        """Note whether the worker of a slot answers, and whether it has died."""
        worker = slot.worker
        if worker is None:
            return
        died = worker.process.poll() is not None  # before what it sent last is read
        if worker.listens_since is None and _has_reported(worker):
            worker.listens_since = time.monotonic()
            self._poll.unregister(worker.channel)  # it sends nothing more
            if not any(each.proven for each in self._slots):
                self._listening()
            slot.proven = True
        if died:
            if worker.listens_since is None:
                self._poll.unregister(worker.channel)
            worker.channel.close()
            slot.worker = None
            self._replace_or_end(slot, worker, ending_of(worker.process.returncode))

    def _replace_or_end(self, slot: _Slot, worker: WorkerProcess | None, how: str) -> None:
        """Decide what follows when the worker of a slot has died, or could not be started."""
        if self._ends_by is not None:
            return
        who = f"worker {slot.number + 1} of {len(self._slots)}"
        if worker is not None:
            who += f" (process {worker.process.pid})"
        since = None if worker is None else worker.listens_since
        if since is None and not (slot.proven and any(each.answers for each in self._slots)):
            self._end(1)
            log_briefly(logging.ERROR, "%s cannot start, and so the service ends: %s", who, how)
            return
        now = time.monotonic()
        quick = since is None or now - since < _QUICK
        slot.quick_deaths = slot.quick_deaths + 1 if quick else 0
        pause = pause_after(slot.quick_deaths)
        slot.due = now + pause
        when = f" in {pause:g} s, for it has died quickly before" if pause else ""
        log_briefly(logging.WARNING, "%s is replaced%s: %s", who, when, how)


def _has_reported(worker: WorkerProcess) -> bool:
    try:
        return worker.channel.recv(1, socket.MSG_DONTWAIT) == LISTENS
    except OSError:  # nothing yet, or it has died
        return False


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that receives the number of every signal (`signal.set_wakeup_fd`).

    Python's own handlers run between two instructions of the main thread, and can do next to
    nothing there without the risk of waiting for a lock that this very thread holds.
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
        finally:  # a further signal would make the shutdown look like a crash
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)


def _received(signals: socket.socket) -> bytes:
    """The numbers of the signals that have come."""
    try:
        return signals.recv(4096)
    except BlockingIOError:
        return b""
