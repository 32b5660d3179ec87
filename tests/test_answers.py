"""What protocols write while their sockets are read leaves soon, whichever other sockets are ready.

Every body makes several connections ready before the loop looks, so that the methods of their
protocols follow each other in one turn. The peers are plain sockets.
"""

import asyncio
import contextvars
import socket
import time

import pytest

from tests.support import until

ORIGIN = contextvars.ContextVar("ORIGIN", default="nobody's")


class Answering(asyncio.Protocol):
    """Answers in capitals."""

    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data.upper())

    def connection_lost(self, exc):
        self.lost.set_result((type(exc).__name__, ORIGIN.get()))


class AnsweringBuffered(Answering, asyncio.BufferedProtocol):
    """The same from a buffer of its own."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.buffer = bytearray(100)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.buffer[:nbytes]).upper())


async def connect(factory=Answering):
    """A protocol and the socket of its peer, which does not block."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return protocol, peer


async def connect_many(count, factory=Answering):
    pairs = [await connect(factory) for _ in range(count)]
    await asyncio.sleep(0)  # now they are read
    return [list(group) for group in zip(*pairs, strict=True)]


async def close(protocols, peers):
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await protocol.lost
    for peer in peers:
        peer.close()


def arrived(peer):
    try:
        return peer.recv(1000)
    except BlockingIOError:
        return None


@pytest.mark.parametrize("factory", [Answering, AnsweringBuffered])
@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 50])
async def test_every_answer_arrives(loop, factory, count):
    protocols, peers = await connect_many(count, factory)
    for burst in range(5):
        for number, peer in enumerate(peers):
            peer.send(f"message {burst} of {number}".encode())
        waiting = dict(enumerate(peers))
        while waiting:
            await asyncio.sleep(0)
            for number, peer in list(waiting.items()):
                answer = arrived(peer)
                if answer is not None:
                    assert answer == f"MESSAGE {burst} OF {number}".encode()
                    del waiting[number]
    await close(protocols, peers)


async def test_slow_methods_do_not_keep_answers_waiting(loop):
    """pyasync may have to see first that they are slow."""
    seen = []

    class Slow(Answering):
        def data_received(self, data):
            seen.append([arrived(peer) for peer in peers])
            time.sleep(0.002)
            super().data_received(data)

    protocols, peers = await connect_many(6, Slow)
    for _ in range(3):
        seen.clear()
        for peer in peers:
            peer.send(b"x")
        await until(lambda: len(seen) == len(peers))
        await asyncio.sleep(0)
        last = [arrived(peer) for peer in peers]
    answers = [sum(answer is not None for answer in found) for found in seen]
    assert answers == [0, 1, 1, 1, 1, 1]  # each finds that of the one before
    assert sum(answer is not None for answer in last) == 1
    await close(protocols, peers)


async def test_others_can_answer_quickly_again_after_slow_ones(loop):
    class Changing(Answering):
        def data_received(self, data):
            time.sleep(delay)
            super().data_received(data)

    protocols, peers = await connect_many(6, Changing)
    for delay in (0.002, 0.002, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.002, 0.002):  # noqa: B007 (Changing reads it)
        for peer in peers:
            peer.send(b"x")
        for peer in peers:
            assert await asyncio.get_running_loop().sock_recv(peer, 1000) == b"X"
    await close(protocols, peers)


async def test_a_large_answer_that_nobody_keeps_leaves_inside_write(loop):
    """Its memory then serves the next one."""
    (protocol,), (peer,) = await connect_many(1)
    for number in range(3):
        protocol.transport.write(bytes([number]) * 70_000)
        assert peer.recv(100_000) == bytes([number]) * 70_000
    await close([protocol], [peer])


def test_a_broken_connection_is_lost_in_its_own_context(same_as_asyncio):
    """asyncio finds out inside write(), whose context connection_lost() inherits."""

    async def body(loop):
        protocols, peers = [], []
        for name in ("first", "second", "third"):
            ORIGIN.set(name)
            protocol, peer = await connect()
            protocols.append(protocol)
            peers.append(peer)
        ORIGIN.set("the test's")
        await asyncio.sleep(0)
        for peer in peers:
            peer.send(b"x")
            peer.close()
        return [await protocol.lost for protocol in protocols]

    names = ("first", "second", "third")
    assert same_as_asyncio(body) == [("BrokenPipeError", name) for name in names]


@pytest.mark.parametrize("end", ["close", "abort", "write_eof", "get_write_buffer_size"])
async def test_another_method_finds_an_answer_sent(loop, end):
    found = []

    class Ending(Answering):
        def data_received(self, data):
            for protocol in protocols[:-1]:
                found.append(getattr(protocol.transport, end)())
            found.extend(arrived(peer) for peer in peers[:-1])
            super().data_received(data)

    protocols, peers = await connect_many(3)
    last, peer = await connect(Ending)
    await asyncio.sleep(0)
    protocols.append(last)
    peers.append(peer)
    for peer in peers:  # read in this order
        peer.send(b"x")
    await until(lambda: len(found) == 6)
    assert found[3:] == [b"X"] * 3
    assert found[:3] == [0 if end == "get_write_buffer_size" else None] * 3
    await close(protocols, peers)


def test_answers_leave_when_the_loop_is_stopped(loop):
    class Stopping(Answering):
        def data_received(self, data):
            super().data_received(data)
            loop.stop()

    protocols, peers = loop.run_until_complete(connect_many(3, Stopping))
    for peer in peers:
        peer.send(b"x")
    loop.run_forever()
    assert [arrived(peer) for peer in peers] == [b"X"] * 3
    loop.run_until_complete(close(protocols, peers))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_answers_leave_though_another_method_raises(loop, error):
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    class Raising(Answering):
        def data_received(self, data):
            super().data_received(data)
            raise error

    protocols, peers = loop.run_until_complete(connect_many(2))
    raising, raised_at = loop.run_until_complete(connect_many(1, Raising))
    for peer in peers + raised_at:
        peer.send(b"x")
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(10))
        for task in asyncio.all_tasks(loop):
            task.cancel()
    else:
        loop.run_until_complete(asyncio.wait_for(raising[0].lost, 10))
        assert [type(exc) for exc in reported] == [ValueError]
    assert [arrived(peer) for peer in peers + raised_at] == [b"X"] * 3
    if error is KeyboardInterrupt:
        protocols += raising  # lives on
    loop.run_until_complete(close(protocols, peers + raised_at))
