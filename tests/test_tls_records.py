"""TLS: however records are cut and put together, the application gets what is in them."""

import asyncio
import contextlib
import os
import random
import re
import socket
import ssl
import sys

import pytest

from tests.support import HOST, Recorder, turns, until
from tests.test_tls_engine import Buffered, buffered

HEADER_SIZE = 5
PROTOCOLS = pytest.mark.parametrize("factory", [Recorder, buffered(1000), buffered(300_000)])


class Peer:
    """A TLS peer whose ciphertext goes out by the hand of the test."""

    def __init__(self, context, sock, *, server_side=False):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )

    async def take(self):
        loop = asyncio.get_running_loop()
        received = await asyncio.wait_for(loop.sock_recv(self.sock, 65536), 10)
        assert received
        self.incoming.write(received)

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def handshake(self):
        """Leaves what the last step of the handshake has to say in the outgoing BIO."""
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self.send(self.outgoing.read())
                await self.take()

    def encrypt(self, data):
        self.tls.write(data)
        return self.outgoing.read()


def connected_socket(listener):
    sock = socket.create_connection(listener.getsockname())
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def served(contexts, factory):
    """A server's protocol and the peer that is its client."""
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def accept():
        protocol = factory()
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, HOST, 0, ssl=contexts[0])
    with connected_socket(server.sockets[0]) as sock:
        peer = Peer(contexts[1], sock)
        await peer.handshake()
        await peer.send(peer.outgoing.read())
        protocol = await accepted
        await protocol.made
        yield protocol, peer
        protocol.transport.abort()
        await protocol.lost
    server.close()


async def send_piece_by_piece(peer, ciphertext, ends):
    """Sends up to each of the ends, and lets the other side see each piece alone."""
    start = 0
    for end in [*ends, len(ciphertext)]:
        await peer.send(ciphertext[start:end])
        start = end
        await asyncio.sleep(0.001)


@PROTOCOLS
async def test_records_cut_anywhere(loop, contexts, factory):
    async with served(contexts, factory) as (protocol, peer):
        sizes = [1, 100, 5000, 16_384, 1, 40_000, 3, 16_385]
        pieces = [os.urandom(size) for size in sizes]
        ciphertext = b"".join(peer.encrypt(piece) for piece in pieces)
        ends = sorted(random.Random(1).sample(range(1, len(ciphertext)), 60))
        await send_piece_by_piece(peer, ciphertext, ends)
        await until(lambda: len(protocol.data) == sum(sizes))
        assert protocol.data == b"".join(pieces)


@PROTOCOLS
async def test_a_header_that_comes_byte_by_byte(loop, contexts, factory):
    async with served(contexts, factory) as (protocol, peer):
        first, second = peer.encrypt(b"first"), peer.encrypt(b"second")
        ends = [len(first) + i for i in range(HEADER_SIZE + 2)]
        await send_piece_by_piece(peer, first + second, ends)
        await until(lambda: protocol.data == b"firstsecond")


@PROTOCOLS
async def test_a_part_of_a_record_is_no_data(loop, contexts, factory):
    async with served(contexts, factory) as (protocol, peer):
        whole, part = peer.encrypt(b"whole"), peer.encrypt(b"part" * 1000)
        await peer.send(whole + part[:-1])
        await until(lambda: protocol.data == b"whole")
        await asyncio.sleep(0.01)
        assert protocol.data == b"whole"
        await peer.send(part[-1:])
        await until(lambda: protocol.data == b"whole" + b"part" * 1000)


@PROTOCOLS
async def test_records_without_data_before_those_with_some(loop, contexts, factory):
    """A server of TLS 1.3 sends tickets behind the handshake: here, with its first data."""
    with socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        address = listener.getsockname()
        connecting = asyncio.ensure_future(
            loop.create_connection(factory, *address, ssl=contexts[1], server_hostname="localhost")
        )
        sock, _ = await loop.sock_accept(listener)
        with sock:
            peer = Peer(contexts[0], sock, server_side=True)
            await peer.handshake()
            assert peer.tls.version() == "TLSv1.3"
            tickets = peer.outgoing.read()
            assert tickets
            data = os.urandom(50_000)
            _, protocol = await connecting
            await peer.send(tickets + peer.encrypt(data) + peer.encrypt(b"last"))
            await until(lambda: len(protocol.data) == len(data) + 4)
            assert protocol.data == data + b"last"
            protocol.transport.abort()
            await protocol.lost


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x17\x02\x00\x00\x20", b"\x17\x03\x03\xff\xff", b"\x80\x03"],
)
@PROTOCOLS
async def test_what_is_no_record_ends_the_connection_at_once(loop, contexts, factory, junk):
    """It need not be complete, as no part of it could be a record's."""
    async with served(contexts, factory) as (protocol, peer):
        await peer.send(peer.encrypt(b"data"))
        await until(lambda: protocol.data == b"data")
        await peer.send(junk + bytes(HEADER_SIZE))
        exc = await asyncio.wait_for(asyncio.shield(protocol.lost), 10)
        assert isinstance(exc, ssl.SSLError)
        assert protocol.data == b"data"


@PROTOCOLS
async def test_what_follows_close_notify_is_not_data(loop, contexts, factory):
    async with served(contexts, factory) as (protocol, peer):
        data = peer.encrypt(b"x" * 40_000)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.unwrap()
        await peer.send(data + peer.outgoing.read() + data)
        assert await asyncio.wait_for(asyncio.shield(protocol.lost), 10) is None
        assert protocol.data == b"x" * 40_000
        assert protocol.events[-2:] == ["eof", "lost"] or isinstance(protocol, Buffered)


LOOKS_LIKE_A_HEADER = re.compile(rb"[\x14-\x18]\x03.[\x10-\x40].", re.DOTALL)


def hello_with_what_looks_like_a_header(context, sock):
    """A peer whose ClientHello has such bytes in it, by chance; where they are; the ClientHello."""
    while True:
        peer = Peer(context, sock)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        hello = peer.outgoing.read()
        if found := LOOKS_LIKE_A_HEADER.search(hello, HEADER_SIZE):
            return peer, found.start(), hello


@pytest.mark.parametrize("held", [1, 3, 5, 6, None])
async def test_start_tls_with_a_part_of_the_client_hello_in_the_reader(loop, contexts, held):
    """The record that the StreamReader holds the beginning of goes on in what comes later, whatever
    that looks like."""
    if sys.version_info < (3, 14):  # pyasync runs asyncio's own start_tls()
        pytest.skip("asyncio of this Python version drops the bytes that the reader holds")

    async def serve(reader, writer):
        await until(lambda: reader._buffer)
        starting = asyncio.ensure_future(writer.start_tls(contexts[0]))
        await turns(3)
        begun.set()
        await starting
        writer.write(await reader.readexactly(len(data)))
        await writer.drain()
        writer.transport.abort()

    begun = asyncio.Event()
    data = os.urandom(1_000)
    server = await asyncio.start_server(serve, HOST, 0)
    with connected_socket(server.sockets[0]) as sock:
        peer, middle, hello = hello_with_what_looks_like_a_header(contexts[1], sock)
        held = middle if held is None else held
        await peer.send(hello[:held])
        await begun.wait()
        await peer.send(hello[held:])
        await peer.take()
        await peer.handshake()
        await peer.send(peer.outgoing.read() + peer.encrypt(data))
        echoed = b""
        while len(echoed) < len(data):
            try:
                echoed += peer.tls.read(65536)
            except ssl.SSLWantReadError:
                await peer.take()
        assert echoed == data
    server.close()
    await turns(3)


async def test_a_pause_in_the_middle(loop, contexts):
    """Reading stops within what has come in one go: the rest waits."""

    class Pausing(Buffered):
        room = 10_000

        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async with served(contexts, Pausing) as (protocol, peer):
        data = os.urandom(50_000)
        await peer.send(peer.encrypt(data))
        await until(lambda: protocol.data)
        while len(protocol.data) < len(data):
            before = len(protocol.data)
            await asyncio.sleep(0.005)
            assert len(protocol.data) <= before + protocol.room
            protocol.transport.resume_reading()
            await until(lambda before=before: len(protocol.data) > before)
        assert protocol.data == data
