"""Bytes through TCP: every size arrives whole and in order, split, coalesced, both ways."""

import asyncio
import hashlib
import os
import random
import socket
import sys

import pytest

from tests.support import Recorder, closed, connected, until

BOTH_MODES = True


class Echo(asyncio.Protocol):
    """Sends back what it gets and ends when its peer does."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """The same through a buffer of its own."""

    def __init__(self):
        self.buffer = bytearray(70_000)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        assert sizehint == -1 or sizehint > 0
        return self.buffer

    def buffer_updated(self, nbytes):
        assert nbytes > 0
        self.transport.write(bytes(memoryview(self.buffer)[:nbytes]))


SIZES = [0, 1, 2, 1023, 1024, 1025, 65_535, 65_536, 65_537, 262_144, 262_145, 1_000_003, 10_000_000]


@pytest.mark.parametrize("echo", [Echo, BufferedEcho])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_sent_comes_back(loop, echo, size):
    data = random.Random(size).randbytes(size)

    async def body():
        server_side, client, server = await connected(echo)
        client.transport.write(data)
        client.transport.write_eof()
        await client.lost
        return bytes(client.data)

    got = loop.run_until_complete(body())
    assert len(got) == size
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


async def test_many_small_writes_arrive_in_order(loop):
    server_side, client, server = await connected()
    expected = bytearray()
    for i in range(5000):
        piece = b"%d," % i
        expected += piece
        client.transport.write(piece)
        if i % 100 == 0:
            await asyncio.sleep(0)
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == expected
    await closed(client, server_side)


async def test_big_and_small_writes_keep_their_order(loop):
    server_side, client, server = await connected()
    source = random.Random(3)
    expected = bytearray()
    for _ in range(60):
        piece = source.randbytes(source.choice([1, 10, 1000, 70_000, 300_000]))
        expected += piece
        client.transport.write(piece)
        if source.random() < 0.3:
            await asyncio.sleep(0)
    client.transport.close()
    await server_side.lost
    assert server_side.data == expected
    await closed(client)


async def test_writelines_is_one_stream(loop):
    server_side, client, server = await connected()
    pieces = [b"a", bytearray(b"b"), memoryview(b"c"), b"", b"d" * 100_000]
    client.transport.writelines(pieces)
    client.transport.writelines(piece for piece in (b"e", b"f"))
    client.transport.writelines([])
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"abc" + b"d" * 100_000 + b"ef"
    await closed(client, server_side)


async def test_writelines_of_more_pieces_than_one_system_call_takes(loop):
    count = 2 * os.sysconf("SC_IOV_MAX") + 7
    server_side, client, server = await connected()
    client.transport.writelines([b"%06d" % i for i in range(count)])
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"".join(b"%06d" % i for i in range(count))
    await closed(client, server_side)


async def test_any_buffer_can_be_written(loop):
    import array

    server_side, client, server = await connected()
    view = memoryview(b"0123456789")
    client.transport.write(view[2:5])
    client.transport.write(bytearray(b"array"))
    client.transport.write(memoryview(array.array("B", [65, 66])))
    client.transport.write(memoryview(b"wxyz")[::1])
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"234arrayABwxyz"
    await closed(client, server_side)


@pytest.mark.parametrize("bad", ["text", None, 5, [b"x"]], ids=repr)
async def test_other_things_cannot_be_written(loop, bad):
    server_side, client, server = await connected()
    with pytest.raises(TypeError):
        client.transport.write(bad)
    client.transport.write(b"fine")
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"fine"
    await closed(client, server_side)


@pytest.fixture(params=[10, 8_000_000], ids=["small", "big"])
def mutable_size(request, loop_name):
    """Size of a mutable buffer to write: one the kernel takes at once, one it does not."""
    if loop_name == "asyncio" and request.param > 10 and sys.version_info >= (3, 12):
        pytest.skip("asyncio keeps a view of the caller's buffer and sends what it is by then")
    return request.param


async def test_a_bytearray_changed_after_write_sends_what_it_was(loop, mutable_size):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    data = bytearray(b"a" * mutable_size)
    client.transport.write(data)
    expected = bytes(data)
    for i in range(0, len(data), 1000):
        data[i] = 0x62
    del data[5:]
    data += b"longer again"
    server_side.transport.resume_reading()
    client.transport.write_eof()
    await server_side.eof
    assert hashlib.sha256(server_side.data).digest() == hashlib.sha256(expected).digest()
    await closed(client, server_side)


async def test_a_memoryview_of_a_bytearray_changed_after_write(loop, mutable_size):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    data = bytearray(b"a" * mutable_size)
    client.transport.write(memoryview(data)[1:])
    client.transport.writelines([memoryview(data), data])
    expected = bytes(data[1:]) + bytes(data) * 2
    data[:] = b"b" * len(data)
    server_side.transport.resume_reading()
    client.transport.write_eof()
    await server_side.eof
    assert hashlib.sha256(server_side.data).digest() == hashlib.sha256(expected).digest()
    await closed(client, server_side)


async def test_a_write_is_sent_although_the_loop_then_blocks(loop):
    """What is written in one turn must leave before the loop sleeps or is stopped."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.settimeout(5)
    transport, protocol = await loop.create_connection(Recorder, sock=left)
    transport.write(b"one")
    await asyncio.sleep(0)
    assert right.recv(10) == b"one"
    transport.write(b"two")
    transport.write(b"three")
    await asyncio.sleep(0)
    assert right.recv(10) == b"twothree"
    right.close()
    await closed(protocol)


def test_a_write_just_before_the_loop_stops_is_sent(loop):
    left, right = socket.socketpair()
    left.setblocking(False)
    right.settimeout(5)

    async def connect():
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        return protocol

    protocol = loop.run_until_complete(connect())

    async def write():
        protocol.transport.write(b"last words")

    loop.run_until_complete(write())
    assert right.recv(100) == b"last words"
    loop.call_soon(lambda: (protocol.transport.write(b"and more"), loop.stop()))
    loop.run_forever()
    assert right.recv(100) == b"and more"
    right.close()
    loop.run_until_complete(closed(protocol))


def test_a_write_between_two_runs_is_sent(loop):
    """A transport may be written to while its loop does not run."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.settimeout(5)

    async def connect():
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        return protocol

    protocol = loop.run_until_complete(connect())
    protocol.transport.write(b"outside")
    loop.run_until_complete(asyncio.sleep(0))
    assert right.recv(100) == b"outside"
    right.close()
    loop.run_until_complete(closed(protocol))


async def test_a_request_split_into_single_bytes(loop):
    server_side, client, server = await connected()
    message = b"GET / HTTP/1.1\r\n\r\n"
    for i in range(len(message)):
        client.transport.write(message[i : i + 1])
        await until(lambda i=i: len(server_side.data) == i + 1)
    assert server_side.data == message
    await closed(client, server_side)


async def test_both_directions_at_once(loop):
    server_side, client, server = await connected()
    source = random.Random(5)
    there, back = source.randbytes(3_000_000), source.randbytes(3_000_000)
    client.transport.write(there)
    server_side.transport.write(back)
    await until(lambda: len(client.data) == len(back) and len(server_side.data) == len(there))
    assert client.data == back and server_side.data == there
    await closed(client, server_side)


async def test_ping_pong(loop):
    server_side, client, server = await connected(Echo)
    for i in range(300):
        message = b"%d" % i
        del client.data[:]
        client.transport.write(message)
        while len(client.data) < len(message):
            await asyncio.sleep(0)
        assert client.data == message
    await closed(client)
    await until(server_side.transport.is_closing)


async def test_a_server_that_answers_from_inside_data_received(loop):
    class Answers(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.write(b"hello ")

        def data_received(self, data):
            for byte in data:
                self.transport.write(bytes([byte]))
            self.transport.writelines([b"-", b"end"])
            self.transport.close()

    server_side, client, server = await connected(Answers)
    client.transport.write(b"abc")
    await client.lost
    assert client.data == b"hello abc-end"
