"""Work queues: items pushed by anyone, worked on by a bounded number of workers.

Invariants:
- Every accepted item has a future that ends exactly once: with the worker's result, its
  exception, or cancelled (queue shut down at once, run cancelled). Cancelling the future drops
  the item, or cancels its run.
- A run is a task of its own, with the context variables of whoever pushed the item; at most
  `concurrency` exist, and none when there is no work.
- An error belongs to the items of its run alone.
- After a shutdown no task and no waiter is left.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from ._crew import report
from ._policy import check_count
from ._waiters import Waiters
from .executors import Pool, call, check_executor, close_pool, pool_of

T = TypeVar("T")
R = TypeVar("R")


class QueueClosed(Exception):
    """An item was pushed to a work queue that has been shut down.

    >>> from pyasync import flow
    >>> flow.QueueClosed()
    QueueClosed('the queue has been shut down')
    """

    def __init__(self) -> None:
        super().__init__("the queue has been shut down")


class _Entry(Generic[T, R]):
    """An item that has been pushed, and where its result goes."""

    __slots__ = ("context", "future", "item", "order")

    def __init__(self, item: T, order: tuple[Any, ...]) -> None:
        self.item = item
        self.order = order
        self.context = contextvars.copy_context()
        self.future: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: _Entry[Any, Any]) -> bool:
        return self.order < other.order


class _Line(Generic[T, R]):
    """Entries in the order in which they were pushed."""

    def __init__(self) -> None:
        self._entries: deque[_Entry[T, R]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[_Entry[T, R]]:
        return iter(self._entries)

    def add(self, entry: _Entry[T, R]) -> None:
        self._entries.append(entry)

    def add_first(self, entry: _Entry[T, R]) -> None:
        self._entries.appendleft(entry)

    def take(self) -> _Entry[T, R]:
        return self._entries.popleft()

    def keep(self, wanted: Callable[[_Entry[T, R]], bool]) -> None:
        self._entries = deque(entry for entry in self._entries if wanted(entry))


class _Heap(_Line[T, R]):
    """Entries in the order of their priority."""

    def __init__(self) -> None:
        self._heap: list[_Entry[T, R]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[_Entry[T, R]]:
        return iter(sorted(self._heap))

    def add(self, entry: _Entry[T, R]) -> None:
        if self._heap:
            entry < self._heap[0]  # noqa: B015  # raises TypeError before the heap is touched
        heapq.heappush(self._heap, entry)

    def take(self) -> _Entry[T, R]:
        return heapq.heappop(self._heap)

    def keep(self, wanted: Callable[[_Entry[T, R]], bool]) -> None:
        self._heap = [entry for entry in self._heap if wanted(entry)]
        heapq.heapify(self._heap)


class _Queue(Generic[T, R]):
    """What the work queues share: see `WorkQueue`."""

    _batch = 1

    def __init__(
        self,
        worker: Callable[..., Any],
        concurrency: int,
        maxsize: int,
        on_error: Callable[[BaseException, Any], object] | None,
        executor: Pool | None,
    ) -> None:
        if not callable(worker):
            raise TypeError(f"worker must be a function, not {worker!r}")
        check_count("concurrency", concurrency)
        if maxsize < 0:
            raise ValueError(f"maxsize must not be negative: {maxsize}")
        check_executor(executor, worker)
        self._worker = worker
        self._concurrency = concurrency
        self._maxsize = maxsize
        self._on_error = on_error
        self._executor = executor
        self._line: _Line[T, R] = _Line()
        self._runs: dict[asyncio.Task[R], list[_Entry[T, R]]] = {}
        self._pool: Executor | None = None
        self._pushed = 0
        self._scheduled = False
        self._paused = False
        self._closed = False
        self._room = Waiters()  # those who wait to push
        self._changes = Waiters()  # those who wait for the end of a run

    def __repr__(self) -> str:
        state = "closed" if self._closed else "paused" if self._paused else "open"
        return (
            f"<{type(self).__name__} {state}, {len(self._runs)} running, {len(self._line)} queued>"
        )

    @property
    def concurrency(self) -> int:
        """How many runs there are at once at most; can be changed at any time."""
        return self._concurrency

    @concurrency.setter
    def concurrency(self, value: int) -> None:
        check_count("concurrency", value)
        self._concurrency = value
        self._schedule()

    @property
    def maxsize(self) -> int:
        """How many items may wait; 0 means any number."""
        return self._maxsize

    @property
    def running(self) -> int:
        """How many runs there are now."""
        return len(self._runs)

    @property
    def waiting(self) -> int:
        """How many tasks wait to push, for `drain` or for `unsaturated`."""
        return len(self._room) + len(self._changes)

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._paused

    @property
    def closed(self) -> bool:
        """Whether it has been shut down."""
        return self._closed

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting and nothing is running."""
        return not self._runs and not self._line

    @property
    def saturated(self) -> bool:
        """Whether every worker is busy, so that the next item will have to wait."""
        return len(self._runs) >= self._concurrency

    def qsize(self) -> int:
        """How many items wait."""
        return len(self._line)

    def full(self) -> bool:
        """Whether no further item may wait."""
        return 0 < self._maxsize <= len(self._line)

    def pause(self) -> None:
        """Start no further run; what runs goes on."""
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self._schedule()

    def remove(self, test: Callable[[T], object]) -> int:
        """Drop the waiting items for which `test` says yes; cancel their futures; count them."""
        dropped = [entry for entry in self._line if test(entry.item)]
        self._drop(dropped)
        return len(dropped)

    async def drain(self) -> None:
        """Wait until nothing is waiting and nothing is running; CancelledError when cancelled."""
        while not self.idle:
            await self._changes.wait()

    async def unsaturated(self) -> None:
        """Wait until a worker is free; CancelledError when cancelled."""
        while self.saturated:
            await self._changes.wait()

    async def shutdown(self, immediate: bool = False) -> None:
        """Take no further items and wait for the end of the work; ends a pause.

        Gracefully everything that was pushed is worked on. With `immediate` the waiting items
        are dropped and the running ones cancelled, and their futures too.

        Raises CancelledError when the caller is cancelled; a graceful shutdown becomes an
        immediate one then.
        """
        self._closed = True
        self._room.wake_all()
        try:
            if not immediate:
                self.resume()
                await self.drain()
        finally:
            self._drop(list(self._line))
            for task in self._runs:
                task.cancel()
            await self._settle()

    async def _settle(self) -> None:
        """Wait for the runs and close the pool; raise the cancellation that came meanwhile."""
        cancelled = None
        while self._runs:
            try:
                await self._changes.wait()
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        pool, self._pool = self._pool, None
        if pool is not None and isinstance(self._executor, str):
            await close_pool(pool)
        if cancelled is not None:
            raise cancelled

    async def _push(self, item: T, priority: Any, first: bool) -> asyncio.Future[R]:
        while self.full() and not self._closed:
            await self._room.wait()
        return self._push_nowait(item, priority, first)

    def _push_nowait(self, item: T, priority: Any, first: bool) -> asyncio.Future[R]:
        if self._closed:
            raise QueueClosed
        if self.full():
            raise asyncio.QueueFull
        self._pushed += 1
        entry: _Entry[T, R] = _Entry(item, (priority, self._pushed))
        (self._line.add_first if first else self._line.add)(entry)
        entry.future.add_done_callback(partial(self._future_done, entry))
        self._schedule()
        return entry.future

    def _future_done(self, entry: _Entry[T, R], future: asyncio.Future[R]) -> None:
        """Stop working on an item whose future was cancelled."""
        if not future.cancelled():
            return
        if any(waiting is entry for waiting in self._line):
            self._drop([entry])
        for task, batch in self._runs.items():
            if entry in batch and all(other.future.cancelled() for other in batch):
                task.cancel()

    def _drop(self, entries: list[_Entry[T, R]]) -> None:
        dropped = set(map(id, entries))
        self._line.keep(lambda entry: id(entry) not in dropped)
        for entry in entries:
            entry.future.cancel()
            self._room.wake()
        self._changes.wake_all()

    def _schedule(self) -> None:
        """Start runs in the loop's next turn: what is pushed until then can share a batch."""
        if self._line and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        while self._line and not self._paused and len(self._runs) < self._concurrency:
            batch = [self._line.take() for _ in range(min(self._batch, len(self._line)))]
            for _ in batch:
                self._room.wake()
            if self._executor is not None and self._pool is None:
                self._pool = pool_of(self._executor, self._concurrency)
            argument = self._argument(batch)
            task: asyncio.Task[R] = loop.create_task(
                call(self._pool, self._worker, argument), context=batch[0].context
            )
            self._runs[task] = batch
            task.add_done_callback(self._run_ended)

    def _argument(self, batch: list[_Entry[T, R]]) -> Any:
        return batch[0].item

    def _run_ended(self, task: asyncio.Task[R]) -> None:
        batch = self._runs.pop(task)
        error = None if task.cancelled() else task.exception()
        for entry in batch:
            if entry.future.done():
                continue
            if task.cancelled() or not isinstance(error, Exception | None):
                entry.future.cancel()
            elif error is None:
                entry.future.set_result(task.result())
            else:
                self._fail(entry, error)
        self._start()
        self._changes.wake_all()

    def _fail(self, entry: _Entry[T, R], error: Exception) -> None:
        entry.future.set_exception(error)
        if self._on_error is not None:
            entry.future.exception()  # it has been seen: `on_error` gets it
            try:
                self._on_error(error, entry.item)
            except Exception as failure:
                report("on_error of a work queue failed", failure)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown(immediate=error is not None)


class WorkQueue(_Queue[T, R]):
    """Work on pushed items, at most `concurrency` at once.

    `future = await queue.push(item)` waits for room (`maxsize`, 0: any number of items may
    wait) and gives the future of the item's result. `async with` shuts it down in the end:
    gracefully, or at once when the block raises. `on_error(error, item)` is called for every
    failed item; without it look at the futures.

    Raises TypeError or ValueError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def double(number):
    ...     return 2 * number
    >>> async def main():
    ...     async with flow.WorkQueue(double, concurrency=2) as queue:
    ...         futures = [await queue.push(number) for number in range(3)]
    ...     return [future.result() for future in futures]
    >>> asyncio.run(main())
    [0, 2, 4]
    """

    @overload
    def __init__(
        self,
        worker: Callable[[T], Awaitable[R]],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        worker: Callable[[T], R],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    def __init__(
        self,
        worker: Callable[[T], Any],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None:
        super().__init__(worker, concurrency, maxsize, on_error, executor)

    async def push(self, item: T) -> asyncio.Future[R]:
        """Put an item at the end, after waiting for room; give the future of its result.

        Raises QueueClosed after a shutdown, also while waiting; CancelledError when cancelled,
        and then the item has not been pushed.
        """
        return await self._push(item, 0, False)

    async def unshift(self, item: T) -> asyncio.Future[R]:
        """Put an item at the front; otherwise as `push`."""
        return await self._push(item, 0, True)

    def push_nowait(self, item: T) -> asyncio.Future[R]:
        """Put an item at the end. Raises QueueClosed, or asyncio.QueueFull without room."""
        return self._push_nowait(item, 0, False)


class PriorityWorkQueue(_Queue[T, R]):
    """A work queue that takes the item with the lowest priority number first.

    Items of equal priority keep their order; otherwise as `WorkQueue`, without `unshift`.

    Raises TypeError or ValueError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async with flow.PriorityWorkQueue(print) as queue:
    ...         await queue.push("later", priority=2)
    ...         await queue.push("sooner", priority=1)
    >>> asyncio.run(main())
    sooner
    later
    """

    @overload
    def __init__(
        self,
        worker: Callable[[T], Awaitable[R]],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        worker: Callable[[T], R],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    def __init__(
        self,
        worker: Callable[[T], Any],
        concurrency: int = 1,
        *,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None:
        super().__init__(worker, concurrency, maxsize, on_error, executor)
        self._line = _Heap()

    async def push(self, item: T, priority: Any = 0) -> asyncio.Future[R]:
        """Put an item, after waiting for room; give the future of its result.

        Raises QueueClosed after a shutdown, also while waiting; TypeError for a priority that
        cannot be compared with the others; CancelledError when cancelled, and then the item
        has not been pushed.
        """
        return await self._push(item, priority, False)

    def push_nowait(self, item: T, priority: Any = 0) -> asyncio.Future[R]:
        """Put an item. Raises QueueClosed, or asyncio.QueueFull without room."""
        return self._push_nowait(item, priority, False)


class Cargo(_Queue[T, R]):
    """A work queue whose worker gets the waiting items in lists of up to `payload`.

    A run takes what waits when it begins, without waiting for more. The future of each item
    gets the result of its run; otherwise as `WorkQueue`.

    Raises TypeError or ValueError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async with flow.Cargo(print, payload=2) as cargo:
    ...         for item in "abc":
    ...             await cargo.push(item)
    >>> asyncio.run(main())
    ['a', 'b']
    ['c']
    """

    @overload
    def __init__(
        self,
        worker: Callable[[list[T]], Awaitable[R]],
        payload: int,
        *,
        concurrency: int = 1,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        worker: Callable[[list[T]], R],
        payload: int,
        *,
        concurrency: int = 1,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None: ...
    def __init__(
        self,
        worker: Callable[[list[T]], Any],
        payload: int,
        *,
        concurrency: int = 1,
        maxsize: int = 0,
        on_error: Callable[[BaseException, T], object] | None = None,
        executor: Pool | None = None,
    ) -> None:
        check_count("payload", payload)
        super().__init__(worker, concurrency, maxsize, on_error, executor)
        self._batch = payload

    def _argument(self, batch: list[_Entry[T, R]]) -> list[T]:
        return [entry.item for entry in batch]

    async def push(self, item: T) -> asyncio.Future[R]:
        """Put an item, after waiting for room; give the future of its run's result.

        Raises QueueClosed after a shutdown, also while waiting; CancelledError when cancelled,
        and then the item has not been pushed.
        """
        return await self._push(item, 0, False)

    def push_nowait(self, item: T) -> asyncio.Future[R]:
        """Put an item. Raises QueueClosed, or asyncio.QueueFull without room."""
        return self._push_nowait(item, 0, False)
