"""What a transport says about itself: get_extra_info, classes, socket options."""

import asyncio
import socket
from unittest import mock

import pytest

from tests.support import closed, connected, error_of, turns
from tests.tls_pair import tls


async def test_sockets_and_names(loop):
    server_side, client, server = await connected()
    ours, theirs = client.transport.get_extra_info, server_side.transport.get_extra_info
    assert ours("sockname") == theirs("peername")
    assert ours("peername") == theirs("sockname")
    assert ours("sockname")[0] == "127.0.0.1" and len(ours("sockname")) == 2
    assert ours("socket").getsockname() == ours("sockname")
    await closed(client, server_side)


async def test_unknown_names_give_the_default(loop):
    server_side, client, server = await connected()
    mark = object()
    for name in ("no such name", "sslcontext", "ssl_object", "peercert", "cipher", "subprocess"):
        assert client.transport.get_extra_info(name) is None
        assert client.transport.get_extra_info(name, mark) is mark
        assert client.transport.get_extra_info(name, default=mark) is mark
    await closed(client, server_side)


async def test_the_socket_is_a_transport_socket(loop):
    from asyncio.trsock import TransportSocket

    server_side, client, server = await connected()
    for side in (client, server_side):
        sock = side.transport.get_extra_info("socket")
        assert type(sock) is TransportSocket
        assert sock is side.transport.get_extra_info("socket")
        assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
        assert sock.fileno() > 2 and sock.gettimeout() == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert f"fd={sock.fileno()}" in repr(sock)
    await closed(client, server_side)


async def test_nodelay_is_set(loop):
    server_side, client, server = await connected()
    for side in (client, server_side):
        sock = side.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    await closed(client, server_side)


def test_socket_options_are_asyncios(same_as_asyncio):
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (socket.SOL_SOCKET, socket.SO_LINGER),
        (socket.SOL_SOCKET, socket.SO_OOBINLINE),
        (socket.SOL_SOCKET, socket.SO_BROADCAST),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.IPPROTO_TCP, socket.TCP_CORK),
    ]

    async def body(loop):
        server_side, client, server = await connected()
        found = []
        for side in (client, server_side):
            sock = side.transport.get_extra_info("socket")
            found.append([sock.getsockopt(*option) for option in options])
        await closed(client, server_side)
        return found

    same_as_asyncio(body)


async def test_keep_alive_of_a_listener_is_inherited(loop):
    server_side, client, server = await connected(
        **({"keep_alive": True} if "keep_alive" in _options(loop) else {})
    )
    sock = server_side.transport.get_extra_info("socket")
    expected = 1 if "keep_alive" in _options(loop) else 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == expected
    await closed(client, server_side)


def _options(loop):
    import inspect

    return inspect.signature(loop.create_server).parameters


async def test_descriptors_are_not_inherited_and_not_blocking(loop):
    import os

    server_side, client, server = await connected()
    for side in (client, server_side):
        fd = side.transport.get_extra_info("socket").fileno()
        assert os.get_inheritable(fd) is False
        assert os.get_blocking(fd) is False
    await closed(client, server_side)


async def test_transports_are_asyncio_transports(loop):
    server_side, client, server = await connected()
    for side in (client, server_side):
        assert isinstance(side.transport, asyncio.Transport)
        assert isinstance(side.transport, asyncio.ReadTransport)
        assert isinstance(side.transport, asyncio.WriteTransport)
        assert side.transport.get_protocol() is side
    await closed(client, server_side)


async def test_transports_may_be_weakly_referenced_and_hashed(loop):
    import weakref

    server_side, client, server = await connected()
    assert weakref.ref(client.transport)() is client.transport
    assert {client.transport: 1}[client.transport] == 1
    assert client.transport == client.transport != server_side.transport
    await closed(client, server_side)


def test_after_the_end(same_as_asyncio):
    """Names stay, the socket object stays and is closed; nothing raises."""

    async def body(loop):
        server_side, client, server = await connected()
        transport = client.transport
        before = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        await closed(client, server_side)
        await turns(3)
        found = [
            (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == before,
            transport.get_extra_info("socket").fileno(),
            error_of(transport.get_extra_info("socket").getsockname)[0],
            transport.get_write_buffer_size(),
            transport.get_write_buffer_limits(),
            transport.is_closing(),
            transport.is_reading(),
            transport.can_write_eof(),
            transport.get_protocol() is client,
        ]
        return found

    assert same_as_asyncio(body)[:3] == [True, -1, "OSError"]


def test_the_names_of_a_unix_connection(same_as_asyncio, tmp_path):
    path = str(tmp_path / "socket")

    async def body(loop):
        made = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                made.set_result(transport)

        server = await loop.create_unix_server(Server, path)
        transport, protocol = await loop.create_unix_connection(asyncio.Protocol, path)
        other = await made
        names = ("sockname", "peername")
        found = [[t.get_extra_info(n) for n in names] for t in (transport, other)]
        found.append(other.get_extra_info("socket").family.name)
        transport.close()
        other.close()
        await turns(4)
        server.close()
        import os

        if os.path.exists(path):
            os.unlink(path)
        return found

    assert same_as_asyncio(body)[0] == ["", path]


async def test_ipv6_names_have_four_parts(loop):
    try:
        server = await loop.create_server(asyncio.Protocol, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    address = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(asyncio.Protocol, *address[:2])
    assert transport.get_extra_info("peername") == address and len(address) == 4
    transport.abort()
    await turns(3)
    server.close()
    await asyncio.sleep(0.002)


async def test_another_method_in_the_place_of_that_of_asyncios_base_class(loop, contexts):
    """Test suites patch it there to have connections with addresses of their own."""
    pairs = [await connected(), (*(await tls(contexts)), None)]
    udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    transports = [udp, *(pair[0].transport for pair in pairs)]
    address = "127.0.0.1", 1
    with mock.patch("asyncio.BaseTransport.get_extra_info", return_value=address) as patched:
        for transport in transports:
            assert transport.get_extra_info("peername") == address
        patched.assert_called_with("peername", None)
    with mock.patch("asyncio.BaseTransport.get_extra_info", lambda *args: args):
        assert udp.get_extra_info("sockname", 5) == (udp, "sockname", 5)
    assert udp.get_extra_info("sockname") != address
    udp.close()
    for server_side, client, _ in pairs:
        await closed(client, server_side)
    await turns(3)
