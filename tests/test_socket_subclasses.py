"""Sockets of a class of the program's, which counts or changes what goes through: its methods are
called where asyncio calls them."""

import asyncio
import socket
from unittest import mock

from tests.support import HOST, Recorder, closed, until

CALLS = ("recv", "recv_into", "recvfrom", "send", "sendto", "sendmsg", "shutdown", "accept")


class Tracked(socket.socket):
    """Writes down the names of the methods that were called."""

    calls: set[str]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.setblocking(False)
        self.calls = set()


def tracked(name):
    def method(self, *args):
        self.calls.add(name)
        return getattr(super(Tracked, self), name)(*args)

    return method


for name in CALLS:
    setattr(Tracked, name, tracked(name))


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def connected(loop, **options):
    """A stream over a tracked socket to a server that echoes."""
    server = await asyncio.start_server(echo, HOST, 0, ssl=options.pop("server_context", None))
    sock = Tracked()
    await loop.sock_connect(sock, server.sockets[0].getsockname())
    sock.calls.clear()
    reader, writer = await asyncio.open_connection(sock=sock, **options)
    return server, sock, reader, writer


def test_a_stream(same_as_asyncio):
    async def body(loop):
        server, sock, reader, writer = await connected(loop)
        writer.write(b"data")
        assert await reader.readexactly(4) == b"data"
        assert writer.get_extra_info("peername") == server.sockets[0].getsockname()
        large = b"x" * 5_000_000
        writer.write(large)
        assert await reader.readexactly(len(large)) == large
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        return sorted(sock.calls)

    assert set(same_as_asyncio(body)) >= {"recv", "send", "shutdown"}


def test_a_stream_over_tls(same_as_asyncio, contexts):
    async def body(loop):
        options = {"server_context": contexts[0], "ssl": contexts[1]}
        server, sock, reader, writer = await connected(loop, server_hostname="localhost", **options)
        for size in (4, 1_000_000):
            writer.write(b"x" * size)
            assert await reader.readexactly(size) == b"x" * size
        writer.close()
        await writer.wait_closed()
        server.close()
        return "send" in sock.calls, bool(sock.calls & {"recv", "recv_into"})

    assert same_as_asyncio(body) == (True, True)


def test_datagrams(same_as_asyncio):
    async def body(loop):
        received = []

        class Datagrams(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                received.append(data)

        sock = Tracked(type=socket.SOCK_DGRAM)
        sock.bind((HOST, 0))
        transport, _ = await loop.create_datagram_endpoint(Datagrams, sock=sock)
        transport.sendto(b"data", sock.getsockname())
        await until(lambda: received == [b"data"])
        transport.close()
        await asyncio.sleep(0)
        return sorted(sock.calls)

    assert same_as_asyncio(body) == ["recvfrom", "sendto"]


def test_a_server(same_as_asyncio):
    async def body(loop):
        sock = Tracked()
        sock.bind((HOST, 0))
        server = await loop.create_server(Recorder, sock=sock)
        _, client = await loop.create_connection(Recorder, *sock.getsockname())
        await until(lambda: "accept" in sock.calls)
        await closed(client)
        server.close()
        await server.wait_closed()
        return sorted(sock.calls)

    assert same_as_asyncio(body) == ["accept"]


async def test_start_tls(loop, contexts):
    server = await asyncio.start_server(echo, HOST, 0, ssl=contexts[0])
    sock = Tracked()
    await loop.sock_connect(sock, server.sockets[0].getsockname())
    plain, protocol = await loop.create_connection(Recorder, sock=sock)
    transport = await loop.start_tls(plain, protocol, contexts[1], server_hostname="localhost")
    sock.calls.clear()
    transport.write(b"data")
    await until(lambda: protocol.data == b"data")
    assert "send" in sock.calls
    transport.close()
    await protocol.lost
    server.close()


async def test_sendfile(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 10_000)
    server, _, reader, writer = await connected(loop)
    with path.open("rb") as file:
        assert await loop.sendfile(writer.transport, file) == 100_000
    assert await reader.readexactly(100_000) == path.read_bytes()
    writer.close()
    await writer.wait_closed()
    server.close()


async def test_a_method_replaced_on_the_class_of_all_sockets(loop):
    sent = []
    send = socket.socket.send

    def count(self, data, *flags):
        sent.append(bytes(data))
        return send(self, data, *flags)

    with mock.patch.object(socket.socket, "send", count):
        server = await asyncio.start_server(echo, HOST, 0)
        left = socket.create_connection(server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(sock=left)
        writer.write(b"data")
        assert await reader.readexactly(4) == b"data"
        assert b"data" in sent
    writer.close()
    await writer.wait_closed()
    server.close()
