"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of a configuration."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from refresher.config.units import InvalidValue

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_FINAL_NEWLINE = re.compile(r"\r?\n\Z")
_LITERAL = "write $${ where a plain ${ is meant"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a string: its text, and the reference that was replaced by it, if one was."""

    text: str
    written: str | None = None
    secret: bool = False
    """Whether it came from the environment or a file; a default written in the config did not."""


class Interpolated(str):
    """A string in which references were replaced, with the pieces that it was made of."""

    __slots__ = ("pieces",)
    pieces: tuple[Piece, ...]

    def __new__(cls, pieces: Iterable[Piece]) -> Self:  # noqa: D102  what it takes is its class
        kept = tuple(pieces)
        filled = super().__new__(cls, "".join(piece.text for piece in kept))
        filled.pieces = kept
        return filled

    @property
    def is_one_reference(self) -> bool:
        """Whether nothing but one reference was written, so that it may stand for a number."""
        return len(self.pieces) == 1


class UnsetVariable(InvalidValue):
    """A reference names a variable that is not in the environment."""


class Unresolved(str):
    """A string whose references could not be replaced: it names a secret, and is none itself."""

    __slots__ = ()


def pieces_of(text: str) -> tuple[Piece, ...]:
    """The pieces of a string; one where no reference was replaced."""
    return text.pieces if isinstance(text, Interpolated) else (Piece(text),)


def unreplaced(pieces: Iterable[Piece]) -> str:
    """The text as it is written in a file, references unreplaced."""
    return "".join(
        piece.text.replace("${", "$${") if piece.written is None else piece.written
        for piece in pieces
    )


Stamp = tuple[int, int, int]
"""Modification time in ns, size and inode: another one tells that the file has changed."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of the file that is at `path` now; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class References:
    """Looks up variables and files that references name; each file is read once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._read: dict[Path, str] = {}
        self.files: dict[Path, Stamp | None] = {}
        """The stamp of every secret file that was read, from before it was read."""

    def interpolate(self, text: str, directory: Path) -> str:
        """Replace the references in a string, once; paths are relative to `directory`.

        Raises:
            UnsetVariable: a variable is not there.
            InvalidValue: a reference is malformed, or names a file that cannot be read.
        """
        pieces: list[Piece] = []
        literal, done = "", 0
        for token in _TOKEN.finditer(text):
            literal += text[done : token.start()]
            done = token.end()
            if token[0] == "$${":
                literal += "${"
                continue
            if literal:
                pieces.append(Piece(literal))
                literal = ""
            if not token["end"]:
                raise InvalidValue("opens ${ and never closes it", _LITERAL)
            pieces.append(self._look_up(token["inside"], token[0], directory))
        literal += text[done:]
        if not pieces:
            return literal
        return Interpolated((*pieces, Piece(literal)) if literal else pieces)

    def _look_up(self, inside: str, written: str, directory: Path) -> Piece:
        if inside.startswith("file:") and inside != "file:":
            return Piece(self._contents(directory / inside[len("file:") :]), written, secret=True)
        reference = _NAME.fullmatch(inside)
        if reference is None:
            raise InvalidValue(
                f"has {written}, which is no reference",
                "write ${NAME}, ${NAME:-default} or ${file:/path}, or " + _LITERAL,
            )
        name, default = reference["name"], reference["default"]
        if default is None:
            if name not in self._environ:
                raise UnsetVariable(
                    f"needs ${{{name}}}, and the environment has no {name}",
                    f"set it or write ${{{name}:-default}}",
                )
            return Piece(_text(name, self._environ[name]), written, secret=True)
        if "${" in default:
            raise InvalidValue(
                f"has a reference in the default of {name}", "write one without: none nest"
            )
        # As in a shell, an empty variable takes the default too.
        if value := self._environ.get(name):
            return Piece(_text(name, value), written, secret=True)
        return Piece(default[len(":-") :], written)

    def _contents(self, path: Path) -> str:
        if path not in self._read:
            stamp = stamp_of(path)  # before it is read, so that a change meanwhile is noticed
            try:
                text = path.read_bytes().decode()
            except OSError as error:
                raise InvalidValue(
                    f"needs the file {path}, which cannot be read ({error.strerror})",
                    "make it readable for the user that refresher runs as",
                ) from None
            except UnicodeDecodeError:
                raise InvalidValue(
                    f"needs the file {path}, which is not UTF-8", "save it as UTF-8"
                ) from None
            except ValueError:
                raise InvalidValue(
                    f"needs the file {str(path)!r}, which no file can be called"
                ) from None
            self._read[path] = _FINAL_NEWLINE.sub("", text)
            self.files[path] = stamp
        return self._read[path]


def _text(name: str, value: str) -> str:
    """The value of a variable, which must be UTF-8."""
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue(f"needs ${{{name}}}, which is not UTF-8", "set it to text")
    return value
