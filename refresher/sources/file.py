"""The file source: a file's bytes, read whole or not at all."""

import os
import stat
import time
from collections.abc import Callable
from mimetypes import MimeTypes
from pathlib import Path

from refresher.errors import RefreshFailed
from refresher.model import Stage
from refresher.offload.threads import SoloThread
from refresher.payload import NotModified, Payload

# Python's own table of types: what a machine adds to it must not change a job.
_TYPES = MimeTypes()
_TYPES.add_type("application/geo+json", ".geojson")
_TYPES.add_type("application/json", ".json")
_TYPES.add_type("application/toml", ".toml")
_TYPES.add_type("application/x-ndjson", ".jsonl")
_TYPES.add_type("application/x-ndjson", ".ndjson")
_TYPES.add_type("application/yaml", ".yaml")
_TYPES.add_type("application/yaml", ".yml")
_RACY = 2.0
"""Seconds within which a file may change again under the same modification time."""
_TRIES = 2


class FileSource:
    """Reads one file, again only when its modification time, size or inode has changed.

    It is read in a thread of its own: a dead file server then blocks nothing else.
    """

    def __init__(self, path: Path, *, max_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._now = now
        self._thread = SoloThread(f"refresher-file-{path.name}")

    async def fetch(self, since: str | None) -> Payload | NotModified:
        """Read the file, unless it is still as it was at the revision `since`.

        Raises:
            RefreshFailed: it cannot be opened (`connect`) or not read whole (`body`).
        """
        return await self._thread.run(lambda: self._read(since))

    def _read(self, since: str | None) -> Payload | NotModified:
        try:
            for _ in range(_TRIES):
                found = self._read_once(since)
                if found is not None:
                    return found
        except OSError as error:
            reason = error.strerror or str(error)
            raise RefreshFailed(
                Stage.CONNECT, f"cannot read {self._path}: {reason}", transient=True
            ) from error
        raise RefreshFailed(
            Stage.BODY,
            f"{self._path} changed while it was read; write a new file and rename it over this one",
            transient=True,
        )

    def _read_once(self, since: str | None) -> Payload | NotModified | None:
        """Read the file once; None if it changed meanwhile."""
        with open(self._path, "rb", opener=_nonblocking) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise RefreshFailed(Stage.CONNECT, f"{self._path} is not a regular file")
            if since is not None and since == _revision(before):
                return NotModified(revision=since)
            if before.st_size > self._max_bytes:
                raise RefreshFailed(
                    Stage.BODY,
                    f"{self._path} has {before.st_size} bytes, "
                    f"more than max_bytes = {self._max_bytes}",
                )
            age = self._now() - before.st_mtime
            body = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
        if _revision(after) != _revision(before) or len(body) != before.st_size:
            return None
        # A file changed just now may change again within the same mtime: it gets no revision.
        return Payload(
            body=body,
            content_type=_content_type(self._path),
            revision=_revision(before) if age >= _RACY else None,
        )


def _nonblocking(path: str, flags: int) -> int:
    """Open without blocking, in case it is a named pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def _revision(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"


def _content_type(path: Path) -> str | None:
    media_type, coding = _TYPES.guess_type(path.name)
    return None if coding else media_type
