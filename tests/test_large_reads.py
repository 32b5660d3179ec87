"""Large messages: their pieces in order, and the end of a connection right behind one."""

import asyncio
import random

import pytest

from tests.support import HOST, Recorder, closed, over_socket, reset, turns, until

BOTH_MODES = True
LARGE = 100_000
MOST = 256 * 1024  # what one data_received() may get


async def send_and_wait(loop, protocol, sock, data):
    wanted = len(protocol.data) + len(data)
    await loop.sock_sendall(sock, data)
    await until(lambda: len(protocol.data) == wanted)


async def after_large_messages(loop):
    """A protocol whose connection is used to large messages, and the other end's socket."""
    transport, protocol, sock = await over_socket(loop)
    sock.setblocking(False)
    for _ in range(3):
        await send_and_wait(loop, protocol, sock, bytes(LARGE))
    protocol.data.clear()
    return transport, protocol, sock


class Pieces(Recorder):
    def __init__(self):
        super().__init__()
        self.longest = 0

    def data_received(self, data):
        super().data_received(data)
        self.longest = max(self.longest, len(data))


async def test_messages_of_random_lengths(loop):
    chance = random.Random(20)
    sent = [chance.randbytes(chance.choice([1, 5_000, 40_000, LARGE, 400_000])) for _ in range(60)]
    _, protocol, sock = await over_socket(loop, Pieces)
    sock.setblocking(False)
    for data in sent[:30]:
        await loop.sock_sendall(sock, data)
    await until(lambda: len(protocol.data) == sum(map(len, sent[:30])))
    for data in sent[30:]:
        await send_and_wait(loop, protocol, sock, data)
    assert protocol.data == b"".join(sent)
    assert protocol.longest <= MOST
    sock.close()
    await closed(protocol)


@pytest.mark.parametrize("size", [1, 40_000, LARGE])
async def test_the_end_right_behind_a_message(loop, size):
    _, protocol, sock = await after_large_messages(loop)
    sock.sendall(bytes(size))
    sock.close()
    assert await protocol.lost is None
    assert protocol.data == bytes(size)
    assert protocol.events == ["made", "data", "eof", "lost"]


@pytest.mark.parametrize("size", [1, 40_000, LARGE])
async def test_a_reset_right_behind_a_message(loop, size):
    _, protocol, sock = await after_large_messages(loop)
    sock.sendall(bytes(size))
    reset(sock)
    exc = await protocol.lost
    assert type(exc) is ConnectionResetError and exc.errno == 104
    assert protocol.data == bytes(size)
    assert protocol.events == ["made", "data", "lost ConnectionResetError"]


async def test_a_reset_behind_a_message_that_pauses(loop):
    """Who does not read does not hear of it before he reads again."""
    transport, protocol, sock = await after_large_messages(loop)
    received = protocol.data_received

    def pause(data):
        received(data)
        transport.pause_reading()

    protocol.data_received = pause
    sock.sendall(bytes(40_000))
    reset(sock)
    await until(lambda: protocol.data)
    await turns(20)
    assert not protocol.lost.done()
    transport.resume_reading()
    assert type(await protocol.lost) is ConnectionResetError


async def test_a_message_that_comes_in_parts_is_answered_whole(loop):
    """The parts are put together or not; the answers to them are the message."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    server = await loop.create_server(Echo, HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    chance = random.Random(21)
    for _ in range(30):
        message = chance.randbytes(LARGE)
        cut = chance.randrange(1, LARGE)
        writer.write(message[:cut])
        await turns(chance.randrange(3))
        writer.write(message[cut:])
        assert await reader.readexactly(LARGE) == message
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
