"""The order of one turn: what was ready, descriptors, timers, then what these scheduled."""

import asyncio
import socket

import pytest

from tests.support import Recorder, over_socket


class Noting(Recorder):
    """Notes that bytes came, and schedules a callback from there."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def data_received(self, data):
        self.seen.append(f"received {data.decode()}")
        asyncio.get_running_loop().call_soon(self.seen.append, "scheduled by data_received")


class NotingDatagrams(asyncio.DatagramProtocol):
    def __init__(self, seen):
        self.seen = seen

    def datagram_received(self, data, address):
        self.seen.append(f"received {data.decode()}")


async def settled(loop):
    """Wait until nothing of the set-up is left to run."""
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


async def run_through(seen, last):
    async with asyncio.timeout(10):
        while last not in seen:
            await asyncio.sleep(0.001)


async def test_callbacks_that_were_ready_run_before_the_bytes_that_came(loop):
    seen = []
    transport, _, peer = await over_socket(loop, lambda: Noting(seen))
    await settled(loop)

    def begin():
        peer.send(b"bytes")
        loop.call_soon(seen.append, "ready before")

    loop.call_soon(begin)
    await run_through(seen, "scheduled by data_received")
    assert seen == ["ready before", "received bytes", "scheduled by data_received"]
    transport.abort()
    peer.close()
    await settled(loop)


async def test_due_timers_run_after_the_bytes_and_before_what_these_scheduled(loop):
    seen = []
    transport, _, peer = await over_socket(loop, lambda: Noting(seen))
    await settled(loop)

    def begin():
        peer.send(b"bytes")
        loop.call_at(loop.time() - 1, seen.append, "timer")
        loop.call_soon(seen.append, "ready before")

    loop.call_soon(begin)
    await run_through(seen, "scheduled by data_received")
    assert seen == ["ready before", "received bytes", "timer", "scheduled by data_received"]
    transport.abort()
    peer.close()
    await settled(loop)


async def test_a_due_timer_runs_before_what_bytes_scheduled_when_nothing_else_was_ready(loop):
    seen = []
    transport, _, peer = await over_socket(loop, lambda: Noting(seen))
    await settled(loop)

    def begin():
        peer.send(b"bytes")
        loop.call_at(loop.time() - 1, seen.append, "timer")

    loop.call_soon(begin)
    await run_through(seen, "scheduled by data_received")
    assert seen == ["received bytes", "timer", "scheduled by data_received"]
    transport.abort()
    peer.close()
    await settled(loop)


@pytest.mark.parametrize("step", ["pause_reading", "abort"])
async def test_bytes_that_came_are_not_delivered_once_a_ready_callback_forbids_it(loop, step):
    seen = []
    transport, protocol, peer = await over_socket(loop, lambda: Noting(seen))
    await settled(loop)

    def begin():
        peer.send(b"bytes")
        loop.call_soon(getattr(transport, step))

    loop.call_soon(begin)
    await asyncio.sleep(0.01)
    assert seen == []
    if step == "pause_reading":
        transport.resume_reading()
        await run_through(seen, "scheduled by data_received")
        assert seen[0] == "received bytes"
        transport.abort()
    peer.close()
    await settled(loop)


async def test_a_new_connection_comes_behind_the_callbacks_that_were_ready(loop):
    seen = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport):
            seen.append("accepted")
            transport.abort()

    def factory():
        seen.append("factory")
        return Accepted()

    server = await loop.create_server(factory, "127.0.0.1", 0)
    await settled(loop)
    with socket.socket() as client:

        def begin():
            client.connect(server.sockets[0].getsockname())
            loop.call_soon(seen.append, "ready before")
            loop.call_at(loop.time() - 1, seen.append, "timer")

        loop.call_soon(begin)
        await run_through(seen, "accepted")
    assert seen[:2] == ["ready before", "timer"] or seen[:3] == ["ready before", "factory", "timer"]
    server.close()
    await server.wait_closed()
    await settled(loop)


async def test_datagrams_come_behind_the_callbacks_that_were_ready(loop):
    seen = []
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NotingDatagrams(seen), local_addr=("127.0.0.1", 0)
    )
    await settled(loop)
    with socket.socket(type=socket.SOCK_DGRAM) as peer:

        def begin():
            peer.sendto(b"datagram", transport.get_extra_info("sockname"))
            loop.call_at(loop.time() - 1, seen.append, "timer")
            loop.call_soon(seen.append, "ready before")

        loop.call_soon(begin)
        await run_through(seen, "timer")
    assert seen == ["ready before", "received datagram", "timer"]
    transport.close()
    await settled(loop)


async def test_a_socket_found_closed_just_before_the_loop_would_sleep_ends_the_transport(loop):
    transport, protocol, peer = await over_socket(loop)
    transport.pause_reading()
    peer.send(b"bytes")
    await settled(loop)
    transport.get_extra_info("socket")._sock.close()
    try:
        transport.resume_reading()
    except (OSError, ValueError):  # asyncio looks at once
        transport.abort()
    async with asyncio.timeout(10):
        await protocol.lost
    peer.close()
