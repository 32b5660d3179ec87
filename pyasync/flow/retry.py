"""Retry: call again after a failure, later and later.

Invariants: cancellation is never retried; the last failure is raised itself, with a note that
says how often it was tried; no attempt begins after the deadline, and one that is running then
is cancelled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from ._policy import Policy, Thunk, check_count, check_positive
from .executors import Pool

R = TypeVar("R")

Jitter = Literal["full", "equal", "decorrelated"] | None
Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


class RetriesExhausted(Exception):
    """Every attempt returned a result that asks for another; `result` is the last one.

    >>> from pyasync import flow
    >>> flow.RetriesExhausted(3, None)
    RetriesExhausted('no acceptable result after 3 attempts, the last was None')
    """

    def __init__(self, attempts: int, result: Any) -> None:
        super().__init__(f"no acceptable result after {attempts} attempts, the last was {result!r}")
        self.attempts = attempts
        self.result = result


def backoff(
    base: float = 0.1, factor: float = 2.0, max_delay: float = 30.0, jitter: Jitter = "full"
) -> Iterator[float]:
    """Yield the seconds to wait before the second, third, ... attempt, without end.

    The cap begins at `base`, grows by `factor` and never passes `max_delay`. "full" waits
    anything from 0 to the cap, "equal" at least half of it, "decorrelated" anything from
    `base` to three times the wait before, None the cap itself.

    Raises ValueError for a negative `base` or `max_delay`, a `factor` below 1 or an unknown
    jitter.

    >>> import itertools
    >>> from pyasync import flow
    >>> list(itertools.islice(flow.backoff(1, 2, 5, jitter=None), 5))
    [1, 2, 4, 5, 5]
    """
    check_positive("base", base, zero=True)
    check_positive("max_delay", max_delay, zero=True)
    if factor < 1:
        raise ValueError(f"factor must be at least 1, not {factor!r}")
    if jitter not in ("full", "equal", "decorrelated", None):
        raise ValueError(f"jitter={jitter!r}: pass 'full', 'equal', 'decorrelated' or None")
    return _delays(base, factor, max_delay, jitter)


def _delays(base: float, factor: float, max_delay: float, jitter: Jitter) -> Iterator[float]:
    cap = previous = min(base, max_delay)
    while True:
        if jitter == "full":
            yield random.uniform(0, cap)
        elif jitter == "equal":
            yield random.uniform(cap / 2, cap)
        elif jitter == "decorrelated":
            previous = min(max_delay, random.uniform(base, previous * 3))
            yield previous
        else:
            yield cap
        cap = min(max_delay, cap * factor)


class Attempt:
    """One attempt of a `Retry`, used as `async with attempt:` around what is tried.

    `number` counts from 1. Assign `result` for a retry that judges results. Leaving the block
    with a failure that is to be retried suppresses it; the loop then waits and goes on.

    Raises, from the block, a failure that is not retried or was the last; TimeoutError when
    its time was up; RetriesExhausted when the last result asks for another attempt.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async for attempt in flow.retry(attempts=3, base=0):
    ...         async with attempt:
    ...             print("attempt", attempt.number)
    ...             if attempt.number < 2:
    ...                 raise OSError("not yet")
    >>> asyncio.run(main())
    attempt 1
    attempt 2
    """

    def __init__(self, run: _Attempts, number: int) -> None:
        self.number = number
        self.result: Any = None
        self._run = run
        self._scope: asyncio.Timeout | None = None
        self.delay: float | None = None  # seconds to wait before the next one; None: no next one
        self._left = False

    async def __aenter__(self) -> Attempt:
        self._scope = asyncio.timeout_at(self._run.attempt_ends())
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._scope is not None
        self._left = True
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError as timeout:
            if self._judge(timeout):
                return True
            raise
        if error is not None:
            return self._judge(error)
        if self._run.policy.wants_another(self.result):
            self.delay = self._run.next_delay(self.number)
            if self.delay is None:
                raise RetriesExhausted(self.number, self.result)
        return False

    def _judge(self, error: BaseException) -> bool:
        """Whether to try again after `error`."""
        if not self._run.policy.is_retried(error):
            return False
        self.delay = self._run.next_delay(self.number)
        if self.delay is None:
            error.add_note(f"retry gave up after attempt {self.number}")
        return self.delay is not None

    @property
    def left(self) -> bool:
        """Whether the block has been entered and left."""
        return self._left


class _Attempts:
    """The attempts of one call: what `async for attempt in retry(...)` iterates over."""

    def __init__(self, policy: Retry) -> None:
        self.policy = policy
        self._delays = backoff(policy.base, policy.factor, policy.max_delay, policy.jitter)
        self._loop = asyncio.get_running_loop()
        self._ends = None if policy.deadline is None else self._loop.time() + policy.deadline
        self._attempt: Attempt | None = None

    def attempt_ends(self) -> float | None:
        """The loop time at which an attempt that begins now is cancelled."""
        if self.policy.timeout is None:
            return self._ends
        ends = self._loop.time() + self.policy.timeout
        return ends if self._ends is None else min(ends, self._ends)

    def next_delay(self, number: int) -> float | None:
        """The wait after attempt `number`, None when it was the last."""
        if self.policy.attempts is not None and number >= self.policy.attempts:
            return None
        delay = next(self._delays)
        if self._ends is not None and self._loop.time() + delay >= self._ends:
            return None
        return delay

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return self

    async def __anext__(self) -> Attempt:
        last = self._attempt
        if last is None:
            self._attempt = Attempt(self, 1)
            return self._attempt
        if not last.left:
            raise RuntimeError("the attempt was not used: write 'async with attempt:'")
        if last.delay is None:
            raise StopAsyncIteration
        await asyncio.sleep(last.delay)
        self._attempt = Attempt(self, last.number + 1)
        return self._attempt


class Retry(Policy):
    """A retry policy: `retry` without a worker makes one; see there.

    `await policy.call(worker, *args)`, `@policy` and `async for attempt in policy` use it.

    Raises ValueError or TypeError at once for options that cannot work; its calls raise what
    `retry` says.

    >>> import asyncio
    >>> from pyasync import flow
    >>> numbers = iter([0, 1])
    >>> @flow.Retry(attempts=2, base=0)
    ... async def divide():
    ...     return 10 // next(numbers)
    >>> asyncio.run(divide())
    10
    """

    def __init__(
        self,
        *,
        attempts: int | None = 5,
        base: float = 0.1,
        factor: float = 2.0,
        max_delay: float = 30.0,
        jitter: Jitter = "full",
        on: Errors = Exception,
        on_result: Callable[[Any], object] | None = None,
        deadline: float | None = None,
        timeout: float | None = None,
        executor: Pool | None = None,
    ) -> None:
        super().__init__(executor)
        if attempts is not None:
            check_count("attempts", attempts)
        elif deadline is None:
            raise ValueError("attempts=None needs a deadline")
        for name, seconds in (("deadline", deadline), ("timeout", timeout)):
            if seconds is not None:
                check_positive(name, seconds)
        backoff(base, factor, max_delay, jitter)
        self.attempts = attempts
        self.base = base
        self.factor = factor
        self.max_delay = max_delay
        self.jitter: Jitter = jitter
        self.on = on
        self.on_result = on_result
        self.deadline = deadline
        self.timeout = timeout

    def is_retried(self, error: BaseException) -> bool:
        """Whether this kind of failure asks for another attempt; never for a cancellation."""
        if not isinstance(error, Exception):
            return False
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return bool(self.on(error))

    def wants_another(self, result: Any) -> bool:
        """Whether this result asks for another attempt."""
        return self.on_result is not None and bool(self.on_result(result))

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _Attempts(self)

    async def _apply(self, thunk: Thunk) -> Any:
        async for attempt in self:
            async with attempt:
                attempt.result = await thunk()
        return attempt.result


@overload
def retry(
    *,
    attempts: int | None = 5,
    base: float = 0.1,
    factor: float = 2.0,
    max_delay: float = 30.0,
    jitter: Jitter = "full",
    on: Errors = Exception,
    on_result: Callable[[Any], object] | None = None,
    deadline: float | None = None,
    timeout: float | None = None,
    executor: Pool | None = None,
) -> Retry: ...
@overload
def retry(
    worker: Callable[..., Awaitable[R]],
    /,
    *args: Any,
    attempts: int | None = 5,
    base: float = 0.1,
    factor: float = 2.0,
    max_delay: float = 30.0,
    jitter: Jitter = "full",
    on: Errors = Exception,
    on_result: Callable[[Any], object] | None = None,
    deadline: float | None = None,
    timeout: float | None = None,
    executor: Pool | None = None,
) -> Coroutine[Any, Any, R]: ...
@overload
def retry(
    worker: Callable[..., R],
    /,
    *args: Any,
    attempts: int | None = 5,
    base: float = 0.1,
    factor: float = 2.0,
    max_delay: float = 30.0,
    jitter: Jitter = "full",
    on: Errors = Exception,
    on_result: Callable[[Any], object] | None = None,
    deadline: float | None = None,
    timeout: float | None = None,
    executor: Pool | None = None,
) -> Coroutine[Any, Any, R]: ...
def retry(worker: Callable[..., Any] | None = None, /, *args: Any, **options: Any) -> Any:
    """Call `worker(*args)` again when it fails: `await retry(worker, ...)`.

    Without a worker it makes a `Retry`: a decorator `@retry(...)`, and a context:
    `async for attempt in retry(...)` with `async with attempt:` inside.

    `attempts` is how often at most (None: until the deadline); between them it waits as
    `backoff(base, factor, max_delay, jitter)` says, in seconds. `on` says which failures are
    retried: exception types, or a function of the exception; `on_result` which results are.
    `deadline` bounds the whole in seconds, `timeout` each attempt.

    Raises the last failure itself, one that is not retried at once; TimeoutError for an
    attempt that ran out of its time or past the deadline, when it was the last;
    RetriesExhausted when the last result still asks for another attempt; ValueError or
    TypeError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> numbers = iter([0, 0, 5])
    >>> asyncio.run(flow.retry(lambda: 10 // next(numbers), base=0.001))
    2
    """
    policy = Retry(**options)
    return policy if worker is None else policy.call(worker, *args)
