import tomllib
from textwrap import dedent

from hypothesis import given
from hypothesis import strategies as st

from refresher.config.lines import locate
from refresher.config.tree import KeyPath


def lines_of(text: str) -> dict[KeyPath, int]:
    return locate(dedent(text).lstrip("\n"))


def test_keys_and_tables_have_the_lines_they_stand_on() -> None:
    lines = lines_of("""
        top = 1
        [jobs.rates]
        url = "x"  # url = 1

        interval = "5m"
    """)
    assert lines == {
        ("top",): 1,
        ("jobs",): 2,
        ("jobs", "rates"): 2,
        ("jobs", "rates", "url"): 3,
        ("jobs", "rates", "interval"): 5,
    }


def test_dotted_and_quoted_keys_are_followed() -> None:
    lines = lines_of("""
        jobs."a.b".headers.'X Y' = "1"
        jobs . c . url = "2"
        ["up\\u0041".x]
        "é" = 3
    """)
    assert lines["jobs", "a.b", "headers", "X Y"] == 1
    assert lines["jobs", "c", "url"] == 2
    assert lines["upA", "x", "é"] == 4


def test_inline_tables_and_arrays_over_several_lines_are_followed() -> None:
    lines = lines_of("""
        guard = { min_items = 1, deep = { required = [
            "a",  # ]
            "b"
        ] } }
        after = 1979-05-27 07:32:00
        float = 1.5
        last = [[1, 2], [
            3]]
    """)
    assert lines["guard", "min_items"] == 1
    assert lines["guard", "deep", "required", 0] == 2
    assert lines["guard", "deep", "required", 1] == 3
    assert (lines[("after",)], lines[("float",)]) == (5, 6)
    assert lines["last", 1, 0] == 8


def test_multi_line_strings_count_their_lines_and_hide_what_looks_like_keys() -> None:
    lines = lines_of('''
        a = """
        [no]
        b = 1 \\"""
        """""
        c = \'\'\'
        [no]\'\'\'
        d = "\\" e = 1"
    ''')
    assert lines == {("a",): 1, ("c",): 5, ("d",): 7}


def test_arrays_of_tables_are_numbered() -> None:
    lines = lines_of("""
        [[hooks]]
        a = 1
        [[hooks]]
        a = 2
        [hooks.deep]
        b = 1
    """)
    assert lines["hooks", 0, "a"] == 2
    assert lines["hooks", 1, "a"] == 4
    assert lines["hooks", 1, "deep", "b"] == 6


SCALARS = st.sampled_from(
    ["1", "1.5", "true", '"x"', "'y'", '"""a\n b = 1\n"""', "1979-05-27", '""']
)
KEYS = st.sampled_from(["a", "b-c", '"d e"', "'f.g'", '"h\\"i"', "1"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # ]\n".join(items) + "]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{k} = {v}" for k, v in table.items()) + " }"
        )
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(
    st.lists(KEYS, min_size=1, max_size=3).map(".".join),
    st.dictionaries(KEYS, VALUES, max_size=3),
    max_size=4,
)


@given(TABLES)
def test_whatever_tomllib_accepts_has_a_line_for_each_of_its_keys(
    tables: dict[str, dict[str, str]],
) -> None:
    text = "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
        for name, table in tables.items()
    )
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = locate(text)
    assert set(lines) == set(paths(document))
    written = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1].replace('"', '\\"') in written[line - 1]


def paths(value: object, path: KeyPath = ()) -> list[KeyPath]:
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [p for key, v in inner for p in ((*path, key), *paths(v, (*path, key)))]
