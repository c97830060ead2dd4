"""A worker process: parses large bodies for the service that started it, one after the other.

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
from refresher.offload.parsed import ParsedCache
from refresher.offload.tasks import Lookup, Task, pack_outcome, receive, send, unpack_task

_NICE = 10
_KEPT = 256 * 1024 * 1024
"""Bytes of texts that were looked into, and of what was parsed of them; as long as it lives."""


def main() -> None:
    """Work until the other end of the channel is closed."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # where memory runs out, it is better us than the service
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    gc.disable()  # what is parsed has no cycles; looking for them over and over takes its time
    with socket.socket(fileno=int(sys.argv[1])) as channel, contextlib.suppress(ConnectionError):
        threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
        texts = ParsedCache(_KEPT)
        while _work(channel, texts):
            gc.collect(1)  # what a task leaves is young; texts that are kept have grown old


def _work(channel: socket.socket, texts: ParsedCache) -> bool:
    """Carry out one task; False where none will come."""
    files = receive(channel)
    if not files:
        return False
    told, *sent = files
    body = sent[0].read() if sent else None
    send(channel, pack_outcome(_outcome(unpack_task(told), body, texts), body))
    return True


def _outcome(task: Task[object], body: bytes | None, texts: ParsedCache) -> object:
    try:
        if isinstance(task, Lookup):
            return task.carry_out_with(texts, body)
        assert body is not None  # noqa: S101  only texts are kept
        return task.carry_out(body)
    except RefreshFailed as refusal:
        return refusal
    except Exception as error:  # noqa: BLE001  nobody foresaw it; the attempt says what it was
        message = f"the refresh broke: {type(error).__name__}: {error}"
        return RefreshFailed(Stage.SOURCE, message, transient=True)


def _end_with(channel: socket.socket) -> None:
    """End the process, in the middle of its work, once nobody waits for it any more."""
    poll = select.poll()
    poll.register(channel, 0)  # a hang-up is told unasked
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
