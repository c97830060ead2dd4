"""A worker process: runs tasks on large bodies for the service that started it, one at a time.

`python -m refresher.offload.runner CHANNEL` is started with the number of a descriptor, and ends
when the other end of that socket is closed: at the latest when the service's process ends.
"""

import contextlib
import gc
import os
import select
import socket
import sys
import threading
from pathlib import Path

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.offload.messages import pack_outcome, receive, send, unpack_task
from refresher.offload.parsed import ParsedCache
from refresher.offload.tasks import LookupTask, Task

_NICE = 10
_CACHE = 256 * 1024 * 1024
"""Bytes of texts that values were looked up in, with what was parsed of them."""


def main() -> None:
    """Work until the other end of the channel is closed."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # where memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    gc.disable()  # what is parsed has no cycles, and looking for them takes long
    with socket.socket(fileno=int(sys.argv[1])) as channel, contextlib.suppress(ConnectionError):
        threading.Thread(target=_exit_with, args=(channel,), daemon=True).start()
        cache = ParsedCache(_CACHE)
        while _run_one(channel, cache):
            gc.collect(1)  # what a task leaves is young; cached texts are old


def _run_one(channel: socket.socket, cache: ParsedCache) -> bool:
    """Receive a task, run it and send its outcome; False where no more tasks will come."""
    files = receive(channel)
    if not files:
        return False
    told, *sent = files
    body = sent[0].read() if sent else None
    send(channel, pack_outcome(_outcome(unpack_task(told), body, cache), body))
    return True


def _outcome(task: Task[object], body: bytes | None, cache: ParsedCache) -> object:
    try:
        if isinstance(task, LookupTask):
            return task.run_with_cache(cache, body)
        assert body is not None  # noqa: S101  only lookups come without
        return task.run(body)
    except RefreshFailed as refusal:
        return refusal
    except Exception as error:  # noqa: BLE001  the attempt tells what it was
        message = f"the refresh broke: {type(error).__name__}: {error}"
        return RefreshFailed(Stage.SOURCE, message, transient=True)


def _exit_with(channel: socket.socket) -> None:
    """Exit, in the middle of a task too, once the other end of the channel is closed."""
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP is reported without being asked for
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
