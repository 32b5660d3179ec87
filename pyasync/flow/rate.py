"""Limits on how often and how many: RateLimiter (per time) and Bulkhead (at once).

Invariants: whoever waits is served in the order of arrival; a waiter that is cancelled leaves
the line and has used up nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Literal

from ._policy import Guard, check_count, check_positive
from .executors import Pool

Algorithm = Literal["token_bucket", "sliding_window"]


class _TokenBucket:
    """A bucket of `burst` tokens into which `rate` fall per second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled: float | None = None

    def wait(self, count: int, now: float) -> float:
        """Seconds until `count` tokens are there."""
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        # A billionth of a token: what rounding may leave missing after the full wait.
        return max(0.0, (count - self._tokens - 1e-9) / self._rate)

    def take(self, count: int, now: float) -> None:
        self._tokens -= count


class _SlidingWindow:
    """The times of the last `most` calls within `per` seconds."""

    def __init__(self, most: int, per: float) -> None:
        self._most = most
        self._per = per
        self._times: deque[float] = deque()

    def wait(self, count: int, now: float) -> float:
        """Seconds until `count` calls fit into the window."""
        while self._times and self._times[0] + self._per <= now:
            self._times.popleft()
        surplus = len(self._times) + count - self._most
        return 0.0 if surplus <= 0 else self._times[surplus - 1] + self._per - now

    def take(self, count: int, now: float) -> None:
        self._times.extend([now] * count)


class RateLimiter(Guard):
    """Let at most `rate` calls through per `per` seconds; the others wait in line.

    "token_bucket" spreads them evenly and lets `burst` (default: `rate`) through at once after
    a pause; "sliding_window" never lets more than `rate` through in any `per` seconds.

    Use it as `async with limiter:`, `await limiter.acquire()`, `await limiter.call(worker,
    *args)` or `@limiter`.

    Raises ValueError or TypeError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     limiter = flow.RateLimiter(2, per=0.05)
    ...     start = asyncio.get_running_loop().time()
    ...     for _ in range(4):
    ...         await limiter.acquire()
    ...     return asyncio.get_running_loop().time() - start
    >>> asyncio.run(main()) > 0.04
    True
    """

    def __init__(
        self,
        rate: int,
        per: float = 1.0,
        *,
        algorithm: Algorithm = "token_bucket",
        burst: int | None = None,
        executor: Pool | None = None,
    ) -> None:
        super().__init__(executor)
        check_count("rate", rate)
        check_positive("per", per)
        self._meter: _TokenBucket | _SlidingWindow
        if algorithm == "token_bucket":
            self._most = rate if burst is None else burst
            check_count("burst", self._most)
            self._meter = _TokenBucket(rate / per, self._most)
        elif algorithm == "sliding_window":
            if burst is not None:
                raise ValueError("burst is for the token bucket; a sliding window has none")
            self._most = rate
            self._meter = _SlidingWindow(rate, per)
        else:
            raise ValueError(f"algorithm={algorithm!r}: pass 'token_bucket' or 'sliding_window'")
        self._line = asyncio.Lock()  # first come, first served; its holder waits for its turn
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return self._waiting

    def _check(self, count: int) -> None:
        check_count("count", count)
        if count > self._most:
            raise ValueError(f"count={count} can never be granted: at most {self._most} at once")

    def try_acquire(self, count: int = 1) -> bool:
        """Take `count` permits if nobody waits and they are there; never waits.

        Raises ValueError for a count that can never be granted, RuntimeError outside a loop.
        """
        self._check(count)
        now = asyncio.get_running_loop().time()
        if self._waiting or self._meter.wait(count, now) > 0:
            return False
        self._meter.take(count, now)
        return True

    async def acquire(self, count: int = 1) -> None:
        """Wait in line, then take `count` permits.

        Raises ValueError for a count that can never be granted; CancelledError when cancelled,
        and then nothing has been taken.
        """
        self._check(count)
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            async with self._line:
                while (delay := self._meter.wait(count, loop.time())) > 0:
                    await asyncio.sleep(delay)
                self._meter.take(count, loop.time())
        finally:
            self._waiting -= 1

    async def __aenter__(self) -> RateLimiter:
        await self.acquire()
        return self


class BulkheadFull(Exception):
    """A bulkhead refused a call: all its places, and those in its line, are taken.

    >>> from pyasync import flow
    >>> flow.BulkheadFull(2, 0)
    BulkheadFull('all 2 places are taken and 0 may wait')
    """

    def __init__(self, limit: int, queue: int) -> None:
        super().__init__(f"all {limit} places are taken and {queue} may wait")


class Bulkhead(Guard):
    """Let at most `limit` calls run at once and `queue` wait in line; refuse the others.

    `queue=None` lets any number wait: then it is an `asyncio.Semaphore`.

    Use it as `async with bulkhead:`, `await bulkhead.call(worker, *args)` or `@bulkhead`.

    Raises BulkheadFull instead of calling when the line is full; ValueError or TypeError at
    once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     bulkhead = flow.Bulkhead(1, queue=0)
    ...     async with bulkhead:
    ...         try:
    ...             await bulkhead.call(print, "never")
    ...         except flow.BulkheadFull as error:
    ...             print(error)
    >>> asyncio.run(main())
    all 1 places are taken and 0 may wait
    """

    def __init__(
        self, limit: int, *, queue: int | None = None, executor: Pool | None = None
    ) -> None:
        super().__init__(executor)
        check_count("limit", limit)
        if queue is not None and queue < 0:
            raise ValueError(f"queue must not be negative: {queue}")
        self._limit = limit
        self._queue = queue
        self._places = asyncio.Semaphore(limit)
        self._running = 0
        self._waiting = 0

    @property
    def running(self) -> int:
        """How many calls run."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return self._waiting

    async def __aenter__(self) -> Bulkhead:
        if self._places.locked() and self._queue is not None and self._waiting >= self._queue:
            raise BulkheadFull(self._limit, self._queue)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running -= 1
        self._places.release()
