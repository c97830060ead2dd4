import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.security.tokens import Access, Tokens, bearer

tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@pytest.mark.parametrize(
    ("field", "token"),
    [
        (None, None),
        (b"", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Bearer    ", None),
        (b"Bearer abc", b"abc"),
        (b"bearer abc", b"abc"),
        (b"BEARER abc", b"abc"),
        (b"  Bearer   abc  ", b"abc"),
        (b"Bearer a b", b"a b"),
        (b"Bearer \xff\xfe", b"\xff\xfe"),
        (b"Basic abc", None),
        (b"abc", None),
        (b"Bearerabc", None),
    ],
)
def test_the_token_of_a_field(field: bytes | None, token: bytes | None) -> None:
    assert bearer(field) == token


def test_nobody_administers_without_a_token_in_force() -> None:
    access = Access(Tokens())
    for field in (None, b"", b"Bearer ", b"Bearer None", b"Bearer ()"):
        assert not access.may_administer(field)


def test_an_empty_token_opens_nothing() -> None:
    access = Access(Tokens(admin=("",), read=("",)))
    for field in (None, b"", b"Bearer", b"Bearer "):
        assert not access.may_administer(field)
        assert not access.may_read(field)


def test_everybody_reads_where_there_are_no_read_tokens() -> None:
    access = Access(Tokens(admin=("a",)))
    assert access.reading_is_open
    assert access.may_read(None)
    assert access.may_read(b"Bearer wrong")


def test_read_tokens_and_the_admin_token_read_and_only_the_latter_administers() -> None:
    access = Access(Tokens(admin=("a1", "a2"), read=("r1", "r2")))
    assert not access.reading_is_open
    assert [access.may_read(b"Bearer " + token) for token in (b"a1", b"a2", b"r1", b"r2")] == (
        [True] * 4
    )
    assert [
        access.may_administer(b"Bearer " + token) for token in (b"a1", b"a2", b"r1", b"r2")
    ] == [True, True, False, False]
    assert not access.may_read(None)


def test_a_token_may_go_beyond_ascii() -> None:
    access = Access(Tokens(admin=("gr\xfc\xdfe",)))
    assert access.may_administer("Bearer gr\xfc\xdfe".encode())
    assert not access.may_administer("Bearer gr\xfc\xdfe".encode("latin-1"))


def test_tokens_are_replaced_on_the_spot() -> None:
    access = Access(Tokens(admin=("old",)))
    access.tokens = Tokens(admin=("new",))
    assert not access.may_administer(b"Bearer old")
    assert access.may_administer(b"Bearer new")


@given(tokens, tokens)
def test_only_the_very_token_fits(token: str, other: str) -> None:
    access = Access(Tokens(admin=(token,)))
    assert access.may_administer(f"Bearer {token}".encode())
    assert access.may_administer(f"Bearer {other}".encode()) is (token == other)
    assert not access.may_administer(f"Bearer {token}{other}".encode())
