"""TLS: handshakes, data of every size, ends of every kind, start_tls, time-outs."""

import array
import asyncio
import contextlib
import gc
import os
import socket
import ssl
import sys
import weakref

import pytest

from tests.support import HOST, Recorder, turns, until
from tests.tls_pair import closed, tls


@pytest.mark.parametrize("size", [1, 100, 16_383, 16_384, 16_385, 100_000, 5_000_000])
async def test_sizes_both_ways(loop, contexts, size):
    server_side, client = await tls(contexts)
    data = os.urandom(size)
    client.transport.write(data)
    server_side.transport.write(data)
    await until(lambda: len(server_side.data) == len(client.data) == size)
    assert server_side.data == client.data == data
    await closed(client, server_side)


async def test_what_the_transport_says(loop, contexts):
    server_side, client = await tls(contexts)
    info = client.transport.get_extra_info
    assert isinstance(client.transport, asyncio.Transport)
    assert info("sslcontext") is contexts[1]
    assert isinstance(info("ssl_object"), ssl.SSLObject)
    assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
    assert len(info("cipher")) == 3 and info("compression") is None
    assert info("peername") == server_side.transport.get_extra_info("sockname")
    assert client.transport.can_write_eof() is False
    with pytest.raises(NotImplementedError):
        client.transport.write_eof()
    await closed(client, server_side)


async def test_an_untrusted_certificate(loop, contexts, asyncio_log):
    server = await loop.create_server(Recorder, HOST, 0, ssl=contexts[0])
    address = server.sockets[0].getsockname()
    with pytest.raises(ssl.SSLCertVerificationError):
        await loop.create_connection(
            Recorder, *address, ssl=ssl.create_default_context(), server_hostname="localhost"
        )
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await loop.create_connection(
            Recorder, *address, ssl=contexts[1], server_hostname="other.example"
        )
    server.close()
    await asyncio.sleep(0.01)
    asyncio_log.take()


async def test_a_server_that_speaks_no_tls(loop, contexts):
    class Plain(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"220 no TLS here\r\n")
            transport.close()

    server = await loop.create_server(Plain, HOST, 0)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
        )
    server.close()
    await turns(5)


async def test_the_handshake_time_out(loop, contexts):
    with socket.create_server((HOST, 0)) as silent:
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
            await loop.create_connection(
                Recorder,
                *silent.getsockname(),
                ssl=contexts[1],
                server_hostname="localhost",
                ssl_handshake_timeout=0.05,
            )
        await turns(3)


async def test_a_cancelled_handshake(loop, contexts):
    with socket.create_server((HOST, 0)) as silent:
        task = asyncio.ensure_future(
            loop.create_connection(
                Recorder, *silent.getsockname(), ssl=contexts[1], server_hostname="localhost"
            )
        )
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(3)


async def test_data_and_end_in_one_go(loop, contexts):
    """Data decrypted with the end is delivered before the end."""

    class Sends(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"x" * 100_000)
            transport.close()

    server_side, client = await tls(contexts, Sends)
    await client.lost
    assert client.data == b"x" * 100_000
    assert client.events in (["made", "data", "eof", "lost"], ["made", "data", "lost"])
    await server_side.lost


async def test_data_held_by_a_paused_reader_comes_before_the_end(loop, contexts):
    server_side, client = await tls(contexts)
    client.transport.pause_reading()
    server_side.transport.write(b"x" * 100_000)
    server_side.transport.close()
    await asyncio.sleep(0.02)
    assert client.data == b""
    client.transport.resume_reading()
    await until(lambda: len(client.data) == 100_000)
    await closed(client, server_side)


async def test_writelines_of_any_buffers(loop, contexts):
    server_side, client = await tls(contexts)
    pieces = [b"a", bytearray(b"b"), memoryview(b"c"), memoryview(array.array("H", [0x6464]))]
    client.transport.writelines(pieces)
    client.transport.write(memoryview(array.array("I", [0x65656565])))
    await until(lambda: server_side.data == b"abcddeeee")
    await closed(client, server_side)


async def test_writing_from_every_callback(loop, contexts):
    class Answers(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"hello ")

        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)
            self.transport.writelines([b"-", data])

    server_side, client = await tls(contexts, Answers)
    client.transport.write(b"abc")
    await until(lambda: client.data == b"hello abc-abc")
    await closed(client, server_side)


async def test_water_marks(loop, contexts):
    server_side, client = await tls(contexts)
    server_side.transport.pause_reading()
    total = 0
    while "pause" not in client.events and total < 100_000_000:
        client.transport.write(b"x" * 65536)
        total += 65536
        await asyncio.sleep(0)
    assert client.events == ["made", "pause"]
    server_side.transport.resume_reading()
    await until(lambda: len(server_side.data) == total)
    await until(lambda: client.events == ["made", "pause", "resume"])
    await closed(client, server_side)


async def test_abort(loop, contexts):
    server_side, client = await tls(contexts)
    client.transport.write(b"x" * 5_000_000)
    client.transport.abort()
    await client.lost
    await server_side.lost
    assert client.events[-1] == "lost"


async def test_a_peer_that_ends_without_close_notify(loop, contexts):
    server_side, client = await tls(contexts)
    sock = server_side.transport.get_extra_info("socket")
    raw = socket.socket(fileno=os.dup(sock.fileno()))
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()
    await client.lost
    await server_side.lost
    await turns(3)


async def test_a_peer_that_keeps_sending_after_we_closed(loop, contexts):
    """close() stops reading; a peer that never answers close_notify is cut off in time."""
    server_side, client = await tls(contexts, ssl_shutdown_timeout=0.1)
    stop = False

    async def flood():
        while not stop and not server_side.transport.is_closing():
            server_side.transport.write(b"x" * 65536)
            await asyncio.sleep(0)

    flooding = asyncio.ensure_future(flood())
    await asyncio.sleep(0.01)
    received = len(client.data)
    client.transport.close()
    await asyncio.wait_for(asyncio.shield(client.lost), 5)
    assert len(client.data) - received < 20_000_000
    stop = True
    await flooding
    server_side.transport.abort()
    await server_side.lost
    await turns(3)


async def test_no_timer_outlives_a_connection(loop, contexts):
    """Handshake and shutdown time-outs are cancelled and keep nothing alive."""
    references = []
    for _ in range(3):
        server_side, client = await tls(contexts)
        references += [weakref.ref(client), weakref.ref(server_side)]
        await closed(client, server_side)
    del server_side, client
    await turns(5)
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


async def test_start_tls(loop, contexts):
    """A plain connection is upgraded in both directions, then carries data."""
    upgraded = loop.create_future()

    class Server(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if self.data == b"STARTTLS":
                self.transport.write(b"OK")
                self.task = loop.create_task(self.upgrade())

        async def upgrade(self):
            protocol = Recorder()
            protocol.events.append("upgraded")
            protocol.transport = await loop.start_tls(
                self.transport, protocol, contexts[0], server_side=True
            )
            upgraded.set_result(protocol)

    server = await loop.create_server(Server, HOST, 0)
    transport, plain = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    transport.write(b"STARTTLS")
    await until(lambda: plain.data == b"OK")
    client = Recorder()
    client.events.append("upgraded")
    client.transport = await loop.start_tls(
        transport, client, contexts[1], server_hostname="localhost"
    )
    server_side = await upgraded
    client.transport.write(b"secret" * 1000)
    await until(lambda: server_side.data == b"secret" * 1000)
    await closed(client, server_side)
    server.close()


async def test_start_tls_with_the_client_hello_in_the_reader(loop, contexts):
    """Bytes the StreamReader holds already belong to the TLS layer."""
    if sys.version_info < (3, 14):  # pyasync runs asyncio's own start_tls()
        pytest.skip("asyncio of this Python version drops the bytes that the reader holds")

    async def serve(reader, writer):
        assert await reader.readexactly(3) == b"GO\n"
        await asyncio.sleep(0.02)  # the client's first TLS record is in the reader by now
        await writer.start_tls(contexts[0])
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GO\n")
    await asyncio.wait_for(writer.start_tls(contexts[1], server_hostname="localhost"), 5)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await turns(5)


async def test_streams(loop, contexts):
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0, ssl=contexts[0])
    address = server.sockets[0].getsockname()

    async def client(number):
        reader, writer = await asyncio.open_connection(
            *address, ssl=contexts[1], server_hostname="localhost"
        )
        for _ in range(5):
            writer.write(b"client %d\n" % number)
            assert await reader.readline() == b"CLIENT %d\n" % number
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(i) for i in range(20)))
    server.close()
    await server.wait_closed()
    await turns(5)


async def test_a_burst_of_reconnects(loop, contexts):
    server = await loop.create_server(Recorder, HOST, 0, ssl=contexts[0])
    address = server.sockets[0].getsockname()
    for _ in range(5):
        made = await asyncio.gather(
            *(
                loop.create_connection(
                    Recorder, *address, ssl=contexts[1], server_hostname="localhost"
                )
                for _ in range(10)
            )
        )
        for i, (transport, _protocol) in enumerate(made):
            transport.write(b"x" * 10_000)
            transport.abort() if i % 2 else transport.close()
        await asyncio.wait([protocol.lost for transport, protocol in made])
    server.close()
    await asyncio.sleep(0.02)


async def test_an_error_in_data_received(loop, contexts):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    class Fails(Recorder):
        def data_received(self, data):
            raise LookupError("in data_received")

    server_side, client = await tls(contexts, Fails)
    client.transport.write(b"x")
    await until(lambda: found)
    assert str(found[0]["exception"]) == "in data_received"
    exc = await server_side.lost
    assert isinstance(exc, LookupError)
    client.transport.abort()
    await client.lost
    await turns(3)
