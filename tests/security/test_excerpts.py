import re

from hypothesis import given
from hypothesis import strategies as st

from refresher.security.excerpts import clipped, excerpt

texts = st.text(st.sampled_from("ab-_.,=&;/1 \"'{}<>\n"), max_size=60)
ends = st.integers(0, 70)


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\s\"'`<>{}\[\]()…]+", text))


@given(texts, ends, ends)
def test_no_word_is_in_an_excerpt_in_part(text: str, start: int, stop: int) -> None:
    found = excerpt(text.encode(), start, stop)
    assert found.strip("…") in text
    assert words(found) <= words(text)


@given(texts, ends)
def test_what_is_clipped_says_so_and_has_whole_words(text: str, most: int) -> None:
    found = clipped(text, most)
    assert found == text if len(text) <= most else found.endswith("…")
    assert len(found) <= most + 1
    assert words(found) <= words(text)


def test_half_a_secret_is_not_shown() -> None:
    assert clipped("<<key=Zq7query-tail>>", 12) == "<<…"
    assert clipped("see Zq7query-tail there", 17) == "see Zq7query-tail…"
    assert excerpt(b'{"a": "Zq7query-tail"}', 9, 30) == '…"}'
    assert excerpt(b'{"a": "Zq7query-tail"}', 0, 12) == '{"a": "…'
