"""Saga: steps with compensations, run backwards when a later step fails or is cancelled.

Invariants: a step whose action has completed is compensated, also when the caller was
cancelled at that very moment; no compensation is skipped, whatever the others raise and
however often the caller is cancelled; every error comes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, overload

from ._crew import report
from .executors import Pool, call_once, check_executor

R = TypeVar("R")


async def _finish(
    coro: Coroutine[Any, Any, R], *, cancel: bool
) -> tuple[asyncio.Task[R], asyncio.CancelledError | None]:
    """Run `coro` to its end, whatever happens to the caller; give its task and that.

    With `cancel` the first cancellation of the caller is passed on to it.
    """
    task = asyncio.get_running_loop().create_task(coro)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            if cancel and cancelled is None:
                task.cancel()
            cancelled = cancelled or error
    return task, cancelled


class Saga:
    """A block of steps that are undone, last first, when the block fails or is cancelled.

    `result = await saga.step(action, undo)` runs `action()` and remembers `undo`, which gets
    the result when it is called to compensate. Both may be async. When the block ends well
    nothing is undone; `await saga.rollback()` undoes everything by hand.

    Raises, from the block, what ended it. When compensations fail too: an ExceptionGroup of
    that exception and their errors; after a cancellation CancelledError, and the errors are
    its cause (a group when several) and go to the loop's exception handler.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async with flow.Saga() as saga:
    ...         await saga.step(lambda: "seat 7", lambda seat: print("free", seat))
    ...         await saga.step(lambda: 10 // 0, print)
    >>> try:
    ...     asyncio.run(main())
    ... except ZeroDivisionError:
    ...     print("undone")
    free seat 7
    undone
    """

    def __init__(self, *, executor: Pool | None = None) -> None:
        check_executor(executor)
        self._executor = executor
        self._undo: list[Callable[[], Coroutine[Any, Any, Any]]] = []

    @overload
    async def step(
        self,
        action: Callable[[], Awaitable[R]],
        undo: Callable[[R], object] | None = None,
    ) -> R: ...
    @overload
    async def step(
        self, action: Callable[[], R], undo: Callable[[R], object] | None = None
    ) -> R: ...
    async def step(
        self, action: Callable[[], Any], undo: Callable[[Any], object] | None = None
    ) -> Any:
        """Run `action()`, remember `undo(result)`, and return the result.

        An action that fails or is cancelled before it completes is not compensated.

        Raises what the action raises; CancelledError when the caller is cancelled, even when
        the action completed all the same (it is compensated then).
        """
        check_executor(self._executor, action)
        # What runs in an executor completes in any case, so its result must not get lost.
        interruptible = self._executor is None
        task, cancelled = await _finish(call_once(self._executor, action), cancel=interruptible)
        failed = task.cancelled() or task.exception() is not None
        if not failed and undo is not None:
            self._undo.append(partial(call_once, self._executor, undo, task.result()))
        if cancelled is not None:
            if failed and not task.cancelled():
                raise cancelled from task.exception()
            raise cancelled
        return task.result()

    async def rollback(self) -> None:
        """Run the compensations of all steps so far, last first, each once.

        Raises, after all have run, the error of the only compensation that failed or a group
        of several; CancelledError when the caller was cancelled meanwhile.
        """
        errors, cancelled = await self._compensate()
        error = _one(errors)
        if cancelled is not None:
            raise cancelled from error
        if error is not None:
            raise error

    async def _compensate(self) -> tuple[list[BaseException], asyncio.CancelledError | None]:
        errors: list[BaseException] = []
        first = None
        while self._undo:
            task, cancelled = await _finish(self._undo.pop()(), cancel=False)
            first = first or cancelled
            try:
                task.result()
            except BaseException as error:
                errors.append(error)
        return errors, first

    async def __aenter__(self) -> Saga:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._undo.clear()
            return
        errors, cancelled = await self._compensate()
        if isinstance(error, Exception) and cancelled is None:
            if errors:
                raise BaseExceptionGroup("the saga and its compensations failed", [error, *errors])
            return
        for failure in errors:
            report("a compensation failed", failure)
        if isinstance(error, Exception):
            assert cancelled is not None
            raise cancelled from error
        if errors:
            raise error from _one(errors)


def _one(errors: list[BaseException]) -> BaseException | None:
    """None, the only error, or a group of all."""
    if len(errors) > 1:
        return BaseExceptionGroup("several compensations failed", errors)
    return errors[0] if errors else None
