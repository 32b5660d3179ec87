"""Time limits and hedging: what to do about calls that take too long.

Invariants: a call whose time is up has ended, cleanup included, when TimeoutError is raised; of
hedged calls none runs on after the first success.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from ._crew import Crew
from ._policy import Policy, Thunk, check_count, check_positive
from .executors import Pool, call, check_executor, opened

R = TypeVar("R")


class timeout(Policy):
    """Limit the time of a block, a call or a function: `asyncio.timeout` and a decorator.

    `async with timeout(seconds) as scope:` gives the `asyncio.Timeout`; an object is entered
    once. `await timeout(seconds).call(worker, *args)` and `@timeout(seconds)` limit every
    call. None means no limit. A plain function can only be limited in an executor, and is
    waited for there.

    Raises TimeoutError when the time is up; RuntimeError when entered a second time.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.timeout(0.01)
    ... async def slow():
    ...     await asyncio.sleep(60)
    >>> try:
    ...     asyncio.run(slow())
    ... except TimeoutError:
    ...     print("too slow")
    too slow
    """

    def __init__(self, delay: float | None, *, executor: Pool | None = None) -> None:
        super().__init__(executor)
        self.delay = delay
        self._scope: asyncio.Timeout | None = None

    async def __aenter__(self) -> asyncio.Timeout:
        if self._scope is not None:
            raise RuntimeError("this timeout has been entered already: make another")
        self._scope = asyncio.timeout(self.delay)
        return await self._scope.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._scope is not None
        await self._scope.__aexit__(kind, error, traceback)

    async def _apply(self, thunk: Thunk) -> Any:
        async with asyncio.timeout(self.delay):
            return await thunk()


class _Race:
    """The attempts of one hedged call and what has come of them."""

    def __init__(self, crew: Crew, function: Callable[[], Any]) -> None:
        self._crew = crew
        self._function = function
        self._results: list[Any] = []
        self._ended = 0
        self.errors: list[BaseException] = []

    @property
    def won(self) -> bool:
        return bool(self._results)

    @property
    def result(self) -> Any:
        return self._results[0]

    async def attempt(self) -> None:
        try:
            self._results.append(await self._function())
        except (Exception, asyncio.CancelledError) as error:
            self.errors.append(error)
        self._crew.wake()

    async def news(self, delay: float | None) -> None:
        """Wait until an attempt has ended since the last call, at most `delay` seconds."""
        ended = self._ended
        try:
            async with asyncio.timeout(delay):
                while len(self._results) + len(self.errors) == ended and not self._crew.failed:
                    await self._crew.wait()
        except TimeoutError:
            return
        self._ended = ended + 1


@overload
async def hedge(
    worker: Callable[..., Awaitable[R]],
    /,
    *args: Any,
    delay: float = 0.1,
    attempts: int = 2,
    executor: Pool | None = None,
) -> R: ...
@overload
async def hedge(
    worker: Callable[..., R],
    /,
    *args: Any,
    delay: float = 0.1,
    attempts: int = 2,
    executor: Pool | None = None,
) -> R: ...
async def hedge(
    worker: Callable[..., Any],
    /,
    *args: Any,
    delay: float = 0.1,
    attempts: int = 2,
    executor: Pool | None = None,
) -> Any:
    """Call `worker(*args)`, and again when no answer came within `delay` seconds.

    The first success wins; the other attempts are cancelled and waited for, and how they end
    is ignored. A failed attempt starts the next one at once; `attempts` is how many at most.

    Raises an ExceptionGroup of all failures when no attempt succeeds (the failure itself when
    `attempts` is 1); ValueError or TypeError for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> waits = iter([60, 0])
    >>> async def fetch():
    ...     await asyncio.sleep(next(waits))
    ...     return "answer"
    >>> asyncio.run(flow.hedge(fetch, delay=0.01))
    'answer'
    """
    check_count("attempts", attempts)
    check_positive("delay", delay, zero=True)
    check_executor(executor, worker)
    async with opened(executor, attempts) as pool, Crew() as crew:
        run = _Race(crew, functools.partial(call, pool, worker, *args))
        started = 0
        while not (run.won or crew.failed or len(run.errors) == attempts):
            if started < attempts:
                crew.spawn(run.attempt())
                started += 1
            await run.news(delay if started < attempts else None)
        if run.won:
            await crew.dismiss()
            return run.result
        await crew.join()
    if attempts == 1:
        raise run.errors[0]
    raise BaseExceptionGroup("every attempt failed", run.errors)
