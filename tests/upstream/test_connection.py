import asyncio

from refresher.upstream.connection import Wire

CHUNKS = 40_000
FLOOD = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * CHUNKS + b"0\r\n\r\n"
)
"""Takes much longer to parse than a turn may last."""


class Pipe(asyncio.Transport):
    """A transport with nothing behind it."""

    paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None: ...


def connected() -> tuple[Wire, Pipe]:
    wire, pipe = Wire(asyncio.get_running_loop()), Pipe()
    wire.connection_made(pipe)
    wire.set_response_params(auto_decompress=False)
    wire.expect()
    return wire, pipe


async def test_what_a_server_says_first_spoils_no_new_connection_but_a_kept_one() -> None:
    wire = Wire(asyncio.get_running_loop())
    wire.data_received(b"SSH-2.0-OpenSSH_9\r\n")
    assert not wire.is_spoilt
    wire.expect()
    assert wire.is_spoilt


async def test_a_flood_of_chunks_is_parsed_a_little_at_a_turn_and_comes_whole() -> None:
    wire, pipe = connected()
    wire.data_received(FLOOD)
    _, body = await wire.read()
    assert not body.is_eof()
    assert pipe.paused
    assert await body.read() == b" " * CHUNKS
    assert not pipe.paused
    assert not wire.is_spoilt


async def test_what_came_before_a_connections_end_is_parsed_before_it_counts() -> None:
    wire, _ = connected()
    wire.data_received(FLOOD)
    wire.eof_received()
    wire.connection_lost(None)
    _, body = await wire.read()
    assert await body.read() == b" " * CHUNKS
    assert not wire.is_connected()


async def test_what_has_not_been_parsed_goes_with_a_connection_that_is_closed() -> None:
    wire, _ = connected()
    wire.data_received(FLOOD)
    ended = wire.closed
    assert ended is not None
    wire.close()
    wire.connection_lost(None)
    await ended


async def test_a_kept_connection_is_silent_until_the_first_byte_of_an_answer() -> None:
    wire = Wire(asyncio.get_running_loop())
    wire.expect()
    assert not wire.is_silent  # a new one
    wire.expect()
    assert wire.is_silent
    wire.data_received(b"H")
    assert not wire.is_silent
