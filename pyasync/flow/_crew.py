"""A crew: the tasks that one call of the toolkit has started, none of which outlives it.

Invariants:
- The first failure asks every other task to stop, once; `join` waits until all have ended.
- One failure comes out as itself, several as an exception group, KeyboardInterrupt and
  SystemExit before all. A task that ended cancelled though the crew did not cancel it
  counts as failed with that CancelledError when nothing else failed.
- A cancellation of the caller comes out as CancelledError; failures that came with it are
  its cause. Only what is no Exception (KeyboardInterrupt, SystemExit) goes before it.
- The owner is never cancelled by its crew (unlike in `asyncio.TaskGroup`): it waits for
  `wake`, so cancellation counts of the owner's task are never touched.

Everything here runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

R = TypeVar("R")


def report(message: str, error: BaseException) -> None:
    """Hand an error that has nowhere to be raised to the loop's exception handler."""
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": f"pyasync.flow: {message}", "exception": error})


def combine(message: str, errors: list[BaseException]) -> BaseException | None:
    """None, the only error, or all of them in a group; an interrupt goes before the rest."""
    distinct = list({id(error): error for error in errors}.values())
    for error in distinct:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return error
    if len(distinct) > 1:
        return BaseExceptionGroup(message, distinct)
    return distinct[0] if distinct else None


class Crew:
    """A set of tasks with one owner, used as `async with Crew() as crew`.

    Leaving the block without an exception joins (see `join`); leaving it with one cancels
    the tasks, waits for them, and reports what they raise to the loop's exception handler.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._stray: asyncio.CancelledError | None = None
        self._sent_cancel = False
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self.starting = False  # true while `spawn` is on the stack (eager task factories)

    @property
    def idle(self) -> bool:
        """Whether no task is left."""
        return not self._tasks

    @property
    def failed(self) -> bool:
        """Whether a task has failed."""
        return bool(self._errors) or self._stray is not None

    def stop(self) -> None:
        """Say that nothing new is to be started; what runs goes on until `cancel`."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether nothing new is to be started."""
        return self._stopped

    def spawn(
        self, coro: Coroutine[Any, Any, R], *, context: Context | None = None
    ) -> asyncio.Task[R]:
        """Start a task of this crew.

        Raises RuntimeError when the crew has been cancelled, after closing `coro`.
        """
        if self._sent_cancel:
            coro.close()
            raise RuntimeError("the crew has been cancelled: it starts no task any more")
        outer, self.starting = self.starting, True
        try:
            task = self._loop.create_task(coro, context=context)
        finally:
            self.starting = outer
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            if not self._sent_cancel:
                self._stray = cancelled
                self.cancel()
        else:
            if error is not None:
                self._errors.append(error)
                self.cancel()
        if not self._tasks:
            self.wake()

    def cancel(self) -> None:
        """Ask every task to stop; from the second call on this does nothing."""
        self._stopped = True
        if not self._sent_cancel:
            self._sent_cancel = True
            for task in list(self._tasks):
                task.cancel()

    def wake(self) -> None:
        """End the owner's `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next `wake`, which also comes when the last task ends."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def settle(self) -> asyncio.CancelledError | None:
        """Wait until no task is left; return the cancellation that came meanwhile, if any.

        A cancellation of the waiting owner cancels the tasks, and the wait goes on.
        """
        cancelled = None
        while self._tasks:
            try:
                await self.wait()
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                self.cancel()
            except BaseException:  # the owner is being closed (GeneratorExit): it cannot wait
                self.cancel()
                raise
        return cancelled

    async def join(self) -> None:
        """Wait until no task is left, then raise what `close_with` says."""
        self.close_with(await self.settle())

    def close_with(self, cancelled: asyncio.CancelledError | None) -> None:
        """Raise the outcome of an ended crew; nothing when all went well.

        Raises `cancelled` (with the failures as its cause) unless a failure is no Exception,
        else an interrupt of a task, else the only failure, else a BaseExceptionGroup of all
        (an ExceptionGroup when all are Exceptions), else the CancelledError of a task that
        cancelled itself.
        """
        error = combine("several workers failed", self._errors)
        self._errors.clear()
        try:
            if cancelled is not None and (error is None or isinstance(error, Exception)):
                raise cancelled from error
            if error is not None:
                raise error
            if self._stray is not None:
                raise self._stray
        finally:
            # Break the cycle exception -> traceback -> this frame -> exception.
            del error, cancelled
            self._stray = None

    async def dismiss(self) -> None:
        """Cancel the tasks whose results nobody needs any more and wait for them.

        What they raise goes to the loop's exception handler. Raises what is no Exception
        (such as KeyboardInterrupt), and CancelledError when the owner is cancelled meanwhile.
        """
        self.cancel()
        cancelled = await self.settle()
        error = combine("several workers failed", self._errors)
        if isinstance(error, Exception):
            report("a worker failed after its call had been left", error)
            self._errors.clear()
        self._stray = None
        self.close_with(cancelled)

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.join()
        else:
            await self.dismiss()
