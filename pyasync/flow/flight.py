"""Sharing a call: SingleFlight and memoize (one call for all who ask), debounce and throttle.

Invariants: callers of the same key share one call; a caller that is cancelled leaves the call
to the others; when the last one leaves, the call is cancelled and waited for. Failures are
raised in every caller and never kept.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from ._crew import report
from ._policy import check_count, check_positive
from .executors import Pool, call_once, check_executor

P = ParamSpec("P")
R = TypeVar("R")


class _Flight:
    """One shared call, a task, and how many callers wait for it."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.task = asyncio.get_running_loop().create_task(coro)
        self.passengers = 0

    async def ride(self, on_empty: Callable[[], object]) -> Any:
        """Wait for the result; the last one to leave early cancels the call.

        `on_empty` is called first then, so that nobody new comes aboard.
        """
        self.passengers += 1
        try:
            await asyncio.wait([self.task])
        except asyncio.CancelledError:
            if self.passengers == 1 and not self.task.done():
                on_empty()
                await self._abandon()
            raise
        finally:
            self.passengers -= 1
            if self.passengers == 0 and self.task.done() and not self.task.cancelled():
                self.task.exception()  # seen, also when its only caller has been cancelled
        return self.task.result()

    async def _abandon(self) -> None:
        self.task.cancel()
        while not self.task.done():
            try:
                await asyncio.wait([self.task])
            except asyncio.CancelledError:
                continue  # the caller raises one in any case
        if not self.task.cancelled() and (error := self.task.exception()) is not None:
            report("a shared call failed after all its callers had left", error)


class SingleFlight:
    """Make one call where several callers ask for the same thing at the same time.

    `await flights.call(key, worker, *args)`: while a call for `key` runs, others with the same
    key wait for its result. It runs in a task of its own, with the context variables of the
    first caller.

    Raises in every caller what the worker raises; CancelledError in a caller that is
    cancelled, and in all when the worker raises that itself.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def fetch():
    ...     print("fetching")
    ...     await asyncio.sleep(0)
    ...     return "page"
    >>> async def main():
    ...     flights = flow.SingleFlight()
    ...     return await flow.times(lambda _: flights.call("key", fetch), 3)
    >>> asyncio.run(main())
    fetching
    ['page', 'page', 'page']
    """

    def __init__(self, *, executor: Pool | None = None) -> None:
        check_executor(executor)
        self._executor = executor
        self._flights: dict[Hashable, _Flight] = {}

    def __len__(self) -> int:
        """How many calls run."""
        return len(self._flights)

    @overload
    async def call(
        self,
        key: Hashable,
        worker: Callable[P, Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    async def call(
        self, key: Hashable, worker: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    async def call(
        self, key: Hashable, worker: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call `worker(*args, **kwargs)`, or wait for the call for `key` that runs already.

        Raises what the worker raises; TypeError for a key that cannot be hashed.
        """
        check_executor(self._executor, worker)
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(call_once(self._executor, worker, *args, **kwargs))
            self._flights[key] = flight
            flight.task.add_done_callback(functools.partial(self._landed, key, flight))
        return await flight.ride(functools.partial(self._landed, key, flight))

    def _landed(self, key: Hashable, flight: _Flight, _: object = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class CacheInfo(NamedTuple):
    """What `memoize`d functions tell about their cache; `functools.lru_cache` has the same.

    >>> from pyasync import flow
    >>> flow.CacheInfo(hits=1, misses=2, maxsize=None, currsize=2).hits
    1
    """

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class Memoized(Generic[P, R]):
    """A function whose results are kept; what `memoize` returns.

    Raises, when called, what the function raises, and TypeError for arguments that cannot be
    hashed.

    >>> import asyncio
    >>> from pyasync import flow
    >>> length = flow.memoize(len)
    >>> asyncio.run(length("abc")), length.cache_info().misses
    (3, 1)
    """

    def __init__(
        self,
        worker: Callable[P, Any],
        maxsize: int | None,
        ttl: float | None,
        key: Callable[..., Hashable] | None,
        executor: Pool | None,
    ) -> None:
        check_executor(executor, worker)
        if maxsize is not None:
            check_count("maxsize", maxsize)
        if ttl is not None:
            check_positive("ttl", ttl)
        functools.update_wrapper(self, worker)
        self._worker = worker
        self._maxsize = maxsize
        self._ttl = ttl
        self._key = key or _arguments
        self._executor = executor
        self._flights = SingleFlight()
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._era = 0  # a call that began before the cache was cleared is not kept
        self._hits = self._misses = 0

    def __get__(self, instance: object, owner: object = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The kept result for these arguments, or that of a call."""
        key = self._key(*args, **kwargs)
        now = asyncio.get_running_loop().time()
        found = self._kept.get(key)
        if found is not None and (self._ttl is None or now < found[0] + self._ttl):
            self._hits += 1
            self._kept.move_to_end(key)
            hit: R = found[1]
            return hit
        self._misses += 1
        flight = (self._era, key)
        result: R = await self._flights.call(flight, self._fill, flight, args, kwargs)
        return result

    async def _fill(self, flight: tuple[int, Hashable], args: Any, kwargs: Any) -> Any:
        result = await call_once(self._executor, self._worker, *args, **kwargs)
        era, key = flight
        if era == self._era:
            self._kept[key] = (asyncio.get_running_loop().time(), result)
            self._kept.move_to_end(key)
            if self._maxsize is not None and len(self._kept) > self._maxsize:
                self._kept.popitem(last=False)
        return result

    def cache_info(self) -> CacheInfo:
        """Hits, misses, the size bound and the present size."""
        return CacheInfo(self._hits, self._misses, self._maxsize, len(self._kept))

    def cache_clear(self) -> None:
        """Forget everything; calls that run now are not kept either."""
        self._kept.clear()
        self._era += 1
        self._hits = self._misses = 0

    def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; False when there was none."""
        return self._kept.pop(self._key(*args, **kwargs), None) is not None


def _arguments(*args: Any, **kwargs: Any) -> Hashable:
    return args, tuple(sorted(kwargs.items()))


@overload
def memoize(
    worker: Callable[P, Awaitable[R]],
    *,
    maxsize: int | None = 128,
    ttl: float | None = None,
    key: Callable[..., Hashable] | None = None,
    executor: Pool | None = None,
) -> Memoized[P, R]: ...
@overload
def memoize(
    worker: Callable[P, R],
    *,
    maxsize: int | None = 128,
    ttl: float | None = None,
    key: Callable[..., Hashable] | None = None,
    executor: Pool | None = None,
) -> Memoized[P, R]: ...
@overload
def memoize(
    *,
    maxsize: int | None = 128,
    ttl: float | None = None,
    key: Callable[..., Hashable] | None = None,
    executor: Pool | None = None,
) -> _Memoize: ...
def memoize(
    worker: Callable[..., Any] | None = None,
    *,
    maxsize: int | None = 128,
    ttl: float | None = None,
    key: Callable[..., Hashable] | None = None,
    executor: Pool | None = None,
) -> Any:
    """Keep the results of an async (or plain) function: `functools.lru_cache` for coroutines.

    At most `maxsize` results are kept (None: any number; the one used least recently goes
    first), each for `ttl` seconds (None: for ever). Calls with the same arguments at the same
    time are one call; failures are not kept. `key` makes the key of the arguments.

    Use it as `memoize(function)`, `@memoize` or `@memoize(ttl=...)`; the result has
    `cache_info`, `cache_clear` and `forget(*args)`.

    Raises ValueError or TypeError at once for options that cannot work. The function then
    raises what `worker` raises, and TypeError for arguments that cannot be hashed.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.memoize(ttl=60)
    ... async def square(number):
    ...     print("computing")
    ...     return number * number
    >>> async def main():
    ...     return [await square(3), await square(3)]
    >>> asyncio.run(main())
    computing
    [9, 9]
    """
    decorate = _Memoize(maxsize, ttl, key, executor)
    return decorate if worker is None else decorate(worker)


class _Memoize(NamedTuple):
    """The decorator that `memoize` with options is."""

    maxsize: int | None
    ttl: float | None
    key: Callable[..., Hashable] | None
    executor: Pool | None

    @overload
    def __call__(self, worker: Callable[P, Awaitable[R]]) -> Memoized[P, R]: ...
    @overload
    def __call__(self, worker: Callable[P, R]) -> Memoized[P, R]: ...
    def __call__(self, worker: Callable[..., Any]) -> Any:
        return Memoized(worker, self.maxsize, self.ttl, self.key, self.executor)


class _Pending:
    """A call that has not begun: when it is due, and the arguments it will have."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.last: float | None = None  # not later than this
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.flight: _Flight | None = None


class Collapsed(Generic[P, R]):
    """A function whose calls are collapsed into fewer; what `debounce` and `throttle` make.

    Every caller waits for the call that stands for its own, made with the arguments of the
    latest caller, and gets its result or failure. When all of them are cancelled, so is it.

    Raises, when called, what the function raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.debounce(0.001)
    ... def search(text):
    ...     return text.upper()
    >>> asyncio.run(search("a")), search.pending
    ('A', False)
    """

    def __init__(
        self,
        worker: Callable[P, Any],
        schedule: Callable[[_Pending | None, float, float], float],
        longest: float | None,
        executor: Pool | None,
    ) -> None:
        check_executor(executor, worker)
        functools.update_wrapper(self, worker)
        self._worker = worker
        self._schedule = schedule
        self._longest = longest
        self._executor = executor
        self._pending: _Pending | None = None
        self._began = float("-inf")  # loop time at which the last call began

    @property
    def pending(self) -> bool:
        """Whether a call waits for its time."""
        return self._pending is not None

    def __get__(self, instance: object, owner: object = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Join the call that waits for its time, or make the next one."""
        now = asyncio.get_running_loop().time()
        pending = self._pending
        due = self._schedule(pending, now, self._began)
        if pending is None:
            pending = self._pending = _Pending(due)
            if self._longest is not None:
                pending.last = now + self._longest
            pending.flight = _Flight(self._run(pending))
        pending.due = due if pending.last is None else min(due, pending.last)
        pending.args, pending.kwargs = args, kwargs
        assert pending.flight is not None
        result: R = await pending.flight.ride(functools.partial(self._drop, pending))
        return result

    def _drop(self, pending: _Pending) -> None:
        if self._pending is pending:
            self._pending = None

    async def _run(self, pending: _Pending) -> Any:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # an eager task begins before it has been stored
        while (delay := pending.due - loop.time()) > 0:
            await asyncio.sleep(delay)
        self._drop(pending)
        self._began = loop.time()
        return await call_once(self._executor, self._worker, *pending.args, **pending.kwargs)


class _Collapse:
    """The decorator that `debounce(...)` and `throttle(...)` are."""

    def __init__(
        self,
        schedule: Callable[[_Pending | None, float, float], float],
        longest: float | None,
        executor: Pool | None,
    ) -> None:
        check_executor(executor)
        self._options = (schedule, longest, executor)

    @overload
    def __call__(self, worker: Callable[P, Awaitable[R]]) -> Collapsed[P, R]: ...
    @overload
    def __call__(self, worker: Callable[P, R]) -> Collapsed[P, R]: ...
    def __call__(self, worker: Callable[..., Any]) -> Any:
        return Collapsed(worker, *self._options)


def debounce(
    delay: float, *, longest: float | None = None, executor: Pool | None = None
) -> _Collapse:
    """Decorate a function so that a burst of calls is one call, `delay` seconds after the last.

    `longest` bounds the wait since the first call of the burst, in seconds. All callers of
    the burst get the result of the one call, made with the latest arguments.

    Raises ValueError at once for a negative time. The function then raises what the worker
    raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.debounce(0.01)
    ... async def save(text):
    ...     print("saving", text)
    ...     return len(text)
    >>> asyncio.run(flow.map(save, ["a", "ab", "abc"]))
    saving abc
    [3, 3, 3]
    """
    check_positive("delay", delay, zero=True)
    if longest is not None:
        check_positive("longest", longest, zero=True)
    return _Collapse(lambda pending, now, began: now + delay, longest, executor)


def throttle(interval: float, *, executor: Pool | None = None) -> _Collapse:
    """Decorate a function so that its calls begin at least `interval` seconds apart.

    The first call begins at once; calls that come too early become one call at the end of the
    interval, made with the latest arguments, and all its callers get its result.

    Raises ValueError at once for a negative time. The function then raises what the worker
    raises.

    >>> import asyncio
    >>> from pyasync import flow
    >>> @flow.throttle(0.01)
    ... def report(percent):
    ...     print(percent, "%")
    >>> async def main():
    ...     await report(0)
    ...     await flow.each(report, [10, 20, 30])
    >>> asyncio.run(main())
    0 %
    30 %
    """
    check_positive("interval", interval, zero=True)
    return _Collapse(
        lambda pending, now, began: pending.due if pending else max(now, began + interval),
        None,
        executor,
    )
