"""One of several tasks that share something is cancelled at every await point; the others go on.

A permit or item that was on its way to the cancelled one must reach another, and whoever stood
behind it in a line must not wait for ever.
"""

from __future__ import annotations

import asyncio

import pytest

from pyasync import flow
from tests.flow.striking import strike_one

SHARED = []


def sharing(make):
    """Register a participant in what `make()` makes."""

    def register(function):
        function.shared = make
        SHARED.append(function)
        return function

    return register


async def work(number=0):
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return number


@sharing(lambda: flow.Bulkhead(1))
async def bulkhead(shared, number):
    async with shared:
        await work()


@sharing(lambda: flow.RateLimiter(1, per=0.02))
async def token_bucket(shared, number):
    await shared.acquire()
    await shared.acquire()


@sharing(lambda: flow.RateLimiter(1, per=0.02, algorithm="sliding_window"))
async def sliding_window(shared, number):
    await shared.acquire()
    await shared.acquire()


@sharing(flow.ReadWriteLock)
async def readers_behind_a_writer(shared, number):
    async with shared.write() if number == 0 else shared.read():
        await work()


@sharing(flow.ReadWriteLock)
async def a_cancelled_writer_between_readers(shared, number):
    if number == 1:
        async with shared.read():
            for _ in range(8):  # holds it until the writer has been cancelled in line
                await asyncio.sleep(0)
    else:
        await asyncio.sleep(0)
        async with shared.write() if number == 0 else shared.read():
            await work()


@sharing(flow.ReadWriteLock)
async def writers(shared, number):
    async with shared.write():
        await work()


class Items(flow.Channel):
    """A channel whose getters take what the last participant puts one by one."""

    left = 2


@sharing(lambda: Items(1))
async def getters(shared, number):
    if number == 2:
        for item in range(2):
            await shared.put(item)
            await work()
        shared.close()
    else:
        async for _ in shared:
            await work()


@sharing(lambda: Items(1))
async def putters(shared, number):
    if number == 2:
        await work()
        for _ in range(2 if shared.qsize() or shared.waiting else 0):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if shared.qsize():
                await shared.get()
            await asyncio.sleep(0)
        shared.close()
    else:
        try:
            await shared.put(number)
            await work()
        except flow.ChannelClosed:
            pass


class Two:
    """Two channels, given one item that both a selecting and a getting task want."""

    def __init__(self):
        self.left, self.right = flow.Channel(), flow.Channel()

    @property
    def waiting(self):
        return self.left.waiting + self.right.waiting


@sharing(Two)
async def select_beside_get(shared, number):
    if number == 0:
        await flow.select(shared.left, shared.right)
    elif number == 1:
        await shared.right.get()
    else:
        await work()
        shared.right.put_nowait(1)
        await work()
        shared.left.put_nowait(2)
        await work()
        shared.right.put_nowait(3)


@sharing(flow.SingleFlight)
async def single_flight(shared, number):
    assert await shared.call("key", work, 7) == 7


@sharing(lambda: flow.memoize(work))
async def memoize(shared, number):
    assert await shared(7) == 7


@sharing(lambda: flow.debounce(0.0005)(work))
async def debounce(shared, number):
    assert await shared(7) == 7


@sharing(lambda: flow.throttle(0.0005)(work))
async def throttle(shared, number):
    assert await shared(7) == 7


@sharing(lambda: flow.WorkQueue(work, maxsize=1))
async def pushing(shared, number):
    await shared.push(1)
    if number:
        assert await (await shared.push(2)) == 2
    await shared.drain()


@sharing(lambda: flow.Latch(3))
async def latch(shared, number):
    shared.count_down()
    await shared.wait()


@sharing(lambda: flow.Gate(paused=True))
async def gate(shared, number):
    if number == 2:
        await work()
        shared.resume()
    await shared.wait()


@sharing(flow.Latest)
async def latest(shared, number):
    for _ in range(number):
        await asyncio.sleep(0)
    try:
        await shared.call(work)
    except flow.Superseded:
        assert number < 2


@pytest.mark.parametrize("participant", SHARED, ids=lambda participant: participant.__name__)
def test_others_do_not_notice(loop, participant):
    assert strike_one(loop, participant) > 1
