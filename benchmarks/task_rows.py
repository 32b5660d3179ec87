"""The task and scheduling operations that are measured: one coroutine per row of the table.

Each row does `count` operations and nothing else that would count; `measure_loop()` times them
inside a running loop. No row has anything to wait for, so what is counted is CPU time, which other
work on the machine disturbs less than the clock on the wall; a loop that did wait would show as a
small share of its core (`Turn.busy`). A row is warmed up once, then the best of a few repeats is
taken: what disturbs a row only ever makes it slower. How often a row is passed through for one
measurement is found by timing it (`calibrate()`), so that every figure stands on the same time.
"""

import asyncio
import gc
import time
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

from benchmarks.loops import LoopFactory

GATHERED = 100
GROUPED = 50
SLEEPERS = 20_000
REPEAT_SECONDS = 0.03  # of one repeat, where nothing else is asked for


async def noop() -> None:
    """A task with nothing to wait for."""


async def call_soon_chain(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A callback that schedules itself again, one per turn of the loop."""
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def call_soon_batch(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """`count` callbacks with two arguments, scheduled and then run in one batch."""
    done = loop.create_future()

    def callback(first: int, second: int) -> None:
        pass

    for _ in range(count):
        loop.call_soon(callback, 1, 2)
    loop.call_soon(done.set_result, None)
    await done


async def timer_cancel(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A timer is scheduled and cancelled, as every time-out that does not expire is."""
    for _ in range(count):
        loop.call_later(60, noop).cancel()
    await asyncio.sleep(0)


async def call_soon_threadsafe(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Thread-safe callbacks in one batch, from the loop's own thread: no waiting for locks."""
    done = loop.create_future()

    def callback() -> None:
        pass

    for _ in range(count):
        loop.call_soon_threadsafe(callback)
    loop.call_soon_threadsafe(done.set_result, None)
    await done


async def sleep_zero(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """One task that gives way `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


@types.coroutine
def give_way() -> Generator[None, None, None]:
    """What asyncio.sleep(0) comes to in the end, without its own Python: one bare yield."""
    yield


async def switch(count: int) -> None:
    for _ in range(count):
        await give_way()


async def task_switch(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """100 tasks that give way in turn: what leaving a task and entering the next one costs."""
    tasks = [loop.create_task(switch(count // 100)) for _ in range(100)]
    for task in tasks:
        await task


async def sleep_zero_many(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """100 tasks that give way in turn by asyncio.sleep(0)."""
    tasks = [loop.create_task(sleep_zero(loop, count // 100)) for _ in range(100)]
    for task in tasks:
        await task


async def create_and_await(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task is created for an empty coroutine and awaited."""
    for _ in range(count):
        await loop.create_task(noop())


async def future_resolved(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A future is created, resolved by a callback and awaited."""
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def gather_hundred(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Per task of a `gather()` of 100 empty coroutines."""
    for _ in range(count // GATHERED):
        await asyncio.gather(*[noop() for _ in range(GATHERED)])


async def task_group(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Per task of a `TaskGroup` of 50 empty coroutines."""
    for _ in range(count // GROUPED):
        async with asyncio.TaskGroup() as group:
            for _ in range(GROUPED):
                group.create_task(noop())


async def queue_ping_pong(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Two tasks pass an item to and fro through two queues; per round trip."""
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def pong() -> None:
        for _ in range(count):
            back.put_nowait(await there.get())

    task = loop.create_task(pong())
    for number in range(count):
        there.put_nowait(number)
        await back.get()
    await task


async def timeout_block(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """`async with asyncio.timeout()` around one `sleep(0)`."""
    for _ in range(count):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)


async def sleep_one_ms(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Per task: 20,000 tasks that all sleep for a millisecond."""
    for _ in range(count // SLEEPERS):
        await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(SLEEPERS)])


@dataclass(frozen=True)
class Row:
    """A measured operation: its name in the table, its coroutine, operations per pass, clock."""

    title: str
    run: Callable[[asyncio.AbstractEventLoop, int], Coroutine[Any, Any, None]]
    count: int
    clock: Callable[[], int] = time.process_time_ns


ROWS = {
    row.run.__name__: row
    for row in (
        Row("call_soon chain", call_soon_chain, 20_000),
        Row("call_soon batch, 2 args", call_soon_batch, 100_000),
        Row("timer schedule + cancel", timer_cancel, 50_000),
        Row("call_soon_threadsafe", call_soon_threadsafe, 100_000),
        Row("task switch, 100 tasks", task_switch, 50_000),
        Row("sleep(0), one task", sleep_zero, 20_000),
        Row("sleep(0), 100 tasks", sleep_zero_many, 50_000),
        Row("create task and await it", create_and_await, 10_000),
        Row("future by call_soon, awaited", future_resolved, 10_000),
        Row("gather of 100, per task", gather_hundred, 10_000),
        Row("TaskGroup of 50, per task", task_group, 10_000),
        Row("queue ping-pong", queue_ping_pong, 5_000),
        Row("timeout() block", timeout_block, 10_000),
        Row("sleep(1 ms) x 20k tasks", sleep_one_ms, SLEEPERS),
    )
}


@dataclass(frozen=True)
class Turn:
    """What one process measured: CPU ns per operation of each row, and its share of the core."""

    costs: dict[str, float]
    busy: float


async def time_passes(row: Row, passes: int) -> int:
    """ns that `passes` passes of one row take on the running loop, by the row's clock.

    Each pass is a task of its own: the coroutines here are not between it and the loop, as they are
    not when the row's coroutines are driven by hand.
    """
    loop = asyncio.get_running_loop()
    gc.collect()
    start = row.clock()
    for _ in range(passes):
        await loop.create_task(row.run(loop, row.count))
    return row.clock() - start


async def calibrate(row: Row, seconds: float) -> int:
    """How many passes of the row take about `seconds`; at least one. Warms the row up."""
    await time_passes(row, 1)
    return max(1, round(seconds * 1e9 / max(1, await time_passes(row, 1))))


async def measure_row(row: Row, repeats: int, seconds: float) -> float:
    """ns per operation of one row on the running loop: the best of `repeats`, each of which takes
    about `seconds`."""
    passes = await calibrate(row, seconds)
    times = [await time_passes(row, passes) for _ in range(repeats)]
    return min(times) / (row.count * passes)


def measure_loop(factory: LoopFactory, names: list[str], repeats: int) -> Turn:
    """Measures the named rows, each on a fresh loop."""
    costs = {}
    wall, cpu = time.perf_counter(), time.process_time()
    for name in names:
        with asyncio.Runner(loop_factory=factory) as runner:
            costs[name] = runner.run(measure_row(ROWS[name], repeats, REPEAT_SECONDS))
    return Turn(costs, (time.process_time() - cpu) / (time.perf_counter() - wall))
