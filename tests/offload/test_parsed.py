from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from refresher.jsontext.pointer import NotThere
from refresher.offload.parsed import ParsedCache, ParsedText


def parsed(size: int) -> ParsedText:
    return ParsedText(b'"' + b"x" * size + b'"')


def test_a_text_is_taken_out_and_put_back() -> None:
    cache = ParsedCache(10_000)
    assert cache.take("a") is None
    text = parsed(10)
    cache.put("a", text)
    assert cache.take("a") is text
    assert cache.take("a") is None, "it was taken out"


def test_the_least_recently_used_texts_are_evicted_first() -> None:
    cache = ParsedCache(10_000)
    for name in "abc":
        cache.put(name, parsed(2500))
    cache.put("a", cache.take("a") or parsed(0))
    cache.put("d", parsed(2500))
    assert set(cache) == {"c", "a", "d"}


def test_a_text_larger_than_the_cache_is_not_cached() -> None:
    cache = ParsedCache(10_000)
    cache.put("a", parsed(100))
    cache.put("b", parsed(10_000))
    assert set(cache) == {"a"}


def test_what_was_parsed_of_a_text_counts_as_well() -> None:
    text, cache = ParsedText(b"[%s]" % b",".join([b"1"] * 100)), ParsedCache(10_000)
    cache.put("a", text)
    assert cache.take("a") is text
    assert text.find([("7",), ("x",), ("100",)]) == [b"1", NotThere(0), NotThere(0)]
    cache.put("a", text)
    assert cache.take("a") is None


def test_each_part_of_a_text_counts_once_however_often_it_is_found() -> None:
    text = ParsedText(b'{"a": {"b": [1, 2]}, "c": 3}')
    sizes = [text.size]
    for path in (("c",), ("a", "b", "1"), ("a", "b", "0"), ("a", "b", "9"), ("c",), ("c", "x")):
        text.find([path])
        sizes.append(text.size)
    grown = [after - before for before, after in pairwise(sizes)]
    member = grown[0] // 3
    assert grown == [3 * member, 5 * member, 0, 0, 0, member], "each with those that it has"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4000))))
def test_the_cache_never_exceeds_its_size(put: list[tuple[str, int]]) -> None:
    cache = ParsedCache(10_000)
    for name, size in put:
        cache.put(name, parsed(size))
        kept = [cache.take(each) for each in list(cache)]
        assert sum(each.size for each in kept if each) <= 10_000
        for index, each in enumerate(kept):
            cache.put(str(index), each or parsed(0))
