"""One point of an in-process scale curve, on one loop; a child of benchmarks.scale.

    python -m benchmarks.scale_worker --loop pyasync --curve tasks --size 1000

Prints one JSON object of figures: CPU ns per operation, and resident bytes per task where there are
enough tasks for the memory of the rest not to count. Each point is a process of its own, so no
point is measured in the memory that a larger one left behind.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.loops import LOOPS, loop_factory
from benchmarks.processes import resident_bytes
from benchmarks.task_rows import give_way

SWITCHES = 200_000  # at least so many are measured, and one of each task
THREADED_CALLS = 64_000
MEASURABLE_TASKS = 10_000  # below, what is freed and used again elsewhere changes the figure
LEAD = 0.02  # s until timers may expire, and for each of them:
SCHEDULING = 5e-6  # s, more than any loop takes to schedule it
REPEATED_TIMERS = 20_000  # scheduled in all for one figure, in as many repeats as that takes

Figures = dict[str, float]


async def measure_tasks(size: int) -> Figures:
    """ns per switch among `size` tasks that give way in turn, and bytes per task.

    The first of them holds the clock: between two of its turns every task has had one. So neither
    their begin nor their end is counted, which many tasks would share among few switches.
    """
    loop = asyncio.get_running_loop()
    rounds = max(2, SWITCHES // size)
    spent: list[int] = []
    memory: list[int] = []

    async def first() -> None:
        for turn in range(rounds + 1):
            await give_way()
            if turn == 0:  # every task is in its loop by now
                memory.append(resident_bytes(os.getpid()))
                started = time.process_time_ns()
        spent.append(time.process_time_ns() - started)

    async def other() -> None:
        for _ in range(rounds + 1):
            await give_way()

    before = resident_bytes(os.getpid())
    tasks = [loop.create_task(first())]
    tasks += [loop.create_task(other()) for _ in range(size - 1)]
    for task in tasks:
        await task
    figures = {"ns": spent[0] / (rounds * size)}
    if size >= MEASURABLE_TASKS:
        figures["bytes"] = (memory[0] - before) / size
    return figures


async def time_timers(size: int) -> tuple[int, int, int]:
    """CPU ns to schedule `size` timers in random order, to cancel them, for as many to expire."""
    loop = asyncio.get_running_loop()
    chance = random.Random(size)
    delays = [60 + 60 * chance.random() for _ in range(size)]
    clock = time.process_time_ns
    gc.collect()
    times = [clock()]
    timers = [loop.call_later(delay, int) for delay in delays]
    times.append(clock())
    for timer in timers:
        timer.cancel()
    times.append(clock())
    del timers
    await asyncio.sleep(0.001)  # a turn with a poll, so that no loop's idea of the time is old
    return times[1] - times[0], times[2] - times[1], await time_expiry(size, chance)


async def time_expiry(size: int, chance: random.Random) -> int:
    """CPU ns in which `size` timers expire that have all become due.

    They are scheduled into the near future, as some loops do not make a timer of what is due at
    once, and the loop is kept from running until the last one's time has come.
    """
    loop = asyncio.get_running_loop()
    lead = LEAD + SCHEDULING * size
    begin = loop.time()
    delays = [lead * (1 + chance.random()) for _ in range(size)]
    done = loop.create_future()
    left = size

    def expire() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)

    for delay in delays:
        loop.call_at(begin + delay, expire)
    if loop.time() > begin + lead:
        raise RuntimeError(f"timers became due while they were scheduled, within {lead:g} s")
    time.sleep(begin + 2 * lead + LEAD - loop.time())
    start = time.process_time_ns()
    await done
    return time.process_time_ns() - start


async def measure_timers(size: int) -> Figures:
    """CPU ns per schedule, cancel and expiry of a timer, with `size` of them: the least of some."""
    turns = [await time_timers(size) for _ in range(max(1, REPEATED_TIMERS // size))]
    names = ("schedule", "cancel", "expiry")
    return {
        name: min(times) / size for name, times in zip(names, zip(*turns, strict=True), strict=True)
    }


async def measure_threads(size: int) -> Figures:
    """CPU ns (of all threads) and ns on the wall per call_soon_threadsafe() from `size` threads."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    each = THREADED_CALLS // size
    left = each * size

    def callback() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)

    def call() -> None:
        for _ in range(each):
            loop.call_soon_threadsafe(callback)

    threads = [threading.Thread(target=call) for _ in range(size)]
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    for thread in threads:
        thread.start()
    await done
    for thread in threads:
        thread.join()
    calls = each * size
    return {
        "ns": (time.process_time_ns() - cpu) / calls,
        "wall": (time.perf_counter_ns() - wall) / calls,
    }


POINTS: dict[str, Callable[[int], Coroutine[Any, Any, Figures]]] = {
    "tasks": measure_tasks,
    "timers": measure_timers,
    "threads": measure_threads,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--curve", choices=POINTS, required=True)
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        print(json.dumps(runner.run(POINTS[options.curve](options.size))))
