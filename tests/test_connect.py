"""create_connection to an IP literal, which pyasync does in C: as asyncio, and nothing is left.

test_connecting.py has what create_connection does with names, several addresses and options.
"""

import asyncio
import contextlib
import contextvars
import gc
import hashlib
import inspect
import logging
import os
import socket
import weakref
from asyncio import base_events

import pytest

from tests.support import HOST, Recorder, closed, open_descriptors, plain, turns

var = contextvars.ContextVar("var", default="default")


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request):
    """A literal of each family."""
    return request.param


@pytest.fixture
def listener(host):
    """A socket that listens and is accepted from by hand."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with sock:
        yield sock


@pytest.fixture
def port(listener):
    """The port of the listener."""
    return listener.getsockname()[1]


@pytest.fixture
def refused(host):
    """A port nobody listens on: bound, so that nobody else gets it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        yield sock.getsockname()[1]


@pytest.fixture
def black_hole():
    """A port whose listener's queue is full: connections to it hang."""
    with contextlib.ExitStack() as stack:
        sock, *fillers = [stack.enter_context(socket.socket()) for _ in range(5)]
        sock.bind((HOST, 0))
        sock.listen(0)
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield sock.getsockname()[1]


async def test_a_connection_is_asyncios(loop, host, port):
    transport, protocol = await loop.create_connection(Recorder, host, port)
    assert protocol.transport is transport and protocol.events == ["made"]
    peer = transport.get_extra_info("peername")
    assert peer == ((host, port) if "." in host else (host, port, 0, 0))
    sock = transport.get_extra_info("socket")
    assert sock.getpeername() == peer
    assert sock.getsockname() == transport.get_extra_info("sockname")
    assert (sock.type, sock.proto) == (socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert sock.family == (socket.AF_INET if "." in host else socket.AF_INET6)
    assert sock.gettimeout() == 0 and not os.get_inheritable(sock.fileno())
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await closed(protocol)
    assert transport.get_extra_info("peername") == peer


@pytest.mark.parametrize(
    "given, taken", [("0.0.0.0", HOST), ("::", "::1"), ("::ffff:0.0.0.0", f"::ffff:{HOST}")]
)
async def test_the_peer_of_any_address(loop, given, taken):
    """The kernel takes this host for it."""
    try:
        listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pytest.skip("this machine has no IPv6")
    with listener:
        port = listener.getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, given, port)
        assert transport.get_extra_info("peername")[:2] == (taken, port)
        await closed(protocol)


async def test_a_python_socket_is_made_for_options_only(loop_name, loop, host, port, monkeypatch):
    """Which asyncio's own code deals with."""
    made = []
    init = socket.socket.__init__

    def count(self, *args, **options):
        made.append(args)
        init(self, *args, **options)

    monkeypatch.setattr(socket.socket, "__init__", count)
    for options in (
        {},
        {"local_addr": None, "ssl": None},
        {"family": socket.AF_UNSPEC},
        {"happy_eyeballs_delay": 0.25},
    ):
        made.clear()
        _, protocol = await loop.create_connection(Recorder, host, port, **options)
        given = any(value is not None for value in options.values())
        assert bool(made) == (loop_name == "asyncio" or given)
        await closed(protocol)
    with pytest.raises(TypeError, match="none_such"):
        await loop.create_connection(Recorder, host, port, none_such=None)


def test_the_signature_is_asyncios(loop):
    method = type(loop).create_connection
    assert inspect.signature(method) == inspect.signature(
        asyncio.SelectorEventLoop.create_connection
    )
    assert inspect.iscoroutinefunction(method)


async def test_by_keyword_and_through_streams(loop, host, port):
    _, protocol = await loop.create_connection(protocol_factory=Recorder, port=port, host=host)
    await closed(protocol)
    reader, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()


# ---- errors


def test_the_errors_are_asyncios(same_as_asyncio, host, refused):
    async def body(loop):
        async def failing(*args, **options):
            with pytest.raises((OSError, OverflowError, TypeError)) as caught:
                await loop.create_connection(Recorder, *args, **options)
            exc = caught.value
            causes = type(exc.__cause__), type(exc.__context__)
            return type(exc), getattr(exc, "errno", None), plain(str(exc)), causes

        loopback = "0:0:0:0:0:0:0:1" if ":" in host else host
        return [
            await failing(host, refused),
            await failing(loopback, refused),
            await failing(host, 0),
            await failing(host, 65536),
            await failing(host, -1),
            await failing("255.255.255.255", 1),
            await failing("fe80::1", 1),
            await failing("127.0.0.1.", "none such"),
        ]

    (kind, errno, message, _), *_ = same_as_asyncio(body)
    assert (kind, errno) == (ConnectionRefusedError, 111)
    assert message.startswith(f"[Errno 111] Connect call failed ({host!r}, ")


async def test_a_refusal_leaves_no_cycle(loop, host, refused):
    """The coroutine, and what it holds, is gone as soon as the error has been handled."""

    class Factory:
        def __call__(self):
            return Recorder()

    factory = Factory()
    gone = weakref.ref(factory)
    gc.collect()
    gc.disable()
    try:
        try:
            await loop.create_connection(factory, host, refused)
        except ConnectionRefusedError:
            pass
        del factory
        await turns(2)
        assert gone() is None
    finally:
        gc.enable()


OUT_OF_DESCRIPTORS = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    async def main(port):
        loop = asyncio.get_running_loop()
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        for _ in range(3):
            try:
                await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
            except OSError as exc:
                print(exc)
        os.close(taken.pop())
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        print(transport.get_extra_info("peername")[1] == port)
        transport.abort()
        await asyncio.sleep(0)
        for fd in taken:
            os.close(fd)

    loop = new_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.run_until_complete(main(listener.getsockname()[1]))
    loop.close()
"""


def test_out_of_descriptors(snippet):
    assert snippet(OUT_OF_DESCRIPTORS).split("\n")[:4] == [
        "[Errno 24] Too many open files",
        "[Errno 24] Too many open files",
        "[Errno 24] Too many open files",
        "True",
    ]


# ---- the factory and the order of events


def test_the_order_of_events(same_as_asyncio, host, listener, port):
    """Turn by turn."""

    async def body(loop):
        log = []

        class Logs(asyncio.Protocol):
            def __init__(self):
                log.append("factory")
                loop.call_soon(log.append, "after the factory")

            def connection_made(self, transport):
                log.append("made")
                loop.call_soon(log.append, "after made")
                loop.call_soon(lambda: loop.call_soon(log.append, "two after made"))

            def data_received(self, data):
                log.append(data)

            def connection_lost(self, exc):
                log.append("lost")

        async def connect():
            transport, _ = await loop.create_connection(Logs, host, port)
            log.append("connected")
            peer, _ = listener.accept()
            with peer:
                peer.send(b"early")
            loop.call_soon(log.append, "after connected")

        async def count():
            for number in range(8):
                log.append(number)
                await asyncio.sleep(0)

        loop.call_soon(log.append, "before")
        await asyncio.gather(connect(), count())
        while "lost" not in log:
            await asyncio.sleep(0.001)
        return log

    log = same_as_asyncio(body)
    assert [entry for entry in log if entry in ("factory", "made", "connected", b"early")] == [
        "factory",
        "made",
        "connected",
        b"early",
    ]


def test_contexts_are_asyncios(same_as_asyncio, host, listener, port):
    async def body(loop):
        log = []

        class Logs(Recorder):
            def connection_made(self, transport):
                log.append(("made", var.get()))
                var.set("made")
                super().connection_made(transport)

            def data_received(self, data):
                log.append(("data", var.get()))
                super().data_received(data)

            def connection_lost(self, exc):
                log.append(("lost", var.get()))
                super().connection_lost(exc)

        def factory():
            log.append(("factory", var.get()))
            var.set("factory")
            return Logs()

        var.set("caller")
        transport, protocol = await loop.create_connection(factory, host, port)
        log.append(("connected", var.get()))
        peer, _ = listener.accept()
        with peer:
            peer.send(b"data")
        await protocol.lost
        return log

    assert same_as_asyncio(body)[0] == ("factory", "caller")


class Refused(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, Refused, asyncio.CancelledError])
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of asyncio, up to 3.14
async def test_a_factory_that_raises(loop_name, loop, host, port, error):
    before = open_descriptors()

    def factory():
        raise error

    with pytest.raises(error):
        await loop.create_connection(factory, host, port)
    if loop_name == "asyncio":
        gc.collect()
    assert open_descriptors() == before


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of asyncio, up to 3.14
def test_a_factory_that_exits(loop_name, loop, host, port):
    loop.run_until_complete(turns(1))  # opens the pipe for signals
    before = open_descriptors()

    def factory():
        raise KeyboardInterrupt

    task = loop.create_task(loop.create_connection(factory, host, port))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    with pytest.raises(KeyboardInterrupt):
        task.result()
    if loop_name != "asyncio":  # there the exception's traceback still holds the socket
        assert open_descriptors() == before


async def test_a_factory_that_closes_the_loop(loop, host, port):
    """Which it cannot: the loop runs."""

    def factory():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        return Recorder()

    _, protocol = await loop.create_connection(factory, host, port)
    await closed(protocol)


async def test_closing_in_connection_made(loop, host, port):
    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    transport, protocol = await loop.create_connection(Closes, host, port)
    assert transport.is_closing()
    assert await protocol.lost is None


# ---- cancelling, and ends of the loop


async def test_cancelling_while_connecting(loop, black_hole):
    for count in range(4):
        before = open_descriptors()
        task = loop.create_task(loop.create_connection(Recorder, HOST, black_hole))
        await turns(count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert open_descriptors() == before


async def test_cancelling_at_every_step(loop, host, listener, port):
    """Whenever the cancellation comes, either a transport is returned or nothing is left."""
    ends = set()
    for count in range(12):
        before = open_descriptors()
        task = loop.create_task(loop.create_connection(Recorder, host, port))
        await turns(count)
        task.cancel()
        try:
            _, protocol = await task
        except asyncio.CancelledError:
            ends.add("cancelled")
            await turns(4)
        else:
            ends.add("connected")
            await closed(protocol)
            await turns(2)
        assert open_descriptors() == before, count
        if count:
            listener.accept()[0].close()
    assert ends == {"cancelled", "connected"}


async def test_two_cancellations(loop, black_hole):
    before = open_descriptors()
    task = loop.create_task(loop.create_connection(Recorder, HOST, black_hole))
    await turns(1)
    task.cancel()
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_descriptors() == before


async def test_the_future_is_cancelled_by_another(loop, black_hole):
    """Whatever a coroutine awaits may be reached from outside."""
    before = open_descriptors()
    coroutine = loop.create_connection(Recorder, HOST, black_hole)
    future = coroutine.send(None)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        coroutine.throw(future._make_cancelled_error())
    await turns(2)
    assert open_descriptors() == before


async def test_the_future_is_done_by_another(loop, host, listener, port):
    """Then the coroutine goes on, and the connection is made or not."""
    before = open_descriptors()
    coroutine = loop.create_connection(Recorder, host, port)
    future = coroutine.send(None)
    future.set_exception(Refused())
    with pytest.raises(Refused):
        coroutine.send(None)
    await turns(3)
    assert open_descriptors() == before


async def test_a_coroutine_that_is_dropped(loop, black_hole):
    before = open_descriptors()
    coroutine = loop.create_connection(Recorder, HOST, black_hole)
    coroutine.send(None)
    coroutine.close()
    await turns(2)
    assert open_descriptors() == before


def test_the_loop_stops_while_connecting(loop, host, port):
    task = loop.create_task(loop.create_connection(Recorder, host, port))
    for _ in range(6):
        loop.call_soon(loop.stop)
        loop.run_forever()
    _, protocol = loop.run_until_complete(task)
    loop.run_until_complete(closed(protocol))


def test_the_loop_is_closed_while_connecting(new_loop, black_hole, asyncio_log):
    before = open_descriptors()
    loop = new_loop()
    task = loop.create_task(loop.create_connection(Recorder, HOST, black_hole))
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    del task, loop
    gc.collect()
    assert open_descriptors() == before
    (message,) = asyncio_log.take()
    assert message.startswith("Task was destroyed but it is pending!")


async def test_another_loops_task(loop, new_loop, host, port):
    """A connection belongs to its loop."""
    other = new_loop()
    before = open_descriptors()
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        await other.create_connection(Recorder, host, port)
    assert open_descriptors() == before
    other.close()


def test_a_closed_loop(new_loop, host, port):
    loop = new_loop()
    loop.close()
    before = open_descriptors()
    coroutine = loop.create_connection(Recorder, host, port)
    with pytest.raises((RuntimeError, AttributeError)):
        coroutine.send(None)
    gc.collect()
    assert open_descriptors() == before


# ---- what programs override and patch


STEPS = [
    "_ensure_resolved",
    "_connect_sock",
    "sock_connect",
    "_create_connection_transport",
    "_make_socket_transport",
]


@pytest.mark.parametrize("name", STEPS)
async def test_an_overridden_step_of_the_instance(loop, host, port, monkeypatch, name):
    calls = []
    method = getattr(loop, name)

    def override(*args, **options):
        calls.append(name)
        return method(*args, **options)

    monkeypatch.setattr(loop, name, override)
    _, protocol = await loop.create_connection(Recorder, host, port)
    await closed(protocol)
    assert calls


@pytest.mark.parametrize("name", STEPS)
def test_an_overridden_step_of_a_subclass(new_loop, host, port, name):
    calls = []
    loop = new_loop()
    base = type(loop)
    loop.close()

    class Own(base):
        pass

    def override(self, *args, **options):
        calls.append(name)
        return getattr(super(Own, self), name)(*args, **options)

    loop = Own()
    for count in range(2):  # then with a method that the class gets while its loop is in use
        _, protocol = loop.run_until_complete(loop.create_connection(Recorder, host, port))
        loop.run_until_complete(closed(protocol))
        assert bool(calls) == bool(count)
        setattr(Own, name, override)
    loop.close()


@pytest.mark.parametrize("owner", ["socket", "base_events", "connect"])
async def test_patched_sockets(loop, host, port, monkeypatch, owner):
    """As test suites do to keep a program off the network."""
    calls = []

    class Guarded(socket.socket):
        def connect(self, address):
            calls.append(address)
            return super().connect(address)

    class module:
        def __getattr__(self, name):
            return Guarded if name == "socket" else getattr(socket, name)

    def connect(self, address):
        calls.append(address)
        return super(socket.socket, self).connect(address)

    if owner == "socket":
        monkeypatch.setattr(socket, "socket", Guarded)
    elif owner == "base_events":
        monkeypatch.setattr(base_events, "socket", module())
    else:
        monkeypatch.setattr(socket.socket, "connect", connect)
    _, protocol = await loop.create_connection(Recorder, host, port)
    await closed(protocol)
    assert [address[:2] for address in calls] == [(host, port)]


async def test_a_future_of_ones_own(loop, host, port, monkeypatch):
    made = []

    class Own(asyncio.Future):
        pass

    def create_future():
        made.append(Own(loop=loop))
        return made[-1]

    monkeypatch.setattr(loop, "create_future", create_future)
    _, protocol = await loop.create_connection(Recorder, host, port)
    assert len(made) >= 2 and all(future.done() for future in made[:2])
    await closed(protocol)


AUDIT = """
    seen = []
    sys.addaudithook(lambda event, args: seen.append((event, *args)))

    async def main(port):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        transport.abort()
        await asyncio.sleep(0)
        connects = [args for args in seen if args[0] == "socket.connect"]
        print(len(connects), type(connects[0][1]).__name__, connects[0][2] == ("127.0.0.1", port))

    loop = new_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.run_until_complete(main(listener.getsockname()[1]))
    loop.close()
"""


def test_an_audit_hook_sees_the_connection(snippet):
    assert snippet(AUDIT).strip() == "1 socket True"


async def test_debug_mode_logs_the_connection(loop, host, port, caplog):
    caplog.set_level(logging.DEBUG, "asyncio")
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    _, protocol = await loop.create_connection(Recorder, host, port)
    assert any(f"connected to {host}:{port}" in text for text in caplog.messages)
    await closed(protocol)
    loop.set_debug(False)


# ---- descriptors and data


async def test_numbers_are_used_again(loop, host, port, refused, black_hole):
    """What the kernel was told of a descriptor does not outlive it."""
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, host, refused)
        attempt = loop.create_task(loop.create_connection(Recorder, HOST, black_hole))
        await turns(2)
        attempt.cancel()
        await asyncio.wait([attempt])
        left, right = socket.socketpair()
        with left, right:
            for end in left, right:
                ready = asyncio.Event()
                loop.add_writer(end, ready.set)
                await asyncio.wait_for(ready.wait(), 10)
                loop.remove_writer(end)
        for closing_at_once in (True, False):
            transport, protocol = await loop.create_connection(Recorder, host, port)
            if not closing_at_once:
                await asyncio.sleep(0.001)
            await closed(protocol)


async def test_many_at_once(loop, host):
    accepted = []

    def accept():
        accepted.append(Recorder())
        return accepted[-1]

    server = await loop.create_server(accept, host, 0, backlog=500)
    port = server.sockets[0].getsockname()[1]
    made = await asyncio.gather(*[loop.create_connection(Recorder, host, port) for _ in range(200)])
    for number, (transport, _) in enumerate(made):
        transport.write(b"%d" % number)
        transport.write_eof()
    for _, protocol in made:
        await protocol.lost
    for protocol in accepted:
        await protocol.lost
    assert sorted(int(protocol.data) for protocol in accepted) == list(range(200))
    server.close()


async def test_much_data_at_once(loop, host):
    """Written in connection_made(), and sent by the server in its own."""
    blob = os.urandom(3_000_000)

    class Sends(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(blob)
            transport.write_eof()

    accepted = loop.create_future()

    def accept():
        accepted.set_result(Sends())
        return accepted.result()

    server = await loop.create_server(accept, host, 0)
    port = server.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(Sends, host, port)
    other = await accepted
    for protocol in (client, other):
        await asyncio.wait_for(protocol.lost, 60)
        assert hashlib.sha256(protocol.data).digest() == hashlib.sha256(blob).digest()
    server.close()


async def test_pausing_before_reading_begins(loop, host, listener, port):
    class Pauses(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    transport, protocol = await loop.create_connection(Pauses, host, port)
    peer, _ = listener.accept()
    with peer:
        peer.send(b"data")
        await asyncio.sleep(0.01)
        assert protocol.data == b""
        transport.resume_reading()
        while not protocol.data:
            await asyncio.sleep(0.001)
        transport.pause_reading()
        transport.resume_reading()
        peer.send(b" more")
        while len(protocol.data) < 9:
            await asyncio.sleep(0.001)
    await protocol.lost
