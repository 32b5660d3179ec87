"""Runs a scheduling program on a loop and returns the trace of what happened.

Everything that a program can tell apart is written down: every callback and step with its turn,
results, exceptions with their causes, log records, contexts of the exception handler, warnings.
Between runs and at the end nothing is left to chance: the garbage collector runs only when asked,
and the last act cancels what still lives, closes generators and loop, and collects.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import itertools
import math
import re
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from .async_operations import AsyncOperations
from .clock import Clock, Loop, run_forever
from .program import Body, Forever, Op, Scheduling, UntilComplete
from .sync_operations import SyncOperations
from .trace import Trace

CLEANUP_TURNS = 60
_EXIT = re.compile(r"^ *\d+ \w+ raised (KeyboardInterrupt|SystemExit)")


class Interpreter(SyncOperations, AsyncOperations):
    """The state of one run of one program."""

    def __init__(self, clock: Clock, trace: Trace) -> None:
        self.loop = clock.loop
        self.clock = clock
        self.trace = trace
        self.counts: dict[str, int] = {}
        self.numbers = itertools.count()
        self.handles: list[Any] = []
        self.tasks: list[Any] = []
        self.done_callbacks: list[Any] = []
        self.generators: list[Any] = []
        self.ages = weakref.WeakKeyDictionary()  # of coroutines
        self.futures: list[Any] = [None] * 4
        self.events = [asyncio.Event(), asyncio.Event()]
        self.queues = [asyncio.Queue(), asyncio.Queue(1), asyncio.PriorityQueue(2)]
        self.condition = asyncio.Condition()
        bounded = asyncio.BoundedSemaphore(2)
        self.locks = [asyncio.Lock(), asyncio.Semaphore(1), bounded, self.condition]
        self.barrier = asyncio.Barrier(2)

    # ---- what the operations stand on

    def label(self, kind: str) -> str:
        """A new name for a callback ("c"), task ("t") or generator ("g")."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return f"{kind}{self.counts[kind]}"

    def future(self, index: int) -> Any:
        """The future in this place, made when there is none."""
        if self.futures[index % 4] is None:
            self.futures[index % 4] = self.loop.create_future()
        return self.futures[index % 4]

    def handle(self, index: int) -> Any:
        """A handle made before, None when there is none."""
        return self.handles[index % len(self.handles)] if self.handles else None

    def task(self, index: int) -> Any:
        """A task made before, None when there is none."""
        return self.tasks[index % len(self.tasks)] if self.tasks else None

    def keep_handle(self, handle: Any) -> None:
        """Let later operations find the handle."""
        self.handles.append(handle)

    def keep_task(self, task: Any) -> None:
        """Let later operations find the task."""
        self.tasks.append(task)

    def child(self, body: Body) -> Any:
        """A new task with this body."""
        label = self.label("t")
        task = self.loop.create_task(self.coroutine(label, body))
        self.keep_task(task)
        return task

    def context(self, kind: str) -> dict[str, Any]:
        """The keyword arguments for a callback or task with this kind of context."""
        if kind == "copy":
            return {"context": contextvars.copy_context()}
        if kind == "empty":
            return {"context": contextvars.Context()}
        return {}

    def use_handler(self, kind: str) -> None:
        """Set the exception handler: "record", "default" or "raise"."""

        def record(loop: Any, context: dict[str, Any]) -> None:
            self.trace.handled(context)

        def fail(loop: Any, context: dict[str, Any]) -> None:
            self.trace.handled(context)
            raise ZeroDivisionError("the handler's own")

        handlers = {"record": record, "raise": fail, "default": None}
        self.loop.set_exception_handler(handlers[kind])

    def use_factory(self, kind: str) -> None:
        """Set the task factory: "none", "eager" or "custom"."""

        def custom(loop: Any, coroutine: Any, **options: Any) -> Any:
            self.trace.add(f"factory gets {sorted(options)}")
            return asyncio.Task(coroutine, loop=loop, **options)

        factory = {"none": None, "custom": custom, "eager": None}[kind]
        if kind == "eager" and sys.version_info >= (3, 12):
            factory = asyncio.eager_task_factory
        self.loop.set_task_factory(factory)

    # ---- bodies

    def callback(self, body: Body) -> Callable[..., None]:
        """A callback that runs the body."""
        label = self.label("c")

        def run(*args: Any) -> None:
            self.trace.add(f"{label} runs {self.trace.describe(args)}")
            self.run_sync(label, body)

        return run

    def run_sync(self, who: str, body: Body) -> None:
        """Run the operations of a body; those that await are left out."""
        for op in body:
            if not inspect.iscoroutinefunction(getattr(self, op.name)):
                self.operate(who, op)

    def operate(self, who: str, op: Op) -> None:
        """Run one operation that does not await, and write down how it ended."""
        if op.name == "raise_":
            self.trace.add(f"{who} raises {op.args[0]}")
            self.raise_(who, *op.args)
        try:
            result = getattr(self, op.name)(who, *op.args)
        except BaseException as exc:
            self.trace.add(f"{who} {op.name} raised {self.trace.describe(exc)}")
        else:
            self.trace.add(f"{who} {op.name} -> {self.trace.describe(result)}")

    def coroutine(self, label: str, body: Body) -> Any:
        """A coroutine for a task."""
        coroutine = self.main(label, body)
        self.ages[coroutine] = next(self.numbers)
        return coroutine

    def age(self, task: Any) -> float:
        """The number of a task that is not done in the order of making; others come last."""
        coroutine = task.get_coro()
        if not isinstance(coroutine, types.CoroutineType):  # the aclose() of a generator
            return math.inf
        return self.ages.get(coroutine, math.inf)

    def younger(self, index: int) -> Any:
        """A task made after the current one, or None: tasks never wait for each other in a ring,
        where cancelling ends in a RecursionError at some depth."""
        task = self.task(index)
        current = asyncio.current_task()
        if task is None or current is None:
            return None
        if not task.done() and self.age(task) <= self.age(current):
            return None
        return task

    async def main(self, label: str, body: Body) -> str:
        """What a task runs."""
        task = asyncio.current_task()
        name = None if task is None else task.get_name()
        del task
        self.trace.add(f"{label} begins in {name}")
        try:
            await self.run_async(label, body)
        except BaseException as exc:
            self.trace.add(f"{label} ends with {self.trace.describe(exc)}")
            raise
        self.trace.add(f"{label} ends")
        return f"result of {label}"

    async def run_async(self, who: str, body: Body) -> None:
        """Run the operations of a body in a task."""
        for op in body:
            method = getattr(self, op.name)
            if not inspect.iscoroutinefunction(method):
                self.operate(who, op)
                continue
            self.trace.add(f"{who} {op.name}")
            try:
                result = await method(who, *op.args)
            except BaseException as exc:
                self.trace.add(f"{who} {op.name} raised {self.trace.describe(exc)}")
                raise
            self.trace.add(f"{who} {op.name} -> {self.trace.describe(result)}")

    # ---- runs

    def run(self, part: UntilComplete | Forever) -> None:
        """One run of the loop, and how it ended."""
        self.trace.add("run")
        self.clock.begin()
        try:
            if isinstance(part, UntilComplete):
                label = self.label("t")
                result = self.loop.run_until_complete(self.coroutine(label, part.body))
            else:
                self.run_sync("main", part.body)
                stop = self.loop.call_later(self.clock.seconds(part.turns), self.loop.stop)
                if self.clock.kind == "real":
                    stop.cancel()
                result = run_forever(self.loop)
                stop.cancel()
        except BaseException as exc:
            self.trace.add(f"run raised {self.trace.describe(exc)}")
        else:
            self.trace.add(f"run -> {self.trace.describe(result)}")
        self.clock.end()

    def finish(self) -> None:
        """End everything that the program left, and close the loop."""
        self.trace.add("finish")
        self.use_factory("none")
        self.use_handler("record")
        self.turns(2)
        for _ in range(3):
            left = sorted(asyncio.all_tasks(self.loop), key=self.age)
            self.trace.add(f"left: {len(left)}")
            for task in left:
                task.cancel()
            self.turns(CLEANUP_TURNS // 3)
            del left[:]
        with self.trace.sorted_section():
            self.clock.begin()
            try:
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            except BaseException as exc:
                self.trace.add(f"shutdown raised {self.trace.describe(exc)}")
            self.clock.end()
        self.loop.close()

    def turns(self, count: int) -> None:
        """Let the loop make about this many turns."""
        self.clock.begin(count)
        on_stuck, self.clock.on_stuck = self.clock.on_stuck, lambda: None
        try:
            run_forever(self.loop)
        except BaseException as exc:
            self.trace.add(f"turns raised {self.trace.describe(exc)}")
        self.clock.on_stuck = on_stuck
        self.clock.end()


def run_scheduling(program: Scheduling, factory: Callable[[], Loop]) -> list[str]:
    """Run the program on a loop of the factory; the lines of its trace."""
    trace = Trace()
    gc.disable()
    try:
        with trace.watching():
            contextvars.Context().run(_run, program, factory, trace)
            with trace.sorted_section():
                gc.collect()
    finally:
        gc.enable()
    return _without_lifetimes(trace.lines)


def _without_lifetimes(lines: list[str]) -> list[str]:
    """The lines; after an exit those about lost exceptions last. In asyncio the traceback of a
    KeyboardInterrupt or SystemExit keeps the objects of its frames alive, in C there are none."""
    if not any(_EXIT.search(line) for line in lines):
        return lines
    lost = [line for line in lines if "exception was never retrieved" in line]
    return [line for line in lines if line not in lost] + sorted(line[5:] for line in lost)


def _run(program: Scheduling, factory: Callable[[], Loop], trace: Trace) -> None:
    clock = Clock(program.clock, factory)
    trace.prefix = lambda: f"{clock.now:4} "
    clock.on_stuck = lambda: trace.add("stuck")
    asyncio.set_event_loop(clock.loop)
    try:
        clock.loop.set_debug(program.debug and program.clock != "polls")  # see set_debug()
        clock.loop.slow_callback_duration = 1e9
        interpreter = Interpreter(clock, trace)
        interpreter.use_handler(program.handler)
        interpreter.use_factory(program.factory)
        for part in program.runs:
            interpreter.run(part)
        interpreter.finish()
    finally:
        asyncio.set_event_loop(None)
        clock.loop.close()
        trace.freeze_prefix()
