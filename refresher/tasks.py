"""What a worker process is asked and what it answers, and how both get to the other side.

Over the socket between the two processes go descriptors, never bytes: a file with a task and one
with the body that it is about; back comes a file with the outcome.
"""

import pickle
import socket
from dataclasses import dataclass
from typing import TypeAlias

from refresher import pipeline, pointer, representation
from refresher.errors import GuardRefused, RefreshFailed
from refresher.model import Content, Payload
from refresher.pointer import NotThere, Opened, Path
from refresher.representation import Representation
from refresher.spool import Spool

_BODY = "body"
_MOST_FILES = 2


@dataclass(frozen=True, slots=True)
class Refined:
    """Content that passed every rule, and what readers get of it."""

    content: Content
    representation: Representation


@dataclass(frozen=True, slots=True)
class Refused:
    """Content that the guard refused, to be kept aside; nothing is made ready of it."""

    content: Content
    etag: str
    reason: str


Verdict: TypeAlias = Refined | Refused | None
"""What comes of an answer that is fit to serve but for the guard; None where it is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to make of a body, in plain values that any process understands."""

    content_type: str | None
    rules: pipeline.Rules
    served: pipeline.Served | None
    etag: str | None
    """The ETag of what is served."""

    def carry_out(self, body: bytes) -> Verdict:
        """Refine the body, and make it ready to be sent where it is new and let through.

        Raises:
            RefreshFailed: the content was refused, and not by the guard.
        """
        payload = Payload(body=body, content_type=self.content_type)
        try:
            content = pipeline.refine(payload, self.rules, self.served)
        except GuardRefused as refusal:
            content = refusal.content
            etag = representation.etag_of(content.body, content.content_type)
            return Refused(content, etag, refusal.failure.message)
        if representation.etag_of(content.body, content.content_type) == self.etag:
            return None
        return Refined(content, representation.prepare(content.body, content.content_type))


@dataclass(frozen=True, slots=True)
class Values:
    """What a body has at the pointers that were asked for, in their order."""

    found: list[bytes | NotThere]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which values to find in a body that is JSON."""

    paths: tuple[Path, ...]

    def carry_out(self, body: bytes) -> Values:
        """Find them."""
        opened: dict[Path, Opened] = {}
        return Values([pointer.find(body, path, opened) for path in self.paths])


Outcome: TypeAlias = Verdict | Values | RefreshFailed


def pack_task(task: Task | Lookup) -> Spool:
    """Write a task down."""
    spool = Spool()
    spool.write(pickle.dumps(task))
    return spool


def unpack_task(spool: Spool) -> Task | Lookup:
    """Read a task."""
    task: Task | Lookup = pickle.load(spool.reader())  # noqa: S301  written by the process that started us
    return task


def pack_outcome(outcome: Outcome, body: bytes) -> Spool:
    """Write an outcome down; where it has the very body that came, it says no more than that."""
    spool = Spool()
    _Pickler(spool, body).dump(outcome)
    return spool


def unpack_outcome(spool: Spool, body: bytes | Spool) -> Outcome:
    """Read an outcome; `body` is the one that the task was about."""
    outcome: Outcome = _Unpickler(spool, body).load()
    return outcome


def send(channel: socket.socket, *spools: Spool) -> None:
    """Hand files over to the process at the other end."""
    socket.send_fds(channel, [b"\0"], [spool.fileno() for spool in spools])


def receive(channel: socket.socket) -> list[Spool]:
    """Wait for files from the process at the other end; none come once it has gone."""
    _, descriptors, _, _ = socket.recv_fds(channel, 1, _MOST_FILES)
    return [Spool(descriptor) for descriptor in descriptors]


class _Pickler(pickle.Pickler):
    def __init__(self, spool: Spool, body: bytes) -> None:
        super().__init__(spool, protocol=pickle.HIGHEST_PROTOCOL)
        self._body = body

    def persistent_id(self, value: object) -> str | None:
        return _BODY if value is self._body else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, spool: Spool, body: bytes | Spool) -> None:
        super().__init__(spool.reader())
        self._body = body

    def persistent_load(self, _: object) -> bytes:
        if isinstance(self._body, Spool):
            self._body = self._body.read()
        return self._body
