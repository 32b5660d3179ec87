# mypy: disable-error-code="overload-overlap"
# (A mapping is also an iterable of its keys; the overload for mappings comes first on purpose.)
"""Control flow: which functions run when, and whose answer counts.

`tasks` are functions without arguments (plain or async; `functools.partial` binds arguments),
in a list, any other iterable, or a mapping, which gives a mapping back. Pass the functions
themselves, not the coroutines they return: what never ran need not be closed.

As everywhere, the first failure cancels what still runs, waits for it, and is raised itself;
several at once are raised as an ExceptionGroup; and nothing outlives the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from ._engine import Job, Turn, closing_source
from ._run import Run, as_list, key_and_result, result_only, run_of
from ._source import END, Source, check_items
from .executors import Pool, call, check_executor, opened

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K")
P = ParamSpec("P")
V_co = TypeVar("V_co", covariant=True)

Tasks = Iterable[Callable[[], T]] | AsyncIterable[Callable[[], T]]


@dataclass(frozen=True, slots=True)
class Fulfilled(Generic[V_co]):
    """The outcome of a task that returned `value`; see `all_settled`.

    >>> from pyasync import flow
    >>> flow.Fulfilled(1).value
    1
    """

    value: V_co

    @property
    def ok(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True, slots=True)
class Rejected:
    """The outcome of a task that raised `error`; see `all_settled`.

    >>> from pyasync import flow
    >>> flow.Rejected(ValueError("no")).ok
    False
    """

    error: BaseException

    @property
    def ok(self) -> bool:
        """False."""
        return False


async def _settled(pool: Any, task: Callable[..., Any]) -> Fulfilled[Any] | Rejected:
    """The outcome of a task.

    Its CancelledError is caught too: one that it raised itself is an outcome, and after one
    that the engine sent the engine starts nothing more anyhow.
    """
    try:
        return Fulfilled(await call(pool, task))
    except (Exception, asyncio.CancelledError) as error:
        return Rejected(error)


class _Calls(Job):
    """A job whose items are the functions to call, all with the same arguments."""

    def __init__(
        self,
        tasks: Any,
        limit: int | None = None,
        executor: Pool | None = None,
        *,
        args: tuple[Any, ...] = (),
        settle: bool = False,
        as_completed: bool = False,
    ) -> None:
        check_executor(executor)
        super().__init__(self._one, tasks, limit, None, as_completed)
        self._executor = executor
        self._pool: Executor | None = None
        self._args = args
        self._settle = settle

    def _bind(self, pool: Executor | None) -> Callable[[Any], Any]:
        self._pool = pool
        return super()._bind(None)

    def _one(self, function: Any) -> Any:
        if not callable(function):
            if asyncio.iscoroutine(function):
                function.close()
            raise TypeError(f"a task must be a function, not {function!r}")
        check_executor(self._executor, function)
        if self._settle:
            return _settled(self._pool, partial(function, *self._args))
        return call(self._pool, function, *self._args)


def _collected(name: str, job: _Calls) -> Run[Any, Any]:
    if job.mapping:
        return run_of(name, job, key_and_result, dict)
    return run_of(name, job, result_only, as_list)


@overload
def parallel(
    tasks: Mapping[K, Callable[[], Awaitable[R]]],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def parallel(
    tasks: Mapping[K, Callable[[], R]], *, limit: int | None = None, executor: Pool | None = None
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def parallel(
    tasks: Tasks[Awaitable[R]], *, limit: int | None = None, executor: Pool | None = None
) -> Run[R, list[R]]: ...
@overload
def parallel(
    tasks: Tasks[R], *, limit: int | None = None, executor: Pool | None = None
) -> Run[R, list[R]]: ...
def parallel(
    tasks: Any, *, limit: int | None = None, executor: Pool | None = None
) -> Run[Any, Any]:
    """Run the tasks side by side, at most `limit` at once, and collect their results.

    Awaited it gives a list in the order of the tasks (of a mapping: a dict with the same
    keys); iterated, the results in that order. Stands for `asyncio.gather`.

    Raises what a task raises, an ExceptionGroup when several fail at once; ValueError at once
    when `limit` is missing for an input without a length.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.parallel({"one": lambda: 1, "two": lambda: 2}))
    {'one': 1, 'two': 2}
    """
    return _collected("parallel", _Calls(tasks, limit, executor))


@overload
def series(
    tasks: Mapping[K, Callable[[], Awaitable[R]]], *, executor: Pool | None = None
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def series(
    tasks: Mapping[K, Callable[[], R]], *, executor: Pool | None = None
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def series(tasks: Tasks[Awaitable[R]], *, executor: Pool | None = None) -> Run[R, list[R]]: ...
@overload
def series(tasks: Tasks[R], *, executor: Pool | None = None) -> Run[R, list[R]]: ...
def series(tasks: Any, *, executor: Pool | None = None) -> Run[Any, Any]:
    """Run the tasks one after the other and collect their results: `parallel` with limit 1.

    Raises what a task raises; the tasks after it never begin.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.series([lambda: 1, lambda: 2]))
    [1, 2]
    """
    return _collected("series", _Calls(tasks, 1, executor))


@overload
def all_settled(
    tasks: Mapping[K, Callable[[], Awaitable[R]]],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[tuple[K, Fulfilled[R] | Rejected], dict[K, Fulfilled[R] | Rejected]]: ...
@overload
def all_settled(
    tasks: Mapping[K, Callable[[], R]], *, limit: int | None = None, executor: Pool | None = None
) -> Run[tuple[K, Fulfilled[R] | Rejected], dict[K, Fulfilled[R] | Rejected]]: ...
@overload
def all_settled(
    tasks: Tasks[Awaitable[R]], *, limit: int | None = None, executor: Pool | None = None
) -> Run[Fulfilled[R] | Rejected, list[Fulfilled[R] | Rejected]]: ...
@overload
def all_settled(
    tasks: Tasks[R], *, limit: int | None = None, executor: Pool | None = None
) -> Run[Fulfilled[R] | Rejected, list[Fulfilled[R] | Rejected]]: ...
def all_settled(
    tasks: Any, *, limit: int | None = None, executor: Pool | None = None
) -> Run[Any, Any]:
    """Run the tasks side by side and collect how each of them ended; no failure stops it.

    Awaited it gives a list (of a mapping: a dict) of `Fulfilled(value)` and
    `Rejected(error)`; iterated, these in the order of the tasks. Stands for
    `asyncio.gather(return_exceptions=True)` and `Promise.allSettled`.

    Raises nothing that a task raises, except KeyboardInterrupt and SystemExit; CancelledError
    when it is cancelled itself; ValueError at once when `limit` is missing for an input
    without a length.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.all_settled([lambda: 1, lambda: int("x")]))
    [Fulfilled(value=1), Rejected(error=ValueError("invalid literal for int() with base 10: 'x'"))]
    """
    return _collected("all_settled", _Calls(tasks, limit, executor, settle=True))


def _functions(tasks: Any) -> Any:
    """The functions of a mapping or an iterable."""
    return tasks.values() if isinstance(tasks, Mapping) else tasks


@overload
async def race(
    tasks: Mapping[Any, Callable[[], Awaitable[R]]] | Tasks[Awaitable[R]],
    *,
    executor: Pool | None = None,
) -> R: ...
@overload
async def race(
    tasks: Mapping[Any, Callable[[], R]] | Tasks[R], *, executor: Pool | None = None
) -> R: ...
async def race(tasks: Any, *, executor: Pool | None = None) -> Any:
    """Run the tasks side by side; the first to end, well or badly, decides.

    The others are cancelled and waited for; how they end is ignored. Stands for
    `Promise.race` and `asyncio.wait(return_when=FIRST_COMPLETED)`.

    Raises what the first task to end raises; ValueError when there are no tasks, or the input
    has no length.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def slow():
    ...     await asyncio.sleep(60)
    >>> asyncio.run(flow.race([slow, lambda: "quick"]))
    'quick'
    """
    job = _Calls(_functions(tasks), None, executor, settle=True, as_completed=True)
    async with aclosing(job.pieces(result_only)) as outcomes:
        outcome = await anext(outcomes, None)
    if outcome is None:
        raise ValueError("race needs at least one task")
    if isinstance(outcome, Rejected):
        raise outcome.error
    return outcome.value


@overload
async def any(
    tasks: Mapping[Any, Callable[[], Awaitable[R]]] | Tasks[Awaitable[R]],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
) -> R: ...
@overload
async def any(
    tasks: Mapping[Any, Callable[[], R]] | Tasks[R],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
) -> R: ...
async def any(tasks: Any, *, limit: int | None = None, executor: Pool | None = None) -> Any:
    """Run the tasks side by side, at most `limit` at once; the first success decides.

    The others are cancelled and waited for; how they end is ignored. Stands for `Promise.any`.

    Raises an ExceptionGroup of all failures, in the order in which they came, when no task
    succeeds; ValueError when there are no tasks, or `limit` is missing for an input without a
    length.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.any([lambda: int("x"), lambda: 2]))
    2
    """
    job = _Calls(_functions(tasks), limit, executor, settle=True, as_completed=True)
    errors: list[BaseException] = []
    async with aclosing(job.pieces(result_only)) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Fulfilled):
                return outcome.value
            errors.append(outcome.error)
    if not errors:
        raise ValueError("needs at least one task")
    raise BaseExceptionGroup("every task failed", errors)


@overload
async def try_each(
    tasks: Mapping[Any, Callable[[], Awaitable[R]]] | Tasks[Awaitable[R]],
    *,
    executor: Pool | None = None,
) -> R: ...
@overload
async def try_each(
    tasks: Mapping[Any, Callable[[], R]] | Tasks[R], *, executor: Pool | None = None
) -> R: ...
async def try_each(tasks: Any, *, executor: Pool | None = None) -> Any:
    """Run the tasks one after the other until one succeeds: `any` with limit 1.

    Raises an ExceptionGroup of all failures when no task succeeds; ValueError when there are
    no tasks.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.try_each([lambda: int("x"), lambda: 2]))
    2
    """
    return await any(tasks, limit=1, executor=executor)


@overload
def apply_each(
    functions: Mapping[K, Callable[..., Awaitable[R]]],
    *args: Any,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def apply_each(
    functions: Mapping[K, Callable[..., R]],
    *args: Any,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def apply_each(
    functions: Iterable[Callable[..., Awaitable[R]]],
    *args: Any,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[R, list[R]]: ...
@overload
def apply_each(
    functions: Iterable[Callable[..., R]],
    *args: Any,
    limit: int | None = None,
    executor: Pool | None = None,
) -> Run[R, list[R]]: ...
def apply_each(
    functions: Any, *args: Any, limit: int | None = None, executor: Pool | None = None
) -> Run[Any, Any]:
    """Call every function with the same arguments, side by side, and collect the results.

    Awaited it gives a list in the order of the functions (of a mapping: a dict); iterated,
    the results in that order.

    Raises what a function raises, an ExceptionGroup when several fail at once; ValueError at
    once when `limit` is missing for an input without a length.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.apply_each([min, max], [3, 1, 2]))
    [1, 3]
    """
    return _collected("apply_each", _Calls(functions, limit, executor, args=args))


async def waterfall(
    tasks: Tasks[Any] | Iterable[Callable[..., Any]], *args: Any, executor: Pool | None = None
) -> Any:
    """Run the tasks one after the other; each gets the result of the one before.

    The first gets `args`. Returns the result of the last, None when there are no tasks.

    Raises what a task raises; the tasks after it never begin.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.waterfall([str.split, len, range, list], "a b c"))
    [0, 1, 2]
    """
    check_items(tasks)
    check_executor(executor)
    source = Source(tasks)
    result = None
    async with opened(executor, 1) as pool, closing_source(source):
        while (task := await source.pull()) is not END:
            check_executor(executor, task)
            result = await call(pool, task, *args)
            args = (result,)
    return result


async def _repeat(
    test: Callable[[], object], wanted: bool, worker: Callable[[], Any], executor: Pool | None
) -> Any:
    check_executor(executor, worker)
    turn = Turn()
    result = None
    async with opened(executor, 1) as pool:
        while bool(await call(None, test)) is wanted:
            result = await call(pool, worker)
            if turn.over():
                await turn.end()
    return result


@overload
async def whilst(
    test: Callable[[], object],
    worker: Callable[[], Awaitable[R]],
    *,
    executor: Pool | None = None,
) -> R | None: ...
@overload
async def whilst(
    test: Callable[[], object], worker: Callable[[], R], *, executor: Pool | None = None
) -> R | None: ...
async def whilst(
    test: Callable[[], object], worker: Callable[[], Any], *, executor: Pool | None = None
) -> Any:
    """Call `worker` again and again while `test` says yes; both may be async.

    Returns the last result, None when there was no call. The loop gets to run even when
    neither ever waits.

    Raises what `test` or `worker` raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> items = [1, 2, 3]
    >>> asyncio.run(flow.whilst(lambda: items, lambda: items.pop()))
    1
    """
    return await _repeat(test, True, worker, executor)


@overload
async def until(
    test: Callable[[], object],
    worker: Callable[[], Awaitable[R]],
    *,
    executor: Pool | None = None,
) -> R | None: ...
@overload
async def until(
    test: Callable[[], object], worker: Callable[[], R], *, executor: Pool | None = None
) -> R | None: ...
async def until(
    test: Callable[[], object], worker: Callable[[], Any], *, executor: Pool | None = None
) -> Any:
    """Call `worker` again and again until `test` says yes: the opposite of `whilst`.

    Returns the last result, None when there was no call.

    Raises what `test` or `worker` raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> numbers = []
    >>> asyncio.run(flow.until(lambda: len(numbers) == 3, lambda: numbers.append(0)))
    >>> numbers
    [0, 0, 0]
    """
    return await _repeat(test, False, worker, executor)


async def forever(worker: Callable[[], object], *, executor: Pool | None = None) -> NoReturn:
    """Call `worker` again and again until it raises or the caller is cancelled.

    The loop gets to run even when the worker never waits.

    Raises what `worker` raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> numbers = iter([1, 2])
    >>> try:
    ...     asyncio.run(flow.forever(lambda: print(10 // (next(numbers) - 1))))
    ... except ZeroDivisionError:
    ...     print("ended")
    ended
    """
    await _repeat(lambda: True, True, worker, executor)
    raise AssertionError("unreachable: only an exception ends the loop")


def _chain(functions: tuple[Callable[..., Any], ...], executor: Pool | None) -> Any:
    if not functions:
        raise ValueError("needs at least one function")
    for function in functions:
        check_executor(executor, function)
    first, *rest = functions

    async def chained(*args: Any, **kwargs: Any) -> Any:
        async with opened(executor, 1) as pool:
            result = await call(pool, first, *args, **kwargs)
            for function in rest:
                result = await call(pool, function, result)
        return result

    return chained


@overload
def seq(
    first: Callable[P, Awaitable[R]], /, *, executor: Pool | None = None
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, R], /, *, executor: Pool | None = None
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, Any],
    second: Callable[[Any], Awaitable[R]],
    /,
    *,
    executor: Pool | None = None,
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, Any], second: Callable[[Any], R], /, *, executor: Pool | None = None
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, Any],
    second: Callable[[Any], Any],
    third: Callable[[Any], Awaitable[R]],
    /,
    *,
    executor: Pool | None = None,
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, Any],
    second: Callable[[Any], Any],
    third: Callable[[Any], R],
    /,
    *,
    executor: Pool | None = None,
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def seq(
    first: Callable[P, Any], /, *rest: Callable[[Any], Any], executor: Pool | None = None
) -> Callable[P, Coroutine[Any, Any, Any]]: ...
def seq(*functions: Callable[..., Any], executor: Pool | None = None) -> Callable[..., Any]:
    """Make one async function of several, called from left to right.

    The first gets the arguments, each other the result of the one before.

    Raises ValueError when there is no function; the made function raises what they raise.

    >>> import asyncio
    >>> from pyasync import flow
    >>> count_words = flow.seq(str.split, len)
    >>> asyncio.run(count_words("a b c"))
    3
    """
    made: Callable[..., Any] = _chain(functions, executor)
    return made


@overload
def compose(
    last: Callable[[Any], Awaitable[R]],
    /,
    *rest: Callable[..., Any],
    executor: Pool | None = None,
) -> Callable[..., Coroutine[Any, Any, R]]: ...
@overload
def compose(
    last: Callable[[Any], R], /, *rest: Callable[..., Any], executor: Pool | None = None
) -> Callable[..., Coroutine[Any, Any, R]]: ...
def compose(*functions: Callable[..., Any], executor: Pool | None = None) -> Callable[..., Any]:
    """Make one async function of several, called from right to left: `seq` backwards.

    `compose(f, g)(x)` is `f(g(x))`.

    Raises ValueError when there is no function; the made function raises what they raise.

    >>> import asyncio
    >>> from pyasync import flow
    >>> count_words = flow.compose(len, str.split)
    >>> asyncio.run(count_words("a b c"))
    3
    """
    made: Callable[..., Any] = _chain(functions[::-1], executor)
    return made
