"""The scenarios of tests/refleaks.py that open connections and sockets. See leak_scenarios.py."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import subprocess
import sys
import tempfile

from tests.leak_scenarios import HOST, REPEAT, Refused, on_loop, scenario

# --- streams of bytes ----------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Collects `wanted` bytes; `full` and `lost` are done when they are there, and at the end."""

    def __init__(self, wanted: int = 1) -> None:
        self.wanted = wanted
        self.received = 0
        self.full = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.received += len(data)
        if self.received >= self.wanted and not self.full.done():
            self.full.set_result(None)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(1000)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.buffer[:nbytes]))


async def echo_once(server, client_of, size: int = 100) -> None:
    transport, client = await client_of(lambda: Client(size))
    transport.get_extra_info("socket"), transport.get_extra_info("peername"), repr(transport)
    transport.itself = transport
    transport.write(b"x" * size)
    await client.full
    transport.close()
    await client.lost


async def echo_over_tcp(protocol_factory) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol_factory, HOST, 0)
    connect = functools.partial(
        loop.create_connection, host=HOST, port=server.sockets[0].getsockname()[1]
    )
    for size in (1, 100, 300_000):
        await echo_once(server, connect, size)
    server.close()
    await server.wait_closed()


@on_loop
async def tcp_echo():
    await echo_over_tcp(Echo)


@on_loop
async def unix_echo():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(Echo, path)
        for size in (1, 100, 300_000):
            await echo_once(server, functools.partial(loop.create_unix_connection, path=path), size)
        server.close()
        await server.wait_closed()


@on_loop
async def buffered_echo():
    await echo_over_tcp(BufferedEcho)


@on_loop
async def streams():
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.write_eof()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    for _ in range(REPEAT):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"line\n", bytearray(b"line\n"), memoryview(b"line\n")])
        writer.write_eof()
        assert await reader.read() == b"line\n" * 3
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


@on_loop
async def writes_that_wait():
    """The peer reads late: what was written is queued, paused, resumed, and some of it dropped."""
    for abort in (False, True):
        left, right = socket.socketpair()
        with left, right:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(Client, sock=left)
            transport.set_write_buffer_limits(1000)
            for _ in range(REPEAT):
                transport.write(b"x" * 300_000)
                transport.write(bytearray(300_000))
            if abort:
                transport.abort()
            else:
                transport.close()
                await loop.run_in_executor(None, drain, right)
            await client.lost


def drain(sock: socket.socket) -> None:
    while sock.recv(1_000_000):
        pass


@on_loop
async def connections_that_break():
    """The peer resets, the protocol raises, the connection is refused or its set-up cancelled."""

    class Broken(Client):
        def data_received(self, data):
            raise Refused

    loop = asyncio.get_running_loop()
    listener = socket.create_server((HOST, 0))
    listener.setblocking(False)
    address = listener.getsockname()
    for protocol, reset in ((Client, True), (Broken, False), (Client, False)):
        _, client = await loop.create_connection(protocol, *address)
        peer, _ = listener.accept()
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            peer.send(b"x")
        peer.close()
        await client.lost
    listener.close()
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await loop.create_connection(Client, *address)
        attempt = asyncio.create_task(loop.create_connection(Client, "localhost", address[1]))
        await asyncio.sleep(0)
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await attempt


@on_loop
async def connections_to_a_literal():
    """Made, refused, cancelled while connecting and after, dropped; a factory that raises."""

    def refuse():
        raise Refused

    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
        for _ in range(REPEAT):
            _, client = await loop.create_connection(Client, *address)
            listener.accept()[0].close()
            await client.lost
            with contextlib.suppress(Refused):
                await loop.create_connection(refuse, *address)
            listener.accept()[0].close()
            for count in range(6):
                attempt = asyncio.create_task(loop.create_connection(Client, *address))
                for _ in range(count):
                    await asyncio.sleep(0)
                attempt.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    transport, _ = await attempt
                    transport.abort()
                if count:
                    listener.accept()[0].close()
            dropped = loop.create_connection(Client, *address)
            dropped.send(None)
            dropped.close()
            listener.accept()[0].close()
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await loop.create_connection(Client, *address)


# --- TLS -----------------------------------------------------------------------------------------


@functools.cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a self-signed certificate and of a client that trusts it."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            + ["-nodes", "-subj", "/CN=localhost", "-out", certificate, "-keyout", key]
            + ["-addext", "subjectAltName=DNS:localhost"],
            check=True,
            capture_output=True,
        )
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate, key)
        return server, ssl.create_default_context(cafile=certificate)


async def tls_connections(protocol_factory) -> None:
    loop = asyncio.get_running_loop()
    server_context, client_context = tls_contexts()
    server = await loop.create_server(protocol_factory, HOST, 0, ssl=server_context)
    connect = functools.partial(
        loop.create_connection,
        host=HOST,
        port=server.sockets[0].getsockname()[1],
        ssl=client_context,
        server_hostname="localhost",
    )
    for size in (1, 100, 300_000):
        await echo_once(server, connect, size)
    transport, client = await connect(Client)
    transport.writelines([b"x" * 1000, bytearray(b"x" * 100_000)])
    transport.abort()
    await client.lost
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await connect(Client, server_hostname="another.example")
    server.close()
    await asyncio.sleep(0.05)


@on_loop
async def tls_echo():
    await tls_connections(Echo)


@on_loop
async def tls_buffered_echo():
    await tls_connections(BufferedEcho)


@on_loop
async def tls_streams_and_start_tls():
    server_context, client_context = tls_contexts()

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            await writer.start_tls(server_context)
            writer.write(await reader.readline())
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    for _ in range(REPEAT):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(client_context, server_hostname="localhost")
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.05)


@on_loop
async def servers_closed_with_clients():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        server = await loop.create_server(Echo, HOST, 0)
        _, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
        repr(server)
        server.close()
        if sys.version_info >= (3, 13):
            server.abort_clients()
            await client.lost
    # before 3.13 the connections are left to the loop, which closes without them


@scenario
def connections_open_at_close(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, HOST, 0)
        for _ in range(REPEAT):
            transport, _ = await loop.create_connection(Client, *server.sockets[0].getsockname())
            transport.write(b"x")

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


# --- datagrams and bare sockets ------------------------------------------------------------------


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received += 1
        self.sender = address
        if data == b"fail":
            raise Refused

    def error_received(self, exc):
        self.received += 1


@on_loop
async def datagrams():
    loop = asyncio.get_running_loop()
    server, receiver = await loop.create_datagram_endpoint(Datagrams, (HOST, 0))
    address = server.get_extra_info("sockname")
    client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    client.itself = client
    for _ in range(REPEAT):
        receiver.received = 0
        server.pause_reading()
        for data in (b"fail", b"data", bytearray(b"data"), b"data", b"data", b"data"):
            client.sendto(data)
        server.resume_reading()
        while receiver.received < 6:
            await asyncio.sleep(0.001)
        server.sendto(b"answer", receiver.sender)
        server.sendto(b"bad port", (HOST, 70000) if _ == REPEAT - 1 else address)
    client.abort()
    server.close()
    await asyncio.sleep(0)


@on_loop
async def datagrams_that_wait():
    """Nobody reads: datagrams are queued, and dropped by abort()."""
    loop = asyncio.get_running_loop()
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(folder + "/receiver")
        sender, _ = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=folder + "/receiver", family=socket.AF_UNIX
        )
        while not sender.get_write_buffer_size():
            sender.sendto(b"x")
        for _ in range(REPEAT):
            sender.sendto(bytearray(b"x" * 1000))
        sender.abort()
        await asyncio.sleep(0)


@on_loop
async def bare_sockets():
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        for _ in range(REPEAT):
            receiving = loop.create_task(loop.sock_recv(right, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(left, b"data")
            assert await receiving == b"data"
            cancelled = loop.create_task(loop.sock_recv_into(right, bytearray(10)))
            replaced = loop.create_task(loop.sock_recvfrom(right, 10))
            sending = loop.create_task(loop.sock_sendall(left, bytearray(5_000_000)))
            await asyncio.sleep(0)
            for task in (cancelled, replaced, sending):
                task.cancel()
            await asyncio.gather(cancelled, replaced, sending, return_exceptions=True)
            with contextlib.suppress(BlockingIOError):
                while right.recv(1_000_000):
                    pass
            with contextlib.suppress(TypeError):
                await loop.sock_sendall(left, "text")
            by_hand = loop.sock_recv(right, 10)
            by_hand.send(None)
            with contextlib.suppress(LookupError):
                by_hand.throw(LookupError)
            by_hand = loop.sock_recv_into(right, bytearray(10))
            by_hand.send(None).cancel()
            by_hand.close()
            loop.create_future = functools.partial(asyncio.Future, loop=loop)
            receiving = loop.create_task(loop.sock_recv(right, 10))
            await asyncio.sleep(0)
            left.send(b"data")
            assert await receiving == b"data"
            del loop.create_future
