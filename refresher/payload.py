"""A body in a file without a name, for what is too large to lie in the memory of a server."""

import io
import os
import sys
import tempfile
from dataclasses import dataclass
from io import FileIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A complete answer of a source, not yet looked at."""

    body: bytes
    content_type: str | None
    """The media type as the source declared it, parameters included; None where it said nothing."""
    revision: str | None = None
    """The source's own mark of this content, handed back to it as `since`; opaque to all others."""
    http_status: int | None = None
    fresh_for: float | None = None
    """Seconds that the source itself says the content stays current; None where it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """A source's word that the content of the revision it was asked about is still current."""

    revision: str | None = None
    http_status: int | None = None
    fresh_for: float | None = None


class Spool:
    """Bytes in a file that nobody else can open, gone once every process has let go of it.

    Close it as soon as it has been of use: a traceback may keep the object for long. On Linux the
    file is memory that belongs to no process: it needs no directory, a write to it waits for no
    disk, and whoever is killed leaves nothing behind. Elsewhere it is a temporary file whose name
    is gone as soon as it is made. `descriptor` is one to take over, instead of a new file.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor: int | None = _nameless() if descriptor is None else descriptor

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; once more is no error."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def shared(self) -> "Spool":
        """The same file again, to be let go of on its own."""
        return Spool(os.dup(self.fileno()))

    def fileno(self) -> int:
        """The descriptor, which stays this object's.

        Raises:
            ValueError: the file has been let go of.
        """
        if self._descriptor is None:
            raise ValueError("the file has been let go of")
        return self._descriptor

    def __len__(self) -> int:
        return os.fstat(self.fileno()).st_size

    def write(self, piece: bytes | memoryview) -> int:
        """Append, all of it."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self.fileno(), rest) :]
        return len(piece)

    def reader(self) -> FileIO:
        """The file from its beginning; where it is read or written next is known to the file."""
        os.lseek(self.fileno(), 0, os.SEEK_SET)
        return FileIO(self.fileno(), closefd=False)

    def read(self) -> bytes:
        """All of it, in memory."""
        return self.reader().readall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A complete answer of a source, as `Payload` is one, whose body is large."""

    body: Spool
    content_type: str | None
    revision: str | None = None
    http_status: int | None = None
    fresh_for: float | None = None

    def loaded(self) -> Payload:
        """The same with its body in memory; reading that takes a while."""
        return Payload(
            body=self.body.read(),
            content_type=self.content_type,
            revision=self.revision,
            http_status=self.http_status,
            fresh_for=self.fresh_for,
        )


class Gathering:
    """What has come of a body, in memory as long as that is less than `spool_from` bytes."""

    def __init__(self, spool_from: int | None) -> None:
        self.size = 0
        self._spool_from = sys.maxsize if spool_from is None else spool_from
        # the one buffer whose bytes can be had without a copy
        self._held: io.BytesIO | Spool = io.BytesIO()

    def write(self, piece: bytes) -> None:
        """Take some more."""
        self.size += len(piece)
        if isinstance(self._held, io.BytesIO) and self.size >= self._spool_from:
            spool = Spool()
            spool.write(self._held.getbuffer())
            self._held = spool
        self._held.write(piece)

    def drop(self) -> None:
        """Have none of it."""
        if isinstance(self._held, Spool):
            self._held.close()

    def taken(self) -> bytes | Spool:
        """All of it."""
        return self._held if isinstance(self._held, Spool) else self._held.getvalue()


def answer_of(
    body: bytes | Spool,
    *,
    content_type: str | None,
    revision: str | None,
    http_status: int | None,
    fresh_for: float | None,
) -> Payload | Spooled:
    """A complete answer of a source, wherever its body lies."""
    if isinstance(body, Spool):
        return Spooled(
            body=body,
            content_type=content_type,
            revision=revision,
            http_status=http_status,
            fresh_for=fresh_for,
        )
    return Payload(
        body=body,
        content_type=content_type,
        revision=revision,
        http_status=http_status,
        fresh_for=fresh_for,
    )


def _nameless() -> int:
    if sys.platform == "linux":
        return os.memfd_create("refresher")
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())
