"""Unix stream sockets: paths of every kind, abstract names, what is left in the file system."""

import asyncio
import os
import pathlib
import socket
import stat
import sys

import pytest

from tests.support import Recorder, closed, error_of, plain, turns, until


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def talk(loop, path):
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    transport.write(b"hello" * 1000)
    await until(lambda: protocol.data == b"hello" * 1000)
    await closed(protocol)


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path], ids=["str", "bytes", "Path"])
async def test_paths_of_every_kind(loop, tmp_path, kind):
    path = kind(str(tmp_path / "a socket"))
    server = await loop.create_unix_server(Echo, path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert server.sockets[0].family == socket.AF_UNIX
    await talk(loop, path)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("name", ["\0pyasync test", "\0" + "x" * 50, b"\0bytes\0inside", "\0\xe9"])
async def test_abstract_names(loop, name):
    unique = f"{os.getpid()}-{id(loop)}"
    name += unique.encode() if isinstance(name, bytes) else unique
    server = await loop.create_unix_server(Echo, name)
    raw = name if isinstance(name, bytes) else os.fsencode(name)
    assert server.sockets[0].getsockname() == raw
    with open("/proc/net/unix", "rb") as table:
        assert raw.replace(b"\0", b"@") in [line.split(b" ")[-1].strip() for line in table] or (
            b" " in raw
        )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(raw)
    await talk(loop, name)
    server.close()
    await server.wait_closed()


async def test_a_stale_path_is_replaced(loop, tmp_path):
    path = str(tmp_path / "stale")
    old = socket.socket(socket.AF_UNIX)
    old.bind(path)
    old.close()
    server = await loop.create_unix_server(Echo, path)
    await talk(loop, path)
    server.close()
    await server.wait_closed()


def test_errors(same_as_asyncio, tmp_path):
    plain_file = tmp_path / "file"
    plain_file.write_text("content")
    missing = str(tmp_path / "missing" / "socket")
    used = str(tmp_path / "used")

    async def body(loop):
        async def failing(method, *args, **options):
            try:
                thing = await method(Recorder, *args, **options)
            except (ValueError, TypeError, OSError) as exc:
                return type(exc).__name__, plain(str(exc))
            thing.close()
            return "no error"

        serve, connect = loop.create_unix_server, loop.create_unix_connection
        tcp, datagram = socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix = socket.socket(socket.AF_UNIX)
        server = await serve(Recorder, used)
        found = [
            await failing(serve, str(plain_file)),
            await failing(serve, missing),
            await failing(serve, str(tmp_path / ("x" * 200))),
            await failing(serve),
            await failing(serve, sock=tcp),
            await failing(serve, sock=datagram),
            await failing(serve, "path", sock=unix),
            await failing(serve, "path", ssl=True),
            await failing(serve, "path", ssl_handshake_timeout=1),
            await failing(serve, "path", ssl_shutdown_timeout=1),
            await failing(connect, missing),
            await failing(connect, str(plain_file)),
            await failing(connect),
            await failing(connect, sock=tcp),
            await failing(connect, "path", sock=unix),
            await failing(connect, "path", server_hostname="name"),
            await failing(connect, "path", ssl_handshake_timeout=1),
            await failing(connect, "path", ssl_shutdown_timeout=1),
        ]
        for sock in (tcp, datagram, unix):
            sock.close()
        server.close()
        await server.wait_closed()
        if os.path.exists(used):
            os.unlink(used)
        return found

    found = same_as_asyncio(body)
    assert found[0][0] == "OSError" and "is already in use" in found[0][1]
    assert plain_file.read_text() == "content"


async def test_nothing_is_left_when_binding_fails(loop, tmp_path):
    with pytest.raises(OSError):
        await loop.create_unix_server(Echo, str(tmp_path / "no" / "such"))


async def test_nothing_is_left_when_listening_fails(loop_name, loop, tmp_path):
    if loop_name == "asyncio":
        pytest.skip("asyncio leaves the bound socket to the collector, which warns")
    with pytest.raises(TypeError):
        await loop.create_unix_server(Echo, str(tmp_path / "backlog"), backlog="text")


async def test_whether_close_removes_the_path(loop, tmp_path):
    path = tmp_path / "socket"
    server = await loop.create_unix_server(Echo, str(path))
    server.close()
    await server.wait_closed()
    assert path.exists() is (sys.version_info < (3, 13))


def test_the_cleanup_option(same_as_asyncio, tmp_path):
    if sys.version_info < (3, 13):
        pytest.skip("cleanup_socket= came with Python 3.13")

    async def body(loop):
        found = []
        for cleanup in (True, False):
            path = tmp_path / f"{cleanup}"
            server = await loop.create_unix_server(Echo, str(path), cleanup_socket=cleanup)
            server.close()
            await server.wait_closed()
            found.append(path.exists())
            path.unlink(missing_ok=True)
        return found

    assert same_as_asyncio(body) == [False, True]


async def test_a_path_someone_else_has_replaced_is_left_alone(loop, tmp_path):
    path = tmp_path / "socket"
    server = await loop.create_unix_server(Echo, str(path))
    path.unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()
    server.close()
    await server.wait_closed()
    assert path.exists()
    await (await _connected(loop, path))
    other.close()


async def _connected(loop, path):
    transport, protocol = await loop.create_unix_connection(Recorder, str(path))
    return closed(protocol)


async def test_a_path_that_is_gone_when_the_server_closes(loop, tmp_path):
    path = tmp_path / "socket"
    server = await loop.create_unix_server(Echo, str(path))
    path.unlink()
    server.close()
    await server.wait_closed()


async def test_sockets_of_ones_own(loop, tmp_path):
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    server = await loop.create_unix_server(Echo, sock=listener)
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    transport, protocol = await loop.create_unix_connection(Recorder, sock=client)
    transport.write(b"hello")
    await until(lambda: protocol.data == b"hello")
    await closed(protocol)
    server.close()
    await server.wait_closed()


async def test_ten_megabytes_both_ways(loop, tmp_path):
    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(Echo, path)
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    data = os.urandom(10_000_000)
    transport.write(data)
    transport.write_eof()
    await protocol.lost
    assert protocol.data == data
    server.close()
    await server.wait_closed()


async def test_the_streams_api(loop, tmp_path):
    path = str(tmp_path / "socket")

    async def serve(reader, writer):
        line = await reader.readline()
        writer.write(line.upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello\n")
    assert await reader.read() == b"HELLO\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_server_not_started(loop, tmp_path):
    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(Echo, path, start_serving=False)
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, path)
    await server.start_serving()
    await talk(loop, path)
    server.close()
    await server.wait_closed()


async def test_the_peer_of_a_unix_connection_goes_away(loop):
    left, right = socket.socketpair()
    transport, protocol = await loop.create_unix_connection(Recorder, sock=left)
    transport.pause_reading()
    right.close()
    exc = None
    for _ in range(100):
        transport.write(b"x")
        await turns(1)
        if protocol.lost.done():
            exc = protocol.lost.result()
            break
    assert isinstance(exc, (BrokenPipeError, ConnectionResetError))
    assert error_of(transport.write, "text")[0] == "TypeError"


async def test_two_hundred_unix_connections(loop, tmp_path):
    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(Echo, path, backlog=300)
    clients = await asyncio.gather(
        *(loop.create_unix_connection(Recorder, path) for _ in range(200))
    )
    for i, (transport, _) in enumerate(clients):
        transport.write(b"%d" % i)
        transport.write_eof()
    for i, (_, protocol) in enumerate(clients):
        await protocol.lost
        assert protocol.data == b"%d" % i
    server.close()
    await server.wait_closed()
