"""Coordination: Gate, Latch and a reader-writer lock.

Invariants: whoever waits is served in the order of arrival; a waiter that is cancelled, also at
the moment at which it is served, leaves nothing behind and blocks nobody.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from ._policy import check_count
from ._waiters import Waiters

R = TypeVar("R")


class Gate:
    """Pause and resume a group of tasks.

    Tasks wait at a paused gate with `await gate.wait()`, or, without knowing of it, when
    their coroutine is wrapped: `create_task(gate.wrap(work()))` is held at its next await as
    long as the gate is paused. (A wait that has ended meanwhile is not lost.)

    Raises nothing of its own; a held task that is cancelled raises CancelledError.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     gate = flow.Gate()
    ...     gate.pause()
    ...     asyncio.get_running_loop().call_later(0.001, gate.resume)
    ...     await gate.wait()
    ...     return gate.paused
    >>> asyncio.run(main())
    False
    """

    def __init__(self, *, paused: bool = False) -> None:
        self._paused = paused
        self._waiters = Waiters()

    @property
    def paused(self) -> bool:
        """Whether tasks are held."""
        return self._paused

    @property
    def waiting(self) -> int:
        """How many tasks are held."""
        return len(self._waiters)

    def pause(self) -> None:
        """Hold whoever comes to the gate from now on."""
        self._paused = True

    def resume(self) -> None:
        """Let everyone go on."""
        self._paused = False
        self._waiters.wake_all()

    async def wait(self) -> None:
        """Pass, after waiting while the gate is paused; CancelledError when cancelled."""
        while self._paused:
            await self._waiters.wait()

    async def wrap(self, coro: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine that is held at every await while the gate is paused.

        Raises what the coroutine raises; a cancellation reaches it also while it is held.
        """
        return await _held(self, coro)


@types.coroutine
def _held(gate: Gate, coro: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
    """Drive `coro` and wait at the gate before each of its steps."""
    try:
        error: BaseException | None = None
        while True:
            if error is None:
                try:
                    yield from gate.wait().__await__()
                except BaseException as caught:
                    error = caught
            try:
                if error is None:
                    waits_for = coro.send(None)
                else:
                    thrown, error = error, None
                    waits_for = coro.throw(thrown)
            except StopIteration as stop:
                result: R = stop.value
                return result
            try:
                yield waits_for
            except BaseException as caught:
                error = caught
    finally:
        coro.close()


class Latch:
    """Wait until something has happened `count` times.

    Raises ValueError for a negative count, and when it has happened more often.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     latch = flow.Latch(2)
    ...     await asyncio.gather(latch.arrive_and_wait(), latch.arrive_and_wait())
    ...     return latch.count
    >>> asyncio.run(main())
    0
    """

    def __init__(self, count: int) -> None:
        if count < 0:
            raise ValueError(f"count must not be negative: {count}")
        self._count = count
        self._waiters = Waiters()

    @property
    def count(self) -> int:
        """How often it has still to happen."""
        return self._count

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._waiters)

    def count_down(self, by: int = 1) -> None:
        """Count; at zero everyone who waits goes on.

        Raises ValueError when it has happened too often, or `by` is below 1.
        """
        check_count("by", by)
        if by > self._count:
            raise ValueError(f"cannot count down by {by}: {self._count} left")
        self._count -= by
        if self._count == 0:
            self._waiters.wake_all()

    async def wait(self) -> None:
        """Wait until the count is zero; CancelledError when cancelled."""
        while self._count:
            await self._waiters.wait()

    async def arrive_and_wait(self) -> None:
        """Count down by one, then wait; raises as `count_down` and `wait`."""
        self.count_down()
        await self.wait()


class ReadWriteLock:
    """Many readers or one writer: `async with lock.read():`, `async with lock.write():`.

    Served in the order of arrival: readers that come after a waiting writer wait behind it,
    so neither side starves. It is not reentrant.

    Raises nothing of its own; a waiter that is cancelled raises CancelledError, and then
    holds nothing.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     lock = flow.ReadWriteLock()
    ...     async with lock.read(), lock.read():
    ...         print(lock.readers, lock.writing)
    ...     async with lock.write():
    ...         print(lock.readers, lock.writing)
    >>> asyncio.run(main())
    2 False
    0 True
    """

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._line: dict[asyncio.Future[None], bool] = {}  # waiting, in order: is it a writer?

    @property
    def readers(self) -> int:
        """How many hold it for reading."""
        return self._readers

    @property
    def writing(self) -> bool:
        """Whether it is held for writing."""
        return self._writing

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._line)

    def _is_free_for(self, writer: bool) -> bool:
        return not self._writing and not (writer and self._readers)

    def _take(self, writer: bool) -> None:
        if writer:
            self._writing = True
        else:
            self._readers += 1

    def _release(self, writer: bool) -> None:
        if writer:
            self._writing = False
        else:
            self._readers -= 1
        self._serve()

    def _serve(self) -> None:
        """Hand the lock to those in line whom it suits, up to the first whom it does not."""
        while self._line:
            future, writer = next(iter(self._line.items()))
            if not future.done():
                if not self._is_free_for(writer):
                    return
                self._take(writer)
                future.set_result(None)
            del self._line[future]

    async def _acquire(self, writer: bool) -> None:
        if not self._line and self._is_free_for(writer):
            self._take(writer)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[future] = writer
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(writer)
            else:
                self._line.pop(future, None)
                self._serve()
            raise

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[None, None]:
        """Hold the lock for reading inside the block; CancelledError when cancelled waiting."""
        await self._acquire(False)
        try:
            yield
        finally:
            self._release(False)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[None, None]:
        """Hold the lock for writing inside the block; CancelledError when cancelled waiting."""
        await self._acquire(True)
        try:
            yield
        finally:
            self._release(True)
