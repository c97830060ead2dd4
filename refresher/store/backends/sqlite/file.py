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

PATIENCE = 1.5
"""Seconds to wait for others; below the two after which a service goes on without its store."""

_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",  # in WAL it risks the last writes in a power cut, never the file
    "PRAGMA recursive_triggers = ON",  # else REPLACE deletes a body without its trigger
    "PRAGMA journal_size_limit = 4194304",  # what a checkpoint comes to by itself
    "PRAGMA secure_delete = OFF",  # Debian builds it in; it doubles what dropping a body writes
)
_PASSING = frozenset(
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
"""What may be over in a while; any other refusal to make a folder is for good."""

Identity = tuple[int, int]
"""Which file it is, whatever its name: device and inode."""


@dataclass(frozen=True, slots=True)
class Line:
    """A connection, for the thread that made it, and the file that it leads to."""

    connection: sqlite3.Connection
    identity: Identity
    beside: frozenset[Identity]
    """What it has in use beside that file."""

    def close(self) -> None:
        """End it. Once its file has moved, nothing beside the new one is touched (HAS_MOVED)."""
        self.connection.close()


def identity(path: Path) -> Identity | None:
    """Which file lies there now; None: there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def make_usable(path: Path) -> None:
    """Make its folder, if need be.

    Raises:
        ServiceError: no database can ever be written there as things are.
        OSError: not at the moment.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder, where a file is expected")
        for there in filter(Path.exists, (path.parent, path)):
            if not os.access(there, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, f"{there} is read-only to this process")
    except OSError as error:
        if error.errno in _PASSING:
            raise
        raise ServiceError(
            f"store: {path} cannot be used: {error.strerror}; check store.url and store.dir"
        ) from error


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process opens, migrates or sets aside this file meanwhile.

    Raises:
        TimeoutError: another one does, and has not come to an end of it.
    """
    lock = Path(f"{path}.lock")
    until = time.monotonic() + PATIENCE
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locked(descriptor) and _is_at(descriptor, lock):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)  # whoever waits on it finds it gone, and asks anew
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > until:
            raise TimeoutError(f"another process has held {lock} for over {PATIENCE} s")
        time.sleep(0.005)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    return identity(path) == (mine.st_dev, mine.st_ino)


def opened(path: Path) -> Line:
    """Connect to the file, which is made or brought up to date; call it `alone`.

    Where it is corrupt, it is set aside, and a new one made.

    Raises:
        ServiceError: it is another program's, or a newer release's.
        sqlite3.Error, OSError: it cannot be opened at the moment.
    """
    if identity(path) is None:
        _remove(_beside(path))
    try:
        return _up_to_date(path)
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
    return _up_to_date(path)  # the new one


def joined(path: Path, which: Identity) -> Line:
    """Connect to the file, if it is that one still.

    Raises:
        FileNotFoundError: it is not.
        sqlite3.Error, OSError: it cannot be opened at the moment.
    """
    with alone(path), contextlib.ExitStack() as undo:
        if identity(path) != which:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted or replaced")
        connection = _connected(path, "rw")
        undo.callback(connection.close)
        _configure(connection)
        connection.execute("SELECT id FROM meta").fetchone()  # opens what lies beside it, too
        undo.pop_all()
        return _line(connection, path, which)


def leave_behind(line: Line, path: Path) -> None:
    """Close a connection to a file that is there no more; call it `alone`.

    What it had beside itself goes, as it would be taken for a part of the file that is there now.
    """
    if identity(path) != line.identity:
        _remove(each for each in _beside(path) if identity(each) in line.beside)
    line.close()


def set_aside(path: Path, why: str) -> None:
    """Give a corrupt file another name, with what lies beside it; call it `alone`."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = (f"{path}.corrupt-{stamp}{again}" for again in ("", *(f".{n}" for n in range(1, 100))))
    aside = next(Path(name) for name in names if not Path(name).exists())
    path.rename(aside)
    for mine, its in zip(_beside(path), _beside(aside), strict=True):
        with contextlib.suppress(FileNotFoundError):
            mine.rename(its)
    logger.error(
        "store: %s is corrupt (%s); it was set aside as %s, and a new one is made in its place",
        path,
        why,
        aside,
    )


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether it is the file that is wrong, and stays so."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the connection is as good as before."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


def _code(error: sqlite3.Error) -> int:
    """The primary result code; errors of Python's own module have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _beside(path: Path) -> list[Path]:
    return [Path(f"{path}-wal"), Path(f"{path}-shm")]


def _remove(files: Iterable[Path]) -> None:
    for each in files:
        each.unlink(missing_ok=True)


def _line(connection: sqlite3.Connection, path: Path, which: Identity) -> Line:
    beside = frozenset(there for each in _beside(path) if (there := identity(each)))
    return Line(connection, which, beside)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
    )


def _configure(connection: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _up_to_date(path: Path) -> Line:
    with contextlib.ExitStack() as undo:
        connection = _connected(path, "rwc")
        undo.callback(connection.close)
        try:
            _configure(connection)
            schema.bring_up_to_date(connection, path)
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                set_aside(path, str(error))  # before it is closed, which might write to it
            raise
        which = identity(path)
        if which is None:
            raise FileNotFoundError(errno.ENOENT, "the file was deleted as soon as it was made")
        undo.pop_all()
        return _line(connection, path, which)
