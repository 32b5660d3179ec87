"""How a sock_* operation waits and ends, and what it lets go of then."""

import asyncio
import contextvars
import errno
import gc
import os
import socket
import traceback
import warnings
import weakref

import pytest

from tests.support import turns


def an_operation(loop, name, sock):
    """The coroutine of an operation that has to wait, and what it would keep of the caller's."""
    if name == "recv":
        return loop.sock_recv(sock, 10), None
    data = bytearray(5_000_000)
    return (loop.sock_sendall if name == "sendall" else loop.sock_recv_into)(sock, data), data


def is_watched(loop, sock):
    return loop.remove_reader(sock) or loop.remove_writer(sock)


@pytest.mark.parametrize("name", ["recv", "recv_into", "sendall"])
@pytest.mark.parametrize("way", ["close", "throw", "throw class", "throw pair", "drop", "cancel"])
async def test_an_operation_ended_by_hand_lets_go(loop, pair, name, way):
    left, right = pair
    coroutine, data = an_operation(loop, name, right)
    future = coroutine.send(None)
    assert asyncio.isfuture(future) and not future.done()
    if way == "close":
        coroutine.close()
    elif way == "drop":
        del coroutine
        gc.collect()
    elif way == "cancel":
        future.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            coroutine.send(None)
    else:
        with warnings.catch_warnings(), pytest.raises(LookupError, match="^$|why"):
            warnings.simplefilter("ignore", DeprecationWarning)  # of the form with two arguments
            coroutine.throw(
                *{
                    "throw": [LookupError("why")],
                    "throw class": [LookupError],
                    "throw pair": [LookupError, "why"],
                }[way]
            )
    future.cancel()  # that is what asyncio's lets go with
    await turns(2)
    if data is not None:
        data.append(0)
    assert not is_watched(loop, right)
    left.send(b"not for it")
    await turns(2)
    assert right.recv(100) == b"not for it"


@pytest.mark.parametrize("name", ["recv", "recv_into", "sendall"])
async def test_an_operation_that_was_never_awaited(loop, pair, name):
    coroutine, data = an_operation(loop, name, pair[1])
    coroutine.close()
    if data is not None:
        data.append(0)
    assert not is_watched(loop, pair[1])


async def test_an_operation_whose_future_others_complete(loop, pair):
    receiver = asyncio.ensure_future(loop.sock_recv(pair[1], 10))
    await turns(2)
    receiver._fut_waiter.set_result("theirs")
    assert await receiver == "theirs"
    receiver = asyncio.ensure_future(loop.sock_recv(pair[1], 10))
    await turns(2)
    receiver._fut_waiter.set_exception(LookupError("theirs"))
    with pytest.raises(LookupError, match="theirs"):
        await receiver
    assert not is_watched(loop, pair[1])


async def test_an_error_while_it_waits_gives_the_buffer_back(loop, pair):
    left, right = pair
    data = bytearray(5_000_000)
    sender = asyncio.ensure_future(loop.sock_sendall(left, data))
    await turns(2)
    right.close()
    try:
        await sender
    except (BrokenPipeError, ConnectionResetError) as exc:
        traceback.clear_frames(exc.__traceback__)  # where asyncio's has a view
    data.append(0)
    assert not is_watched(loop, left)


async def test_a_bytearray_sent_in_parts_is_given_back(loop, pair):
    left, right = pair
    data = bytearray(os.urandom(1_000_000))
    sent = bytes(data)
    sender = asyncio.ensure_future(loop.sock_sendall(left, data))
    got = b""
    while len(got) < len(sent):
        got += await loop.sock_recv(right, 1 << 18)
    await sender
    data.append(0)
    assert got == sent


async def test_a_socket_closed_while_an_operation_waits(loop, pair):
    left, right = pair
    receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    left.send(b"x")
    loop.call_soon(right.close)  # ahead of the receiver, which the next poll makes ready
    done, _ = await asyncio.wait([receiver], timeout=0.05)
    if done:  # the event may have gone with the socket
        assert receiver.exception().errno == errno.EBADF
    else:
        receiver.cancel()
        await turns(2)


@pytest.mark.parametrize("kind", ["subclass", "instance attribute", "wrapped"])
async def test_futures_of_an_overriding_create_future(loop, pair, kind):
    made = []

    class Future(asyncio.Future):
        pass

    class Wrapped:
        """A future only in what it does."""

        def __init__(self, future):
            self.future = future
            for name in ("done", "cancel", "set_result", "set_exception", "add_done_callback"):
                setattr(self, name, getattr(future, name))

        def __await__(self):
            return (yield from self.future)

    def create_future():
        future = asyncio.Future(loop=loop)
        if kind == "subclass":
            future = Future(loop=loop)
        elif kind == "wrapped":
            future = Wrapped(future)
        made.append(future)
        return future

    left, right = pair
    loop.create_future = create_future
    try:
        receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
        cancelled = asyncio.ensure_future(loop.sock_recv(left, 10))
        await turns(2)
        assert len(made) == 2
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not is_watched(loop, left)
        left.send(b"data")
        assert await asyncio.wait_for(receiver, 5) == b"data"
        assert not is_watched(loop, right)
        coroutine = loop.sock_recv(right, 10)
        coroutine.send(None)
        with pytest.raises(LookupError):
            coroutine.throw(LookupError())
        coroutine = loop.sock_recv(right, 10)
        coroutine.send(None)
        coroutine.close()
        made[-2].cancel()
        made[-1].cancel()
        await turns(2)
        assert not is_watched(loop, right)
    finally:
        del loop.create_future


async def test_a_future_that_takes_what_is_thrown_into_it(loop, pair):
    class Patient:
        def __init__(self):
            self.future = asyncio.Future(loop=loop)
            self.add_done_callback = self.future.add_done_callback

        def __await__(self):
            try:
                yield from self.future
            except LookupError:
                yield from asyncio.sleep(0).__await__()
                return "thrown into"

    loop.create_future = Patient
    try:
        coroutine = loop.sock_recv(pair[1], 10)
        coroutine.send(None)
        assert coroutine.throw(LookupError()) is None
        with pytest.raises(StopIteration) as caught:
            coroutine.send(None)
        assert caught.value.value == "thrown into"
        is_watched(loop, pair[1])  # on asyncio, until the future is done
    finally:
        del loop.create_future


async def test_a_create_future_that_fails(loop, pair):
    def create_future():
        raise LookupError("no future")

    loop.create_future = create_future
    try:
        with pytest.raises(LookupError, match="no future"):
            await loop.sock_recv(pair[1], 10)
    finally:
        del loop.create_future
    assert not is_watched(loop, pair[1])


async def test_a_socket_of_the_standard_librarys_transport_is_refused(loop, pair):
    """Those transports are noted in _transports, which is empty most often."""
    left, right = pair
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.sock_recv(right, 10), 0.001)

    class Transport:
        def is_closing(self):
            return False

    transport = Transport()
    loop._transports[right.fileno()] = transport
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.sock_recv(right, 10)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(right, print)
    del transport
    gc.collect()
    left.send(b"free")
    receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
    assert await receiver == b"free"
    loop._transports = weakref.WeakValueDictionary()
    transport = Transport()
    loop._transports[right.fileno()] = transport
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.sock_recv(right, 10)
    del transport


@pytest.mark.parametrize("when", ["before", "while it waits"])
async def test_operations_in_debug_mode(loop, pair, when):
    left, right = pair
    loop.set_debug(when == "before")
    receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
    sender = asyncio.ensure_future(loop.sock_sendall(left, bytearray(1_000_000)))
    await turns(2)
    loop.set_debug(True)
    assert await receiver == bytes(10)
    buffer, got = bytearray(100_000), 10
    while got < 1_000_000:
        got += await loop.sock_recv_into(right, buffer)
    await sender
    cancelled = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    loop.set_debug(False)


async def test_a_receiver_whose_watch_is_removed_in_its_turn(loop, pair):
    left, right = pair
    receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    left.send(b"data")
    loop.call_soon(
        loop.remove_reader, right
    )  # ahead of the receiver, which the next poll makes ready
    await turns(3)
    assert not receiver.done() and right.recv(10) == b"data"
    receiver.cancel()
    await turns(2)


async def test_a_reader_in_the_place_of_a_receiver(loop, pair):
    left, right = pair
    receiver = asyncio.ensure_future(loop.sock_recv(right, 10))
    await turns(2)
    seen = loop.create_future()
    loop.add_reader(right, lambda: seen.done() or seen.set_result(right.recv(10)))
    left.send(b"data")
    assert await seen == b"data" and not receiver.done()
    receiver.cancel()
    await turns(2)
    left.send(b"more")
    loop.remove_reader(right)
    with pytest.raises(asyncio.CancelledError):
        await receiver


async def test_a_method_of_the_programs_socket_sees_the_context(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Socket(socket.socket):
        def recv(self, *args):
            seen.append(variable.get())
            return super().recv(*args)

    async def receive():
        variable.set("of the task")
        return await loop.sock_recv(right, 10)

    left, other = socket.socketpair()
    with left, Socket(fileno=other.detach()) as right:
        right.setblocking(False)
        receiver = asyncio.ensure_future(receive())
        await turns(2)
        left.send(b"data")
        assert await receiver == b"data"
    assert len(seen) >= 2 and set(seen) == {"of the task"}


async def test_the_order_of_receivers_and_callbacks(loop, pair):
    """A receiver takes its turn behind what was ready, and the task behind it in the next."""
    left, right = pair
    order = []

    async def receive():
        await loop.sock_recv(right, 10)
        order.append("received")

    receiver = asyncio.ensure_future(receive())
    await turns(2)
    waiter = receiver._fut_waiter
    waiter.add_done_callback(lambda _: order.append("future"))
    left.send(b"data")
    loop.call_soon(lambda: (order.append("ready"), loop.call_soon(order.append, "next")))
    await receiver
    assert order == ["ready", "next", "received", "future"]
