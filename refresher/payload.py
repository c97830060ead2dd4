"""What a source answers, and the file without a name that holds a body too large for memory."""

import io
import os
import sys
import tempfile
from dataclasses import dataclass
from io import FileIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A complete answer of a source, not parsed yet; a large body may be in a file.

    The caller of `fetch` owns it, and closes it.
    """

    body: "bytes | Spool"
    content_type: str | None
    """The media type as the source declared it, parameters included; None where it said nothing."""
    revision: str | None = None
    """The source's own mark of this content, handed back to it as `since`; opaque to all others."""
    since: str | None = None
    """What `since` is from now on for content that stays; None: as it was."""
    http_status: int | None = None
    fresh_for: float | None = None
    """Seconds that the source itself says the content stays current; None where it says nothing."""
    as_of: float | None = None
    """When the content was good, by the source's word; None where it is as of the answer itself."""
    overdue: float = 0.0
    """Seconds for which the content has been stale, by the source's own word; may be infinite."""

    def loaded(self) -> bytes:
        """The body in memory; where it is in a file, reading that blocks.

        Raises:
            ValueError: the file has been closed.
        """
        return self.body if isinstance(self.body, bytes) else self.body.read()

    def close(self) -> None:
        """Close the file, where the body is in one; closing it again is no error."""
        if isinstance(self.body, Spool):
            self.body.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """A source's word that the content of the revision it was asked about is still current."""

    revision: str | None = None
    http_status: int | None = None
    fresh_for: float | None = None
    as_of: float | None = None
    overdue: float = 0.0


class Spool:
    """Bytes in a file that has no name, so that nobody else can open it.

    Close it as soon as it is no longer needed: a traceback may keep the object alive for long. On
    Linux the file is anonymous memory (memfd_create(2)), which is freed when the last process that
    has it open closes it or dies: it needs no directory, and a write waits for no disk. Elsewhere
    it is a temporary file that is unlinked as soon as it is made. A `descriptor` that is given is
    owned from then on, in place of a new file.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor: int | None = _unnamed_file() if descriptor is None else descriptor

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing it again is no error."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def duplicate(self) -> "Spool":
        """The same file with a descriptor of its own, to be closed on its own."""
        return Spool(os.dup(self.fileno()))

    def fileno(self) -> int:
        """The descriptor, which stays this object's.

        Raises:
            ValueError: the file has been closed.
        """
        if self._descriptor is None:
            raise ValueError("the file has been closed")
        return self._descriptor

    def __len__(self) -> int:
        return os.fstat(self.fileno()).st_size

    def write(self, piece: bytes | memoryview) -> int:
        """Append all of a piece."""
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self.fileno(), rest) :]
        return len(piece)

    def reader(self) -> FileIO:
        """The file, to be read from its beginning; all duplicates share one position in it."""
        os.lseek(self.fileno(), 0, os.SEEK_SET)
        return FileIO(self.fileno(), closefd=False)

    def read(self) -> bytes:
        """All of it, in memory."""
        return self.reader().readall()


class BodyBuffer:
    """Collects a body: in memory, and in a file from `spool_from` bytes on; None: never."""

    def __init__(self, spool_from: int | None) -> None:
        self.size = 0
        self._spool_from = sys.maxsize if spool_from is None else spool_from
        # BytesIO is the one buffer whose bytes can be had without a copy.
        self._buffer: io.BytesIO | Spool = io.BytesIO()

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        self.size += len(piece)
        if isinstance(self._buffer, io.BytesIO) and self.size >= self._spool_from:
            spool = Spool()
            spool.write(self._buffer.getbuffer())
            self._buffer = spool
        self._buffer.write(piece)

    def discard(self) -> None:
        """Close the file, where there is one: nobody will ask for the body."""
        if isinstance(self._buffer, Spool):
            self._buffer.close()

    def body(self) -> bytes | Spool:
        """All that was written; a file is the caller's from then on."""
        return self._buffer if isinstance(self._buffer, Spool) else self._buffer.getvalue()


def _unnamed_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("refresher")
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())
