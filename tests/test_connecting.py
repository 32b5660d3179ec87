"""create_connection: addresses, errors, cancellation, happy eyeballs, sockets of one's own."""

import asyncio
import gc
import os
import socket
import sys

import pytest

from tests.support import HOST, Recorder, closed, error_of, open_descriptors, plain, turns, until


@pytest.fixture
def listener():
    """A socket that listens and is accepted from by hand."""
    with socket.create_server((HOST, 0)) as sock:
        yield sock


@pytest.fixture
def refused():
    """An address nobody listens on: bound, so that nobody else gets it."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()


async def test_connect_by_name_and_by_literal(loop, listener):
    port = listener.getsockname()[1]
    for host in (HOST, "localhost"):
        transport, protocol = await loop.create_connection(Recorder, host, port)
        assert protocol.transport is transport
        assert transport.get_extra_info("peername")[1] == port
        await closed(protocol)


async def test_refused(loop, refused):
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, *refused)
    assert caught.value.errno == 111
    assert f"Connect call failed {refused!r}" in str(caught.value)


def test_the_errors_are_asyncios(same_as_asyncio, refused, listener):
    async def body(loop):
        async def failing(*args, **options):
            try:
                transport, _ = await loop.create_connection(Recorder, *args, **options)
            except (ValueError, TypeError, OSError, OverflowError) as exc:
                return type(exc).__name__, plain(str(exc))
            transport.abort()
            return "no error"

        unconnected, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        unconnected.setblocking(False)
        port = listener.getsockname()[1]
        found = [
            await failing(*refused),
            await failing(),
            await failing(HOST),
            await failing(HOST, port, sock=unconnected),
            await failing(sock=datagram),
            await failing(HOST, port, ssl=None, server_hostname="name"),
            await failing(HOST, port, ssl_handshake_timeout=1),
            await failing(HOST, port, ssl_shutdown_timeout=1),
            await failing(HOST, port, local_addr="text"),
            await failing(HOST, port, local_addr=("192.0.2.1", 0)),
            await failing(HOST, 0),
            await failing(HOST, 70000),
            await failing("256.256.256.256", 80, flags=socket.AI_NUMERICHOST),
        ]
        unconnected.close()
        datagram.close()
        await turns(3)
        return found

    assert same_as_asyncio(body)[0][0] == "ConnectionRefusedError"


async def test_a_local_address(loop, listener):
    address = listener.getsockname()
    transport, protocol = await loop.create_connection(
        Recorder, *address, local_addr=("127.0.0.3", 0)
    )
    assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
    await closed(protocol)


async def test_several_addresses_are_tried_in_turn(loop, listener, refused, monkeypatch):
    seen = []

    async def addresses(*args, **options):
        seen.append(args)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, refused), (*kind, listener.getsockname())]

    monkeypatch.setattr(loop, "getaddrinfo", addresses)
    transport, protocol = await loop.create_connection(Recorder, "two.addresses", 80)
    assert transport.get_extra_info("peername") == listener.getsockname()
    assert seen
    await closed(protocol)


async def test_all_addresses_fail(loop, refused, monkeypatch):
    async def addresses(*args, **options):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, refused), (*kind, ("127.0.0.2", refused[1]))]

    monkeypatch.setattr(loop, "getaddrinfo", addresses)
    with pytest.raises(OSError, match="Multiple exceptions"):
        await loop.create_connection(Recorder, "two.addresses", 80)
    if sys.version_info >= (3, 12):
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Recorder, "two.addresses", 80, all_errors=True)
        assert len(caught.value.exceptions) == 2


async def test_happy_eyeballs(loop, listener, refused, monkeypatch):
    async def addresses(*args, **options):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, refused), (*kind, refused), (*kind, listener.getsockname())]

    monkeypatch.setattr(loop, "getaddrinfo", addresses)
    transport, protocol = await loop.create_connection(
        Recorder, "three.addresses", 80, happy_eyeballs_delay=0.01
    )
    assert transport.get_extra_info("peername") == listener.getsockname()
    await closed(protocol)


async def test_happy_eyeballs_with_a_literal(loop, listener):
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname(), happy_eyeballs_delay=0.25, interleave=1
    )
    await closed(protocol)


def black_hole():
    """A listener whose queue is full: further connections hang."""
    sock = socket.socket()
    sock.bind((HOST, 0))
    sock.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
        fillers.append(filler)
    return sock, fillers


async def test_happy_eyeballs_goes_past_an_address_that_hangs(loop, listener, monkeypatch):
    hole, fillers = black_hole()

    async def addresses(*args, **options):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, hole.getsockname()), (*kind, listener.getsockname())]

    monkeypatch.setattr(loop, "getaddrinfo", addresses)
    transport, protocol = await loop.create_connection(
        Recorder, "two.addresses", 80, happy_eyeballs_delay=0.01
    )
    assert transport.get_extra_info("peername") == listener.getsockname()
    await closed(protocol)
    for sock in (hole, *fillers):
        sock.close()


async def test_a_cancelled_connection_closes_its_descriptor_once(loop):
    """Between cancel and close the number must not be closed under someone who got it since."""
    hole, fillers = black_hole()
    for wait in (0, 0.003):
        before = open_descriptors()
        task = loop.create_task(loop.create_connection(Recorder, *hole.getsockname()))
        await asyncio.sleep(wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(2)
        gc.collect()
        assert open_descriptors() == before
        innocent = [os.dup(hole.fileno()) for _ in range(3)]
        await turns(3)
        for fd in innocent:
            os.fstat(fd)
            os.close(fd)
    for sock in (hole, *fillers):
        sock.close()


async def test_cancelling_at_every_step_of_a_connection(loop, listener):
    """Whenever the cancellation comes, either a transport is returned or nothing is left."""
    address = listener.getsockname()
    for count in range(12):
        before = open_descriptors()
        task = loop.create_task(loop.create_connection(Recorder, *address))
        await turns(count)
        task.cancel()
        try:
            transport, protocol = await task
        except asyncio.CancelledError:
            await turns(4)
        else:
            await closed(protocol)
            await turns(2)
        gc.collect()
        assert open_descriptors() == before, count
        peer, _ = listener.accept() if count else (None, None)
        if peer is not None:
            peer.close()


async def test_a_connection_with_a_time_out(loop):
    hole, fillers = black_hole()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await loop.create_connection(Recorder, *hole.getsockname())
    for sock in (hole, *fillers):
        sock.close()


async def test_a_socket_of_ones_own(loop, listener):
    sock = socket.create_connection(listener.getsockname())
    sock.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=sock)
    assert transport.get_extra_info("socket").fileno() == sock.fileno()
    await closed(protocol)
    await turns(2)
    assert sock.fileno() == -1


async def test_a_blocking_socket_of_ones_own(loop, listener):
    sock = socket.create_connection(listener.getsockname())
    transport, protocol = await loop.create_connection(Recorder, sock=sock)
    assert sock.gettimeout() == 0
    await closed(protocol)


async def test_a_socket_pair_as_connection(loop):
    left, right = socket.socketpair()
    first, one = await loop.create_connection(Recorder, sock=left)
    second, two = await loop.create_connection(Recorder, sock=right)
    first.write(b"x" * 1_000_000)
    first.write_eof()
    await two.eof
    assert len(two.data) == 1_000_000
    await closed(one, two)


async def test_connect_accepted_socket(loop, listener):
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
    client.sendall(b"hello")
    await until(lambda: protocol.data == b"hello")
    client.close()
    await protocol.lost


async def test_the_protocol_is_connected_when_create_connection_returns(loop, listener):
    transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
    assert protocol.events == ["made"] and protocol.made.done()
    await closed(protocol)


def test_the_order_of_connection_made_and_data(same_as_asyncio):
    """Data that is there already comes after connection_made and after create_connection."""

    async def body(loop):
        left, right = socket.socketpair()
        right.send(b"early")
        log = []

        class Logs(asyncio.Protocol):
            def connection_made(self, transport):
                log.append("made")

            def data_received(self, data):
                log.append(data)

            def connection_lost(self, exc):
                log.append("lost")

        loop.call_soon(lambda: loop.call_soon(log.append, "turn"))
        transport, _ = await loop.create_connection(Logs, sock=left)
        log.append("connected")
        await asyncio.sleep(0.002)
        right.close()
        transport.close()
        await turns(3)
        return [entry for entry in log if entry != "turn"]

    log = same_as_asyncio(body)
    assert log[0] == "made" and log[-1] == "lost" and b"early" in log


async def test_two_transports_on_one_socket_are_refused(loop_name, loop):
    if loop_name == "asyncio" and sys.version_info < (3, 12):
        pytest.skip("asyncio checks this from Python 3.12")
    left, right = socket.socketpair()
    transport, protocol = await loop.create_connection(Recorder, sock=left)
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.create_connection(Recorder, sock=left)
    await closed(protocol)
    right.close()


async def test_many_connections_one_after_the_other(loop, listener):
    for _ in range(200):
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        transport.write(b"x")
        transport.close()
        peer, _ = listener.accept()
        await protocol.lost
        assert peer.recv(10) == b"x"
        peer.close()


def test_connecting_without_awaiting_the_end(loop, listener):
    """A loop may stop while a connection is being made."""
    task = loop.create_task(loop.create_connection(Recorder, *listener.getsockname()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    transport, protocol = loop.run_until_complete(task)
    loop.run_until_complete(closed(protocol))
    assert error_of(loop.run_until_complete, 1)[0] == "TypeError"
