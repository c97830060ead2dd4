from hypothesis import given
from hypothesis import strategies as st

from refresher.cli.table import counted, printable, table

texts = st.text(alphabet=st.characters())


def test_columns_line_up() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "yy")]) == "A     B\nlong  x\ns     yy"


def test_a_thing_is_one_and_things_are_many() -> None:
    assert [counted(n, "job") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]


@given(texts)
def test_what_is_shown_is_one_line_and_steers_no_terminal(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"])))
def test_what_can_be_shown_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    assert len(table(("A", "B"), rows).split("\n")) == len(rows) + 1
