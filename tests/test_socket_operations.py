"""The loop's sock_* coroutines: bare sockets driven by tasks."""

import asyncio
import os
import socket
import tempfile

import pytest

from tests.support import HOST, error_of, turns


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


async def test_receive_and_send(loop, pair):
    left, right = pair
    await loop.sock_sendall(left, b"hello")
    assert await loop.sock_recv(right, 3) == b"hel"
    assert await loop.sock_recv(right, 100) == b"lo"
    left.close()
    assert await loop.sock_recv(right, 100) == b""


async def test_receiving_waits(loop, pair):
    left, right = pair
    waiter = asyncio.ensure_future(loop.sock_recv(right, 100))
    await turns(3)
    assert not waiter.done()
    left.send(b"late")
    assert await waiter == b"late"


async def test_receiving_into_a_buffer(loop, pair):
    left, right = pair
    buffer = bytearray(10)
    waiter = asyncio.ensure_future(loop.sock_recv_into(right, memoryview(buffer)[2:]))
    await turns(2)
    left.send(b"abc")
    assert await waiter == 3
    assert buffer == b"\0\0abc\0\0\0\0\0"
    buffer.extend(b"no export is kept")


async def test_sending_more_than_fits(loop, pair):
    left, right = pair
    data = os.urandom(5_000_000)
    sender = asyncio.ensure_future(loop.sock_sendall(left, data))
    got = bytearray()
    while len(got) < len(data):
        got += await loop.sock_recv(right, 1 << 18)
    await sender
    assert got == data


async def test_sending_a_bytearray_that_changes_size_afterwards(loop, pair):
    left, right = pair
    data = bytearray(b"x" * 100)
    await loop.sock_sendall(left, data)
    data.extend(b"no export is kept")
    assert await loop.sock_recv(right, 1000) == b"x" * 100


async def test_connect_and_accept(loop):
    with socket.create_server((HOST, 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        connection, address = await accepting
        assert address == client.getsockname()
        assert connection.gettimeout() == 0 and not connection.get_inheritable()
        connection.close()


async def test_connect_refused(loop):
    with socket.socket() as bound, socket.socket() as client:
        bound.bind((HOST, 0))
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.sock_connect(client, bound.getsockname())
        assert str(bound.getsockname()) in str(caught.value)


async def test_datagrams(loop):
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.bind((HOST, 0))
            sock.setblocking(False)
        waiter = asyncio.ensure_future(loop.sock_recvfrom(two, 100))
        await turns(2)
        assert await loop.sock_sendto(one, b"there", two.getsockname()) == 5
        assert await waiter == (b"there", one.getsockname())
        buffer = bytearray(50)
        await loop.sock_sendto(two, b"back", one.getsockname())
        assert await loop.sock_recvfrom_into(one, buffer) == (4, two.getsockname())
        assert buffer[:4] == b"back"


async def test_a_cancelled_receive_loses_nothing(loop, pair):
    left, right = pair
    for _ in range(10):
        waiter = asyncio.ensure_future(loop.sock_recv(right, 100))
        await turns(2)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    left.send(b"kept")
    assert await loop.sock_recv(right, 100) == b"kept"
    assert loop.remove_reader(right) is False


async def test_a_cancelled_connect(loop):
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for sock in fillers:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await loop.sock_connect(client, listener.getsockname())
            assert loop.remove_writer(client) is False
        for sock in fillers:
            sock.close()


async def test_errors_reach_the_caller(loop, pair):
    left, right = pair
    right.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(3):
            await loop.sock_sendall(left, b"x")
    with pytest.raises(TypeError):
        await loop.sock_sendall(left, "text")


def test_blocking_sockets_are_refused_in_debug_mode(same_as_asyncio):
    async def body(loop):
        loop.set_debug(True)
        found = []
        left, right = socket.socketpair()
        for call in (
            lambda: loop.sock_recv(left, 1),
            lambda: loop.sock_recv_into(left, bytearray(1)),
            lambda: loop.sock_sendall(left, b"x"),
            lambda: loop.sock_connect(left, ""),
            lambda: loop.sock_accept(left),
            lambda: loop.sock_recvfrom(left, 1),
            lambda: loop.sock_sendto(left, b"x", ""),
        ):
            try:
                await call()
            except ValueError as exc:
                found.append(str(exc))
        left.close()
        right.close()
        return found

    assert same_as_asyncio(body) == ["the socket must be non-blocking"] * 7


async def test_reader_and_writer_of_one_socket_at_once(loop, pair):
    left, right = pair
    data = os.urandom(3_000_000)

    async def receive(sock):
        got = bytearray()
        while len(got) < len(data):
            got += await loop.sock_recv(sock, 65536)
        return bytes(got)

    _, _, one, two = await asyncio.gather(
        loop.sock_sendall(left, data),
        loop.sock_sendall(right, data),
        receive(left),
        receive(right),
    )
    assert one == two == data


@pytest.mark.parametrize("fallback", [True, False])
async def test_sendfile(loop, fallback):
    data = os.urandom(300_000)
    with (
        tempfile.TemporaryFile() as file,
        socket.create_server((HOST, 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        file.write(data)
        file.flush()
        file.seek(1000)
        connection, _ = listener.accept()
        client.setblocking(False)
        connection.setblocking(False)
        sender = asyncio.ensure_future(
            loop.sock_sendfile(client, file, 1000, 250_000, fallback=fallback)
        )
        got = bytearray()
        while len(got) < 250_000:
            got += await loop.sock_recv(connection, 1 << 18)
        assert await sender == 250_000
        assert got == data[1000:251_000] and file.tell() == 251_000
        connection.close()


async def test_sendfile_through_a_transport(loop):
    from tests.support import Recorder, closed, connected

    data = os.urandom(300_000)
    server_side, client, server = await connected(Recorder)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        client.transport.write(b"before ")
        assert await loop.sendfile(client.transport, file) == len(data)
        client.transport.write(b" after")
        client.transport.write_eof()
        await server_side.eof
    assert server_side.data == b"before " + data + b" after"
    await closed(client, server_side)


async def test_a_socket_of_a_transport_is_refused(loop):
    from tests.support import closed, connected

    server_side, client, server = await connected()
    sock = client.transport.get_extra_info("socket")
    with socket.socket(fileno=os.dup(sock.fileno())) as copy:
        assert copy.fileno() != sock.fileno()
    raw = socket.socket(fileno=sock.fileno())
    raw.setblocking(False)
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.sock_recv(raw, 1)
    raw.detach()
    await closed(client, server_side)
    assert error_of(loop.remove_reader, -1)[0] == "ValueError"
