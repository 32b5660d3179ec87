"""What a coroutine of a program can do: the operations that await.

As in sync_operations.py a method is an operation; these are coroutines, run inside a task. What
they raise goes on through the body, so that cancellations and time-outs act as in real programs;
Op("try_", ...) is what catches.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator
from typing import Any

from .program import Body

CATCH = {
    "Exception": Exception,
    "CancelledError": asyncio.CancelledError,
    "BaseException": BaseException,
    "nothing": (),
}


@types.coroutine
def _yield(value: Any) -> Iterator[Any]:
    return (yield value)


class _Ordered(dict[Any, None]):
    """A set of tasks in order: asyncio's task group cancels its children in the order of a set,
    which is that of their addresses."""

    def add(self, task: Any) -> None:
        self[task] = None

    def discard(self, task: Any) -> None:
        self.pop(task, None)


class AsyncOperations:
    """Operations that await. The interpreter supplies the attributes used here."""

    loop: Any
    clock: Any
    trace: Any

    # ---- waiting for one thing

    async def sleep(self, who: str, delay: float) -> Any:
        return await asyncio.sleep(self.clock.seconds(delay), "slept")

    async def bare_yield(self, who: str) -> Any:
        return await _yield(None)

    async def bad_yield(self, who: str, kind: str) -> Any:
        """What a task must refuse to wait for."""
        if kind == "number":
            return await _yield(5)
        if kind == "future":  # yielded without `await`
            return await _yield(self.future(0))
        if kind == "self":
            return await asyncio.current_task()
        return await _yield(_yield(1))

    async def await_future(self, who: str, index: int) -> Any:
        return await self.future(index)

    async def await_task(self, who: str, index: int) -> Any:
        task = self.younger(index)
        return "none" if task is None else await task

    async def shield(self, who: str, body: Body) -> Any:
        return await asyncio.shield(self.child(body))

    async def shield_future(self, who: str, index: int) -> Any:
        return await asyncio.shield(self.future(index))

    async def wait_for(self, who: str, delay: float | None, body: Body) -> Any:
        timeout = None if delay is None else self.clock.seconds(delay)
        label = self.label("t")
        return await asyncio.wait_for(self.coroutine(label, body), timeout)

    async def wait_for_future(self, who: str, delay: float, index: int) -> Any:
        return await asyncio.wait_for(self.future(index), self.clock.seconds(delay))

    async def timeout(self, who: str, delay: float | None, body: Body, again: Any = None) -> Any:
        """An asyncio.timeout() block, moved by `again` right after its beginning."""
        timeout = None if delay is None else self.clock.seconds(delay)
        async with asyncio.timeout(timeout) as scope:
            if again is not None:
                scope.reschedule(self.loop.time() + self.clock.seconds(again))
            result = await self.run_async(who, body)
        return [scope.expired(), result]

    # ---- waiting for several

    async def gather(self, who: str, children: tuple[Body, ...], return_exceptions: bool) -> Any:
        coroutines = [self.coroutine(self.label("t"), body) for body in children]
        return await asyncio.gather(*coroutines, return_exceptions=return_exceptions)

    async def gather_kept(self, who: str, first: int, second: int) -> Any:
        """gather() of a future and a task that others know, one of them perhaps twice."""
        kept = [self.future(first), self.younger(second) or self.future(second), self.future(first)]
        return await asyncio.gather(*kept)

    async def wait(
        self, who: str, children: tuple[Body, ...], when: str, delay: float | None
    ) -> Any:
        timeout = None if delay is None else self.clock.seconds(delay)
        tasks = [self.child(body) for body in children]
        done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=when)
        return [[tasks.index(task) for task in tasks if task in group] for group in (done, pending)]

    async def as_completed(self, who: str, children: tuple[Body, ...], delay: float | None) -> Any:
        timeout = None if delay is None else self.clock.seconds(delay)
        tasks = [self.child(body) for body in children]
        settled = any(task.done() for task in tasks)  # these come in the order of a set
        results = []
        for earliest in asyncio.as_completed(tasks, timeout=timeout):
            try:
                results.append(await earliest)
            except Exception as exc:
                results.append(exc)
        return sorted(map(self.trace.describe, results)) if settled else results

    async def task_group(self, who: str, children: tuple[Body, ...], body: Body) -> Any:
        async with asyncio.TaskGroup() as group:
            group._tasks = _Ordered()
            for child in children:
                label = self.label("t")
                self.keep_task(group.create_task(self.coroutine(label, child)))
            result = await self.run_async(who, body)
        return result

    # ---- locks and queues

    async def with_lock(self, who: str, index: int, body: Body) -> Any:
        """index 0: Lock, 1: Semaphore, 2: BoundedSemaphore, 3: Condition."""
        async with self.locks[index % 4]:
            return await self.run_async(who, body)

    async def acquire(self, who: str, index: int) -> Any:
        return await self.locks[index % 4].acquire()

    async def wait_condition(self, who: str) -> Any:
        async with self.condition:
            return await self.condition.wait()

    async def wait_event(self, who: str, index: int) -> Any:
        return await self.events[index % 2].wait()

    async def wait_barrier(self, who: str) -> Any:
        return await self.barrier.wait()

    async def reset_barrier(self, who: str) -> None:
        await self.barrier.reset()

    async def abort_barrier(self, who: str) -> None:
        await self.barrier.abort()

    async def put(self, who: str, index: int, value: int) -> None:
        await self.queues[index % 3].put(value)

    async def get(self, who: str, index: int) -> Any:
        return await self.queues[index % 3].get()

    async def join(self, who: str, index: int) -> None:
        await self.queues[index % 3].join()

    # ---- control flow

    async def try_(self, who: str, body: Body, catch: str, then: Body, at_last: Body) -> Any:
        try:
            return await self.run_async(who, body)
        except CATCH[catch] as exc:
            self.trace.add(f"{who} catches {self.trace.describe(exc)}")
            await self.run_async(who, then)
        finally:
            await self.run_async(who, at_last)

    async def repeat(self, who: str, count: int, body: Body) -> None:
        for _ in range(count):
            await self.run_async(who, body)

    async def raise_later(self, who: str, kind: str) -> None:
        await asyncio.sleep(0)
        self.raise_(who, kind)

    async def cancel_self(self, who: str) -> None:
        asyncio.current_task().cancel("self")

    async def iterate(self, who: str, length: int, taken: int, body: Body, close: bool) -> Any:
        """An async generator, left after `taken` items: by aclose(), or for the loop to close."""
        label = self.label("g")
        generator = self.generator(label, length, body)
        items = []
        async for item in generator:
            items.append(item)
            if len(items) >= taken:
                break
        if close:
            await generator.aclose()
        return items

    async def keep_generator(self, who: str, body: Body) -> Any:
        """A generator that lives until the end, for shutdown_asyncgens(): one, because asyncio
        closes several in the order of a set."""
        if self.generators:
            return "none"
        generator = self.generator(self.label("g"), 3, body)
        self.generators.append(generator)
        return await anext(generator)

    async def generator(self, label: str, length: int, body: Body) -> Any:
        """The async generator of iterate() and keep_generator(); no operation."""
        try:
            for number in range(length):
                await self.run_async(label, body)
                yield number
        finally:
            self.trace.add(f"{label} closes")
            await asyncio.sleep(0)
            self.trace.add(f"{label} closed")

    async def eager_child(self, who: str, body: Body) -> Any:
        """A task that starts at once, where asyncio has them."""
        if sys.version_info < (3, 12):
            return "none"
        coroutine = self.coroutine(self.label("t"), body)
        return await asyncio.Task(coroutine, loop=self.loop, eager_start=True)
