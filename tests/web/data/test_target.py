import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.web.data.target import after_prefix, with_query


@pytest.mark.parametrize(
    ("prefix", "raw", "rest"),
    [
        ("/data/", b"/data/rates", b"rates"),
        ("/data/", b"/data/a%2Fb/c", b"a%2Fb/c"),
        ("/data/", b"/d%61ta/rates", b"rates"),
        ("/deep/er/data/", b"/deep/%65r/data/x", b"x"),
        ("/caf\xe9/data/", b"/caf%C3%A9/data/x", b"x"),
        ("/data/", b"/data/", b""),
        ("/a/data/", b"/a%2Fdata/rates", b""),
        ("/a/data/", b"/a%2Fdata/rates/x", b""),
        ("/data/", b"/other/rates", b""),
        ("/data/", b"", b""),
    ],
)
def test_what_follows_a_prefix_stays_as_it_was_written(
    prefix: str, raw: bytes, rest: bytes
) -> None:
    assert after_prefix(prefix, raw) == rest


def test_what_was_asked_of_a_path_follows_it() -> None:
    assert with_query(b"/data/a", b"version=1") == b"/data/a?version=1"
    assert with_query(b"/data/a", b"") == b"/data/a"


segments = st.text(st.characters(exclude_characters="/%", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(segments, min_size=1, max_size=3), st.data())
def test_it_finds_the_prefix_however_it_was_encoded(names: list[str], data: st.DataObject) -> None:
    def spelled(text: str) -> bytes:
        octets = text.encode()
        encode = data.draw(st.lists(st.booleans(), min_size=len(octets), max_size=len(octets)))
        return b"".join(
            b"%%%02X" % octet if chosen else bytes([octet])
            for octet, chosen in zip(octets, encode, strict=True)
        )

    prefix = "/" + "/".join(names) + "/"
    raw = b"/" + b"/".join(map(spelled, names)) + b"/rest%2F/of it"
    assert after_prefix(prefix, raw) == b"rest%2F/of it"
