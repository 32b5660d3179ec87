"""The parts of the floors of tasks: what switching, gather() and TaskGroup cost without a loop.

- switching: the row's coroutines are advanced in turn by zip(), which is C: no loop, no task. Every
  loop has to enter and to leave each coroutine as zip() does. A single coroutine is advanced by a
  deque, without zip(): less than hand_rows.py takes, whose driving is Python code itself.
- gather, task_group: asyncio's own Python code, given a loop and tasks whose methods are C
  functions that do next to nothing. Coroutines are neither made nor run while the clock runs.
- tasks: what those leave out, on a real loop: coroutines are made, a task for each, and run.
  Nothing waits for the tasks, so scheduling a callback for each is in neither.
"""

import argparse
import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from benchmarks.loops import loop_factory
from benchmarks.processes import Failed
from benchmarks.task_rows import GATHERED, GROUPED, give_way, noop, sleep_zero

SWITCHES = 10_000  # of all coroutines
COROUTINES = 100  # that give way in turn
GROUPS = 5  # gathers, groups or batches within one measurement: few, so they stay in the cache


class StandInTask:
    """A task that has none of a task's work: every method is a C function of the instance's."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_log_destroy_pending",
        "_loop",
        "add_done_callback",
        "cancelled",
        "done",
        "exception",
        "result",
    )

    def __init__(self, loop: Any, callbacks: list[Any]) -> None:
        nothing: dict[Any, Any] = {}
        self._loop = loop
        self.add_done_callback = callbacks.append
        self.cancelled = self.done = bool  # called without arguments: False
        self.exception = self.result = nothing.clear  # None


class StandInLoop:
    """The running loop of asyncio's code that is measured; creating a task hands out a stand-in.

    It is entered for a `with` block, with a stand-in for the current task.
    """

    def __init__(self, tasks: int) -> None:
        self.callbacks: list[Callable[[Any], None]] = []  # of all tasks
        self.tasks = [StandInTask(self, self.callbacks) for _ in range(tasks)]
        self.current: Any = StandInTask(self, [])
        loop: Any = self
        # A handle is as little as keeps a callback with its arguments.
        vars(self).update(
            get_debug=bool, call_soon=partial, create_future=partial(asyncio.Future, loop=loop)
        )

    def start(self) -> None:
        """All stand-ins can be handed out again."""
        self.callbacks.clear()
        tasks = iter(self.tasks)
        create_task: Any = partial(next, tasks)  # the coroutine is a default that is never needed
        if sys.version_info[:2] == (3, 13):  # TaskGroup names its tasks there, and next() does not
            create_task = lambda coroutine, name=None: next(tasks)  # noqa: E731 (an instance's)
        vars(self)["create_task"] = create_task

    def end_tasks(self) -> None:
        """Calls what waits for each task, as a loop does when the tasks have ended."""
        for callback, task in zip(self.callbacks, self.tasks, strict=True):
            callback(task)

    def __enter__(self) -> None:
        loop: Any = self
        asyncio._set_running_loop(loop)
        asyncio.tasks._enter_task(loop, self.current)

    def __exit__(self, *_: object) -> None:
        loop: Any = self
        asyncio.tasks._leave_task(loop, self.current)
        asyncio._set_running_loop(None)


def close_all(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Ends coroutines that were never run to their end, without the warning."""
    for coroutine in coroutines:
        coroutine.close()


def measure_switches(many: int) -> float:
    """CPU ns per asyncio.sleep(0) of coroutines that give way in turn."""
    loop: Any = None  # sleep(0) needs none
    coroutines = [sleep_zero(loop, SWITCHES // many) for _ in range(many)]
    advanced: list[Iterator[None]] = [coroutine.__await__() for coroutine in coroutines]
    turns: Iterator[Any] = zip(*advanced, strict=False) if many > 1 else advanced[0]
    start = time.process_time_ns()
    deque(turns, 0)
    used = time.process_time_ns() - start
    ended = coroutines[0].cr_frame is None
    close_all(coroutines)
    if not ended:
        raise Failed("a coroutine that gives way was not advanced to its end")
    return used / SWITCHES


def gather_once(loop: StandInLoop, coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """One gather() of the coroutines."""
    outer = asyncio.gather(*coroutines)
    loop.end_tasks()
    if len(outer.result()) != len(coroutines):
        raise Failed(f"gather() by hand gave {outer!r}")


def group_once(loop: StandInLoop, coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """One TaskGroup of the coroutines."""

    async def group_all() -> None:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)

    running = group_all()
    running.send(None)  # it waits for the tasks now
    loop.end_tasks()
    try:
        running.send(None)
    except StopIteration:
        return
    raise Failed("a TaskGroup by hand did not end with its tasks")


def by_hand(
    count: int, once: Callable[[StandInLoop, list[Coroutine[Any, Any, None]]], None]
) -> Callable[[], float]:
    """CPU ns per coroutine of `once(loop, coroutines)`, each time with `count` of them."""
    loop = StandInLoop(count)

    def run() -> float:
        groups = [[noop() for _ in range(count)] for _ in range(GROUPS)]
        with loop:
            start = time.process_time_ns()
            for coroutines in groups:
                loop.start()
                once(loop, coroutines)
            used = time.process_time_ns() - start
        for coroutines in groups:
            close_all(coroutines)
        return used / (GROUPS * count)

    return run


async def run_tasks(count: int) -> float:
    """CPU ns per task of batches of `count` on the running loop."""
    create_task = asyncio.get_running_loop().create_task
    start = time.process_time_ns()
    for _ in range(GROUPS):
        tasks = list(map(create_task, [noop() for _ in range(count)]))
        await give_way()
        if not tasks[-1].done():
            raise Failed("tasks did not run within the turn of the loop after they were made")
    return (time.process_time_ns() - start) / (GROUPS * count)


def on_a_loop(name: str, count: int) -> Callable[[], float]:
    """`run_tasks(count)`, each time on a fresh loop called `name`."""
    factory = loop_factory(name)

    def run() -> float:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run_tasks(count))  # warms the loop up
            return runner.run(run_tasks(count))

    return run


TASK_PARTS: dict[str, Callable[[argparse.Namespace], Callable[[], float]]] = {
    "switching": lambda options: partial(measure_switches, COROUTINES),
    "switching_one": lambda options: partial(measure_switches, 1),
    "gather": lambda options: by_hand(GATHERED, gather_once),
    "task_group": lambda options: by_hand(GROUPED, group_once),
    "tasks": lambda options: on_a_loop(options.loop, options.size),
}
