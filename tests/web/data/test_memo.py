from hypothesis import given
from hypothesis import strategies as st

from refresher.web.data.memo import Memo


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    memo: Memo[int, str] = Memo(generation=10)
    memo[-1] = memo[-2] = "kept"
    for n in range(100):
        memo[n] = "new"
        assert memo[-1] == "kept"
    assert memo[-2] is None
    assert memo[99] == "new"
    assert memo[50] is None


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans())), st.integers(1, 8))
def test_it_never_remembers_more_than_two_generations_nor_errs(
    steps: list[tuple[int, bool]], generation: int
) -> None:
    memo: Memo[int, int] = Memo(generation=generation)
    for key, remembers in steps:
        if remembers:
            memo[key] = key
        assert memo[key] in ({key} if remembers else {key, None})
    assert sum(memo[key] is not None for key in range(31)) <= 2 * generation
