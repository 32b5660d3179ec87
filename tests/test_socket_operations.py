"""The loop's sock_* coroutines: bare sockets driven by tasks."""

import asyncio
import gc
import inspect
import os
import socket
import ssl
import tempfile
import time

import pytest

from tests.support import HOST, error_of, turns


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


OPERATIONS = ("recv", "recv_into", "recvfrom", "recvfrom_into", "sendall", "sendto", "accept")


@pytest.mark.parametrize("name", [*OPERATIONS, "connect"])
def test_they_are_coroutine_functions(new_loop, name):
    loop = new_loop()
    assert inspect.iscoroutinefunction(getattr(loop, "sock_" + name))
    loop.close()


def test_errors_and_results_of_odd_arguments(same_as_asyncio):
    async def body(loop):
        found = []
        left, right = socket.socketpair()
        left.setblocking(False)
        right.setblocking(False)
        closed = socket.socket()
        closed.close()
        tls = ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="x")

        async def note(coroutine):
            try:
                found.append(await asyncio.wait_for(coroutine, 1))
            except Exception as exc:
                found.append((type(exc).__name__, str(exc)))

        for sock in (closed, tls):
            await note(loop.sock_recv(sock, 10))
            await note(loop.sock_recv_into(sock, bytearray(10)))
            await note(loop.sock_recvfrom(sock, 10))
            await note(loop.sock_recvfrom_into(sock, bytearray(10)))
            await note(loop.sock_sendall(sock, b"x"))
            await note(loop.sock_sendto(sock, b"x", (HOST, 1)))
            await note(loop.sock_accept(sock))
        await loop.sock_sendall(left, b"0123456789" * 10)
        for size in (0, -1, "1", 1.5, 2, True, None):
            await note(loop.sock_recv(right, size))
        for buffer in (bytearray(), b"read-only", bytearray(3), memoryview(bytearray(9))[::2], 5):
            await note(loop.sock_recv_into(right, buffer))
        await note(loop.sock_recvfrom_into(right, bytearray(5), 2))
        await note(loop.sock_recvfrom_into(right, bytearray(5), 9))
        await note(loop.sock_recvfrom_into(right, 5))
        for data in ("text", 5, memoryview(b"xyz")[::2], b"", bytearray(b"y"), memoryview(b"z")):
            await note(loop.sock_sendall(left, data))
        await note(loop.sock_accept(left))
        for sock in (left, right, tls):
            sock.close()
        return found

    same_as_asyncio(body)


@pytest.mark.parametrize("turns_between", [0, 1])
async def test_what_is_ready_in_the_same_turn_may_still_cancel(loop, pair, turns_between):
    """Nothing is received for a task that is cancelled before the attempt has its turn."""
    left, right = pair
    waiter = asyncio.ensure_future(loop.sock_recv(right, 100))
    await turns(2)
    left.send(b"data")
    await turns(turns_between)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert right.recv(100) == b"data"


async def test_a_cancelled_operation_gives_the_buffer_back(loop, pair):
    left, right = pair
    data = bytearray(5_000_000)
    sender = asyncio.ensure_future(loop.sock_sendall(left, data))
    await turns(2)
    with pytest.raises(BufferError):
        data.append(0)
    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    data.append(0)
    assert loop.remove_writer(left) is False


async def test_the_second_of_two_receivers_gets_the_data(loop, pair):
    left, right = pair
    first = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    second = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    left.send(b"x")
    assert await second == b"x"
    assert not first.done()
    first.cancel()
    third = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(3)
    left.send(b"y")
    assert await third == b"y"


async def test_a_descriptor_that_is_another_socket_by_now(loop):
    """What an operation prepared for a descriptor serves the next file with that number too."""
    left, right = socket.socketpair()
    right.setblocking(False)
    for _ in range(3):
        waiter = asyncio.ensure_future(loop.sock_recv(right, 10))
        await turns(2)
        left.send(b"x")
        assert await waiter == b"x"
        number = right.fileno()
        left.close()
        right.close()
        left, right = sorted(socket.socketpair(), key=lambda sock: sock.fileno() == number)
        assert right.fileno() == number
        right.setblocking(False)
    seen = loop.create_future()
    loop.add_reader(right, lambda: seen.done() or seen.set_result(None))
    left.send(b"reader")
    await seen
    assert loop.remove_reader(right) and right.recv(10) == b"reader"
    waiter = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    left.send(b"x")
    assert await waiter == b"x"
    reader, writer = await asyncio.open_connection(sock=right)
    left.send(b"stream")
    assert await reader.read(10) == b"stream"
    writer.close()
    await writer.wait_closed()
    left.close()


async def test_an_operation_after_its_socket_was_given_to_a_transport(loop, pair):
    left, right = pair
    waiter = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    waiter.cancel()
    await turns(2)
    reader, writer = await asyncio.open_connection(sock=right)
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.sock_recv(right, 10)
    left.send(b"still read")
    assert await reader.read(10) == b"still read"
    writer.close()
    await writer.wait_closed()


async def test_a_socket_class_of_the_program(loop):
    calls = []

    class Socket(socket.socket):
        def recv(self, *args):
            calls.append("recv")
            return super().recv(*args)

        def send(self, data):
            calls.append(len(data))
            return super().send(data[:1000])

    with socket.create_server((HOST, 0)) as listener, Socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        other, _ = listener.accept()
        data = bytes(range(250)) * 16
        sender = asyncio.ensure_future(loop.sock_sendall(client, data))
        got = b""
        other.settimeout(10)
        while len(got) < 4000:
            await asyncio.sleep(0.001)
            got += other.recv(4000)
        await sender
        assert got == data
        waiter = asyncio.ensure_future(loop.sock_recv(client, 10))
        await turns(2)
        other.send(b"x")
        assert await waiter == b"x" and calls.count("recv") >= 2
        other.close()


async def test_a_cancelled_accept(loop):
    with socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await turns(2)
        accepting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await accepting
        assert loop.remove_reader(listener) is False
        with socket.create_connection(listener.getsockname()):
            connection, _ = await loop.sock_accept(listener)
            connection.close()


async def test_datagrams_that_do_not_fit(loop, tmp_path):
    path = str(tmp_path / "receiver")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(path)
        for sock in (receiver, sender):
            sock.setblocking(False)
        sender.connect(path)
        count = 0
        while True:
            waiter = asyncio.ensure_future(loop.sock_sendto(sender, b"%d" % count, path))
            await turns(2)
            count += 1
            if not waiter.done():
                break
        for i in range(count - 1):
            assert await loop.sock_recvfrom(receiver, 10) == (b"%d" % i, None)
        assert await waiter == len(str(count - 1))
        buffer = bytearray(10)
        assert (await loop.sock_recvfrom_into(receiver, buffer))[0] == len(str(count - 1))


def test_a_loop_closed_while_an_operation_waits(new_loop, pair):
    loop = new_loop()
    task = loop.create_task(loop.sock_recv(pair[1], 10))
    loop.run_until_complete(turns(3))
    task._log_destroy_pending = False
    loop.close()
    del task
    gc.collect()


def test_an_exit_in_an_attempt_leaves_the_loop(new_loop):
    class Interrupted(socket.socket):
        blocked = True

        def recv(self, *args):
            if self.blocked:
                raise BlockingIOError
            raise KeyboardInterrupt

    loop = new_loop()
    left, right = socket.socketpair()
    sock = Interrupted(fileno=right.detach())
    sock.setblocking(False)
    task = loop.create_task(loop.sock_recv(sock, 10))
    loop.run_until_complete(turns(2))
    sock.blocked = False
    left.send(b"x")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.wait_for(task, 10))
    for pending in asyncio.all_tasks(loop):
        pending.cancel()
    loop.run_until_complete(turns(3))
    loop.close()
    left.close()
    sock.close()


async def test_a_descriptor_that_is_a_regular_file_by_now(loop, tmp_path):
    left, right = socket.socketpair()
    right.setblocking(False)
    waiter = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    left.send(b"x")
    assert await waiter == b"x"
    number = right.fileno()
    right.close()
    with left, (tmp_path / "file").open("wb") as file:
        assert file.fileno() == number
        with pytest.raises(PermissionError):
            loop.add_reader(file, lambda: None)


async def test_a_receiver_that_finds_nothing_waits_on(loop, pair):
    left, right = pair
    receiver = asyncio.ensure_future(loop.sock_recv(right, 100))
    await turns(2)
    left.send(b"stolen")
    loop.call_soon(right.recv, 100)  # ahead of the receiver, which the next poll makes ready
    await turns(3)
    assert not receiver.done()
    left.send(b"its own")
    assert await asyncio.wait_for(receiver, 5) == b"its own"


@pytest.mark.parametrize("ends", ["cancelled", "done"])
async def test_a_copy_of_a_closed_descriptor_does_not_keep_the_loop_awake(loop, ends):
    left, right = socket.socketpair()
    right.setblocking(False)
    receiver = asyncio.ensure_future(loop.sock_recv(right, 100))
    await turns(2)
    copy = right.dup()  # as a forked child has one: the kernel knows the socket longer than we do
    if ends == "done":
        left.send(b"data")
        assert await receiver == b"data"
    else:
        receiver.cancel()
        await turns(2)
    right.close()
    left.send(b"for the copy")
    before = time.thread_time()
    await asyncio.sleep(0.2)
    assert time.thread_time() - before < 0.1
    copy.close()
    left.close()


def test_the_forms_of_an_address_to_connect_to(same_as_asyncio, tmp_path):
    async def body(loop):
        found = []

        async def note(sock, address):
            sock.setblocking(False)
            try:
                await asyncio.wait_for(loop.sock_connect(sock, address), 5)
                found.append(sock.getpeername())
            except Exception as exc:
                found.append((type(exc).__name__, exc.args))
            sock.close()

        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
            for address in (
                (HOST, port),
                (HOST, port, 0),
                [HOST, port],
                (HOST.encode(), port),
                ("localhost", port),
                (HOST, "no port"),
                (HOST, -1),
                (HOST, 70000),
                ("::1", port),
                ("256.1.1.1", port),
                (HOST,),
                HOST,
                None,
            ):
                await note(socket.socket(), address)
            found = [(HOST, 0) if item == (HOST, port) else item for item in found]
        await note(socket.socket(), (HOST, 1))
        await note(socket.socket(socket.AF_UNIX), str(tmp_path / "nobody"))
        await note(socket.socket(socket.AF_UNIX), (HOST, 1))
        return found

    same_as_asyncio(body)
