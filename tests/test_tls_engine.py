"""TLS: buffered protocols, flow control, ends at every point, what reaches the wire."""

import asyncio
import asyncio.sslproto
import contextlib
import gc
import os
import socket
import ssl
import warnings

import pytest

from tests.support import HOST, Recorder, connected, run_snippet, turns, until
from tests.tls_pair import closed, tls


class Buffered(asyncio.BufferedProtocol):
    """Collects what it is given through a buffer of `room` bytes."""

    room = 1000

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.buffer = bytearray(self.room)
        self.data = bytearray()
        self.events = []
        self.made, self.lost = loop.create_future(), loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(transport)

    def get_buffer(self, sizehint):
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes):
        assert 0 < nbytes <= self.room
        self.data += self.buffer[:nbytes]

    def eof_received(self):
        self.events.append("eof")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def buffered(size):
    return type("Buffered", (Buffered,), {"room": size})


@pytest.mark.parametrize("room", [1, 100, 16_384, 300_000])
async def test_a_buffered_protocol(loop, contexts, room):
    server_side, client = await tls(contexts, Recorder, buffered(room))
    data = os.urandom(3_000 if room == 1 else 300_001)
    server_side.transport.write(data)
    await until(lambda: len(client.data) == len(data))
    assert client.data == data
    server_side.transport.write(b"the end")
    server_side.transport.close()
    await asyncio.wait_for(asyncio.shield(client.lost), 10)
    assert client.data == data + b"the end"
    assert client.events == ["eof"]
    await server_side.lost


async def test_another_protocol_in_the_middle(loop, contexts, asyncio_log):
    """set_protocol() from plain to buffered and to a stream reader loses nothing."""
    server_side, client = await tls(contexts)
    server_side.transport.write(b"a" * 50_000)
    await until(lambda: len(client.data) == 50_000)
    second = Buffered()
    client.transport.set_protocol(second)
    assert client.transport.get_protocol() is second
    server_side.transport.write(b"b" * 50_000)
    await until(lambda: second.data == b"b" * 50_000)
    reader = asyncio.StreamReader()
    client.transport.set_protocol(asyncio.StreamReaderProtocol(reader))
    server_side.transport.write(b"c" * 50_000)
    server_side.transport.close()
    assert await asyncio.wait_for(reader.read(), 10) == b"c" * 50_000
    client.transport.close()
    await server_side.lost
    await turns(5)
    asyncio_log.take()  # that reader's protocol was not told that it is on TLS


async def test_tls_in_tls(loop, contexts):
    server_side, client = await tls(contexts)
    inner_server, inner_client = Recorder(), Recorder()
    for protocol in inner_server, inner_client:
        protocol.events.append("upgraded")
    inner_server.transport, inner_client.transport = await asyncio.gather(
        loop.start_tls(server_side.transport, inner_server, contexts[0], server_side=True),
        loop.start_tls(client.transport, inner_client, contexts[1], server_hostname="localhost"),
    )
    data = os.urandom(200_000)
    inner_client.transport.write(data)
    inner_server.transport.write(data)
    await until(lambda: len(inner_client.data) == len(inner_server.data) == len(data))
    assert inner_client.data == inner_server.data == data
    await closed(inner_client, inner_server)


async def test_close_while_the_socket_is_full(loop, contexts):
    """What was written before close() arrives, however late the peer reads it."""
    server_side, client = await tls(contexts)
    server_side.transport.pause_reading()
    data = os.urandom(6_000_000)
    client.transport.write(data)
    client.transport.close()
    await asyncio.sleep(0.05)
    assert len(server_side.data) == 0 and not client.lost.done()
    server_side.transport.resume_reading()
    await asyncio.wait_for(asyncio.shield(server_side.lost), 20)
    assert server_side.data == data
    await client.lost


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize(
    "where", ["connection_made", "data_received", "eof_received", "pause_writing", "resume_writing"]
)
async def test_an_end_in_every_callback(loop_name, loop, contexts, where, end):
    if loop_name == "asyncio" and (where, end) == ("resume_writing", "abort"):
        pytest.skip("asyncio fails in the code behind its call to resume_writing()")

    def ends(self, *args):
        getattr(Recorder, where)(self, *args)
        self.transport.write(b"last words")
        getattr(self.transport, end)()
        self.transport.write(b"never sent")

    server_side, client = await tls(contexts, type("Ends", (Recorder,), {where: ends}))
    if where == "data_received":
        client.transport.write(b"x")
    elif where == "eof_received":
        client.transport.close()
    elif where.endswith("writing"):
        client.transport.pause_reading()
        for _ in range(400):
            if server_side.transport.is_closing() or "pause" in server_side.events:
                break
            server_side.transport.write(b"x" * 65536)
            await asyncio.sleep(0)
        client.transport.resume_reading()
    await asyncio.wait_for(asyncio.shield(server_side.lost), 10)
    client.transport.close()
    await asyncio.wait_for(asyncio.shield(client.lost), 10)
    assert b"never sent" not in client.data
    assert server_side.events[-1].startswith("lost")
    await turns(3)


async def test_paused_from_the_first_callback_on(loop_name, loop, contexts):
    if loop_name == "asyncio":
        pytest.skip("asyncio keeps the end of the client's handshake back until it reads again")

    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    server_side, client = await tls(contexts, Recorder, Paused)
    server_side.transport.write(b"x" * 1000)
    await asyncio.sleep(0.02)
    assert client.data == b""
    client.transport.resume_reading()
    await until(lambda: len(client.data) == 1000)
    await closed(client, server_side)


async def test_a_paused_connection_can_be_closed_after_the_peer_has_gone(loop_name, loop, contexts):
    if loop_name == "asyncio":
        pytest.skip("asyncio never closes it")
    server_side, client = await tls(contexts)
    client.transport.pause_reading()
    raw = socket.socket(fileno=os.dup(server_side.transport.get_extra_info("socket").fileno()))
    server_side.transport.abort()
    await server_side.lost
    raw.close()
    await asyncio.sleep(0.02)
    client.transport.close()
    await asyncio.wait_for(asyncio.shield(client.lost), 5)


def raw_socket(protocol):
    """A second descriptor of the connection under a protocol's transport."""
    return socket.socket(fileno=os.dup(protocol.transport.get_extra_info("socket").fileno()))


async def test_an_end_without_close_notify_comes_after_the_data(loop, contexts):
    server_side, client = await tls(contexts)
    client.transport.pause_reading()
    with raw_socket(server_side) as raw:
        server_side.transport.write(b"x" * 60_000)
        await asyncio.sleep(0.02)
        raw.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.02)
        client.transport.resume_reading()
        await asyncio.wait_for(asyncio.shield(client.lost), 10)
    assert client.data == b"x" * 60_000
    assert client.events == ["made", "data", "eof", "lost"]
    server_side.transport.abort()
    await server_side.lost


async def test_a_forged_record_comes_after_the_data(loop_name, loop, contexts):
    if loop_name == "asyncio":
        pytest.skip("asyncio drops what it decrypted together with a record that is bad")
    server_side, client = await tls(contexts)
    client.transport.pause_reading()
    with raw_socket(server_side) as raw:
        server_side.transport.write(b"good")
        await asyncio.sleep(0.02)
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        await asyncio.sleep(0.02)
        client.transport.resume_reading()
        exc = await asyncio.wait_for(asyncio.shield(client.lost), 10)
    assert client.data == b"good"
    assert isinstance(exc, ssl.SSLError)
    server_side.transport.abort()
    await server_side.lost


async def test_nothing_is_sent_in_the_clear(loop, contexts):
    """A relay between the two sees no byte of what they write, in any state of the connection."""
    seen = bytearray()
    secret = b"the secret of the connection"

    class Writes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(secret)

    server = await loop.create_server(Writes, HOST, 0, ssl=contexts[0])
    port = server.sockets[0].getsockname()[1]

    async def relay(reader, writer):
        other_reader, other_writer = await asyncio.open_connection(HOST, port)

        async def pump(source, target):
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1000):
                    seen.extend(data)
                    target.write(data)
            target.close()

        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))

    relaying = await asyncio.start_server(relay, HOST, 0)
    transport, client = await loop.create_connection(
        Writes, *relaying.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
    )
    transport.writelines([secret] * 100)
    await until(lambda: client.data == secret)
    transport.close()
    transport.write(secret)
    await asyncio.wait_for(asyncio.shield(client.lost), 10)
    transport.write(secret)
    server.close()
    relaying.close()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert len(seen) > 1000 and secret not in seen
    await turns(5)


async def test_names_protocols_and_certificates(loop, contexts, certificate):
    names = []
    contexts[0].sni_callback = lambda sslobj, name, context: names.append(name)
    contexts[0].set_alpn_protocols(["h2", "http/1.1"])
    contexts[1].set_alpn_protocols(["http/1.1"])
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].load_verify_locations(certificate[0])
    contexts[1].load_cert_chain(*certificate)
    server_side, client = await tls(contexts)
    for protocol in server_side, client:
        info = protocol.transport.get_extra_info
        assert info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
    assert names == ["localhost"]
    await closed(client, server_side)
    contexts[0].sni_callback = None


async def test_a_client_without_the_certificate_that_is_required(loop, contexts, certificate):
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].load_verify_locations(certificate[0])
    made = []
    server = await loop.create_server(lambda: made.append(1), HOST, 0, ssl=contexts[0])
    client = None
    with contextlib.suppress(OSError):
        _, client = await loop.create_connection(
            Recorder,
            *server.sockets[0].getsockname(),
            ssl=contexts[1],
            server_hostname="localhost",
        )
    if client is not None:
        await asyncio.wait_for(asyncio.shield(client.lost), 10)
    server.close()
    await turns(5)


async def test_a_peer_that_never_answers_close(loop, contexts):
    with socket.create_server((HOST, 0)) as listener:

        def handshake():
            connection, _ = listener.accept()
            return contexts[0].wrap_socket(connection, server_side=True)

        peer = loop.run_in_executor(None, handshake)
        transport, client = await loop.create_connection(
            Recorder,
            *listener.getsockname(),
            ssl=contexts[1],
            server_hostname="localhost",
            ssl_shutdown_timeout=0.05,
        )
        with await peer:
            transport.close()
            exc = await asyncio.wait_for(asyncio.shield(client.lost), 5)
    assert type(exc) is TimeoutError and str(exc) == "SSL shutdown timed out"


async def test_writes_after_the_end_are_dropped_and_logged(loop, contexts, asyncio_log):
    server_side, client = await tls(contexts)
    transport = client.transport
    await closed(client, server_side)
    for _ in range(6):
        transport.write(b"x")
    assert "SSL connection is closed" in str(asyncio_log.take())


async def test_what_cannot_be_written(loop_name, loop, contexts):
    server_side, client = await tls(contexts)
    for wrong in "text", 5, None, [b"x"]:
        with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got"):
            client.transport.write(wrong)
    if loop_name != "asyncio":  # which fails, but also keeps the number to be written later
        with pytest.raises(TypeError):
            client.transport.writelines([5])
    with pytest.raises(ValueError, match="must be >= low"):
        client.transport.set_write_buffer_limits(high=1, low=2)
    client.transport.write(b"good")
    await until(lambda: server_side.data == b"good")
    await closed(client, server_side)


async def test_order_and_content_of_many_writes(loop, contexts):
    """Small, large, mutable and empty pieces, changed after write(), arrive as they were."""
    server_side, client = await tls(contexts)
    expected = bytearray()
    for i in range(300):
        piece = bytearray(os.urandom((i * 7919) % 40_000 if i % 10 == 0 else i % 50))
        expected += piece
        if i % 3 == 0:
            client.transport.write(bytes(piece))
        elif i % 3 == 1:
            client.transport.write(piece)
        else:
            client.transport.writelines([memoryview(piece), b""])
        piece[:] = bytes(len(piece))
    await until(lambda: len(server_side.data) == len(expected))
    assert server_side.data == expected
    await closed(client, server_side)


async def test_limits_of_the_buffers(loop, contexts):
    server_side, client = await tls(contexts)
    transport = client.transport
    assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
    assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
    transport.set_write_buffer_limits(high=4000)
    assert transport.get_write_buffer_limits() == (1000, 4000)
    transport.set_read_buffer_limits(low=100)
    assert transport.get_read_buffer_limits() == (100, 400)
    transport.write(b"x" * 1000)
    assert transport.get_write_buffer_size() == 0
    transport.pause_reading()
    assert not transport.is_reading()
    server_side.transport.write(b"y" * 200_000)
    await until(lambda: transport.get_read_buffer_size() >= 400)
    transport.resume_reading()
    await until(lambda: len(client.data) == 200_000)
    assert transport.get_read_buffer_size() == 0
    await closed(client, server_side)


async def test_a_class_for_the_ssl_object(loop, contexts):
    """An SSLObject class of the user's context is used for the handshake, reads and writes."""
    calls = set()

    class Watched(ssl.SSLObject):
        def do_handshake(self):
            calls.add(("do_handshake", self.server_side))
            return super().do_handshake()

        def read(self, *args):
            calls.add("read")
            return super().read(*args)

        def write(self, data):
            calls.add("write")
            return super().write(data)

    for context in contexts:
        context.sslobject_class = Watched
    server_side, client = await tls(contexts)
    client.transport.write(b"there")
    await until(lambda: server_side.data == b"there")
    server_side.transport.write(b"back")
    await until(lambda: client.data == b"back")
    assert calls == {("do_handshake", False), ("do_handshake", True), "read", "write"}
    await closed(client, server_side)


async def test_a_handshake_whose_transport_is_aborted_within_it(loop, contexts):
    """OpenSSL's message callback runs within the handshake, on either side of start_tls()."""
    for side in (0, 1):
        server_side, client, _ = await connected()
        ends = [server_side.transport, client.transport]

        def watch(*_, transport=ends[side]):
            transport.abort()
            gc.collect()

        contexts[side]._msg_callback = watch
        results = await asyncio.gather(
            loop.start_tls(ends[0], server_side, contexts[0], server_side=True),
            loop.start_tls(ends[1], client, contexts[1], server_hostname="localhost"),
            return_exceptions=True,
        )
        contexts[side]._msg_callback = None
        assert results.pop(side) is None and isinstance(results[0], ConnectionResetError)


async def test_connections_that_end_while_another_is_encrypted(loop, contexts):
    """OpenSSL's message callback runs within the encryption of what one connection wrote."""
    others = []

    def watch(connection, direction, version, content_type, msg_type, data):
        if direction == "write" and others:
            ended = [others.pop() for _ in range(len(others))]
            for protocol in ended:
                protocol.transport.abort()
            gc.collect()

    contexts[1]._msg_callback = watch
    pairs = [await tls(contexts) for _ in range(5)]
    (server_side, first), *rest = pairs
    others += [client for _, client in rest]
    for _, client in pairs:
        client.transport.write(b"there")
    for _, client in rest:
        assert await client.lost is None
    await until(lambda: server_side.data == b"there")
    assert not others
    await closed(first, server_side, *[protocol for protocol, _ in rest])


def protocol_over_nothing(loop, contexts, **options):
    """The TLS protocol of the loop, without a transport below it."""
    factory = asyncio.sslproto.SSLProtocol
    if type(loop).__module__.startswith("pyasync"):
        from pyasync.loop import _TlsProtocol as factory
    return factory(loop, Recorder(), contexts[1], None, False, "localhost", **options)


async def test_a_transport_that_is_never_closed(loop, contexts):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        protocol = protocol_over_nothing(loop, contexts)
        assert protocol._app_transport.get_extra_info("sslcontext") is contexts[1]
        del protocol
        gc.collect()
    messages = [str(warning.message) for warning in found if warning.category is ResourceWarning]
    assert messages == ["unclosed transport <asyncio._SSLProtocolTransport object>"]


async def test_connection_made_after_the_connection_is_lost(loop, contexts):
    """Nothing is left to shake hands with."""
    protocol = protocol_over_nothing(loop, contexts)
    transport = protocol._app_transport
    transport.close()
    transport.close()
    protocol.connection_lost(None)
    with pytest.raises(RuntimeError):  # in asyncio the transport's, which cannot write
        protocol.connection_made(asyncio.Transport())


@pytest.mark.parametrize("timeout", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_time_outs_must_be_positive(loop, contexts, timeout):
    for value in 0, -1.5:
        message = f"{timeout} should be a positive number, got {value}"
        with pytest.raises(ValueError, match=message):
            protocol_over_nothing(loop, contexts, **{timeout: value})


@pytest.mark.parametrize(("value", "used"), [("", "engine"), ("0", "engine"), ("1", "stock")])
def test_build_info_says_which_tls_is_in_use(value, used):
    printed = run_snippet(
        "pyasync",
        "import pyasync.loop\n"
        "print(pyasync.build_info()['tls'], pyasync.loop._TlsProtocol.__module__)\n",
        env={"PYASYNC_STOCK_TLS": value},
    )
    modules = {"engine": "pyasync._core", "stock": "asyncio.sslproto"}
    assert printed.split() == [used, modules[used]]
