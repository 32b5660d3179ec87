"""The scenarios of tests/refleaks.py: small uses of a loop that must leave nothing behind.

A scenario is a function that takes a loop factory. `@on_loop` makes one of a coroutine function: a
new loop, the coroutine twice on it, close. Each does its work a few times, so that a leak of one
object shows as several. What the event loop cannot do yet has no scenario here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Scenario = Callable[[Callable[[], Any]], None]
SCENARIOS: dict[str, Scenario] = {}

REPEAT = 5
HOST = "127.0.0.1"


def scenario(function: Scenario) -> Scenario:
    """Enter the function among the scenarios under its name."""
    SCENARIOS[function.__name__] = function
    return function


def on_loop(body: Callable[[], Coroutine[Any, Any, object]]) -> Scenario:
    """Make a scenario of a coroutine function: it runs on a loop that is closed afterwards."""

    @functools.wraps(body)
    def run(new_loop: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: None)
            for _ in range(2):
                runner.run(body())

    return scenario(run)


class Refused(Exception):
    """What the scenarios raise."""


# --- the loop itself -----------------------------------------------------------------------------


@scenario
def new_and_close(new_loop):
    for _ in range(REPEAT):
        new_loop().close()


@scenario
def dropped_without_close(new_loop):
    for _ in range(REPEAT):
        new_loop()


@scenario
def closed_with_work_left(new_loop):
    for _ in range(REPEAT):
        loop = new_loop()
        loop.call_soon(print, loop)
        loop.call_later(10, print, loop)
        loop.call_soon_threadsafe(print, loop)
        loop.close()


@scenario
def stopped_from_a_callback(new_loop):
    loop = new_loop()
    for _ in range(REPEAT):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()


@scenario
def base_exception_in_a_callback(new_loop):
    def interrupt():
        raise KeyboardInterrupt

    loop = new_loop()
    for _ in range(REPEAT):
        loop.call_soon(interrupt)
        loop.call_soon(loop.stop)
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_forever()
        loop.run_forever()
    loop.close()


@on_loop
async def errors_of_misuse():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        for call in (
            loop.run_forever,
            loop.close,
            functools.partial(loop.call_soon, None, context=3),
            functools.partial(loop.call_later, "soon", print),
            functools.partial(loop.call_at, None, print),
            functools.partial(loop.create_task, print),
            functools.partial(loop.add_reader, -1, print),
        ):
            with contextlib.suppress(Exception):
                call()
    await asyncio.sleep(0)


@on_loop
async def handles():
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    for _ in range(REPEAT):
        loop.call_soon(repr, loop)
        loop.call_soon(int, "1", context=context)
        loop.call_soon(dict, *(((i, i),) for i in range(1)))
        handle = loop.call_soon(print, "never")
        repr(handle)
        handle.cancel()
        loop.call_soon(loop.call_soon, repr, handle)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@on_loop
async def handles_of_other_threads():
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def other():
        for _ in range(REPEAT):
            loop.call_soon_threadsafe(repr, done)
            loop.call_soon_threadsafe(repr, loop).cancel()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=other)
    thread.start()
    await done
    thread.join()


@on_loop
async def timers():
    loop = asyncio.get_running_loop()
    for delay in (0, -1, 0.001, 0.002):
        loop.call_later(delay, repr, loop)
        loop.call_at(loop.time() + delay, repr, loop, context=contextvars.copy_context())
    await asyncio.sleep(0.004)


@on_loop
async def cancelled_timers():
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(60 + i, print, loop) for i in range(100)]
    for timer in timers:
        repr(timer)
        timer.cancel()
    assert timers[0] < timers[1]
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)


@on_loop
async def exceptions_in_callbacks():
    loop = asyncio.get_running_loop()

    def fail(*args):
        raise Refused(loop, args)

    for _ in range(REPEAT):
        loop.call_soon(fail, loop)
        loop.call_later(0, fail)
        future = loop.create_future()
        future.add_done_callback(fail)
        future.set_result(None)
        await asyncio.sleep(0.001)


@scenario
def debug_mode(new_loop):
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 10
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(REPEAT)))
        asyncio.get_running_loop().call_later(0.001, repr, main)
        await asyncio.sleep(0.002)

    with asyncio.Runner(debug=True, loop_factory=new_loop) as runner:
        runner.run(main())


@on_loop
async def file_descriptor_watchers():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        left, right = socket.socketpair()
        with left, right:
            seen = loop.create_future()
            loop.add_writer(right, right.send, b"x")
            loop.add_reader(left, seen.set_result, None)
            loop.add_reader(left, seen.set_result, left)  # takes the place of the first
            await seen
            assert loop.remove_reader(left)
            assert loop.remove_writer(right)
            receiving = loop.create_task(loop.sock_recv(left, 10))
            loop.add_writer(left, loop.remove_writer, left)
            await receiving
            loop.add_reader(left, seen.set_result)
            left.close()
            assert loop.remove_reader(left)


@scenario
def signals(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(REPEAT):
            seen = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, lambda seen=seen: seen.set_result(1))
            os.kill(os.getpid(), signal.SIGUSR1)
            await seen
        assert loop.remove_signal_handler(signal.SIGUSR1)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@on_loop
async def name_look_ups():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        await loop.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        await loop.getnameinfo((HOST, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        with contextlib.suppress(OSError):
            await loop.getaddrinfo("not.a.number", 80, flags=socket.AI_NUMERICHOST)


@on_loop
async def executor():
    loop = asyncio.get_running_loop()

    def fail():
        raise Refused

    for _ in range(REPEAT):
        await loop.run_in_executor(None, repr, loop)
        await asyncio.to_thread(repr, loop)
        with contextlib.suppress(Refused):
            await loop.run_in_executor(None, fail)


class Held:
    """An executor whose futures are completed by the scenario."""

    def submit(self, *_):
        self.source = concurrent.futures.Future()
        return self.source


@on_loop
async def executor_ends():
    """A chain of futures ends in every way: by either end, on either thread, or never."""
    loop, held = asyncio.get_running_loop(), Held()
    loop.set_exception_handler(lambda *_: None)
    logger = logging.getLogger("concurrent.futures")
    logger.disabled = True  # it tells of what a future refuses
    for _ in range(REPEAT):
        for end in (
            lambda: held.source.set_result(object()),
            lambda: held.source.set_exception(Refused()),
            lambda: held.source.set_exception(StopIteration()),
            lambda: held.source.cancel(),
            lambda: future.cancel(),
            lambda: future.set_result(None) or held.source.set_result(None),
            lambda: None,
        ):
            future = loop.run_in_executor(held, int, *range(12))
            repr(future)
            end()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if future.done() and not future.cancelled():
                future.exception()
            future = held.source = None
        with contextlib.suppress(TypeError, AssertionError, AttributeError):
            loop.run_in_executor(Held)
        with contextlib.suppress(TypeError, AssertionError, AttributeError):
            loop.run_in_executor(object(), int)
    logger.disabled = False
    gc.collect()


@on_loop
async def async_generators():
    async def numbers():
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)

    for _ in range(REPEAT):
        async for number in numbers():
            if number == 2:
                break
    await asyncio.sleep(0)
    kept = numbers()
    await kept.__anext__()  # for shutdown_asyncgens


# --- tasks and futures ---------------------------------------------------------------------------


async def nothing():
    pass


async def fail_after_a_turn():
    await asyncio.sleep(0)
    raise Refused


@on_loop
async def run_noop():
    pass


@on_loop
async def tasks():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        await asyncio.create_task(nothing())
        await loop.create_task(asyncio.sleep(0, "result"), name="named")
        task = loop.create_task(asyncio.sleep(0.001), context=contextvars.copy_context())
        repr(task), task.get_stack(), task.get_name(), task.get_coro()
        await task
        assert task not in asyncio.all_tasks()


@on_loop
async def failing_tasks():
    for _ in range(REPEAT):
        with contextlib.suppress(Refused):
            await asyncio.create_task(fail_after_a_turn())
        asyncio.create_task(fail_after_a_turn())  # nobody takes the exception
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@on_loop
async def cancelled_tasks():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise

    for _ in range(REPEAT):
        never_started = asyncio.create_task(nothing())
        never_started.cancel("message")
        sleeping = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        sleeping.cancel()
        sleeping.cancel("twice")
        for task in (never_started, sleeping):
            with contextlib.suppress(asyncio.CancelledError):
                await task
    asyncio.create_task(asyncio.sleep(60))  # for Runner.close


@on_loop
async def eager_tasks():
    if sys.version_info < (3, 12):
        return
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    for _ in range(REPEAT):
        await asyncio.create_task(nothing())
        await asyncio.create_task(asyncio.sleep(0))
        with contextlib.suppress(Refused):
            await asyncio.create_task(fail_after_a_turn())
    loop.set_task_factory(None)


@on_loop
async def futures():
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    for _ in range(REPEAT):
        future = loop.create_future()
        future.add_done_callback(repr)
        future.add_done_callback(repr, context=context)
        future.add_done_callback(print)
        future.remove_done_callback(print)
        loop.call_soon(future.set_result, [future])
        repr(await future)
        future = loop.create_future()
        future.set_exception(Refused(future))
        with contextlib.suppress(Refused):
            await future
        loop.create_future().cancel("message")
        loop.create_future().set_exception(Refused())  # nobody takes it
        await asyncio.sleep(0)


@on_loop
async def futures_that_stay_pending():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        future = loop.create_future()
        future.add_done_callback(lambda done, future=future: None)
        cycle = [future]
        cycle.append(cycle)
    await asyncio.sleep(0)


@on_loop
async def foreign_awaitables():
    class Bare:
        def __await__(self):
            yield
            return self

    class Wrong:
        def __await__(self):
            yield self

    for _ in range(REPEAT):
        await asyncio.ensure_future(Bare())
        with contextlib.suppress(RuntimeError):
            await asyncio.ensure_future(Wrong())
        loop = asyncio.get_running_loop()
        inner = loop.create_future()
        loop.call_soon(inner.set_result, None)
        await asyncio.shield(inner)
        await asyncio.wait_for(asyncio.sleep(0), 60)


@on_loop
async def groups_of_tasks():
    for _ in range(REPEAT):
        await asyncio.gather(*(asyncio.sleep(0, i) for i in range(5)))
        await asyncio.gather(fail_after_a_turn(), nothing(), return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(asyncio.sleep(0))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_after_a_turn())
                group.create_task(asyncio.sleep(60))
        except* Refused:
            pass


@on_loop
async def locks_and_queues():
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock = asyncio.Lock()

    async def consume():
        while await queue.get():
            async with lock:
                await asyncio.sleep(0)

    consumers = [asyncio.create_task(consume()) for _ in range(2)]
    for number in (1, 2, 3, 4, 0, 0):
        await queue.put(number)
    await asyncio.gather(*consumers)


# --- streams of bytes ----------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Collects `wanted` bytes; `full` and `lost` are done when they are there, and at the end."""

    def __init__(self, wanted: int = 1) -> None:
        self.wanted = wanted
        self.received = 0
        self.full = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.received += len(data)
        if self.received >= self.wanted and not self.full.done():
            self.full.set_result(None)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(1000)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.buffer[:nbytes]))


async def echo_once(server, client_of, size: int = 100) -> None:
    transport, client = await client_of(lambda: Client(size))
    transport.get_extra_info("socket"), transport.get_extra_info("peername"), repr(transport)
    transport.itself = transport
    transport.write(b"x" * size)
    await client.full
    transport.close()
    await client.lost


@on_loop
async def tcp_echo():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, HOST, 0)
    connect = functools.partial(
        loop.create_connection, host=HOST, port=server.sockets[0].getsockname()[1]
    )
    for size in (1, 100, 300_000):
        await echo_once(server, connect, size)
    server.close()
    await server.wait_closed()


@on_loop
async def unix_echo():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(Echo, path)
        for size in (1, 100, 300_000):
            await echo_once(server, functools.partial(loop.create_unix_connection, path=path), size)
        server.close()
        await server.wait_closed()


@on_loop
async def buffered_echo():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(BufferedEcho, HOST, 0)
    connect = functools.partial(
        loop.create_connection, host=HOST, port=server.sockets[0].getsockname()[1]
    )
    for size in (1, 100, 300_000):
        await echo_once(server, connect, size)
    server.close()
    await server.wait_closed()


@on_loop
async def streams():
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.write_eof()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    for _ in range(REPEAT):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"line\n", bytearray(b"line\n"), memoryview(b"line\n")])
        writer.write_eof()
        assert await reader.read() == b"line\n" * 3
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


@on_loop
async def writes_that_wait():
    """The peer reads late: what was written is queued, paused, resumed, and some of it dropped."""
    for abort in (False, True):
        left, right = socket.socketpair()
        with left, right:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(Client, sock=left)
            transport.set_write_buffer_limits(1000)
            for _ in range(REPEAT):
                transport.write(b"x" * 300_000)
                transport.write(bytearray(300_000))
            if abort:
                transport.abort()
            else:
                transport.close()
                await loop.run_in_executor(None, drain, right)
            await client.lost


def drain(sock: socket.socket) -> None:
    while sock.recv(1_000_000):
        pass


@on_loop
async def connections_that_break():
    """The peer resets, the protocol raises, the connection is refused or its set-up cancelled."""

    class Broken(Client):
        def data_received(self, data):
            raise Refused

    loop = asyncio.get_running_loop()
    listener = socket.create_server((HOST, 0))
    listener.setblocking(False)
    address = listener.getsockname()
    for protocol, reset in ((Client, True), (Broken, False), (Client, False)):
        _, client = await loop.create_connection(protocol, *address)
        peer, _ = listener.accept()
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            peer.send(b"x")
        peer.close()
        await client.lost
    listener.close()
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await loop.create_connection(Client, *address)
        attempt = asyncio.create_task(loop.create_connection(Client, "localhost", address[1]))
        await asyncio.sleep(0)
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await attempt


@on_loop
async def connections_to_a_literal():
    """Made, refused, cancelled while connecting and after, dropped; a factory that raises."""

    def refuse():
        raise Refused

    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
        for _ in range(REPEAT):
            _, client = await loop.create_connection(Client, *address)
            listener.accept()[0].close()
            await client.lost
            with contextlib.suppress(Refused):
                await loop.create_connection(refuse, *address)
            listener.accept()[0].close()
            for count in range(6):
                attempt = asyncio.create_task(loop.create_connection(Client, *address))
                for _ in range(count):
                    await asyncio.sleep(0)
                attempt.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    transport, _ = await attempt
                    transport.abort()
                if count:
                    listener.accept()[0].close()
            dropped = loop.create_connection(Client, *address)
            dropped.send(None)
            dropped.close()
            listener.accept()[0].close()
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await loop.create_connection(Client, *address)


# --- TLS -----------------------------------------------------------------------------------------


@functools.cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a self-signed certificate and of a client that trusts it."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            + ["-nodes", "-subj", "/CN=localhost", "-out", certificate, "-keyout", key]
            + ["-addext", "subjectAltName=DNS:localhost"],
            check=True,
            capture_output=True,
        )
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate, key)
        return server, ssl.create_default_context(cafile=certificate)


async def tls_connections(protocol_factory) -> None:
    loop = asyncio.get_running_loop()
    server_context, client_context = tls_contexts()
    server = await loop.create_server(protocol_factory, HOST, 0, ssl=server_context)
    connect = functools.partial(
        loop.create_connection,
        host=HOST,
        port=server.sockets[0].getsockname()[1],
        ssl=client_context,
        server_hostname="localhost",
    )
    for size in (1, 100, 300_000):
        await echo_once(server, connect, size)
    transport, client = await connect(Client)
    transport.writelines([b"x" * 1000, bytearray(b"x" * 100_000)])
    transport.abort()
    await client.lost
    for _ in range(REPEAT):
        with contextlib.suppress(OSError):
            await connect(Client, server_hostname="another.example")
    server.close()
    await asyncio.sleep(0.05)


@on_loop
async def tls_echo():
    await tls_connections(Echo)


@on_loop
async def tls_buffered_echo():
    await tls_connections(BufferedEcho)


@on_loop
async def tls_streams_and_start_tls():
    server_context, client_context = tls_contexts()

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            await writer.start_tls(server_context)
            writer.write(await reader.readline())
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    for _ in range(REPEAT):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(client_context, server_hostname="localhost")
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.05)


@on_loop
async def servers_closed_with_clients():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        server = await loop.create_server(Echo, HOST, 0)
        _, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
        repr(server)
        server.close()
        if sys.version_info >= (3, 13):
            server.abort_clients()
            await client.lost
    # before 3.13 the connections are left to the loop, which closes without them


@scenario
def connections_open_at_close(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, HOST, 0)
        for _ in range(REPEAT):
            transport, _ = await loop.create_connection(Client, *server.sockets[0].getsockname())
            transport.write(b"x")

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


# --- datagrams and bare sockets ------------------------------------------------------------------


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received += 1
        self.sender = address
        if data == b"fail":
            raise Refused

    def error_received(self, exc):
        self.received += 1


@on_loop
async def datagrams():
    loop = asyncio.get_running_loop()
    server, receiver = await loop.create_datagram_endpoint(Datagrams, (HOST, 0))
    address = server.get_extra_info("sockname")
    client, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    client.itself = client
    for _ in range(REPEAT):
        receiver.received = 0
        server.pause_reading()
        for data in (b"fail", b"data", bytearray(b"data"), b"data", b"data", b"data"):
            client.sendto(data)
        server.resume_reading()
        while receiver.received < 6:
            await asyncio.sleep(0.001)
        server.sendto(b"answer", receiver.sender)
        server.sendto(b"bad port", (HOST, 70000) if _ == REPEAT - 1 else address)
    client.abort()
    server.close()
    await asyncio.sleep(0)


@on_loop
async def datagrams_that_wait():
    """Nobody reads: datagrams are queued, and dropped by abort()."""
    loop = asyncio.get_running_loop()
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(folder + "/receiver")
        sender, _ = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=folder + "/receiver", family=socket.AF_UNIX
        )
        while not sender.get_write_buffer_size():
            sender.sendto(b"x")
        for _ in range(REPEAT):
            sender.sendto(bytearray(b"x" * 1000))
        sender.abort()
        await asyncio.sleep(0)


@on_loop
async def bare_sockets():
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        for _ in range(REPEAT):
            receiving = loop.create_task(loop.sock_recv(right, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(left, b"data")
            assert await receiving == b"data"
            cancelled = loop.create_task(loop.sock_recv_into(right, bytearray(10)))
            replaced = loop.create_task(loop.sock_recvfrom(right, 10))
            sending = loop.create_task(loop.sock_sendall(left, bytearray(5_000_000)))
            await asyncio.sleep(0)
            for task in (cancelled, replaced, sending):
                task.cancel()
            await asyncio.gather(cancelled, replaced, sending, return_exceptions=True)
            with contextlib.suppress(BlockingIOError):
                while right.recv(1_000_000):
                    pass
            with contextlib.suppress(TypeError):
                await loop.sock_sendall(left, "text")
            by_hand = loop.sock_recv(right, 10)
            by_hand.send(None)
            with contextlib.suppress(LookupError):
                by_hand.throw(LookupError)
            by_hand = loop.sock_recv_into(right, bytearray(10))
            by_hand.send(None).cancel()
            by_hand.close()
            loop.create_future = functools.partial(asyncio.Future, loop=loop)
            receiving = loop.create_task(loop.sock_recv(right, 10))
            await asyncio.sleep(0)
            left.send(b"data")
            assert await receiving == b"data"
            del loop.create_future
