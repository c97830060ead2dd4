from hypothesis import given
from hypothesis import strategies as st

from refresher.web.memo import Memo


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    memo: Memo[int, str] = Memo(generation=10)
    memo[-1] = memo[-2] = "kept"
    for n in range(100):
        memo[n] = "new"
        assert memo.get(-1) == "kept"
    assert memo.get(-2) is None
    assert memo.get(99) == "new"
    assert memo.get(50) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans())), st.integers(1, 8))
def test_it_never_grows_beyond_two_generations_nor_errs(
    steps: list[tuple[int, bool]], generation: int
) -> None:
    memo: Memo[int, int] = Memo(generation=generation)
    for key, remembers in steps:
        if remembers:
            memo[key] = key
        assert memo.get(key) in ({key} if remembers else {key, None})
        assert len(memo) <= 2 * generation
