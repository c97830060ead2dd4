import asyncio

import pytest

from refresher.upstream.connection import ConnectionProtocol

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


def connected() -> tuple[ConnectionProtocol, Pipe]:
    connection, pipe = ConnectionProtocol(asyncio.get_running_loop()), Pipe()
    connection.connection_made(pipe)
    connection.set_response_params(auto_decompress=False)
    connection.expect()
    return connection, pipe


async def test_unrequested_bytes_make_a_kept_connection_dirty_and_no_new_one() -> None:
    connection = ConnectionProtocol(asyncio.get_running_loop())
    connection.data_received(b"SSH-2.0-OpenSSH_9\r\n")
    assert not connection.is_dirty
    connection.expect()
    assert connection.is_dirty


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]",
    ],
)
async def test_bytes_after_an_answer_make_its_connection_dirty_and_empty_lines_do_not(
    answer: bytes,
) -> None:
    for after, dirty in ((b"", False), (b"\r\n", False), (b"0", True)):
        connection, _ = connected()
        connection.data_received(answer + after)
        await connection.read()
        assert connection.is_dirty is dirty


async def test_a_flood_of_chunks_is_parsed_a_little_at_a_turn_and_comes_whole() -> None:
    connection, pipe = connected()
    connection.data_received(FLOOD)
    _, body = await connection.read()
    assert not body.is_eof()
    assert pipe.paused
    assert await body.read() == b" " * CHUNKS
    assert not pipe.paused
    assert not connection.is_dirty


async def test_what_came_before_a_connections_end_is_parsed_before_it_counts() -> None:
    connection, _ = connected()
    connection.data_received(FLOOD)
    connection.eof_received()
    connection.connection_lost(None)
    _, body = await connection.read()
    assert await body.read() == b" " * CHUNKS
    assert not connection.is_connected()


async def test_what_has_not_been_parsed_goes_with_a_connection_that_is_closed() -> None:
    connection, _ = connected()
    connection.data_received(FLOOD)
    ended = connection.closed
    assert ended is not None
    connection.close()
    connection.connection_lost(None)
    await ended


async def test_a_kept_connection_is_silent_until_the_first_byte_of_an_answer() -> None:
    connection = ConnectionProtocol(asyncio.get_running_loop())
    connection.expect()
    assert not connection.is_silent  # a new one
    connection.expect()
    assert connection.is_silent
    connection.data_received(b"H")
    assert not connection.is_silent
