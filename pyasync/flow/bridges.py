"""Bridges: blocking iterators, files and callbacks as async iterators.

Invariants: what blocks runs in a thread and is waited for, also after a cancellation, before
anything is closed; nothing is read ahead of the consumer beyond what the arguments say.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from typing import IO, Any, Generic, Literal, TypeVar, overload

from ._policy import check_count
from ._source import END
from ._waiters import Waiters
from .executors import Pool, call, check_executor, opened, submit, submit_to_the_end

T = TypeVar("T")

Overflow = Literal["error", "drop_oldest", "drop_newest"]


def _check_threads(executor: Pool) -> None:
    check_executor(executor)
    if executor in ("processes", "interpreters"):
        raise ValueError(f"executor={executor!r}: this one needs threads")


def to_thread_iter(iterable: Iterable[T], *, executor: Pool = "threads") -> AsyncGenerator[T, None]:
    """Yield the items of a blocking iterable, each `next` called in a thread.

    Nothing is read ahead. A generator is closed in the end, in the thread. A cancellation
    takes effect when the running `next` has returned.

    Raises what the iterable raises; ValueError or TypeError at once for an executor that has
    no threads of this interpreter.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     return [item async for item in flow.to_thread_iter(range(3))]
    >>> asyncio.run(main())
    [0, 1, 2]
    """
    _check_threads(executor)
    return _to_thread_iter(iterable, executor)


async def _to_thread_iter(iterable: Iterable[Any], executor: Pool) -> AsyncGenerator[Any, None]:
    async with opened(executor, 1) as pool:
        assert pool is not None
        iterator = await submit(pool, iter, iterable)
        try:
            while (item := await submit(pool, next, iterator, END)) is not END:
                yield item
        finally:
            if isinstance(iterator, Generator):
                await submit_to_the_end(pool, iterator.close)


class _Lines:
    """A file that is read some lines at a time, in a thread."""

    def __init__(self, path: Any, options: dict[str, Any], chunk: int, longest: int) -> None:
        self._path = path
        self._options = options
        self._chunk = chunk
        self._longest = longest
        self._file: IO[Any] | None = None

    def read(self) -> list[Any]:
        """The next lines, about `chunk` characters of them; none at the end."""
        if self._file is None:
            self._file = open(self._path, **self._options)
        lines: list[Any] = []
        left = self._chunk
        while left > 0 and (line := self._file.readline(self._longest + 1)):
            if len(line) > self._longest:
                raise ValueError(
                    f"{self._path}: a line is longer than {self._longest}: raise longest="
                )
            lines.append(line)
            left -= len(line)
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@overload
def chunked_lines(
    path: str | os.PathLike[str],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    chunk: int = 65536,
    longest: int = 16777216,
    executor: Pool = "threads",
) -> AsyncGenerator[str, None]: ...
@overload
def chunked_lines(
    path: str | os.PathLike[str],
    *,
    encoding: None,
    chunk: int = 65536,
    longest: int = 16777216,
    executor: Pool = "threads",
) -> AsyncGenerator[bytes, None]: ...
def chunked_lines(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = "utf-8",
    errors: str = "strict",
    chunk: int = 65536,
    longest: int = 16777216,
    executor: Pool = "threads",
) -> AsyncGenerator[Any, None]:
    """Yield the lines of a file of any size, with their ends, read in a thread.

    About `chunk` characters are read at a time, and only that much is in memory. With
    `encoding=None` the lines are bytes.

    Raises OSError and UnicodeError as `open` does; ValueError for a line of more than
    `longest` characters, and at once for arguments that cannot work.

    >>> import asyncio, tempfile
    >>> from pyasync import flow
    >>> async def main(path):
    ...     return [line async for line in flow.chunked_lines(path)]
    >>> with tempfile.NamedTemporaryFile("w") as file:
    ...     print("one\\ntwo", file=file, flush=True)
    ...     asyncio.run(main(file.name))
    ['one\\n', 'two\\n']
    """
    check_count("chunk", chunk)
    check_count("longest", longest)
    _check_threads(executor)
    options: dict[str, Any] = {"mode": "rb"}
    if encoding is not None:
        options = {"mode": "r", "encoding": encoding, "errors": errors}
    return _chunked_lines(_Lines(path, options, chunk, longest), executor)


async def _chunked_lines(lines: _Lines, executor: Pool) -> AsyncGenerator[Any, None]:
    async with opened(executor, 1) as pool:
        assert pool is not None
        try:
            while batch := await submit(pool, lines.read):
                for line in batch:
                    yield line
        finally:
            lines.close()


class Emitter(Generic[T]):
    """The callback side of `from_callback`: `emit(item)`, `emit.close()`, `emit.fail(error)`.

    May be used from any thread. After the end of the stream it does nothing.

    Raises RuntimeError, from another thread, when the loop has been closed.

    >>> import asyncio
    >>> from pyasync import flow
    >>> def subscribe(emit):
    ...     emit("item")
    ...     emit.fail(OSError("lost"))
    >>> async def main():
    ...     async for item in flow.from_callback(subscribe):
    ...         print(item)
    >>> try:
    ...     asyncio.run(main())
    ... except OSError as error:
    ...     print(error)
    item
    lost
    """

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._maxsize = maxsize
        self._overflow = overflow
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._consumer = Waiters()

    def _on_loop(self, function: Callable[..., object], *args: Any) -> None:
        if threading.get_ident() == self._thread:
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def __call__(self, item: T) -> None:
        """Give the stream an item."""
        self._on_loop(self._put, item)

    def close(self) -> None:
        """End the stream after the items that it has."""
        self._on_loop(self._end, None)

    def fail(self, error: BaseException) -> None:
        """End the stream with an exception after the items that it has."""
        self._on_loop(self._end, error)

    def _put(self, item: T) -> None:
        if self._ended:
            return
        if 0 < self._maxsize <= len(self._items):
            if self._overflow == "drop_newest":
                return
            if self._overflow == "error":
                self._end(asyncio.QueueFull(f"the consumer is {self._maxsize} items behind"))
                return
            self._items.popleft()
        self._items.append(item)
        self._consumer.wake()

    def _end(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._consumer.wake()

    async def _next(self) -> Any:
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return END
            await self._consumer.wait()
        return self._items.popleft()


def from_callback(
    register: Callable[[Emitter[T]], Callable[[], object] | Awaitable[Any] | None],
    *,
    maxsize: int = 0,
    overflow: Overflow = "error",
) -> AsyncGenerator[T, None]:
    """Yield what a callback gets: `register(emit)` is called when the iteration begins.

    It arranges for `emit(item)` to be called, from any thread, and returns a function that
    ends this (or None); that is called when the stream ends, however it ends. Both may be
    async. `emit.close()` ends the stream, `emit.fail(error)` fails it.

    A callback cannot be made to wait, so `overflow` says what happens to an item when
    `maxsize` (0: any number) are waiting: "error" ends the stream with asyncio.QueueFull,
    "drop_oldest" and "drop_newest" drop one.

    Raises what `register` raises, and what the stream was failed with, after the items before
    it; ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> def subscribe(emit):
    ...     asyncio.get_running_loop().call_soon(emit, "tick")
    ...     asyncio.get_running_loop().call_soon(emit.close)
    ...     return lambda: print("unsubscribed")
    >>> async def main():
    ...     async for item in flow.from_callback(subscribe):
    ...         print(item)
    >>> asyncio.run(main())
    tick
    unsubscribed
    """
    if maxsize < 0:
        raise ValueError(f"maxsize must not be negative: {maxsize}")
    if overflow not in ("error", "drop_oldest", "drop_newest"):
        raise ValueError(f"overflow={overflow!r}: pass 'error', 'drop_oldest' or 'drop_newest'")
    return _from_callback(register, maxsize, overflow)


async def _from_callback(
    register: Callable[[Emitter[Any]], Any], maxsize: int, overflow: Overflow
) -> AsyncGenerator[Any, None]:
    emitter: Emitter[Any] = Emitter(maxsize, overflow)
    unregister = await call(None, register, emitter)
    try:
        while (item := await emitter._next()) is not END:
            yield item
    finally:
        emitter._end(None)
        if unregister is not None:
            await call(None, unregister)
