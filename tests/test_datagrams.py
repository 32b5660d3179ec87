"""Datagrams: sending, receiving, errors of the network, addresses, water marks."""

import asyncio
import os
import socket
import sys

import pytest

from tests.support import HOST, error_of, plain, turns, until


class Datagrams(asyncio.DatagramProtocol):
    """Writes down what it gets."""

    def __init__(self):
        self.events = []
        self.received = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def datagram_received(self, data, address):
        assert type(data) is bytes
        self.received.append((data, address))

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


async def endpoint(**options):
    loop = asyncio.get_running_loop()
    if not options:
        options = {"local_addr": (HOST, 0)}
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, **options)
    return protocol


def address_of(protocol):
    return protocol.transport.get_extra_info("sockname")


async def closed(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await protocol.lost


async def test_transports_are_asyncio_transports(loop):
    if sys.version_info < (3, 12):  # pyasync uses asyncio's own
        pytest.skip("asyncio's own datagram transport is a plain one before Python 3.12")
    one = await endpoint()
    assert isinstance(one.transport, asyncio.DatagramTransport)
    await closed(one)


async def test_there_and_back(loop):
    one, two = await endpoint(), await endpoint()
    one.transport.sendto(b"there", address_of(two))
    await until(lambda: two.received)
    assert two.received == [(b"there", address_of(one))]
    two.transport.sendto(b"back", two.received[0][1])
    await until(lambda: one.received)
    assert one.received == [(b"back", address_of(two))]
    await closed(one, two)
    assert one.events == ["made", "lost"]


@pytest.mark.parametrize("size", [1, 1000, 1472, 9000, 65_507])
async def test_sizes(loop, size):
    one, two = await endpoint(), await endpoint()
    data = os.urandom(size)
    one.transport.sendto(data, address_of(two))
    await until(lambda: two.received)
    assert two.received[0][0] == data
    await closed(one, two)


def test_an_empty_datagram(same_as_asyncio):
    """asyncio drops empty datagrams up to Python 3.12 and sends them later."""

    async def body(loop):
        one, two = await endpoint(), await endpoint()
        one.transport.sendto(b"", address_of(two))
        one.transport.sendto(b"end", address_of(two))
        await until(lambda: (b"end", address_of(one)) in two.received)
        received = [data for data, _ in two.received]
        await closed(one, two)
        return received

    assert same_as_asyncio(body)[-1] == b"end"


async def test_a_datagram_that_is_too_long(loop):
    one, two = await endpoint(), await endpoint()
    one.transport.sendto(b"x" * 70_000, address_of(two))
    await until(lambda: one.errors)
    assert isinstance(one.errors[0], OSError) and one.errors[0].errno == 90
    one.transport.sendto(b"fits", address_of(two))
    await until(lambda: two.received)
    await closed(one, two)


async def test_a_connected_endpoint(loop):
    server = await endpoint()
    client = await endpoint(remote_addr=address_of(server))
    assert client.transport.get_extra_info("peername") == address_of(server)
    client.transport.sendto(b"without an address")
    client.transport.sendto(b"with that address", address_of(server))
    await until(lambda: len(server.received) == 2)
    with pytest.raises(ValueError):
        client.transport.sendto(b"x", (HOST, 1))
    server.transport.sendto(b"answer", address_of(client))
    await until(lambda: client.received)
    await closed(client, server)


async def test_a_port_out_of_range_is_refused(loop):
    one = await endpoint()
    two = await endpoint()
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context["exception"]))
    try:
        one.transport.sendto(b"x", (HOST, 70000))
    except OverflowError as exc:
        found.append(exc)
    await turns(3)
    assert [type(exc) for exc in found] == [OverflowError]
    one.transport.abort()
    await one.lost
    await closed(two)


async def test_a_refused_datagram_is_an_error_and_reading_goes_on(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind((HOST, 0))
        address = gone.getsockname()
    client = await endpoint(remote_addr=address)
    client.transport.sendto(b"nobody listens")
    await until(lambda: client.errors)
    assert isinstance(client.errors[0], ConnectionRefusedError)
    with socket.socket(type=socket.SOCK_DGRAM) as late:
        late.bind(address)
        late.sendto(b"here now", address_of(client))
        await until(lambda: client.received)
    assert client.received == [(b"here now", address)]
    assert client.events == ["made"]
    await closed(client)


async def test_the_order_of_many(loop):
    one, two = await endpoint(), await endpoint()
    sock = two.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    for i in range(500):
        one.transport.sendto(b"%d" % i, address_of(two))
        if i % 50 == 0:
            await asyncio.sleep(0.001)
    await until(lambda: len(two.received) == 500)
    assert [int(data) for data, _ in two.received] == list(range(500))
    await closed(one, two)


async def test_closing(loop):
    one, two = await endpoint(), await endpoint()
    one.transport.sendto(b"last", address_of(two))
    one.transport.close()
    assert one.transport.is_closing() and one.events == ["made"]
    one.transport.close()
    await one.lost
    await until(lambda: two.received)
    two.transport.abort()
    await two.lost
    assert one.lost.result() is None and two.lost.result() is None


async def test_an_error_in_datagram_received_is_reported(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    one, two = await endpoint(), await endpoint()

    def fail(data, address):
        raise LookupError("in datagram_received")

    two.datagram_received = fail
    one.transport.sendto(b"x", address_of(two))
    await until(lambda: found)
    assert str(found[0]["exception"]) == "in datagram_received"
    two.transport.abort()
    await two.lost
    await closed(one)


async def test_sending_from_inside_datagram_received(loop):
    one, two = await endpoint(), await endpoint()
    two.datagram_received = two.transport.sendto
    one.transport.sendto(b"echo", address_of(two))
    await until(lambda: one.received)
    assert one.received == [(b"echo", address_of(two))]
    await closed(one, two)


def test_bad_arguments(same_as_asyncio):
    async def body(loop):
        async def failing(**options):
            try:
                transport, _ = await loop.create_datagram_endpoint(Datagrams, **options)
            except (ValueError, TypeError, OSError, OverflowError) as exc:
                return type(exc).__name__, plain(str(exc))
            transport.abort()
            await turns(2)
            return "no error"

        stream = socket.socket()
        found = [
            await failing(),
            await failing(sock=stream),
            await failing(local_addr=HOST),
            await failing(local_addr=(HOST, 0), remote_addr=("::1", 80)),
            await failing(local_addr=("192.0.2.1", 0)),
            await failing(local_addr=(HOST, 0), family=socket.AF_INET),
        ]
        stream.close()
        one = await endpoint()
        found += [
            error_of(one.transport.sendto, "text", (HOST, 1))[0],
            error_of(one.transport.sendto, 5, (HOST, 1))[0],
        ]
        await closed(one)
        return found

    same_as_asyncio(body)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_any_buffer_can_be_sent(loop, kind):
    one, two = await endpoint(), await endpoint()
    one.transport.sendto(kind(b"buffer"), address_of(two))
    await until(lambda: two.received)
    assert two.received[0][0] == b"buffer"
    await closed(one, two)


async def test_unix_datagrams(loop, tmp_path):
    paths = [str(tmp_path / name) for name in ("one", "two")]
    one = await endpoint(local_addr=paths[0], family=socket.AF_UNIX)
    two = await endpoint(local_addr=paths[1], family=socket.AF_UNIX)
    one.transport.sendto(b"unix", paths[1])
    await until(lambda: two.received)
    assert two.received == [(b"unix", paths[0])]
    await closed(one, two)


async def test_options_and_extra_info(loop):
    one = await endpoint(local_addr=(HOST, 0), reuse_port=True, allow_broadcast=True)
    sock = one.transport.get_extra_info("socket")
    assert type(sock) is asyncio.trsock.TransportSocket and sock.type == socket.SOCK_DGRAM
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
    assert one.transport.get_extra_info("peername") is None
    await closed(one)


async def test_water_marks(loop, tmp_path):
    """A peer that does not read fills the queue of a unix datagram socket: writing pauses."""
    if sys.version_info[:2] == (3, 13):  # pyasync uses asyncio's own
        pytest.skip("asyncio of Python 3.13 never takes the header of a datagram off its count")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    path = str(tmp_path / "receiver")
    receiver.bind(path)
    sender = await endpoint(remote_addr=path, family=socket.AF_UNIX)
    sender.transport.set_write_buffer_limits(high=10_000)
    sent = 0
    while "pause" not in sender.events and sent < 10_000:
        sender.transport.sendto(b"x" * 1000)
        sent += 1
        if sent % 100 == 0:
            await asyncio.sleep(0)
    assert sender.events == ["made", "pause"]
    assert sender.transport.get_write_buffer_size() > 10_000
    received = 0
    while received < sent:
        try:
            receiver.recv(2000)
            received += 1
        except BlockingIOError:
            await asyncio.sleep(0)
    await until(lambda: "resume" in sender.events)
    assert sender.transport.get_write_buffer_size() == 0
    await closed(sender)
    receiver.close()


async def test_close_sends_what_is_held(loop, tmp_path):
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    path = str(tmp_path / "receiver")
    receiver.bind(path)
    sender = await endpoint(remote_addr=path, family=socket.AF_UNIX)
    sent = 0
    while not sender.transport.get_write_buffer_size() and sent < 10_000:
        sender.transport.sendto(b"%d" % sent)
        sent += 1
        await asyncio.sleep(0)
    for _ in range(20):
        sender.transport.sendto(b"%d" % sent)
        sent += 1
    sender.transport.close()
    received = []
    while len(received) < sent:
        try:
            received.append(int(receiver.recv(2000)))
        except BlockingIOError:
            await asyncio.sleep(0)
    await sender.lost
    assert received == list(range(sent))
    receiver.close()
