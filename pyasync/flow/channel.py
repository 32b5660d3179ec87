"""Channels: bounded, closable queues between many producers and consumers, and select.

Invariants: an item stays in the channel until a consumer that will return it takes it, so a
cancelled `get` loses none; a wake-up is passed on by whoever does not use it; after `close`
what is in the channel can still be got.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from ._waiters import Waiters

T = TypeVar("T")


class ChannelClosed(Exception):
    """A channel is closed: nothing can be put, or nothing is left to get.

    >>> from pyasync import flow
    >>> flow.ChannelClosed()
    ChannelClosed('the channel is closed')
    """

    def __init__(self) -> None:
        super().__init__("the channel is closed")


class Channel(Generic[T]):
    """A queue of at most `maxsize` items (0: any number) that can be closed.

    Like `asyncio.Queue`, and closable: `close` makes `put` fail at once and `get` fail when
    nothing is left. `async for item in channel` takes items until it is closed and empty; any
    number of tasks may put, get and iterate.

    Raises ValueError for a negative `maxsize`.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def produce(channel):
    ...     for number in range(3):
    ...         await channel.put(number)
    ...     channel.close()
    >>> async def main():
    ...     channel = flow.Channel(1)
    ...     async with asyncio.TaskGroup() as group:
    ...         group.create_task(produce(channel))
    ...         return [number async for number in channel]
    >>> asyncio.run(main())
    [0, 1, 2]
    """

    def __init__(self, maxsize: int = 0) -> None:
        if maxsize < 0:
            raise ValueError(f"maxsize must not be negative: {maxsize}")
        self._maxsize = maxsize
        self._items: deque[T] = deque()
        self._closed = False
        self._getters = Waiters()
        self._putters = Waiters()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Channel {state} {len(self._items)} of {self._maxsize or 'any number'}>"

    @property
    def maxsize(self) -> int:
        """How many items fit; 0 means any number."""
        return self._maxsize

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many tasks wait to put or to get."""
        return len(self._getters) + len(self._putters)

    def qsize(self) -> int:
        """How many items are in it."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether no item is in it."""
        return not self._items

    def full(self) -> bool:
        """Whether no further item fits."""
        return 0 < self._maxsize <= len(self._items)

    def close(self) -> None:
        """Let nothing more in, and wake everyone who waits; from the second call on nothing."""
        self._closed = True
        self._getters.wake_all()
        self._putters.wake_all()

    def put_nowait(self, item: T) -> None:
        """Put an item. Raises ChannelClosed, or asyncio.QueueFull when none fits."""
        if self._closed:
            raise ChannelClosed
        if self.full():
            raise asyncio.QueueFull
        self._items.append(item)
        self._getters.wake()

    async def put(self, item: T) -> None:
        """Put an item, after waiting for room.

        Raises ChannelClosed when the channel is closed, also while waiting; CancelledError
        when cancelled, and then the item has not been put.
        """
        while self.full() and not self._closed:
            await self._putters.wait()
        self.put_nowait(item)

    def get_nowait(self) -> T:
        """Take an item. Raises asyncio.QueueEmpty, or ChannelClosed when none will come."""
        if not self._items:
            if self._closed:
                raise ChannelClosed
            raise asyncio.QueueEmpty
        item = self._items.popleft()
        self._putters.wake()
        return item

    async def get(self) -> T:
        """Take an item, after waiting for one.

        Raises ChannelClosed when the channel is closed and empty; CancelledError when
        cancelled, and then no item has been taken.
        """
        while not self._items and not self._closed:
            await self._getters.wait()
        return self.get_nowait()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except ChannelClosed:
            raise StopAsyncIteration from None

    def _ready(self) -> bool:
        return bool(self._items)


async def select(*channels: Channel[T]) -> tuple[Channel[T], T]:
    """Take an item from the first of several channels that has one; give both.

    When several have one, the first in the order of the arguments is taken. Nothing is taken
    from the others. Channels that are closed and empty are left out.

    Raises ChannelClosed when all are closed and empty; ValueError when there are none;
    CancelledError when cancelled, and then no item has been taken.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     words, numbers = flow.Channel(), flow.Channel()
    ...     numbers.put_nowait(1)
    ...     channel, item = await flow.select(words, numbers)
    ...     return channel is numbers, item
    >>> asyncio.run(main())
    (True, 1)
    """
    if not channels:
        raise ValueError("select needs at least one channel")
    while True:
        for channel in channels:
            if channel._ready():
                return channel, channel.get_nowait()
        if all(channel.closed for channel in channels):
            raise ChannelClosed
        await _any_ready([channel for channel in channels if not channel.closed])


async def _any_ready(channels: list[Any]) -> None:
    """Wait until one of the channels wakes its getters, and pass that wake-up on.

    It is passed on always: whoever gets it looks again, and if this task takes the item the
    other finds none and waits on.
    """
    future: asyncio.Future[Waiters] = asyncio.get_running_loop().create_future()
    for channel in channels:
        channel._getters.enter(future)
    try:
        await future
    finally:
        for channel in channels:
            channel._getters.leave(future)
        if future.done() and not future.cancelled():
            future.result().wake()
