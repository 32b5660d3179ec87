"""Writing to a peer that has closed: what it sent before is read first, and the first error of the
system is the one that the protocol gets."""

import asyncio
import gc
import os
import socket
import ssl

import pytest

from tests.support import HOST, Recorder, over_socket, reset

LARGE = b"y" * 10_000_000  # more than a socket takes
ANSWER = b"413 too large"


class Buffered(asyncio.BufferedProtocol):
    """Records as a Recorder does."""

    def __init__(self):
        self.recorder = Recorder()
        self.buffer = bytearray(100)

    def __getattr__(self, name):
        return getattr(self.recorder, name)

    def connection_made(self, transport):
        self.recorder.connection_made(transport)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.recorder.data_received(bytes(self.buffer[:nbytes]))

    def eof_received(self):
        self.recorder.eof_received()

    def connection_lost(self, exc):
        self.recorder.connection_lost(exc)


async def over_tls(loop, contexts, factory):
    """A protocol, and the blocking TLS socket of its peer."""
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()

        def accept():
            return contexts[0].wrap_socket(listener.accept()[0], server_side=True)

        accepted = loop.run_in_executor(None, accept)
        transport, protocol = await loop.create_connection(
            factory, *address, ssl=contexts[1], server_hostname="localhost"
        )
        return transport, protocol, await accepted


@pytest.fixture(params=["tcp", "tls"])
def connect(request, contexts):
    """Makes (transport, protocol, the peer's socket)."""
    if request.param == "tcp":
        return over_socket
    return lambda loop, factory=Recorder: over_tls(loop, contexts, factory)


@pytest.mark.parametrize("factory", [Recorder, Buffered])
async def test_an_answer_is_read_though_the_rest_of_a_large_write_fails(loop, connect, factory):
    transport, protocol, peer = await connect(loop, factory)
    peer.sendall(ANSWER)
    peer.close()
    transport.write(LARGE)
    exc = await protocol.lost
    assert isinstance(exc, ConnectionError)
    assert protocol.data == ANSWER


@pytest.mark.parametrize("size", [1, 100_000, len(LARGE)])
@pytest.mark.parametrize("factory", [Recorder, Buffered])
async def test_the_error_of_a_reset_connection(loop, connect, factory, size):
    transport, protocol, peer = await connect(loop, factory)
    if isinstance(peer, ssl.SSLSocket):
        peer = socket.socket(fileno=peer.detach())
    reset(peer)
    transport.write(b"y" * size)
    assert type(await protocol.lost) is ConnectionResetError


async def test_a_large_write_over_tls_to_a_reset_connection_does_not_warn(
    loop, contexts, asyncio_log
):
    transport, protocol, peer = await over_tls(loop, contexts, Recorder)
    reset(socket.socket(fileno=peer.detach()))
    transport.write(LARGE)
    await protocol.lost
    assert asyncio_log.take() == []


async def test_small_writes_without_a_pause_notice_that_the_peer_has_gone(loop):
    with socket.create_server((HOST, 0)) as listener:
        _, writer = await asyncio.open_connection(*listener.getsockname())
        listener.accept()[0].close()
    count = 0
    with pytest.raises(ConnectionError):
        while count < 1000:
            writer.write(b"x")
            await writer.drain()
            count += 1
    writer.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_server_that_nobody_closed_stops_listening_with_its_loop(new_loop):
    async def serve():
        server = await asyncio.start_server(print, HOST, 0)
        return server.sockets[0].fileno()

    gc.disable()
    try:
        loop = new_loop()
        number = loop.run_until_complete(serve())
        os.fstat(number)
        loop.close()
        with pytest.raises(OSError):
            os.fstat(number)
    finally:
        gc.enable()
