"""The bounded parallel engine that all collection functions stand on.

A fixed set of at most `limit` worker tasks pulls items; there is no task per item. A worker
task recruits the next one after its first item, so that a large limit costs nothing when
there are few items.

Invariants:
- Items are pulled, and their calls begin, in the order of the input; at most `limit` are
  between being pulled and having their result taken.
- After a failure nothing more is pulled. `Crew` does the rest: cancel, wait, raise.
- An item cannot leave a mark on the next: a worker task whose item changed a context
  variable, or left a cancellation request behind, retires, and a fresh one takes its place.
- Workers that never wait for anything still let the loop run every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from time import monotonic
from types import CoroutineType
from typing import Any, Literal

from ._crew import Crew
from ._source import END, Source, check_items, check_limit
from .executors import Pool, call, check_executor, is_awaitable, opened, submit

TURN = 0.005  # seconds that workers which never wait may keep the loop to themselves

Emit = Callable[[int, Any, Any], None]  # (position in the input, item, result)
Keep = Callable[[Any, Any], Any]  # (item, result) -> what the caller gets of it
Form = Literal["item", "value", "pair"]  # what of a pulled item the worker is given


class Turn:
    """Keeps work that never waits from keeping the loop to itself."""

    def __init__(self) -> None:
        self._ends = monotonic() + TURN

    def over(self) -> bool:
        """Whether it is time to let the loop run."""
        return monotonic() >= self._ends

    async def end(self) -> None:
        """Let the loop run once."""
        await asyncio.sleep(0)
        self._ends = monotonic() + TURN


class Engine:
    """Calls `call(item)` for every item of `source`, at most `limit` at once."""

    def __init__(
        self,
        call: Callable[[Any], Any],
        source: Source,
        limit: int | None,
        emit: Emit,
        window: asyncio.Semaphore | None = None,
    ) -> None:
        self.crew = Crew()
        self._call = call
        self._source = source
        self._limit = limit
        self._emit = emit
        self._window = window
        self._context = copy_context()
        self._pulled = 0
        self._recruited = 0
        self._turn = Turn()

    def start(self) -> None:
        """Start the first worker tasks: as many as a sized input can use, else one."""
        count = self._source.length or 1
        for _ in range(count if self._limit is None else min(count, self._limit)):
            self._recruit()

    def _recruit(self) -> None:
        self._recruited += 1
        self.crew.spawn(self._work(), context=self._context.copy())

    async def _work(self) -> None:
        crew, emit, call = self.crew, self._emit, self._call
        newest = self._recruited
        if crew.starting:
            await asyncio.sleep(0)  # an eager task factory: do not nest one worker in another
        try:
            while not crew.stopped():
                if self._window is not None:
                    await self._window.acquire()
                item = await self._source.pull()
                if item is END:
                    if self._window is not None:
                        self._window.release()
                    return
                if crew.stopped():
                    return  # another item has failed while this one was being pulled
                index = self._pulled
                self._pulled = index + 1
                if newest == self._recruited and (
                    self._limit is None or self._recruited < self._limit
                ):
                    self._recruit()
                result = call(item)
                if type(result) is CoroutineType or is_awaitable(result):
                    result = await result
                emit(index, item, result)
                if self._marked():
                    self._replace()
                    return
                if self._turn.over():
                    await self._turn.end()
        except BaseException:
            crew.stop()
            raise

    def _marked(self) -> bool:
        """Whether the item that has just ended left something behind in this task."""
        try:
            changed = bool(copy_context() != self._context)
        except Exception:  # values that cannot be compared are values that were set
            changed = True
        task = asyncio.current_task()
        return changed or (task is not None and task.cancelling() > 0)

    def _replace(self) -> None:
        if not self.crew.stopped():
            self.crew.spawn(self._work(), context=self._context.copy())


class Job:
    """A worker, its items and how to run them: what every collection function begins with.

    Raises, when made, TypeError or ValueError for a worker, items, limit or executor that
    cannot work.
    """

    def __init__(
        self,
        worker: Callable[..., Any],
        items: Any,
        limit: int | None,
        executor: Pool | None,
        as_completed: bool = False,
        *,
        pairs: bool = False,
        then: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> None:
        if not callable(worker):
            raise TypeError(f"worker must be a function, not {worker!r}")
        check_items(items)
        check_executor(executor, worker)
        self.limit = check_limit(limit, items)
        self.mapping = isinstance(items, Mapping)
        self.as_completed = as_completed
        self._form: Form = "pair" if pairs else "value" if self.mapping else "item"
        self._worker = worker
        self._then = then
        self._items = items
        self._executor = executor

    def _bind(self, pool: Executor | None) -> Callable[[Any], Any]:
        """The call for one pulled item: in the pool if there is one, on the loop otherwise."""
        call: Callable[..., Any] = self._worker
        then = self._then
        if then is not None:
            call = partial(_call_then, then, pool, call)
        elif pool is not None:
            call = partial(submit, pool, call)
        if self._form == "value":
            return lambda pair: call(pair[1])
        if self._form == "pair":
            return lambda pair: call(*pair)
        return call

    async def run(self, emit: Emit | None = None) -> None:
        """Run everything; `emit(position, item, result)` is called as each item ends.

        Raises the only failure, or a group of several; CancelledError when cancelled.
        """
        source = Source(self._items)
        async with opened(self._executor, self.limit) as pool, closing_source(source):
            call = self._bind(pool)
            engine = Engine(call, source, self.limit, emit or _drop)
            async with engine.crew:
                engine.start()

    async def results(self, keep: Keep) -> list[Any]:
        """Run everything and return `keep(item, result)` of each, in the order of `pieces`."""
        kept: dict[int, Any] = {}

        def emit(index: int, item: Any, result: Any) -> None:
            kept[index] = keep(item, result)

        await self.run(emit)
        if self.as_completed:
            return list(kept.values())
        return [kept[index] for index in range(len(kept))]

    async def pieces(self, keep: Keep) -> AsyncGenerator[Any, None]:
        """Yield `keep(item, result)` as they come or in order; at most `limit` wait to be taken.

        What ended before a failure, and is due, is yielded before the failure is raised.
        """
        source = Source(self._items)
        window = None if self.limit is None else asyncio.Semaphore(self.limit)
        ready = _Completed() if self.as_completed else _InOrder()

        def emit(index: int, item: Any, result: Any) -> None:
            ready.put(index, (item, result))
            engine.crew.wake()

        async with opened(self._executor, self.limit) as pool, closing_source(source):
            call = self._bind(pool)
            engine = Engine(call, source, self.limit, emit, window)
            async with engine.crew as crew:
                engine.start()
                while True:
                    if ready.due():
                        pair = ready.take()
                        if window is not None:
                            window.release()
                        yield keep(*pair)
                    elif crew.idle:
                        break
                    else:
                        await crew.wait()


class _Completed:
    """Results in the order in which they came."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Any, Any]] = deque()

    def put(self, index: int, pair: tuple[Any, Any]) -> None:
        self._pairs.append(pair)

    def due(self) -> bool:
        return bool(self._pairs)

    def take(self) -> tuple[Any, Any]:
        return self._pairs.popleft()


class _InOrder:
    """Results in the order of the input."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Any, Any]] = {}
        self._next = 0

    def put(self, index: int, pair: tuple[Any, Any]) -> None:
        self._pairs[index] = pair

    def due(self) -> bool:
        return self._next in self._pairs

    def take(self) -> tuple[Any, Any]:
        pair = self._pairs.pop(self._next)
        self._next += 1
        return pair


async def _call_then(
    then: Callable[[Any], Awaitable[Any]],
    pool: Executor | None,
    worker: Callable[..., Any],
    *args: Any,
) -> Any:
    """Call the worker, then `then` with its result, both as one item's work."""
    return await then(await call(pool, worker, *args))


def _drop(index: int, item: Any, result: Any) -> None:
    """The `emit` of a run whose results nobody wants."""


@asynccontextmanager
async def closing_source(source: Source) -> AsyncGenerator[None, None]:
    """Close the input at the end of the block, however it ends."""
    try:
        yield
    finally:
        await source.aclose()
