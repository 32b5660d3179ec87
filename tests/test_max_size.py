"""transport.max_size, an attribute of asyncio's socket transports: how much one read asks for."""

import asyncio

import pytest

from tests.support import HOST, Recorder, closed, connected, turns, until


class Pieces(Recorder):
    """Also writes down the size of each piece."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def data_received(self, data):
        super().data_received(data)
        self.sizes.append(len(data))


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = []

    def datagram_received(self, data, address):
        self.received.append(data)


async def test_the_default(loop):
    server, client, _ = await connected()
    udp, _ = await loop.create_datagram_endpoint(Datagrams, (HOST, 0))
    assert client.transport.max_size == server.transport.max_size == udp.max_size == 256 * 1024
    udp.close()
    await closed(server, client)


async def test_no_read_is_larger(loop):
    server, client, _ = await connected(Pieces, Pieces)
    data = bytes(range(250)) * 400
    for size in (1000, 70_000):
        client.transport.max_size = size
        del client.data[:], client.sizes[:]
        server.transport.write(data)
        await until(lambda: len(client.data) == len(data))
        assert client.data == data
        assert max(client.sizes) <= size
    del client.transport.max_size
    assert client.transport.max_size == 256 * 1024
    server.transport.write(data)
    await until(lambda: len(client.data) == 2 * len(data))
    server.transport.close()
    await client.lost
    assert client.events == ["made", "data", "eof", "lost"]


async def test_streams(loop):
    accepted = loop.create_future()
    server = await asyncio.start_server(lambda *pair: accepted.set_result(pair), HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    _, peer = await accepted
    writer.transport.max_size = 10
    peer.write(b"x" * 100)
    assert len(await reader.read(1000)) == 10
    assert await reader.readexactly(90) == b"x" * 90
    for end in (peer, writer):
        end.close()
        await end.wait_closed()
    server.close()


async def test_a_datagram_is_cut(loop):
    udp, protocol = await loop.create_datagram_endpoint(Datagrams, (HOST, 0))
    address = udp.get_extra_info("sockname")
    udp.sendto(b"0123456789", address)
    await until(lambda: protocol.received)
    udp.max_size = 4
    udp.sendto(b"0123456789", address)
    udp.sendto(b"abc", address)
    await until(lambda: len(protocol.received) == 3)
    assert protocol.received == [b"0123456789", b"0123", b"abc"]
    udp.close()
    await turns(3)


@pytest.mark.parametrize("wrong", ["4", -1, None])
async def test_a_value_that_cannot_be_one_ends_the_connection(loop, wrong):
    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    server, client, _ = await connected()
    client.transport.max_size = wrong
    server.transport.write(b"data")
    exc = await client.lost
    assert type(exc) is (ValueError if wrong == -1 else TypeError)
    assert [context["exception"] for context in reported] == [exc]
    assert reported[0]["message"] == "Fatal read error on socket transport"
    await closed(server)


async def test_zero_reads_as_the_end(loop):
    server, client, _ = await connected()
    client.transport.max_size = 0
    server.transport.write(b"data")
    assert await client.lost is None
    assert client.events == ["made", "eof", "lost"]
    await closed(server)


class Buffered(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = bytearray(100)
        self.sizes = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.sizes.append(nbytes)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def test_buffered_protocols_read_into_their_own_memory(loop):
    server, client, _ = await connected(client_factory=Buffered)
    client.transport.max_size = 10
    server.transport.write(b"x" * 60)
    await until(lambda: client.sizes)
    assert client.sizes == [60]
    await closed(server)
    await client.lost
