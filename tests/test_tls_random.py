"""TLS under random use: writes of every size, pauses, limits, close and abort from any callback.

Whatever the two sides do, each receives a prefix of what the other has written, all of it if both
ended well, and connection_lost() comes once. PYASYNC_TLS_SEEDS=1000 tries that many seeds, the
suite 30. A failure names its seed.
"""

import asyncio
import os
import random

import pytest

from tests.support import HOST

SEEDS = int(os.environ.get("PYASYNC_TLS_SEEDS", "30"))
GROUP = 10  # seeds per test
SIZES = [0, 1, 10, 100, 1000, 5000, 16384, 16385, 40_000, 200_000]


class Side(asyncio.Protocol):
    """One end of a connection, which does something random in every callback."""

    def __init__(self, chance):
        self.chance = chance
        self.active = True
        self.written, self.received = bytearray(), bytearray()
        self.ends = []  # what this side did to end the connection, and what it was told
        loop = asyncio.get_running_loop()
        self.made, self.lost = loop.create_future(), loop.create_future()

    def write(self):
        data = self.chance.randbytes(self.chance.choice(SIZES))
        self.written += data  # first: whom write() calls may write again
        how = self.chance.random()
        if how < 0.5:
            self.transport.write(data)
        elif how < 0.7:
            self.transport.write(bytearray(data))
        else:
            half = len(data) // 2
            self.transport.writelines([data[:half], memoryview(data)[half:]])

    def pause(self):
        self.transport.pause_reading()
        loop = asyncio.get_running_loop()
        loop.call_later(self.chance.random() * 0.005, self.transport.resume_reading)

    def act(self):
        what = self.chance.random()
        if what < 0.55:
            self.write()
        elif what < 0.75:
            self.pause()
        elif what < 0.80:
            self.transport.set_write_buffer_limits(self.chance.choice([0, 1000, None, 600_000]))
        elif what < 0.85:
            assert self.transport.get_write_buffer_size() >= 0
        elif what < 0.88:
            self.ends.append("close" if what < 0.87 else "abort")
            getattr(self.transport, self.ends[-1])()

    def maybe_act(self):
        for _ in range(self.chance.choice([0, 0, 1, 2, 3])):
            if self.active and not self.transport.is_closing():
                self.act()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data):
        self.received += data
        self.maybe_act()

    def eof_received(self):
        self.maybe_act()

    def pause_writing(self):
        self.maybe_act()

    def resume_writing(self):
        pass  # asyncio's protocol does not bear an abort() here

    def connection_lost(self, exc):
        assert not self.lost.done(), "connection_lost came twice"
        self.ends.append(exc)
        self.lost.set_result(None)


class BufferedSide(Side, asyncio.BufferedProtocol):
    """The same, reading into buffers of its own."""

    def get_buffer(self, sizehint):
        self.buffer = bytearray(self.chance.choice([1000, 100_000]))
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes):
        self.received += self.buffer[:nbytes]
        self.maybe_act()


def check(sender, receiver):
    """What arrived is what was written, and all of it when nobody cut the connection short."""
    assert sender.written.startswith(receiver.received)
    if sender.ends == ["close", None] and receiver.ends == [None]:
        assert len(receiver.received) == len(sender.written)


async def connection(contexts, seed):
    loop = asyncio.get_running_loop()
    chance = random.Random(seed)
    accepted = loop.create_future()

    def side():
        return chance.choice([Side, BufferedSide])(chance)

    def accept():
        accepted.set_result(side())
        return accepted.result()

    server = await loop.create_server(accept, HOST, 0, ssl=contexts[0])
    transport, client = await loop.create_connection(
        side, *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
    )
    sides = client, await accepted
    await asyncio.wait_for(asyncio.shield(sides[1].made), 10)
    server.close()
    for _ in range(30):
        for one in sides:
            one.maybe_act()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003]))
    for one in sides:
        one.active = False
        if not one.lost.done():
            one.transport.resume_reading()
    if not transport.is_closing():
        client.ends.append("close")
        transport.close()
    await asyncio.wait_for(asyncio.gather(client.lost, sides[1].lost), 20)
    check(*sides)
    check(*reversed(sides))


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
async def test_random_connections(loop_name, loop, contexts, asyncio_log, first):
    for seed in range(first, first + GROUP):
        try:
            await connection(contexts, seed)
        except (AssertionError, TimeoutError) as exc:
            raise AssertionError(f"seed {seed}") from exc
    await asyncio.sleep(0.01)
    texts = asyncio_log.take()
    allowed = ["SSL connection is closed", "socket.send() raised exception."]
    if loop_name == "asyncio":  # resumes, in a callback, a connection that is lost by then
        allowed.append("Exception in callback SSLProtocol._resume_reading")
    assert [text for text in texts if not str(text).startswith(tuple(allowed))] == []
