"""The order of one turn: what was ready, descriptors, timers, then what these scheduled."""

import asyncio
import errno
import os
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


def count_turns(loop, turns):
    """Notes each turn from now on."""
    turns.append(loop.call_soon(count_turns, loop, turns))


async def test_a_descriptor_that_stays_readable_is_reported_every_turn(loop):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    turns, seen = [], []

    def read():
        ours.recv(1)
        seen.append(len(turns))
        asyncio.get_running_loop().call_soon(seen.append, "scheduled")

    count_turns(loop, turns)
    loop.add_reader(ours, read)
    for _ in range(4):
        peer.send(b"x")
    while len(seen) < 8:
        await asyncio.sleep(0)
    turns[-1].cancel()
    loop.remove_reader(ours)
    first = seen[0]
    assert seen[::2] == [first, first + 1, first + 2, first + 3]
    assert set(seen[1::2]) == {"scheduled"}
    ours.close()
    peer.close()


async def test_what_exceeds_max_size_is_read_in_the_next_turns(loop):
    turns, seen = [], []

    class Turns(asyncio.Protocol):
        def data_received(self, data):
            seen.append((len(turns), data))

    transport, _, peer = await over_socket(loop, Turns)
    transport.max_size = 1
    peer.send(b"abc")
    count_turns(loop, turns)
    while len(seen) < 3:
        await asyncio.sleep(0)
    turns[-1].cancel()
    first = seen[0][0]
    assert seen == [(first, b"a"), (first + 1, b"b"), (first + 2, b"c")]
    transport.abort()
    peer.close()
    await settled(loop)


async def test_what_a_datagram_schedules_runs_before_the_next_datagram(loop):
    seen = []

    class Scheduling(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            seen.append(data)
            if data != b"quiet":
                asyncio.get_running_loop().call_soon(seen.append, "scheduled")

    transport, _ = await loop.create_datagram_endpoint(Scheduling, ("127.0.0.1", 0))
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect(transport.get_extra_info("sockname"))
    for data in (b"1", b"2", b"quiet", b"3", b"quiet", b"4", b"5", b"6"):
        peer.send(data)
    while len(seen) < 14:
        await asyncio.sleep(0)
    assert seen == [
        *(b"1", "scheduled", b"2", "scheduled", b"quiet", b"3", "scheduled"),
        *(b"quiet", b"4", "scheduled", b"5", "scheduled", b"6", "scheduled"),
    ]
    transport.abort()
    peer.close()
    await settled(loop)


async def test_what_a_full_buffer_schedules_runs_before_it_is_filled_again(loop):
    seen = []

    class Small(asyncio.BufferedProtocol):
        buffer = bytearray(1)

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            seen.append(bytes(self.buffer))
            asyncio.get_running_loop().call_soon(seen.append, "scheduled")

    transport, _, peer = await over_socket(loop, Small)
    peer.send(b"abc")
    while len(seen) < 6:
        await asyncio.sleep(0)
    assert seen == [b"a", "scheduled", b"b", "scheduled", b"c", "scheduled"]
    transport.abort()
    peer.close()
    await settled(loop)


async def test_a_pipe_that_was_writable_before_its_reader_closed_fails_to_write(loop):
    reading, writing = os.pipe()
    lost = loop.create_future()

    class Closing(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.close()

    class Writing(asyncio.BaseProtocol):
        def connection_lost(self, exc):
            lost.set_result(exc)

    await loop.connect_read_pipe(Closing, open(reading, "rb", 0))
    transport, _ = await loop.connect_write_pipe(Writing, open(writing, "wb", 0))
    transport.write(b"x" * 400_000)
    exc = await lost
    assert isinstance(exc, BrokenPipeError) and exc.errno == errno.EPIPE
    await settled(loop)
