"""uvicorn's server with a shutdown of our own: one deadline for all of it, and exit status 0."""

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

from refresher.serve.logs import log_briefly

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Ends on the first signal, after the drain, within the grace; at once on the second.

    uvicorn raises the signal again when all is done, so that a graceful shutdown looks like a
    kill (status 143), and it waits for open connections for ever.

    Args:
        config: As uvicorn takes it.
        closing: Called when the shutdown begins, in a thread.
        grace: Seconds after the signal at which the process has ended (`server.shutdown_grace`).
        drain: Seconds after the signal for which requests are answered still (`server.drain`).
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

    def handle_signals(self) -> None:
        """Have the first signal from now on end the server, even before it has started."""
        threading.Thread(target=self._shut_down, name="refresher shutdown", daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, self.handle_exit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then answer."""
        await super().startup(sockets)
        # What the start has made stays. With ten thousand jobs that is a million objects: to look
        # through them for garbage takes a third of the start, and stalls readers later.
        gc.freeze()
        gc.enable()
        if self.started:
            self.listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End connections, then the application: its lifespan too where connections were cut."""
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn skips it then
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pass a signal on; called by the interpreter between two instructions of the main thread.

        So it must wait for no lock, which the interrupted code may hold: logging and starting a
        thread take some, `SimpleQueue.put` takes none.
        """
        del frame
        self._signals.put(sig)

    def _shut_down(self) -> NoReturn:
        sig = self._signals.get()
        deadline = time.monotonic() + self._grace
        self._closing()
        self._log_signal(sig)
        forced = self._signalled_within(self._drain)
        self.should_exit = True
        if forced or self._signalled_within(deadline - time.monotonic()):
            self.force_exit = True
            time.sleep(max(0.0, deadline - time.monotonic()))
        # Something does not end: a thread, a connection, a loop that is blocked; or a line of the
        # log, because nobody reads the pipe.
        log_briefly(logging.WARNING, "not everything ended within server.shutdown_grace; ending it")
        os._exit(0)

    def _log_signal(self, sig: int) -> None:
        log_briefly(logging.INFO, "%s: closing", signal.Signals(sig).name)

    def _signalled_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        return True


class WorkerServer(Server):
    """The server of a worker: one SIGTERM ends it, and only its supervisor can force that.

    A terminal's Ctrl+C goes to all processes of the service, and so does what systemd sends. The
    supervisor passes both on: the worker's own must not count as a second signal.
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
        self._is_ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pass the first SIGTERM on, and nothing else."""
        if sig == signal.SIGTERM and not self._is_ending:
            self._is_ending = True
            super().handle_exit(sig, frame)

    def force(self) -> None:
        """End at once, as on a second signal; may be called in any thread."""
        self._signals.put(signal.SIGTERM)

    def _log_signal(self, sig: int) -> None:
        """Log nothing: the supervisor does, once for all workers."""


def exit_at_once(sig: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal while nothing runs yet: exit with status 0."""
    del sig, frame
    sys.exit(0)
