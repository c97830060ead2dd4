"""Which file the threads of an SQLite store use, and what they found it to be."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import Identity


class Location:
    """A path, and which of the files that lie there in the course of time is in use.

    Only the writing thread moves on from one file to the next; the others follow it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: Identity | None = None
        """The file to use; None: none, until the next heartbeat finds or makes one."""
        self.corrupt: Identity | None = None
        """A file that turned out to be corrupt, and is to be set aside."""

    def resolve(self) -> None:
        """Follow symbolic links, as SQLite does for its -wal and -shm files."""
        self.path = Path(os.path.realpath(self.path))

    def unavailable(self, why: str) -> StoreUnavailable:
        """The error that names the file and says why it cannot be used."""
        return StoreUnavailable(f"store: {self.path}: {why}")

    @contextlib.contextmanager
    def reporting(self, operation: str, *, disconnect: Callable[[], None]) -> Iterator[None]:
        """Raise what fails inside as `StoreUnavailable`; `disconnect` where it may fail again.

        Raises:
            StoreUnavailable: the operation failed.
        """
        used = self.current
        try:
            yield
        except sqlite3.Error as error:
            if file.is_corrupt(error):
                self.corrupt = used
            elif not file.is_transient(error):
                disconnect()
            raise self.unavailable(f"{operation} failed: {error}") from error
        except OSError as error:
            raise self.unavailable(f"{operation} failed: {error.strerror or error}") from error
