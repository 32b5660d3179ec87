"""Positional parameters given by keyword, as asyncio's methods in Python take them."""

import asyncio
import contextvars
import socket

import pytest

from tests.support import over_socket, turn, until
from tests.tls_pair import closed, tls


def test_callbacks(loop):
    seen = []
    context = contextvars.copy_context()
    loop.call_soon(callback=lambda: seen.append("soon"))
    loop.call_soon(callback=lambda: seen.append("soon in a context"), context=context)
    loop.call_soon_threadsafe(callback=lambda: seen.append("threadsafe"))
    loop.call_at(when=loop.time() - 1, callback=lambda: seen.append("at"))
    loop.call_at(loop.time() - 1, context=context, callback=lambda: seen.append("at, mixed"))
    loop.call_later(delay=0, callback=lambda: seen.append("later"))
    loop.call_later(0, callback=lambda: seen.append("later, mixed"))
    turn(loop, 2)
    assert seen == [
        "soon",
        "soon in a context",
        "threadsafe",
        "at",
        "at, mixed",
        "later",
        "later, mixed",
    ]


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_what_call_soon_refuses(loop, method):
    schedule = getattr(loop, method)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'callback'"):
        schedule()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'callback'"):
        schedule(context=None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        schedule(callback=print, other=1)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        schedule(callback=print, a=1, b=2, c=3, d=4, context=None)
    with pytest.raises(TypeError):
        schedule(print, callback=print)
    turn(loop)


@pytest.mark.parametrize(("method", "first"), [("call_later", "delay"), ("call_at", "when")])
def test_what_timers_refuse(loop, method, first):
    schedule = getattr(loop, method)
    with pytest.raises(TypeError, match=f"missing .* required positional arguments?: '{first}'"):
        schedule()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'callback'"):
        schedule(1)
    with pytest.raises(TypeError, match=f"multiple values for argument '{first}'"):
        schedule(1, callback=print, **{first: 2})
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        schedule(callback=print, other=1, **{first: 2})


async def test_tasks(loop):
    async def work():
        return 1

    assert await loop.create_task(coro=work()) == 1
    assert await loop.create_task(coro=work(), name="named") == 1


async def test_watchers(loop):
    ours, theirs = socket.socketpair()
    seen = []
    with ours, theirs:
        loop.add_reader(fd=ours, callback=lambda: seen.append(ours.recv(1)))
        loop.add_writer(theirs, callback=lambda: (loop.remove_writer(fd=theirs), theirs.send(b"x")))
        await until(lambda: seen)
        assert seen == [b"x"]
        assert loop.remove_reader(fd=ours) is True
        with pytest.raises(TypeError):
            loop.add_reader(ours, print, other=1)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'fd'"):
            loop.remove_reader()
        with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
            loop.remove_writer(ours, theirs)


def check_refusals(transport):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'data'"):
        transport.write()
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
        transport.write(b"a", b"b")
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        transport.write(b"a", other=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        transport.write(data=b"a", other=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        transport.write(other=b"a", data=b"a")
    with pytest.raises(TypeError, match="multiple values for argument 'data'"):
        transport.write(b"a", data=b"b")


async def test_transports(loop):
    transport, protocol, peer = await over_socket(loop)
    transport.write(data=b"bytes ")
    transport.writelines(list_of_data=[b"and ", b"lines"])
    check_refusals(transport)
    await asyncio.sleep(0.01)
    assert peer.recv(100) == b"bytes and lines"
    transport.set_protocol(protocol=protocol)
    assert transport.get_protocol() is protocol
    await closed(protocol)
    peer.close()


async def test_tls_transports(loop, contexts):
    server, client = await tls(contexts)
    client.transport.write(data=b"bytes ")
    client.transport.writelines(list_of_data=[b"and ", b"lines"])
    check_refusals(client.transport)
    await until(lambda: server.data == b"bytes and lines")
    client.transport.set_protocol(protocol=client)
    assert client.transport.get_protocol() is client
    await closed(client, server)
