"""Which file the threads of a store are at, and what they found it to be."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from refresher.errors import StoreUnavailable
from refresher.store.backends.sqlite import file
from refresher.store.backends.sqlite.file import Identity


class Place:
    """A path, and which of the files that lie there in the course of time is the store's.

    The writing thread alone moves on from one to the next; the others follow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: Identity | None = None
        """The file to be at; None: none, until the next heartbeat finds or makes one."""
        self.corrupt: Identity | None = None
        """A file that turned out to be corrupt, and is to be set aside."""

    def settle(self) -> None:
        """Follow symbolic links, as SQLite does for what it lays beside the file."""
        self.path = Path(os.path.realpath(self.path))

    def unavailable(self, why: str) -> StoreUnavailable:
        """The error that says so."""
        return StoreUnavailable(f"store: {self.path}: {why}")

    @contextlib.contextmanager
    def told(self, operation: str, *, leave: Callable[[], None]) -> Iterator[None]:
        """Say what failed in our own words, and `leave` a connection that is not to be trusted.

        Raises:
            StoreUnavailable: the operation failed.
        """
        at = self.current
        try:
            yield
        except sqlite3.Error as error:
            if file.is_corrupt(error):
                self.corrupt = at
            elif not file.is_passing(error):
                leave()
            raise self.unavailable(f"{operation} failed: {error}") from error
        except OSError as error:
            raise self.unavailable(f"{operation} failed: {error.strerror or error}") from error
