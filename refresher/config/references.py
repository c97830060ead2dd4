"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of a configuration."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from refresher.config.units import Unfit

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_FINAL_NEWLINE = re.compile(r"\r?\n\Z")
_LITERAL = "write $${ where a plain ${ is meant"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a string: what stands there, and the reference that brought it, if one did."""

    text: str
    written: str | None = None
    secret: bool = False
    """Whether it came from outside: a default that stands in the file is no secret."""


class Filled(str):
    """A string that references filled in, and that still knows what was written."""

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


class Unset(Unfit):
    """A reference names a variable that the environment has not."""


class Unfilled(str):
    """A string whose references are unset: it names a secret, and is none itself."""

    __slots__ = ()


def pieces_of(text: str) -> tuple[Piece, ...]:
    """The parts of a string; one where nothing was filled in."""
    return text.pieces if isinstance(text, Filled) else (Piece(text),)


def unreplaced(pieces: Iterable[Piece]) -> str:
    """The pieces as they are written in a file: equal for all that one file can become."""
    return "".join(
        piece.text.replace("${", "$${") if piece.written is None else piece.written
        for piece in pieces
    )


Mark = tuple[int, int, int]
"""What tells a file from its replacement."""


def mark_of(path: Path) -> Mark | None:
    """The mark of what is at `path` now; None while there is nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class References:
    """Looks up what references name; a file is read once.

    `files` has every file that was asked for, so that someone may watch them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._read: dict[Path, str] = {}
        self.files: dict[Path, Mark | None] = {}
        """Every secret file that was read, as it was then."""

    def fill(self, text: str, directory: Path) -> str:
        """Replace the references in a string, once; paths are relative to `directory`.

        Raises:
            Unset: a variable is not there.
            Unfit: a reference is malformed, or nothing is there where it points.
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
                raise Unfit("opens ${ and never closes it", _LITERAL)
            pieces.append(self._look_up(token["inside"], token[0], directory))
        literal += text[done:]
        if not pieces:
            return literal
        return Filled((*pieces, Piece(literal)) if literal else pieces)

    def _look_up(self, inside: str, written: str, directory: Path) -> Piece:
        if inside.startswith("file:") and inside != "file:":
            return Piece(self._contents(directory / inside[len("file:") :]), written, secret=True)
        reference = _NAME.fullmatch(inside)
        if reference is None:
            raise Unfit(
                f"has {written}, which is no reference",
                "write ${NAME}, ${NAME:-default} or ${file:/path}, or " + _LITERAL,
            )
        name, default = reference["name"], reference["default"]
        if default is None:
            if name not in self._environ:
                raise Unset(
                    f"needs ${{{name}}}, and the environment has no {name}",
                    f"set it or write ${{{name}:-default}}",
                )
            return Piece(_text(name, self._environ[name]), written, secret=True)
        if "${" in default:
            raise Unfit(f"has a reference in the default of {name}", "write one without: none nest")
        # As in a shell, an empty variable takes the default too.
        if value := self._environ.get(name):
            return Piece(_text(name, value), written, secret=True)
        return Piece(default[len(":-") :], written)

    def _contents(self, path: Path) -> str:
        if path not in self._read:
            mark = mark_of(path)  # before: what comes while it is read is a change
            try:
                text = path.read_bytes().decode()
            except OSError as error:
                raise Unfit(
                    f"needs the file {path}, which cannot be read ({error.strerror})",
                    "make it readable for the user that refresher runs as",
                ) from None
            except UnicodeDecodeError:
                raise Unfit(
                    f"needs the file {path}, which is not UTF-8", "save it as UTF-8"
                ) from None
            except ValueError:
                raise Unfit(f"needs the file {str(path)!r}, which no file can be called") from None
            self._read[path] = _FINAL_NEWLINE.sub("", text)
            self.files[path] = mark
        return self._read[path]


def _text(name: str, value: str) -> str:
    """The value of a variable, unless it has bytes that are no text."""
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Unfit(f"needs ${{{name}}}, which is not UTF-8", "set it to text")
    return value
