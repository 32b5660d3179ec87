"""Cancelling a block from outside: AbortController and AbortSignal, as in browsers, and Latest.

Invariants, those of `asyncio.timeout`: the block is cancelled by `Task.cancel`, and the
CancelledError becomes the reason when it leaves the block; a cancellation that comes from
elsewhere stays one; the task's count of cancellation requests is what it was before.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from ._crew import report
from ._policy import Policy, Thunk
from .executors import Pool


class Aborted(Exception):
    """The reason of an abort that gave none.

    >>> from pyasync import flow
    >>> flow.Aborted()
    Aborted('aborted')
    """

    def __init__(self, message: str = "aborted") -> None:
        super().__init__(message)


class Superseded(Aborted):
    """A call gave way to a newer one; see `Latest`.

    >>> from pyasync import flow
    >>> flow.Superseded()
    Superseded('a newer call took the place of this one')
    """

    def __init__(self) -> None:
        super().__init__("a newer call took the place of this one")


class _Block:
    """One block of one task that a signal may cancel."""

    def __init__(self, signal: AbortSignal) -> None:
        self._signal = signal
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an abort signal can be entered only inside a task")
        self.task = task
        self._requests = task.cancelling()
        self._fired = False
        signal._listen(self, self._fire)
        if signal.aborted:
            self._fire()

    def _fire(self) -> None:
        if not self._fired:
            self._fired = True
            self.task.cancel()

    async def leave(self, error: BaseException | None) -> None:
        """End the block; raises the reason in place of a cancellation by the signal."""
        self._signal._unlisten(self)
        if not self._fired:
            return
        if error is None:
            # Take delivery of a request that is still to come: the task aborted itself and
            # has not waited since.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                if self.task.uncancel() > self._requests:
                    raise
                return
        if self.task.uncancel() <= self._requests and isinstance(error, asyncio.CancelledError):
            assert self._signal.reason is not None
            raise self._signal.reason from error


class AbortSignal:
    """What an `AbortController` aborts: pass it to those who should listen.

    `async with signal:` cancels the block when the signal is aborted, and raises the reason
    (an exception; `Aborted` by default) from it; a block entered later is cancelled at its
    first await. `aborted`, `reason`, `throw_if_aborted()`, `add_callback(function)` and
    `await signal.wait()` are for everything else. `AbortSignal.timeout(seconds)` and
    `AbortSignal.any(signals)` make signals that abort by themselves.

    Raises RuntimeError when entered outside a task.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async with flow.AbortSignal.timeout(0.01):
    ...         await asyncio.sleep(60)
    >>> try:
    ...     asyncio.run(main())
    ... except TimeoutError as error:
    ...     print("aborted:", error)
    aborted: the signal timed out
    """

    def __init__(self) -> None:
        self._reason: BaseException | None = None
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._blocks: dict[asyncio.Task[Any] | None, list[_Block]] = {}

    @property
    def aborted(self) -> bool:
        """Whether it has been aborted."""
        return self.reason is not None

    @property
    def reason(self) -> BaseException | None:
        """Why it has been aborted; None when it has not."""
        return self._reason

    def throw_if_aborted(self) -> None:
        """Raise the reason if it has been aborted."""
        if self.reason is not None:
            raise self.reason

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback()` when it is aborted, at once if it has been; return a way to undo.

        What a callback raises goes to the loop's exception handler.
        """
        if self.aborted:
            callback()
            return lambda: None
        key = object()
        self._listen(key, callback)
        return functools.partial(self._unlisten, key)

    def _listen(self, key: object, callback: Callable[[], object]) -> None:
        self._callbacks[key] = callback

    def _unlisten(self, key: object) -> None:
        self._callbacks.pop(key, None)

    def _abort(self, reason: BaseException) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        for key, callback in list(self._callbacks.items()):
            self._unlisten(key)
            try:
                callback()
            except Exception as error:
                report("a callback of an abort signal failed", error)

    async def wait(self) -> BaseException:
        """Wait until it is aborted and return the reason."""
        event = asyncio.Event()
        undo = self.add_callback(event.set)
        try:
            await event.wait()
        finally:
            undo()
        assert self.reason is not None
        return self.reason

    async def __aenter__(self) -> AbortSignal:
        block = _Block(self)
        self._blocks.setdefault(block.task, []).append(block)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        blocks = self._blocks[task]
        block = blocks.pop()
        if not blocks:
            del self._blocks[task]
        await block.leave(error)

    @staticmethod
    def timeout(seconds: float) -> AbortSignal:
        """A signal that aborts with TimeoutError after `seconds`.

        Raises RuntimeError outside a running loop.
        """
        signal = AbortSignal()
        error = TimeoutError("the signal timed out")
        asyncio.get_running_loop().call_later(seconds, signal._abort, error)
        return signal

    @staticmethod
    def any(signals: Iterable[AbortSignal]) -> AbortSignal:
        """A signal that aborts, with the same reason, when the first of `signals` does."""
        return _AnySignal(signals)


class _AnySignal(AbortSignal):
    """A signal that follows others; it is known to them only while somebody listens to it."""

    def __init__(self, signals: Iterable[AbortSignal]) -> None:
        super().__init__()
        self._signals = list(signals)

    @property
    def reason(self) -> BaseException | None:
        """Why the first of the signals was aborted; None when none was."""
        reasons = (signal.reason for signal in self._signals)
        return self._reason or next(filter(None, reasons), None)

    def _listen(self, key: object, callback: Callable[[], object]) -> None:
        if not self._callbacks:
            for signal in self._signals:
                signal._listen(self, functools.partial(self._follow, signal))
        super()._listen(key, callback)

    def _unlisten(self, key: object) -> None:
        super()._unlisten(key)
        if not self._callbacks:
            for signal in self._signals:
                signal._unlisten(self)

    def _follow(self, signal: AbortSignal) -> None:
        assert signal.reason is not None
        self._abort(signal.reason)


class AbortController:
    """Aborts its `signal`, and so every block that the signal guards.

    Raises nothing itself; the guarded blocks raise the reason.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     controller = flow.AbortController()
    ...     asyncio.get_running_loop().call_soon(controller.abort)
    ...     async with controller.signal:
    ...         await asyncio.sleep(60)
    >>> try:
    ...     asyncio.run(main())
    ... except flow.Aborted as error:
    ...     print(error)
    aborted
    """

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: BaseException | str | None = None) -> None:
        """Abort the signal; the first reason counts, a string becomes an `Aborted`.

        Call it on the loop's thread; from another one use `loop.call_soon_threadsafe`.
        """
        if isinstance(reason, BaseException):
            self.signal._abort(reason)
        else:
            self.signal._abort(Aborted() if reason is None else Aborted(reason))


class Latest(Policy):
    """Let a new call cancel the one before: search as you type.

    A new call cancels the running one, waits until it has ended, and begins unless a still
    newer one has come. Use it as `await latest.call(worker, *args)` or `@latest`.

    Raises Superseded in a call that gave way to a newer one; otherwise what the worker raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.Latest()
    ... async def search(text):
    ...     await asyncio.sleep(0.001)
    ...     return text.upper()
    >>> async def main():
    ...     return await asyncio.gather(search("a"), search("ab"), return_exceptions=True)
    >>> asyncio.run(main())
    [Superseded('a newer call took the place of this one'), 'AB']
    """

    def __init__(self, *, executor: Pool | None = None) -> None:
        super().__init__(executor)
        self._newest: AbortController | None = None
        self._turn = asyncio.Lock()  # held by the call that runs

    @property
    def running(self) -> bool:
        """Whether a call runs."""
        return self._turn.locked()

    async def _apply(self, thunk: Thunk) -> Any:
        controller = AbortController()
        before, self._newest = self._newest, controller
        if before is not None:
            before.abort(Superseded())
        try:
            async with controller.signal, self._turn:
                return await thunk()
        finally:
            if self._newest is controller:
                self._newest = None
