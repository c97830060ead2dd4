"""uvicorn's server with our own ending: one deadline for all of it, and exit status 0."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

logger = logging.getLogger("refresher")


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
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; called by the interpreter between two instructions of the main thread."""
        del frame
        self._signals += 1
        if self._signals > 1:
            self.should_exit = self.force_exit = True
            return
        logger.info("%s: closing", signal.Signals(sig).name)
        self._closing()
        _after(self._grace, _give_up)
        if self._drain:
            _after(self._drain, self._stop_accepting)
        else:
            self._stop_accepting()

    def _stop_accepting(self) -> None:
        self.should_exit = True


def _after(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


def _give_up() -> None:
    """End a process in which something does not: a thread, a connection, a loop that is blocked."""
    logger.warning("not everything ended within server.shutdown_grace; ending it")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
