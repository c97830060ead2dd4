"""uvicorn's server with our own ending: one deadline for all of it, and exit status 0."""

import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import uvicorn

from refresher.serve.logs import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Ends on the first signal, after the drain, within the grace; at once on the second.

    uvicorn would raise the signal again when all is done, so that a graceful end looks like a
    kill (status 143), and it would wait for open connections for ever.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        closing: Callable[[], None],
        grace: float,
        drain: float,
    ) -> None:
        super().__init__(config)
        self.listening: Callable[[], object] = lambda: None
        """Called once requests are answered; never, where the application cannot start."""
        self._closing = closing
        self._grace = grace
        self._drain = drain
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def take_signals(self) -> None:
        """Have the first signal from now on end the server, even one that is yet to start."""
        threading.Thread(target=self._see_to_the_end, name="refresher ending", daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self.handle_exit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then answer."""
        await super().startup(sockets)
        # What is there now stays. With ten thousand jobs that is a million objects: looking through
        # them for garbage again and again takes a third of the start, and stalls readers later.
        gc.freeze()
        gc.enable()
        if self.started:
            self.listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End connections, then the application; that in order, even when connections are cut."""
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn skips it then, and cancels what runs without a word to it
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; called by the interpreter between two instructions of the main thread.

        Those may be of a line being logged or a thread being started, with the lock of it held: all
        that is sure not to wait here is this.
        """
        del frame
        self._signals.put(sig)

    def _see_to_the_end(self) -> NoReturn:
        sig = self._signals.get()
        deadline = time.monotonic() + self._grace
        self._closing()
        self._tell(sig)
        insisted = self._signalled_within(self._drain)
        self.should_exit = True
        if insisted or self._signalled_within(deadline - time.monotonic()):
            self.force_exit = True
            time.sleep(max(0.0, deadline - time.monotonic()))
        # Something does not end: a thread, a connection, a loop that is blocked; or the log, by a
        # pipe that nobody reads.
        say(logging.WARNING, "not everything ended within server.shutdown_grace; ending it")
        os._exit(0)

    def _tell(self, sig: int) -> None:
        say(logging.INFO, "%s: closing", signal.Signals(sig).name)

    def _signalled_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        return True


class WorkerServer(Server):
    """The server of a worker: SIGTERM ends it, and only who started it can insist on that.

    A terminal's Ctrl+C goes to all processes of the service, and so does what systemd sends; those
    to the worker itself say nothing that its supervisor will not say, and must not count twice.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        closing: Callable[[], None],
        grace: float,
        drain: float,
    ) -> None:
        super().__init__(config, closing=closing, grace=grace, drain=drain)
        self._ends = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal, the first that is meant for a worker."""
        if sig == signal.SIGTERM and not self._ends:
            self._ends = True
            super().handle_exit(sig, frame)

    def insist(self) -> None:
        """Wait for nothing any more; from any thread."""
        self._signals.put(signal.SIGTERM)

    def _tell(self, sig: int) -> None:
        """Say nothing: the supervisor does, once for all of them."""


def leave(sig: int, frame: FrameType | None) -> NoReturn:
    """Take a signal while nothing runs yet: there is nothing to close."""
    del sig, frame
    sys.exit(0)
