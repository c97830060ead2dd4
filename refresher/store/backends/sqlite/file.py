"""The file of an SQLite store: how it is opened, and set aside when it is corrupt."""

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from refresher.errors import ServiceError
from refresher.store.backends.sqlite import schema

logger = logging.getLogger("refresher")

LOCK_TIMEOUT = 1.5
"""Seconds to wait for a lock; less than the two after which a service is detached."""

_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",  # in WAL it risks the last writes in a power cut, never the file
    "PRAGMA recursive_triggers = ON",  # else REPLACE deletes a body without its trigger
    "PRAGMA journal_size_limit = 4194304",  # what a checkpoint comes to by itself
    "PRAGMA secure_delete = OFF",  # Debian builds it in; it doubles what dropping a body writes
)
_TRANSIENT = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.EINTR,
    }
)
"""Errors of making a folder that may be over in a while; any other one is permanent."""

Identity = tuple[int, int]
"""A file, whatever its name: device and inode."""


@dataclass(frozen=True, slots=True)
class FileConnection:
    """A connection to SQLite, for the thread that made it, and the file that it has open."""

    connection: sqlite3.Connection
    identity: Identity
    side_files: frozenset[Identity]
    """The -wal and -shm files that it has open, too."""

    def close(self) -> None:
        """Close it; SQLite leaves the side files of a replaced file alone (HAS_MOVED)."""
        self.connection.close()


def identity(path: Path) -> Identity | None:
    """Which file is at the path now; None: there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def make_folder(path: Path) -> None:
    """Make the folder of the file, if need be, and check that both can be written.

    Raises:
        ServiceError: no database can be written there, and that is permanent.
        OSError: it cannot be made at the moment.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder, where a file is expected")
        for there in filter(Path.exists, (path.parent, path)):
            if not os.access(there, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, f"{there} is read-only to this process")
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise
        raise ServiceError(
            f"store: {path} cannot be used: {error.strerror}; check store.url and store.dir"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from opening, migrating or setting aside this file meanwhile.

    Raises:
        TimeoutError: another process has held the lock for too long.
    """
    lock = Path(f"{path}.lock")
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _try_lock(descriptor) and _is_at(descriptor, lock):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)  # a process that waits for it makes a new one
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > until:
            raise TimeoutError(f"another process has held {lock} for over {LOCK_TIMEOUT} s")
        time.sleep(0.005)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    opened = os.fstat(descriptor)
    return identity(path) == (opened.st_dev, opened.st_ino)


def connect(path: Path) -> FileConnection:
    """Connect to the file, which is made or migrated first; call it `locked`.

    A corrupt file is set aside, and a new one made.

    Raises:
        ServiceError: it is of another program, or of a newer release.
        sqlite3.Error, OSError: it cannot be opened at the moment.
    """
    if identity(path) is None:
        _remove(_side_files(path))
    try:
        return _migrated(path)
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
    return _migrated(path)  # a new file


def connect_to(path: Path, which: Identity) -> FileConnection:
    """Connect to the file, if it still is that one.

    Raises:
        FileNotFoundError: it is not.
        sqlite3.Error, OSError: it cannot be opened at the moment.
    """
    with locked(path), contextlib.ExitStack() as undo:
        if identity(path) != which:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted or replaced")
        connection = _connected(path, "rw")
        undo.callback(connection.close)
        _configure(connection)
        connection.execute("SELECT id FROM meta").fetchone()  # opens the side files, too
        undo.pop_all()
        return _file_connection(connection, path, which)


def close_replaced(open_file: FileConnection, path: Path) -> None:
    """Close a connection to a file that was deleted or replaced; call it `locked`.

    Its side files are removed: they would be taken for those of the file that is there now.
    """
    if identity(path) != open_file.identity:
        _remove(each for each in _side_files(path) if identity(each) in open_file.side_files)
    open_file.close()


def set_aside(path: Path, why: str) -> None:
    """Give a corrupt file another name, with its side files; call it `locked`."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = (f"{path}.corrupt-{stamp}{again}" for again in ("", *(f".{n}" for n in range(1, 100))))
    aside = next(Path(name) for name in names if not Path(name).exists())
    path.rename(aside)
    for mine, its in zip(_side_files(path), _side_files(aside), strict=True):
        with contextlib.suppress(FileNotFoundError):
            mine.rename(its)
    logger.error(
        "store: %s is corrupt (%s); it was set aside as %s, and a new one is made in its place",
        path,
        why,
        aside,
    )


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_transient(error: sqlite3.Error) -> bool:
    """Whether the connection can be used again."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


def _code(error: sqlite3.Error) -> int:
    """The primary result code; errors of Python's own module have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _side_files(path: Path) -> list[Path]:
    return [Path(f"{path}-wal"), Path(f"{path}-shm")]


def _remove(files: Iterable[Path]) -> None:
    for each in files:
        each.unlink(missing_ok=True)


def _file_connection(connection: sqlite3.Connection, path: Path, which: Identity) -> FileConnection:
    side_files = frozenset(there for each in _side_files(path) if (there := identity(each)))
    return FileConnection(connection, which, side_files)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=LOCK_TIMEOUT,
        isolation_level=None,
    )


def _configure(connection: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _migrated(path: Path) -> FileConnection:
    with contextlib.ExitStack() as undo:
        connection = _connected(path, "rwc")
        undo.callback(connection.close)
        try:
            _configure(connection)
            schema.migrate(connection, path)
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                set_aside(path, str(error))  # before closing, which might write to it
            raise
        which = identity(path)
        if which is None:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted as soon as it was made")
        undo.pop_all()
        return _file_connection(connection, path, which)
