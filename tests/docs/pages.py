"""The pages of the documentation, and what stands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = Path(str(files("refresher") / "docs"))
PAGES = [README, *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
_CELLS = re.compile(r"\s*\|\s*")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str
    line: int
    is_excerpt: bool
    """Whether it says so itself: ```toml excerpt."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Table:
    """A table of a page; a row is a cell by the name of its column."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def page(name: str) -> str:
    """The text of a page of the documentation."""
    return (DOCS / name).read_text()


def blocks(*languages: str) -> list[Block]:
    """The blocks in these languages of all pages, in their order."""
    return [block for path in PAGES for block in _blocks_of(path) if block.language in languages]


def _blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text()
    for found in _FENCE.finditer(text):
        language, _, rest = found["info"].partition(" ")
        line = text.count("\n", 0, found.start()) + 1
        yield Block(path, language, found["text"], line, rest == "excerpt")


def without_blocks(text: str) -> str:
    """A page's text without its fenced blocks."""
    return _FENCE.sub("", text)


def code(text: str) -> str:
    """All that is set as code in a page, in blocks or within a sentence."""
    spans = re.findall(r"`([^`]+)`", without_blocks(text))
    return "\n".join([*spans, *(found["text"] for found in _FENCE.finditer(text))])


def spans(text: str) -> set[str]:
    """What is set as code within sentences."""
    return set(re.findall(r"`([^`]+)`", without_blocks(text)))


def section(text: str, heading: str) -> str:
    """What stands below a heading, its subsections included."""
    found = [match for match in _HEADING.finditer(text) if match[2] == heading]
    assert len(found) == 1, f"{len(found)} headings are {heading!r}"
    level, start = len(found[0][1]), found[0].end()
    end = next((m.start() for m in _HEADING.finditer(text, start) if len(m[1]) <= level), len(text))
    return text[start:end]


def anchors(text: str) -> set[str]:
    """What links can lead to in a page, as GitHub names headings."""
    headings = (match[2] for match in _HEADING.finditer(without_blocks(text)))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def tables(text: str) -> list[Table]:
    """The tables that stand in a text, in their order."""
    lines = without_blocks(text).splitlines()
    found = []
    for is_table, group in groupby(lines, key=lambda line: line.startswith("|")):
        if is_table:
            head, _, *rows = [_CELLS.split(line.strip().strip("|").strip()) for line in group]
            for row in rows:
                assert len(row) == len(head), f"{len(head)} columns, but {row}"
            made = tuple(dict(zip(head, row, strict=True)) for row in rows)
            found.append(Table(tuple(head), made))
    return found


def rows(text: str, *columns: str) -> list[dict[str, str]]:
    """The rows of all tables in a text that have just these columns."""
    return [row for table in tables(text) if table.columns == columns for row in table.rows]
