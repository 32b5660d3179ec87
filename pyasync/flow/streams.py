"""Streams: async iterators made of others, with backpressure and in bounded memory.

Each function gives an async generator. Use `contextlib.aclosing` around a loop that may be left
early: then everything that the stream started has ended when the block is left. Inputs are sync
or async iterables; async generators among them are closed at the end.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeVar, overload

from ._crew import Crew
from ._engine import Job, closing_source
from ._policy import check_count, check_positive
from ._source import END, Source, check_items
from ._waiters import Waiters

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Items = Iterable[T] | AsyncIterable[T]


def buffered(items: Items[T], size: int = 1) -> AsyncGenerator[T, None]:
    """Yield the items, pulled up to `size` ahead of the consumer by a task of their own.

    Raises what the input raises, after the items before it; ValueError or TypeError at once
    for a size below 1 or an input that cannot be iterated.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     return [item async for item in flow.buffered("abc", 2)]
    >>> asyncio.run(main())
    ['a', 'b', 'c']
    """
    check_items(items)
    check_count("size", size)
    return merge(items, size=size)


def merge(*sources: Items[T], size: int = 1) -> AsyncGenerator[T, None]:
    """Yield the items of all sources as they come, pulled side by side.

    At most `size` items wait for the consumer, and each source holds one more.

    Raises what a source raises (after the items that came before it), an ExceptionGroup when
    several fail at once; ValueError or TypeError at once for a size below 1 or a source that
    cannot be iterated.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     return sorted([item async for item in flow.merge("abc", "xy")])
    >>> asyncio.run(main())
    ['a', 'b', 'c', 'x', 'y']
    """
    for items in sources:
        check_items(items)
    check_count("size", size)
    return _merge(sources, size)


class _Late(enum.Enum):
    """What `_Feeders.next` gives when its time is up."""

    LATE = enum.auto()


class _Feeders:
    """Tasks that pull from sources, one each, and the items that wait for the consumer."""

    def __init__(self, sources: Iterable[Items[Any]], size: int) -> None:
        self._sources = sources
        self._size = size
        self._ready: deque[Any] = deque()
        self._room = Waiters()
        self._crew = Crew()

    async def _feed(self, items: Items[Any]) -> None:
        source = Source(items)
        async with closing_source(source):
            while (item := await source.pull()) is not END:
                while len(self._ready) >= self._size:
                    await self._room.wait()
                self._ready.append(item)
                self._crew.wake()

    async def next(self, deadline: float | None = None) -> Any:
        """The next item; END when there are no more; LATE at `deadline`, a loop time."""
        while not self._ready:
            if self._crew.idle:
                return END
            try:
                async with asyncio.timeout_at(deadline):
                    await self._crew.wait()
            except TimeoutError:
                return _Late.LATE
        item = self._ready.popleft()
        self._room.wake()
        return item

    async def __aenter__(self) -> _Feeders:
        for items in self._sources:
            self._crew.spawn(self._feed(items))
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._crew.__aexit__(*raised)


async def _merge(sources: tuple[Items[Any], ...], size: int) -> AsyncGenerator[Any, None]:
    async with _Feeders(sources, size) as feeders:
        while (item := await feeders.next()) is not END:
            yield item


def batched(
    items: Items[T], size: int, *, within: float | None = None
) -> AsyncGenerator[tuple[T, ...], None]:
    """Yield tuples of `size` items, the last one maybe shorter: `itertools.batched`.

    With `within`, in seconds, a batch is also yielded that long after its first item came,
    full or not; the input is then pulled by a task of its own, up to `size` items ahead.

    Raises what the input raises, after the batch of the items before it; ValueError or
    TypeError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     return [batch async for batch in flow.batched("abc", 2)]
    >>> asyncio.run(main())
    [('a', 'b'), ('c',)]
    """
    check_items(items)
    check_count("size", size)
    if within is None:
        return _batched(items, size)
    check_positive("within", within)
    return _batched_within(items, size, within)


async def _batched(items: Items[Any], size: int) -> AsyncGenerator[tuple[Any, ...], None]:
    source = Source(items)
    batch: list[Any] = []
    async with closing_source(source):
        error = None
        while True:
            try:
                item = await source.pull()
            except Exception as failure:
                error = failure
                break
            if item is END:
                break
            batch.append(item)
            if len(batch) == size:
                yield tuple(batch)
                batch.clear()
        if batch:
            yield tuple(batch)
        if error is not None:
            raise error


async def _batched_within(
    items: Items[Any], size: int, within: float
) -> AsyncGenerator[tuple[Any, ...], None]:
    loop = asyncio.get_running_loop()
    async with _Feeders((items,), size) as feeders:
        batch: list[Any] = []
        deadline: float | None = None
        while (item := await feeders.next(deadline)) is not END:
            if item is not _Late.LATE:
                batch.append(item)
                deadline = deadline or loop.time() + within
            if item is _Late.LATE or len(batch) == size:
                yield tuple(batch)
                batch.clear()
                deadline = None
        if batch:
            yield tuple(batch)


@overload
def zip(
    first: Items[A], second: Items[B], /, *, strict: bool = False
) -> AsyncGenerator[tuple[A, B], None]: ...
@overload
def zip(
    first: Items[A], second: Items[B], third: Items[C], /, *, strict: bool = False
) -> AsyncGenerator[tuple[A, B, C], None]: ...
@overload
def zip(*sources: Items[T], strict: bool = False) -> AsyncGenerator[tuple[T, ...], None]: ...
def zip(*sources: Items[Any], strict: bool = False) -> AsyncGenerator[tuple[Any, ...], None]:
    """Yield tuples of one item of each source, until the first of them ends: `zip`.

    The items of a tuple are pulled side by side.

    Raises what a source raises, an ExceptionGroup when several fail at once; with `strict`
    ValueError when one ends before the others; TypeError at once for a source that cannot be
    iterated.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     return [pair async for pair in flow.zip("abc", [1, 2])]
    >>> asyncio.run(main())
    [('a', 1), ('b', 2)]
    """
    for items in sources:
        check_items(items)
    return _zip(sources, strict)


async def _zip(
    inputs: tuple[Items[Any], ...], strict: bool
) -> AsyncGenerator[tuple[Any, ...], None]:
    async with AsyncExitStack() as stack:
        sources = [Source(items) for items in inputs]
        for source in sources:
            await stack.enter_async_context(closing_source(source))
        while sources:
            job = Job(Source.pull, sources, None, None)
            row = await job.results(lambda source, item: item)
            ended = [item is END for item in row]
            if any(ended):
                if strict and not all(ended):
                    raise ValueError(f"source {ended.index(True) + 1} ended before the others")
                return
            yield tuple(row)
