"""asyncio's streams: reading in every way, limits, drain, errors, and changes underneath."""

import asyncio
import hashlib
import random
import sys

import pytest

from pyasync import _core
from tests.support import HOST, turns, until

BOTH_MODES = True


async def streams(**options):
    """A server and a connected pair; reader, writer, and the server's two."""
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def accept(reader, writer):
        accepted.set_result((reader, writer))

    server = await asyncio.start_server(accept, HOST, 0, **options)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, **options)
    server_reader, server_writer = await accepted
    server.close()
    return reader, writer, server_reader, server_writer


async def close(*writers):
    for writer in writers:
        writer.close()
    for writer in writers:
        await asyncio.wait_for(writer.wait_closed(), 10)


async def test_echo(loop):
    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    data = random.Random(1).randbytes(500_000)

    async def send():
        for i in range(0, len(data), 7000):
            writer.write(data[i : i + 7000])
            await writer.drain()
        writer.write_eof()

    _, got = await asyncio.gather(send(), reader.read())
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    await close(writer)
    server.close()
    await server.wait_closed()


async def test_reading_in_every_way(loop):
    reader, writer, _, server_writer = await streams()
    server_writer.write(b"line one\nline two\nexactly10!until;rest of it")
    assert await reader.readline() == b"line one\n"
    assert await reader.readuntil() == b"line two\n"
    assert await reader.readexactly(10) == b"exactly10!"
    assert await reader.readuntil(b";") == b"until;"
    assert await reader.read(4) == b"rest"
    assert await reader.read(0) == b""
    assert await reader.readexactly(0) == b""
    server_writer.close()
    assert await reader.read(100) == b" of it"
    assert await reader.read(100) == b"" == await reader.read() == await reader.readline()
    assert reader.at_eof()
    await close(writer, server_writer)


async def test_reading_across_pieces(loop):
    reader, writer, _, server_writer = await streams()

    async def send():
        for byte in b"a line in single bytes\nand ten more":
            server_writer.write(bytes([byte]))
            await asyncio.sleep(0)

    sender = asyncio.ensure_future(send())
    assert await reader.readline() == b"a line in single bytes\n"
    assert await reader.readexactly(12) == b"and ten more"
    await sender
    await close(writer, server_writer)


async def test_iterating_over_lines(loop):
    reader, writer, _, server_writer = await streams()
    server_writer.writelines([b"a\n", b"b\n", b"c"])
    server_writer.close()
    assert [line async for line in reader] == [b"a\n", b"b\n", b"c"]
    await close(writer, server_writer)


async def test_an_early_end(loop):
    reader, writer, _, server_writer = await streams()
    server_writer.write(b"short")
    server_writer.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(10)
    assert caught.value.partial == b"short" and caught.value.expected == 10
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readuntil(b"\n")
    assert caught.value.partial == b"" and caught.value.expected is None
    await close(writer, server_writer)


def test_the_limit(same_as_asyncio):
    async def body(loop):
        reader, writer, _, server_writer = await streams(limit=100)
        found = []
        server_writer.write(b"x" * 150 + b"\n" + b"y" * 1000)
        for attempt in ("readuntil", "readline", "readuntil"):
            try:
                found.append(await getattr(reader, attempt)())
            except asyncio.LimitOverrunError as exc:
                found.append(("LimitOverrunError", exc.consumed > 0))
                found.append(len(await reader.read(exc.consumed)) > 0)
            except ValueError as exc:
                found.append(("ValueError", "chunk" in str(exc)))
        server_writer.close()
        await reader.read()
        await close(writer, server_writer)
        return found

    same_as_asyncio(body)


async def test_a_read_much_larger_than_the_limit(loop):
    reader, writer, _, server_writer = await streams(limit=1000)
    data = random.Random(2).randbytes(2_000_000)
    server_writer.write(data)
    got = await asyncio.wait_for(reader.readexactly(len(data)), 10)
    assert got == data
    server_writer.write(b"more")
    assert await asyncio.wait_for(reader.read(10), 10) == b"more"
    await close(writer, server_writer)


@pytest.mark.parametrize("size", [40_000, 100_000, 300_000, 1_000_000])
async def test_large_messages_one_after_the_other(loop, size):
    """After a large read the next may be received straight into the reader's buffer."""
    reader, writer, server_reader, server_writer = await streams(limit=2**20)
    data = random.Random(size).randbytes(size)
    for piece in (data, data[::-1], data[:10], data, b"last" + data):
        writer.write(piece)
        assert await server_reader.readexactly(len(piece)) == piece
    writer.write(data + b"the end")
    writer.write_eof()
    assert await server_reader.read() == data + b"the end"
    assert server_reader.at_eof()
    await close(writer, server_writer)


async def test_a_large_read_onto_what_the_reader_holds(loop):
    reader, writer, server_reader, server_writer = await streams(limit=2**20)
    data = random.Random(1).randbytes(400_000)
    writer.write(data)
    assert await server_reader.readexactly(1) == data[:1]
    writer.write(data)
    assert await server_reader.readexactly(799_998) == (data + data)[1:-1]
    assert await server_reader.read(100) == data[-1:]
    await close(writer, server_writer)


async def test_nothing_comes_after_a_large_read(loop):
    """The reader's buffer is as it was when there was nothing to receive, or the end."""
    reader, writer, server_reader, server_writer = await streams(limit=2**20)
    data = bytes(range(256)) * 1000
    writer.write(data)
    assert await server_reader.readexactly(len(data)) == data
    await turns(5)
    assert server_reader._buffer == b""
    server_writer.write(data)
    assert await reader.readexactly(len(data)) == data
    server_writer.close()
    assert await reader.read() == b""
    assert reader._buffer == b""
    await close(writer)


async def test_a_large_read_while_the_readers_buffer_is_exported(loop):
    reader, writer, server_reader, server_writer = await streams(limit=2**20)
    data = random.Random(2).randbytes(200_000)
    writer.write(data)
    assert await server_reader.readexactly(len(data)) == data
    with memoryview(server_reader._buffer) as view:
        assert len(view) == 0
        loop.call_soon(view.release)
        writer.write(data)
        assert await server_reader.readexactly(len(data)) == data
    await close(writer, server_writer)


async def test_the_reader_pauses_the_transport_at_twice_the_limit(loop):
    reader, writer, _, server_writer = await streams(limit=1000)
    server_writer.write(b"x" * 3_000_000)
    await until(lambda: not writer.transport.is_reading())
    assert len(reader._buffer) > 2000
    held = len(reader._buffer)
    await turns(5)
    assert len(reader._buffer) == held and reader._paused
    received = 0
    while received < 3_000_000:
        received += len(await reader.read(4096))
    assert writer.transport.is_reading() and not reader._paused
    await close(writer, server_writer)


async def test_drain_waits_while_the_peer_does_not_read(loop):
    reader, writer, server_reader, server_writer = await streams()
    drains = 0

    async def send():
        nonlocal drains
        for _ in range(300):
            writer.write(b"x" * 65536)
            await writer.drain()
            drains += 1
        writer.close()

    sender = asyncio.ensure_future(send())
    stuck = -1
    while stuck != drains:  # until both kernels and the reader are full
        stuck = drains
        await asyncio.sleep(0.05)
    assert 0 < stuck < 300 and not sender.done()
    total = 0
    while piece := await server_reader.read(1 << 20):
        total += len(piece)
    assert total == 300 * 65536
    await sender
    await close(writer, server_writer)


async def test_two_tasks_drain_at_once(loop):
    reader, writer, server_reader, server_writer = await streams()

    async def send(byte):
        for _ in range(100):
            writer.write(byte * 65536)
            await writer.drain()

    senders = [asyncio.ensure_future(send(byte)) for byte in (b"a", b"b", b"c")]
    data = await server_reader.readexactly(300 * 65536)
    await asyncio.gather(*senders)
    assert data.count(b"a") == data.count(b"b") == data.count(b"c") == 100 * 65536
    await close(writer, server_writer)


async def test_drain_after_the_connection_is_lost(loop):
    reader, writer, server_reader, server_writer = await streams()
    server_writer.transport.abort()
    with pytest.raises((ConnectionError, BrokenPipeError)):
        for _ in range(1000):
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await writer.drain()
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass


async def test_a_reader_that_waits_gets_the_reset(loop):
    import socket
    import struct

    reader, writer, server_reader, server_writer = await streams()
    sock = server_writer.get_extra_info("socket")
    waiter = asyncio.ensure_future(reader.read(10))
    await turns(2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server_writer.transport.abort()
    with pytest.raises(ConnectionResetError):
        await waiter
    assert isinstance(reader.exception(), ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        await reader.read(10)
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_wait_closed_and_is_closing(loop):
    reader, writer, server_reader, server_writer = await streams()
    assert not writer.is_closing()
    writer.write(b"x" * 1000)
    writer.close()
    assert writer.is_closing()
    await writer.wait_closed()
    assert await server_reader.read() == b"x" * 1000
    await close(server_writer)


async def test_write_eof_through_the_writer(loop):
    reader, writer, server_reader, server_writer = await streams()
    assert writer.can_write_eof()
    writer.writelines([b"a", b"b"])
    writer.write_eof()
    assert await server_reader.read() == b"ab"
    server_writer.write(b"answer after the half-close")
    server_writer.close()
    assert await reader.read() == b"answer after the half-close"
    await close(writer, server_writer)


async def test_two_readers_at_once_are_refused(loop):
    reader, writer, server_reader, server_writer = await streams()
    first = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
        await reader.read(1)
    server_writer.write(b"x")
    assert await first == b"x"
    await close(writer, server_writer)


async def test_a_cancelled_read_loses_no_data(loop):
    reader, writer, server_reader, server_writer = await streams()
    for count in range(20):
        task = asyncio.ensure_future(reader.readexactly(2))
        await turns(count % 4)
        server_writer.write(b"a")
        await turns(count % 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server_writer.write(b"b")
        assert await reader.readexactly(2) == b"ab"
    await close(writer, server_writer)


async def test_a_read_with_a_time_out_goes_on_later(loop):
    reader, writer, server_reader, server_writer = await streams()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.002):
            await reader.read(1)
    server_writer.write(b"late")
    assert await reader.read(10) == b"late"
    await close(writer, server_writer)


async def test_a_subclass_of_the_reader_sees_every_call(loop):
    """feed_data and feed_eof of a subclass are called: programs hook into them."""
    calls = []

    class Hooked(asyncio.StreamReader):
        def feed_data(self, data):
            calls.append(bytes(data))
            super().feed_data(data)

        def feed_eof(self):
            calls.append("eof")
            super().feed_eof()

    _, writer, _, server_writer = await streams()
    server = await loop.create_server(asyncio.Protocol, HOST, 0)
    await close(writer, server_writer)
    server.close()

    made = loop.create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            made.set_result(transport)

    server = await loop.create_server(Server, HOST, 0)
    reader = Hooked(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
    peer = await made
    peer.write(b"data")
    assert await reader.read(10) == b"data"
    peer.close()
    assert await reader.read() == b""
    assert calls == [b"data", "eof"]
    transport.close()
    server.close()
    await turns(5)


async def exchange(reader, server_writer, data):
    server_writer.write(data)
    assert await reader.read(2 * len(data)) == data


def replace_in_the_dict(reader, feed):
    vars(reader)["feed_data"] = feed


def replace_in_place_of_another(reader, feed):
    del reader._loop  # not needed to read what has come
    reader.feed_data = feed


def replace_the_dict(reader, feed):
    reader.__dict__ = {**vars(reader), "feed_data": feed}


def replace_in_the_class(reader, feed):
    def replacement(self, data):
        return feed(data) if self is reader else original(self, data)

    original = asyncio.StreamReader.feed_data
    asyncio.StreamReader.feed_data = replacement


@pytest.mark.parametrize(
    "replace",
    [
        lambda reader, feed: setattr(reader, "feed_data", feed),
        replace_in_the_dict,
        replace_in_place_of_another,
        replace_the_dict,
        replace_in_the_class,
    ],
    ids=["attribute", "in the dict", "in place of another", "other dict", "in the class"],
)
@pytest.mark.parametrize("exchanged", [0, 3])
async def test_feed_data_replaced_on_the_instance(loop, monkeypatch, replace, exchanged):
    monkeypatch.setattr(asyncio.StreamReader, "feed_data", asyncio.StreamReader.feed_data)
    reader, writer, server_reader, server_writer = await streams()
    for _ in range(exchanged):
        await exchange(reader, server_writer, b"before")
    calls = []
    original = reader.feed_data

    def feed(data):
        calls.append(bytes(data))
        original(data)

    replace(reader, feed)
    server_writer.write(b"data")
    await until(lambda: calls)
    assert await reader.read(10) == b"data"
    assert calls == [b"data"]
    await close(writer, server_writer)


async def test_the_attributes_of_a_reader_whose_dict_is_held(loop):
    reader, writer, server_reader, server_writer = await streams()
    await exchange(reader, server_writer, b"before")
    held = vars(reader)
    for size in (1, 1000, 10):
        waiting = loop.create_task(reader.read(2000))
        await turns(3)
        assert held["_waiter"] is reader._waiter is not None
        server_writer.write(bytes(size))
        assert await waiting == bytes(size)
        assert held["_waiter"] is reader._waiter is None
        assert held["_buffer"] is reader._buffer == b""
    assert vars(reader) is held
    await close(writer, server_writer)


async def test_an_attribute_of_the_reader_becomes_the_classs(loop, monkeypatch):
    """A property put into the class in the midst of everything is what counts from then on."""
    reader, writer, server_reader, server_writer = await streams()
    await exchange(reader, server_writer, b"before")
    limit = property(lambda self: 5, lambda self, value: None)
    monkeypatch.setattr(asyncio.StreamReader, "_limit", limit, raising=False)
    server_writer.write(bytes(11))
    await until(lambda: len(reader._buffer) == 11)
    assert reader._paused
    assert await reader.readexactly(11) == bytes(11)
    assert not reader._paused
    await close(writer, server_writer)


async def test_what_is_fed_straight_takes_the_short_way(loop):
    """Nothing of that would be seen if readers were not recognised, so what is known is asked."""
    reader, writer, server_reader, server_writer = await streams()
    await exchange(reader, server_writer, b"data")
    if type(loop).__module__.startswith("pyasync"):
        inline = asyncio.StreamReader.__flags__ & 1 << 2 != 0  # Py_TPFLAGS_INLINE_VALUES
        assert _core._build_info()["stream_places"] is inline
        assert inline == (sys.version_info >= (3, 13))
    await close(writer, server_writer)


async def test_a_subclass_of_the_protocol_sees_every_call(loop):
    calls = []

    class Hooked(asyncio.StreamReaderProtocol):
        def data_received(self, data):
            calls.append(bytes(data))
            super().data_received(data)

        def eof_received(self):
            calls.append("eof")
            return super().eof_received()

    made = loop.create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            made.set_result(transport)

    server = await loop.create_server(Server, HOST, 0)
    reader = asyncio.StreamReader(loop=loop)
    transport, _ = await loop.create_connection(
        lambda: Hooked(reader, loop=loop), *server.sockets[0].getsockname()
    )
    peer = await made
    peer.write(b"data")
    assert await reader.read(10) == b"data"
    peer.close()
    assert await reader.read() == b""
    assert calls == [b"data", "eof"]
    transport.close()
    server.close()
    await turns(5)


async def test_set_exception_on_the_reader(loop):
    reader, writer, server_reader, server_writer = await streams()
    waiter = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    reader.set_exception(LookupError("set by hand"))
    with pytest.raises(LookupError, match="set by hand"):
        await waiter
    with pytest.raises(LookupError):
        await reader.read(1)
    await close(writer, server_writer)


async def test_a_handler_that_fails_is_reported(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    async def handler(reader, writer):
        await reader.read(1)
        raise LookupError("in the handler")

    server = await asyncio.start_server(handler, HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    await until(lambda: found)
    assert found[0]["message"] == "Unhandled exception in client_connected_cb"
    assert str(found[0]["exception"]) == "in the handler"
    found[0]["transport"].close()
    await close(writer)
    server.close()
    await turns(5)


async def test_the_server_ends_first(loop):
    async def handler(reader, writer):
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handler, HOST, 0)
    for _ in range(20):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b"bye"
        await close(writer)
    server.close()
    await server.wait_closed()


async def test_lines_of_random_lengths(loop):
    reader, writer, server_reader, server_writer = await streams()
    source = random.Random(9)
    lines = [bytes(source.choices(range(97, 123), k=source.randrange(3000))) for _ in range(300)]

    async def send():
        blob = b"".join(line + b"\n" for line in lines)
        position = 0
        while position < len(blob):
            size = source.randrange(1, 9000)
            server_writer.write(blob[position : position + size])
            position += size
            await server_writer.drain()
        server_writer.close()

    sender = asyncio.ensure_future(send())
    got = [line.rstrip(b"\n") async for line in reader]
    await sender
    assert got == lines
    await close(writer, server_writer)


async def test_a_hundred_connections_at_once(loop):
    async def handler(reader, writer):
        while line := await reader.readline():
            writer.write(line[::-1])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handler, HOST, 0, backlog=200)
    address = server.sockets[0].getsockname()

    async def client(number):
        reader, writer = await asyncio.open_connection(*address)
        for i in range(5):
            line = b"%d-%d\n" % (number, i)
            writer.write(line)
            assert await reader.readexactly(len(line)) == line[::-1]
        await close(writer)

    await asyncio.gather(*(client(number) for number in range(100)))
    server.close()
    await server.wait_closed()


async def test_reader_and_writer_attributes(loop):
    reader, writer, server_reader, server_writer = await streams()
    assert "StreamReader" in repr(reader) and "StreamWriter" in repr(writer)
    assert "transport=" in repr(writer)
    assert writer.transport.get_extra_info("peername") == writer.get_extra_info("peername")
    assert isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol)
    assert reader.exception() is None and not reader.at_eof()
    await close(writer, server_writer)
