"""Datagrams: sending, receiving, errors of the network, addresses, water marks."""

import asyncio
import gc
import os
import re
import socket
import sys
import warnings

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


async def test_transports_are_asyncio_transports(loop, loop_name):
    if loop_name == "asyncio" and sys.version_info < (3, 12):
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
    assert found[0]["message"].endswith("DatagramTransport._read_ready()")
    assert isinstance(found[0]["handle"], asyncio.Handle)
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


async def test_water_marks(loop, loop_name, tmp_path):
    """A peer that does not read fills the queue of a unix datagram socket: writing pauses."""
    if loop_name == "asyncio" and sys.version_info[:2] == (3, 13):
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


async def batch_of(loop, count):
    """An endpoint that has `count` datagrams waiting before it reads the first."""
    one, two = await endpoint(), await endpoint()
    two.transport.pause_reading()
    for i in range(count):
        one.transport.sendto(b"%d" % i, address_of(two))
    await asyncio.sleep(0.01)
    return one, two


@pytest.mark.parametrize("count", [1, 3, 4, 9, 40])
async def test_pausing_in_datagram_received(loop, count):
    """After each datagram reading is off; none is lost, none comes while it is."""
    one, two = await batch_of(loop, count)
    received = []

    def datagram_received(data, address):
        assert two.transport.is_reading()
        received.append(int(data))
        two.transport.pause_reading()

    two.datagram_received = datagram_received
    for i in range(count):
        assert received == list(range(i))
        two.transport.resume_reading()
        await until(lambda i=i: len(received) > i)
        await turns(3)
    assert received == list(range(count))
    await closed(one, two)


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_closing_in_datagram_received(loop, method):
    one, two = await batch_of(loop, 6)
    received = []

    def datagram_received(data, address):
        received.append(int(data))
        if len(received) == 2:
            getattr(two.transport, method)()

    two.datagram_received = datagram_received
    two.transport.resume_reading()
    await two.lost
    assert received == [0, 1]
    await closed(one)


async def test_an_error_does_not_lose_the_datagrams_behind_it(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context["exception"]))
    one, two = await batch_of(loop, 7)
    received = []

    def datagram_received(data, address):
        received.append(int(data))
        if len(received) in (1, 3):
            raise LookupError(len(received))

    two.datagram_received = datagram_received
    two.transport.resume_reading()
    await until(lambda: len(received) == 7)
    assert received == list(range(7)) and [exc.args for exc in found] == [(1,), (3,)]
    await closed(one, two)


def test_an_exit_in_datagram_received_ends_the_run_and_loses_nothing(new_loop):
    loop = new_loop()
    one, two = loop.run_until_complete(batch_of(loop, 3))
    received = []

    def datagram_received(data, address):
        received.append(int(data))
        if len(received) == 1:
            raise KeyboardInterrupt

    two.datagram_received = datagram_received
    two.transport.resume_reading()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(until(lambda: len(received) == 3))
    assert received == [0]
    for task in asyncio.all_tasks(loop):  # the one that was interrupted
        task.cancel()
    loop.run_until_complete(until(lambda: len(received) == 3))
    assert received == [0, 1, 2]
    loop.run_until_complete(closed(one, two))
    loop.close()


async def test_large_unix_datagrams(loop, tmp_path):
    paths = [str(tmp_path / name) for name in ("one", "two")]
    one = await endpoint(local_addr=paths[0], family=socket.AF_UNIX)
    two = await endpoint(local_addr=paths[1], family=socket.AF_UNIX)
    sock = one.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    data = os.urandom(150_000)
    one.transport.sendto(data, paths[1])
    await until(lambda: two.received)
    assert two.received == [(data, paths[0])]
    await closed(one, two)


async def test_abstract_and_unnamed_unix_addresses(loop):
    name = b"\0pyasync-test-%d" % os.getpid()
    one = await endpoint(local_addr=name.decode(), family=socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed:
        unnamed.sendto(b"x", name)
        await until(lambda: one.received)
    two = await endpoint(remote_addr=name.decode(), family=socket.AF_UNIX)
    two.transport.sendto(b"y")
    one.transport.sendto(b"z", name)
    await until(lambda: len(one.received) == 3)
    assert one.received == [(b"x", None), (b"y", None), (b"z", name)]
    await closed(one, two)


async def test_ipv6(loop):
    one, two = await endpoint(local_addr=("::1", 0)), await endpoint(local_addr=("::1", 0))
    one.transport.sendto(b"full", address_of(two))
    one.transport.sendto(b"short", address_of(two)[:2])
    await until(lambda: len(two.received) == 2)
    assert two.received == [(b"full", address_of(one)), (b"short", address_of(one))]
    await closed(one, two)


async def test_names_are_resolved(loop):
    one, two = await endpoint(), await endpoint()
    one.transport.sendto(b"by name", ("localhost", address_of(two)[1]))
    await until(lambda: two.received)
    await closed(one, two)


def test_what_cannot_be_sent(same_as_asyncio):
    """An OSError goes to error_received(), anything else ends the transport."""

    async def body(loop):
        found = []
        loop.set_exception_handler(
            lambda loop, context: found.append((context["message"], sorted(context)))
        )
        for arguments in [
            (b"x", None),
            (b"x",),
            (b"x", (HOST, 70000)),
            (b"x", (HOST, -1)),
            (b"x", (HOST, 2**70)),
            (b"x", (HOST, "1")),
            (b"x", (HOST,)),
            (b"x", HOST),
            (b"x", ("no such name.invalid", 1)),
            (b"x", ("::1", 1)),
            (b"x", ("255.255.255.255", 1)),
            (memoryview(b"xyz")[::2], (HOST, 1)),
        ]:
            one = await endpoint()
            one.transport.sendto(*arguments)
            found.append([(type(exc).__name__, str(exc)) for exc in one.errors])
            found.append(one.transport.is_closing())
            one.transport.abort()
            exc = await one.lost
            found.append((type(exc).__name__, str(exc)))
        return found

    same_as_asyncio(body)


def test_a_connected_endpoint_refuses_other_addresses(same_as_asyncio):
    async def body(loop):
        server = await endpoint()
        host, port = address_of(server)
        client = await endpoint(remote_addr=(host, port))
        texts = []
        for address in [(host, port + 1), host, 0, b"", [host, port]]:
            name, text = error_of(client.transport.sendto, b"x", address)
            texts.append((name, text.replace(str(port), "PORT").replace(str(port + 1), "NEXT")))
        await closed(client, server)
        return texts

    same_as_asyncio(body)


def test_a_socket_that_is_connected_already(same_as_asyncio):
    """No remote_addr was given: any address is taken, none is used."""

    async def body(loop):
        server = await endpoint()
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.connect(address_of(server))
        client = await endpoint(sock=sock)
        client.transport.sendto(b"none")
        client.transport.sendto(b"other", (HOST, 1))
        client.transport.sendto(data=b"named", addr=None)
        await until(lambda: len(server.received) == 3)
        found = [data for data, _ in server.received], client.errors
        await closed(client, server)
        return found

    same_as_asyncio(body)


def test_what_is_sent_to_a_lost_connection_is_dropped(same_as_asyncio, asyncio_log):
    async def body(loop):
        server = await endpoint()
        client = await endpoint(remote_addr=address_of(server))
        await closed(client)
        for _ in range(6):
            client.transport.sendto(b"x")
        await closed(server)
        return asyncio_log.take()

    assert same_as_asyncio(body) == ["socket.send() raised exception."] * 2


async def test_errors_while_the_queue_is_sent(loop, tmp_path):
    """The receiver of queued datagrams goes away: each is an error, and close() ends it all."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(tmp_path / "receiver")
    receiver.bind(path)
    sender = await endpoint(remote_addr=path, family=socket.AF_UNIX)
    while not sender.transport.get_write_buffer_size():
        sender.transport.sendto(b"x")
    for _ in range(4):
        sender.transport.sendto(b"x")
    receiver.close()
    await until(lambda: len(sender.errors) == 5)
    assert type(sender.errors[0]) is ConnectionRefusedError
    assert all(isinstance(exc, OSError) for exc in sender.errors)
    await closed(sender)
    assert sender.events == ["made", "lost"]


def test_the_count_of_what_is_queued(same_as_asyncio, tmp_path):
    """Each datagram counts for its bytes, from 3.13 for 8 more."""

    async def body(loop):
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(tmp_path / f"receiver-{id(loop)}")
        receiver.bind(path)
        sender = await endpoint(remote_addr=path, family=socket.AF_UNIX)
        sender.transport.set_write_buffer_limits(high=300, low=100)
        while not sender.transport.get_write_buffer_size():
            sender.transport.sendto(b"x" * 10)
        sizes = [sender.transport.get_write_buffer_size()]
        for data in [b"", b"y", bytearray(b"z" * 100), memoryview(b"m" * 200)]:
            sender.transport.sendto(data)
            sizes.append(sender.transport.get_write_buffer_size())
        events = list(sender.events)
        shown = plain(repr(sender.transport)).split(" ", 1)[1]
        sender.transport.abort()
        await sender.lost
        receiver.close()
        return sizes, events, shown

    sizes, events, _ = same_as_asyncio(body)
    assert sizes[0] == (18 if sys.version_info >= (3, 13) else 10)
    assert events == ["made", "pause"]


def test_repr(same_as_asyncio):
    async def body(loop):
        one = await endpoint()
        texts = []
        await turns(2)
        texts.append(repr(one.transport))
        one.transport.pause_reading()
        texts.append(repr(one.transport))
        one.transport.close()
        texts.append(repr(one.transport))
        await one.lost
        texts.append(repr(one.transport))
        return [plain(text).split(" ", 1)[1] for text in texts]

    same_as_asyncio(body)


def test_a_transport_that_is_never_closed_warns(new_loop):
    loop = new_loop()
    one = loop.run_until_complete(endpoint())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del one
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert any(re.match(r"unclosed transport <.*DatagramTransport fd=\d+>", t) for t in texts)


def test_what_was_ready_before_comes_before_a_datagram(same_as_asyncio):
    async def body(loop):
        one, two = await endpoint(), await endpoint()
        order = []
        two.datagram_received = lambda data, address: order.append(data)
        await turns(3)
        for i in range(3):
            one.transport.sendto(b"%d" % i, address_of(two))
            loop.call_soon(order.append, i)
            await until(lambda i=i: len(order) == 2 * i + 2)
        await closed(one, two)
        return order

    assert same_as_asyncio(body) == [0, b"0", 1, b"1", 2, b"2"]
