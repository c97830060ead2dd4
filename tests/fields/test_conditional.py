import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.conditional import not_modified
from refresher.fields.dates import http_date

IDENTITY, GZIP, OLD = '"abc"', '"abc-gzip"', '"old"'
CHANGED = 784111777


def asked(
    if_none_match: str | None = None,
    if_modified_since: str | None = None,
    last_modified: int | None = CHANGED,
) -> bool:
    return not_modified(
        if_none_match, if_modified_since, etags=[IDENTITY, GZIP], last_modified=last_modified
    )


def test_an_unconditional_request_gets_the_body() -> None:
    assert not asked()


@pytest.mark.parametrize(
    "field",
    [
        IDENTITY,
        GZIP,
        f"W/{IDENTITY}",
        "*",
        " * ",
        f"{OLD}, {IDENTITY}",
        f"{OLD},{IDENTITY},{OLD}",
        f"\t{OLD} ,\t W/{GZIP} ",
        f",, ,{IDENTITY},",
        f'"a,b" , {IDENTITY}',
        f'"\xe9", {IDENTITY}',
        f"unquoted, {IDENTITY}",
        f"{OLD} junk, {IDENTITY}",
    ],
)
def test_a_list_that_holds_a_current_tag_matches(field: str) -> None:
    assert asked(field)


@pytest.mark.parametrize(
    "field",
    [
        OLD,
        "",
        ",",
        "abc",
        '"abc',
        'abc"',
        '""',
        '"ABC"',
        'w/"abc"',
        'W/ "abc"',
        '"abc"x',
        'x"abc"',
        '"abc""abc"',
        '"*"',
        "W/*",
        f"{OLD}, *",
        f'"x,{IDENTITY[1:]}',
        '"x, abc"',
    ],
)
def test_a_list_without_a_current_tag_does_not_match(field: str) -> None:
    assert not asked(field)


@pytest.mark.parametrize("field", [OLD, "", "malformed"])
def test_a_date_is_not_looked_at_beside_tags_even_unreadable_ones(field: str) -> None:
    assert not asked(field, http_date(CHANGED))


def test_tags_that_match_win_over_a_date_that_does_not() -> None:
    assert asked(IDENTITY, http_date(CHANGED - 1))


@pytest.mark.parametrize(("offset", "expected"), [(-1, False), (0, True), (1, True)])
def test_nothing_is_sent_unless_it_changed_after_the_date(offset: int, *, expected: bool) -> None:
    assert asked(None, http_date(CHANGED + offset)) is expected


@pytest.mark.parametrize(
    "field", ["", "soon", "99999999999", f"{http_date(CHANGED)}, {http_date(CHANGED)}"]
)
def test_a_date_that_is_not_exactly_one_is_ignored(field: str) -> None:
    assert not asked(None, field)


def test_a_date_is_ignored_where_no_last_modified_is_sent() -> None:
    assert not asked(None, http_date(CHANGED), last_modified=None)


tags = st.builds(
    '"{}"'.format,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f')),
)
elements = st.tuples(st.sampled_from(["", "W/"]), tags)
gaps = st.sampled_from([",", ", ", " ,", " , ", ",,", ", ,\t"])


@given(st.lists(elements, min_size=1, max_size=6), st.data())
def test_every_tag_of_a_well_formed_list_is_found(
    listed: list[tuple[str, str]], data: st.DataObject
) -> None:
    field = data.draw(gaps).join(weak + tag for weak, tag in listed)
    _, wanted = data.draw(st.sampled_from(listed))
    other = data.draw(tags.filter(lambda tag: all(tag != known for _, known in listed)))
    assert not_modified(field, None, etags=[wanted], last_modified=None)
    assert not not_modified(field, None, etags=[other], last_modified=None)


@given(st.text(st.sampled_from('",W/*ab \t')))
def test_no_list_breaks_the_parser(field: str) -> None:
    assert asked(field) in {True, False}
