"""Attributes that an application sets on transports: its own, and others in place of methods."""

import asyncio
import gc
import weakref

import pytest

from tests.support import HOST, closed, connected, turns, until
from tests.tls_pair import tls


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def tcp_protocols(loop, contexts):
    return (await connected())[:2]


async def tls_protocols(loop, contexts):
    return await tls(contexts)


async def datagram_protocols(loop, contexts):
    return [(await loop.create_datagram_endpoint(Datagrams, (HOST, 0)))[1]]


@pytest.fixture(params=[tcp_protocols, tls_protocols, datagram_protocols])
def connect(request, contexts):
    """Makes the protocols, with open transports, of one kind of connection."""
    return lambda loop: request.param(loop, contexts)


async def test_attributes_stay_beyond_the_connection(loop, connect):
    protocols = await connect(loop)
    transport = protocols[0].transport
    transport.note = "mine"
    transport.write = print
    assert (transport.note, transport.write) == ("mine", print)
    assert vars(transport)["note"] == "mine"
    del transport.write
    assert getattr(transport, "write", None) is not print
    await closed(*protocols)
    assert transport.note == "mine"
    with pytest.raises(AttributeError):
        _ = transport.other


async def test_an_attribute_that_leads_back_does_not_leak(loop, connect):
    protocols = await connect(loop)
    transport = protocols[0].transport
    transport.itself = transport
    seen = weakref.ref(transport)
    await closed(*protocols)
    del transport, protocols
    await turns(3)
    gc.collect()
    assert seen() is None


async def test_a_function_in_place_of_write(loop, connect):
    protocols = await connect(loop)
    transport = protocols[0].transport
    name = "sendto" if isinstance(protocols[0], Datagrams) else "write"
    written = []
    setattr(transport, name, written.append)
    getattr(transport, name)(b"data")
    assert written == [b"data"]
    delattr(transport, name)
    await closed(*protocols)


async def test_what_streams_call_can_be_replaced(loop):
    accepted = loop.create_future()
    server = await asyncio.start_server(lambda *pair: accepted.set_result(pair), HOST, 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1000)
    _, peer = await accepted
    calls, pause = [], writer.transport.pause_reading

    def pause_reading():
        calls.append("pause_reading")
        pause()

    writer.transport.pause_reading = pause_reading
    writer.transport.write = lambda data: calls.append(bytes(data))
    writer.write(b"kept back")
    peer.write(b"x" * 2001)
    await until(lambda: len(calls) == 2)
    assert calls == [b"kept back", "pause_reading"]
    assert await reader.readexactly(2001) == b"x" * 2001
    for end in (writer, peer):
        end.close()
        await end.wait_closed()
    server.close()
