"""Messages between the service and a worker process: descriptors of files, never the bytes.

A request is two files, with the task and with the body that it is about; the second is left out
where the worker has the body in its cache. The answer is one file, with the outcome.
"""

import pickle
import socket
from typing import TypeVar, cast

from refresher.errors import RefreshFailed
from refresher.offload.tasks import Task
from refresher.payload import Spool

T = TypeVar("T")

_MAX_FILES = 2
_BODY = "body"
"""What stands in an outcome in place of the bytes of the body, which the service has."""


def pack_task(task: Task[object]) -> Spool:
    """A task as a file."""
    spool = Spool()
    spool.write(pickle.dumps(task))
    return spool


def unpack_task(spool: Spool) -> Task[object]:
    """The task in a file."""
    task: Task[object] = pickle.load(spool.reader())  # noqa: S301  written by the process that started us
    return task


def pack_outcome(outcome: object, body: bytes | None) -> Spool:
    """An outcome as a file; where it holds the very `body` of the task, without these bytes."""
    spool = Spool()
    _Pickler(spool, body).dump(outcome)
    return spool


def unpack_outcome(spool: Spool, task: Task[T], body: bytes | Spool) -> T | RefreshFailed:
    """The outcome in a file; `task` and `body` are those that it is of."""
    del task  # for the type checker alone
    return cast("T | RefreshFailed", _Unpickler(spool, body).load())


def send(channel: socket.socket, *spools: Spool) -> None:
    """Pass files to the process at the other end.

    Raises:
        ConnectionError: it has ended.
    """
    socket.send_fds(channel, [b"\0"], [spool.fileno() for spool in spools])


def receive(channel: socket.socket) -> list[Spool]:
    """Wait for files from the process at the other end; there are none once it has ended.

    Raises:
        ConnectionError: it has ended without reading what was sent to it.
    """
    _, descriptors, _, _ = socket.recv_fds(channel, 1, _MAX_FILES)
    return [Spool(descriptor) for descriptor in descriptors]


class _Pickler(pickle.Pickler):
    def __init__(self, spool: Spool, body: bytes | None) -> None:
        super().__init__(spool, protocol=pickle.HIGHEST_PROTOCOL)
        self._body = body

    def persistent_id(self, value: object) -> str | None:
        return _BODY if value is not None and value is self._body else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, spool: Spool, body: bytes | Spool) -> None:
        super().__init__(spool.reader())
        self._body = body

    def persistent_load(self, _: object) -> bytes:
        if isinstance(self._body, Spool):
            self._body = self._body.read()
        return self._body
