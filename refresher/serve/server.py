"""uvicorn's server with our own ending: one deadline for all of it, and exit status 0."""

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

logger = logging.getLogger("refresher")

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_LAST_WORDS = 0.2
"""Seconds that a last line may take to be written."""


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
        self._closing = closing
        self._grace = grace
        self._drain = drain
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def take_signals(self) -> None:
        """Have the first signal from now on end the server, even one that is yet to start."""
        threading.Thread(target=self._see_to_the_end, name="refresher ending", daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self.handle_exit)

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
        _say(logging.INFO, "%s: closing", signal.Signals(sig).name)
        insisted = self._signalled_within(self._drain)
        self.should_exit = True
        if insisted or self._signalled_within(deadline - time.monotonic()):
            self.force_exit = True
            time.sleep(max(0.0, deadline - time.monotonic()))
        # Something does not end: a thread, a connection, a loop that is blocked; or the log, by a
        # pipe that nobody reads.
        _say(logging.WARNING, "not everything ended within server.shutdown_grace; ending it")
        os._exit(0)

    def _signalled_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        return True


def leave(sig: int, frame: FrameType | None) -> NoReturn:
    """Take a signal while nothing runs yet: there is nothing to close."""
    del sig, frame
    sys.exit(0)


def _say(level: int, message: str, *values: object) -> None:
    """Log a line, and wait for it no longer than a line takes where a log can be written."""
    line = threading.Thread(target=logger.log, args=(level, message, *values), daemon=True)
    line.start()
    line.join(_LAST_WORDS)
