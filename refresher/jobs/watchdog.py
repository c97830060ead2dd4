"""Names the job whose code blocks the event loop, from a thread that the block cannot reach."""

import asyncio
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Self

logger = logging.getLogger("refresher")

_PERIOD = 0.25
_BLOCKED = 0.5
"""Seconds without a turn of the loop that are worth a line."""
_LOOKS = 10
"""In which they are waited for, so that a machine that stands still is not taken for a block."""
_SHOWN = 5
"""Frames of the stack that are shown, the innermost: where it is, and by what way."""
_JOB = "refresher job "


class Watchdog:
    """Asks the loop for a sign of life and, where none comes, logs which job holds it up.

    A context manager, entered in the loop's own thread. What is not a job's task is none of its
    business. Its thread is a daemon: should the loop be blocked for good, the process can still be
    ended.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="refresher watchdog", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_PERIOD):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop has closed
                return
            if any(alive.wait(_BLOCKED / _LOOKS) for _ in range(_LOOKS)):
                continue
            self._report()
            while not alive.wait(_PERIOD):  # one line a block, however long it lasts
                if self._ended.is_set():
                    return

    def _report(self) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  documented, if specialised
        if task is None or frame is None or not task.get_name().startswith(_JOB):
            return
        logger.warning(
            "%s has blocked the event loop for more than %g s; make it a plain def, which runs in "
            "a thread, or await in it. It is at:\n%s",
            task.get_name(),
            _BLOCKED,
            "".join(traceback.format_stack(frame, limit=_SHOWN)),
        )
