"""What a worker process is asked and what it answers, and how both get to the other side.

Over the socket between the two processes go descriptors, never bytes: a file with a task and one
with the body that it is about, unless the worker has kept that; back comes a file with the outcome.
"""

import pickle
import socket
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, cast

from refresher import pipeline
from refresher.errors import GuardRefused, RefreshFailed
from refresher.jsontext import patch
from refresher.jsontext.pointer import NotThere, Path
from refresher.model import Content
from refresher.offload.parsed import ParsedCache, ParsedText
from refresher.payload import Spool
from refresher.pipeline import representation
from refresher.pipeline.pages import Page, PageRule, read_page
from refresher.pipeline.representation import Servable

T_co = TypeVar("T_co", covariant=True)

_BODY = "body"
_MOST_FILES = 2


@dataclass(frozen=True, slots=True)
class SameAsServed:
    """The content passed every rule and has the ETag of what is served."""


@dataclass(frozen=True, slots=True)
class RefusedByGuard:
    """Content that passed every rule but the guard; a candidate for quarantine."""

    content: Content
    etag: str
    reason: str


Verdict: TypeAlias = Servable | SameAsServed | RefusedByGuard
"""What the rules say of an answer's content; where another rule refuses it, they raise."""


class Task(Protocol[T_co]):
    """What to make of a body, in plain values that any process understands."""

    def carry_out(self, body: bytes) -> T_co:
        """Make it.

        Raises:
            RefreshFailed: it cannot be made.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refining:
    """To make content fit to serve of a body."""

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
        try:
            content = pipeline.refine(body, self.content_type, self.rules, self.served)
        except GuardRefused as refusal:
            content = refusal.content
            etag = representation.etag_of(content.body, content.content_type)
            return RefusedByGuard(content, etag, refusal.failure.message)
        if representation.etag_of(content.body, content.content_type) == self.etag:
            return SameAsServed()
        return Servable(content, representation.prepare(content.body, content.content_type))


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """To find in a body what a page of an answer brings."""

    content_type: str | None
    rule: PageRule

    def carry_out(self, body: bytes) -> Page:
        """Read the page.

        Raises:
            RefreshFailed: it is none that could be read.
        """
        return read_page(body, self.content_type, self.rule)


@dataclass(frozen=True, slots=True)
class Comparison:
    """To say how a body differs from the one `before`."""

    before: bytes

    def carry_out(self, body: bytes) -> bytes:
        """Write the difference as a JSON Patch; both are JSON."""
        return patch.patch(self.before, body)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a text, and which texts can be looked into again without being sent."""

    values: list[bytes | NotThere]
    kept: frozenset[str]
    """Their ETags."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """To find in a body that is JSON the values at some pointers."""

    etag: str
    """The body's; a worker that has kept what it parsed of it need not be sent it again."""
    paths: tuple[Path, ...]

    def carry_out(self, body: bytes) -> Looked:
        """Find them, in their order, and keep nothing."""
        return Looked(ParsedText(body).find(self.paths), frozenset())

    def carry_out_with(self, texts: ParsedCache, body: bytes | None) -> Looked:
        """Find them, and keep the text among those; None for a body that is among them."""
        parsed = texts.take(self.etag)
        if parsed is None:
            assert body is not None  # noqa: S101  whoever asks knows what is kept
            parsed = ParsedText(body)
        values = parsed.find(self.paths)
        texts.put(self.etag, parsed)
        return Looked(values, frozenset(texts))


def pack_task(task: Task[object]) -> Spool:
    """Write a task down."""
    spool = Spool()
    spool.write(pickle.dumps(task))
    return spool


def unpack_task(spool: Spool) -> Task[object]:
    """Read a task."""
    task: Task[object] = pickle.load(spool.reader())  # noqa: S301  written by the process that started us
    return task


def pack_outcome(outcome: object, body: bytes | None) -> Spool:
    """Write an outcome down; where it has the very body that came, it says no more than that."""
    spool = Spool()
    _Pickler(spool, body).dump(outcome)
    return spool


def unpack_outcome(spool: Spool, task: Task[T_co], body: bytes | Spool) -> T_co | RefreshFailed:
    """Read the outcome of a task; `body` is the one that it was about."""
    del task  # it says what comes of it, and only the type checker listens
    return cast("T_co | RefreshFailed", _Unpickler(spool, body).load())


def send(channel: socket.socket, *spools: Spool) -> None:
    """Hand files over to the process at the other end."""
    socket.send_fds(channel, [b"\0"], [spool.fileno() for spool in spools])


def receive(channel: socket.socket) -> list[Spool]:
    """Wait for files from the process at the other end; none come once it has gone."""
    _, descriptors, _, _ = socket.recv_fds(channel, 1, _MOST_FILES)
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
