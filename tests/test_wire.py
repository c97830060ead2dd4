import asyncio

from refresher.wire import Wire


async def test_what_a_server_says_first_spoils_no_new_connection_but_a_kept_one() -> None:
    wire = Wire(asyncio.get_running_loop())
    wire.data_received(b"SSH-2.0-OpenSSH_9\r\n")
    assert not wire.is_spoilt
    wire.expect()
    assert wire.is_spoilt


async def test_a_kept_connection_is_silent_until_the_first_byte_of_an_answer() -> None:
    wire = Wire(asyncio.get_running_loop())
    wire.expect()
    assert not wire.is_silent  # a new one
    wire.expect()
    assert wire.is_silent
    wire.data_received(b"H")
    assert not wire.is_silent
