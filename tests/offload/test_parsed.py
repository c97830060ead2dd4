from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from refresher.jsontext.pointer import NotThere
from refresher.offload.parsed import ParsedCache, ParsedText


def parsed(size: int) -> ParsedText:
    return ParsedText(b'"' + b"x" * size + b'"')


def test_a_text_is_taken_away_and_put_back() -> None:
    texts = ParsedCache(10_000)
    assert texts.take("a") is None
    text = parsed(10)
    texts.put("a", text)
    assert texts.take("a") is text
    assert texts.take("a") is None, "it is with whoever took it"


def test_texts_not_asked_for_longest_go_first() -> None:
    texts = ParsedCache(10_000)
    for name in "abc":
        texts.put(name, parsed(2500))
    texts.put("a", texts.take("a") or parsed(0))
    texts.put("d", parsed(2500))
    assert set(texts) == {"c", "a", "d"}


def test_a_text_larger_than_all_that_may_be_kept_is_not() -> None:
    texts = ParsedCache(10_000)
    texts.put("a", parsed(100))
    texts.put("b", parsed(10_000))
    assert set(texts) == {"a"}


def test_what_was_parsed_of_a_text_counts_as_well() -> None:
    text, texts = ParsedText(b"[%s]" % b",".join([b"1"] * 100)), ParsedCache(10_000)
    texts.put("a", text)
    assert texts.take("a") is text
    assert text.find([("7",), ("x",), ("100",)]) == [b"1", NotThere(0), NotThere(0)]
    texts.put("a", text)
    assert texts.take("a") is None


def test_each_part_of_a_text_counts_once_however_often_it_is_looked_into() -> None:
    text = ParsedText(b'{"a": {"b": [1, 2]}, "c": 3}')
    sizes = [text.size]
    for path in (("c",), ("a", "b", "1"), ("a", "b", "0"), ("a", "b", "9"), ("c",), ("c", "x")):
        text.find([path])
        sizes.append(text.size)
    grown = [after - before for before, after in pairwise(sizes)]
    member = grown[0] // 3
    assert grown == [3 * member, 5 * member, 0, 0, 0, member], "each with those that it has"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4000))))
def test_no_more_is_kept_than_may_be(put: list[tuple[str, int]]) -> None:
    texts = ParsedCache(10_000)
    for name, size in put:
        texts.put(name, parsed(size))
        kept = [texts.take(each) for each in list(texts)]
        assert sum(each.size for each in kept if each) <= 10_000
        for index, each in enumerate(kept):
            texts.put(str(index), each or parsed(0))
