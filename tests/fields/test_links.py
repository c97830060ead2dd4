from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.fields.links import next_link


def found_in(field: str) -> str | None:
    return next_link(field, "/1".__eq__)


@pytest.mark.parametrize(
    "field",
    [
        '</2>; rel="next"',
        "</2>;rel=next",
        '  </2> ; REL = "NEXT"  ',
        '</1>; rel="prev", </2>; rel="next", </9>; rel="last"',
        '</1>; rel="prev",</2>; rel="next"',
        '</2>; title="a, b; <c> \\"d\\""; rel="next"',
        '</2>; rel="last next"',
        '</2>; rel="next"; rel="prev"',
        "</2>; crossorigin; rel=next",
        '</2>; rel="next";',
        ', , </2>; rel="next", ,',
        '</2>; rel="next", nonsense',
        '</1>; rel="next"; anchor="/other", </2>; rel="next"',
        '< /2 >; rel="next"',
        '</2>; rel="next", </3>; rel="next"',
        '</1>; title=";rel=next"; rel=prev, </2>; rel=next',
        "</2>; title*=UTF-8''n%c3%a4chste; rel=\"next\"",
        "</1>; rel='prev', </2>; rel='next'",
        "</2>; rel='last next'; title='it is'",
        "</2>; rel = 'NEXT' ; type='text/html'",
        "</2>; rel=`next`",
        "</2>; rel=`next'",
        "</2>; rel=\u2018next\u2019",
        "</2>; rel=\u201cnext\u201d",
        "</2>; rel=\u201clast next\u201d; x=\u201ca\u201d",
        "</2>; rel=\u201enext\u201c",
        "</2>; rel=\u00abnext\u00bb",
        "</2>; rel=\x93next\x94",
        "</2>; rel=\"'next'\"",
        '</2>; rel="\u201cnext\u201d"',
        "</2>; rel=next'",
        "</2>; rel='next",
        '</2>; rel="last, next"',
        '</9>; rel="??", </2>; rel="next"',
        '</2>; rel="next"; anchor="/1"',
        "</2>; rel='next'; anchor='/1'",
        "</2>; title=it's; rel=next",
    ],
)
def test_the_link_to_the_next_page_is_found(field: str) -> None:
    assert found_in(field) == "/2"


def test_a_target_may_hold_commas_and_semicolons() -> None:
    assert found_in('</a,b;c?d="e">; rel="next"') == '/a,b;c?d="e"'


@pytest.mark.parametrize(
    "field",
    [
        "",
        " , ",
        "</2>",
        '</2>; rel="prev"',
        '</2>; rel="nextpage"',
        '</2>; rel="prev"; rel="next"',
        '</2>; title="rel=next"',
        '</2>; rev="next"',
        '</2>; rel="next"; anchor="#foo"',
        "</2>; rel='prev'",
        "</2>; rel='nextpage'",
        '</2>; rel="https://example.org/next prev"',
        '</2>; rel="dns-prefetch", </3>; rel="cc:attributionURL"',
        "</2>; rel",
        "</2>; rel=",
    ],
)
def test_no_other_link_is_taken_for_it(field: str) -> None:
    assert found_in(field) is None


@pytest.mark.parametrize(
    "field",
    [
        "https://api.example/2; rel=next",
        "</2",
        '</1>; rel="prev", /2; rel="next"',
        '</1>; title="open, </2>; rel=next',
        "</1> </2>; rel=next",
        "</2>; rel=\u00e2\u0080\u009cnext\u00e2\u0080\u009d",
        '</2>; rel="=22next=22"',
        "</2>; rel=%22next%22",
        "</2>; rel=&quot;next&quot;",
        '</2>; rel="{{ rel }}"',
        "</2>; rel=(next)",
        "</2>; rel='prev, next'",
    ],
)
def test_a_field_that_cannot_be_read_is_no_end(field: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        found_in(field)


@given(st.text(alphabet='<>;,="\\ relnxta/', max_size=60))
def test_any_text_is_read_or_refused(field: str) -> None:
    try:
        found = found_in(field)
    except ValueError:
        return
    assert found is None or found in field


@pytest.mark.parametrize("part", ["<", ';a="', "<>;", ',;"\\', "; ", '<a>; b="c" ', "\\"])
def test_hostile_fields_take_no_time(part: str) -> None:
    with suppress(ValueError):
        found_in("<a>" + part * 10_000)


def test_no_part_of_a_secret_is_quoted() -> None:
    with pytest.raises(ValueError, match="cannot be read from '<…' on"):
        found_in(f"<Zq7{'x' * 80}")
