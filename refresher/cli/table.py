"""Text for a terminal: columns, and foreign text without control characters."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

_GAP = "  "


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one ends where it ends."""
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return "\n".join(
        _GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in cells
    )


def counted(number: int, noun: str) -> str:
    """A number with a noun, in singular or plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """The text in one line, without control characters: an upstream may have sent it."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else f"\\x{ord(c):02x}" for c in text
    )
