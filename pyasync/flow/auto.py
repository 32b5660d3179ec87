"""Dependencies: tasks that begin as soon as what they depend on has ended.

Invariant: the whole graph is checked before anything starts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextvars import copy_context
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from ._crew import Crew
from ._source import check_limit
from .executors import Pool, call, check_executor, opened

K = TypeVar("K")

Worker = Callable[..., Any]
Task = Worker | tuple[Iterable[Any], Worker]


class _Plan:
    """A checked graph and what has come of it so far."""

    def __init__(self, tasks: Mapping[Any, Task], executor: Pool | None) -> None:
        self.workers: dict[Any, Worker] = {}
        self.needs: dict[Any, list[Any]] = {}
        self.results: dict[Any, Any] = {}
        for name, task in tasks.items():
            needs, worker = ((), task) if callable(task) else _parts(name, task)
            check_executor(executor, worker)
            self.workers[name] = worker
            self.needs[name] = list(needs)
        for name, wanted in self.needs.items():
            for need in wanted:
                if need not in self.workers:
                    raise ValueError(f"task {name!r} depends on {need!r}, which is not there")
        self.sorter = TopologicalSorter(self.needs)
        self.sorter.prepare()

    async def run_task(self, name: Any, pool: Executor | None) -> None:
        arguments = [self.results[need] for need in self.needs[name]]
        self.results[name] = await call(pool, self.workers[name], *arguments)
        self.sorter.done(name)


def _parts(name: Any, task: Any) -> tuple[Iterable[Any], Worker]:
    match task:
        case (needs, worker) if callable(worker) and not isinstance(needs, str):
            return needs, worker
    raise TypeError(f"task {name!r} must be a function or (dependencies, function), not {task!r}")


async def auto(
    tasks: Mapping[K, Task], *, limit: int | None = None, executor: Pool | None = None
) -> dict[K, Any]:
    """Run every task as soon as its dependencies have ended, at most `limit` at once.

    `tasks` maps a name to a function, or to `(names it depends on, function)`; the function
    gets the results of its dependencies as positional arguments in that order. Returns a
    dict of all results, in the order of `tasks`.

    Raises, before anything starts, ValueError for a dependency that is not there,
    `graphlib.CycleError` (a ValueError) for a cycle, TypeError for a task of another form;
    later what a task raises, an ExceptionGroup when several fail at once.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.auto({
    ...     "greeting": lambda: "hello",
    ...     "name": lambda: "world",
    ...     "text": (["greeting", "name"], lambda greeting, name: f"{greeting} {name}"),
    ... }))
    {'greeting': 'hello', 'name': 'world', 'text': 'hello world'}
    """
    check_executor(executor)
    most = check_limit(limit, tasks)
    plan = _Plan(tasks, executor)
    context = copy_context()  # every task sees the caller's, not that of whoever started it
    running = 0
    waiting: deque[Any] = deque()

    async with opened(executor, limit) as pool, Crew() as crew:

        async def run(name: Any) -> None:
            nonlocal running
            if crew.starting:
                await asyncio.sleep(0)  # an eager task factory: do not nest the tasks
            try:
                await plan.run_task(name, pool)
            except BaseException:
                crew.stop()
                raise
            running -= 1
            start_ready()

        def start_ready() -> None:
            nonlocal running
            if crew.stopped():
                return
            waiting.extend(plan.sorter.get_ready())
            while waiting and (most is None or running < most):
                running += 1
                crew.spawn(run(waiting.popleft()), context=context.copy())

        start_ready()

    return {name: plan.results[name] for name in tasks}
