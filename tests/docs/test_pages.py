"""The pages as text: links lead somewhere, and nothing in them is of the machine they came from."""

import re
import socket
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, README, anchors, without_blocks

LINK = re.compile(r"\]\(([^)\s]+)\)")
OF_A_MACHINE = re.compile(
    r"/tmp/|/work\b|/root/|/home/|/opt/(?!refresher/)|file:///(?!dir)"  # noqa: S108  named, not used
    r"|index-url|pypi|simple/",
    re.IGNORECASE,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(without_blocks(page.read_text())):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_in_them_is_of_one_machine(page: Path) -> None:
    text = page.read_text()
    assert OF_A_MACHINE.search(text) is None
    assert socket.gethostname() not in text


def test_every_page_is_reached_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text())
    }
    assert set(DOCS.glob("*.md")) <= linked, README


def test_the_readme_can_be_read_in_a_few_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 200
