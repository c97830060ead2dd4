"""Names the job whose code blocks the event loop, from a thread that the block cannot reach."""

import asyncio
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Self

logger = logging.getLogger("refresher")

_CHECK_INTERVAL = 0.25
"""Seconds."""
_BLOCKED = 0.5
"""Seconds without an iteration of the loop that are logged."""
_WAITS = 10
"""How many parts they are waited for in: a machine that was suspended is not taken for a block."""
_FRAMES = 5
"""How many of the innermost frames of the stack are logged."""
_TASK_PREFIX = "refresher job "


class Watchdog:
    """Has the loop call back at intervals and, where it does not, logs which job blocks it.

    A context manager, entered in the loop's own thread. It logs nothing of tasks that are no job's.
    Its thread is a daemon: should the loop be blocked for good, the process can still be ended.
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
        while not self._ended.wait(_CHECK_INTERVAL):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop has closed
                return
            if any(alive.wait(_BLOCKED / _WAITS) for _ in range(_WAITS)):
                continue
            self._report()
            while not alive.wait(_CHECK_INTERVAL):  # one line a block, however long it lasts
                if self._ended.is_set():
                    return

    def _report(self) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  documented, if specialised
        if task is None or frame is None or not task.get_name().startswith(_TASK_PREFIX):
            return
        logger.warning(
            "%s has blocked the event loop for more than %g s; make it a plain def, which runs in "
            "a thread, or await in it. It is at:\n%s",
            task.get_name(),
            _BLOCKED,
            "".join(traceback.format_stack(frame, limit=_FRAMES)),
        )
