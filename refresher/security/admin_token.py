"""The admin token that the service generates where none is configured, as Jupyter does."""

import os
import secrets
import stat
from pathlib import Path

FILE_NAME = "admin-token"

_BYTES = 32


def kept_token(directory: Path) -> tuple[str, Path | None]:
    """The token in the state directory, generated at the first start, and the path of its file.

    Only its owner can read the file. Where nothing can be written the token is valid until the
    process ends, and there is no path.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return _read(path) or _make(path), path
    except (OSError, UnicodeDecodeError):
        return secrets.token_urlsafe(_BYTES), None


def _read(path: Path) -> str | None:
    """The token in the file; None where there is no file, or nothing in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            os.fchmod(file.fileno(), 0o600)
        return file.read().strip() or None


def _make(path: Path) -> str:
    """A new token in the file, or that of another process that has made one meanwhile."""
    token = secrets.token_urlsafe(_BYTES)
    draft = path.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        try:
            path.hardlink_to(draft)  # atomic, and fails where another process has done so
        except FileExistsError:
            if theirs := _read(path):
                return theirs
            draft.replace(path)  # the file was empty
        return token
    finally:
        draft.unlink(missing_ok=True)
