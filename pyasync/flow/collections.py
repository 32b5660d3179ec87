# mypy: disable-error-code="overload-overlap"
# (A mapping is also an iterable of its keys; the overload for mappings comes first on purpose.)
"""Collections: one worker over many items, so many at once, the results in order.

The shape they share:
- `worker` is a plain or async function of one item; what it returns is awaited if it can be.
- `items` is any iterable, async iterable or mapping. Of a mapping the worker gets the values,
  and where the result holds items or results, it is a mapping with the same keys.
- `limit` is how many items run at once: 1 is the series form, None all of them (for an input
  that has a length). Items are pulled when there is room for them, so endless inputs work.
- `executor` runs the worker elsewhere, see `pyasync.flow.executors`.
- The result is a `Run`: await it for the whole, or iterate over it for the pieces, in the
  order of the input or, with `as_completed=True`, as they come.
- The first failure cancels what still runs, waits for it, and is raised itself; several at
  once are raised as an ExceptionGroup. An async generator given as input is closed at the end.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack, overload

from ._engine import Job, Turn, closing_source
from ._run import Run, as_list, key_and_result, result_only, run_of
from ._source import END, Source, check_items
from .executors import Pool, call, check_executor, opened

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K")
A = TypeVar("A")
G = TypeVar("G", bound=Hashable)

Items = Iterable[T] | AsyncIterable[T]


class Options(TypedDict, total=False):
    """The keywords that most collection functions take."""

    limit: int | None
    as_completed: bool
    executor: Pool | None


def each(
    worker: Callable[[T], object],
    items: Mapping[Any, T] | Items[T],
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[T, None]:
    """Call `worker` for every item, at most `limit` at once, and drop the results.

    Awaited it gives None; iterated, each item whose call has ended (of a mapping the pairs).
    Memory does not grow with the number of items.

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.each(print, ["a", "b"], limit=1))
    a
    b
    """
    job = Job(worker, items, limit, executor, as_completed)
    return Run("each", job.run, lambda: job.pieces(lambda item, result: item))


@overload
def map(
    worker: Callable[[T], Awaitable[R]], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def map(
    worker: Callable[[T], R], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def map(
    worker: Callable[[T], Awaitable[R]], items: Items[T], **options: Unpack[Options]
) -> Run[R, list[R]]: ...
@overload
def map(
    worker: Callable[[T], R], items: Items[T], **options: Unpack[Options]
) -> Run[R, list[R]]: ...
def map(
    worker: Callable[[Any], Any],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Call `worker` for every item, at most `limit` at once, and collect the results.

    Awaited it gives a list (of a mapping: a dict with the same keys) in the order of the
    input, or of completion with `as_completed=True`; iterated, each result (or (key, result)).

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def double(number):
    ...     await asyncio.sleep(0)
    ...     return 2 * number
    >>> asyncio.run(flow.map(double, [1, 2, 3], limit=2))
    [2, 4, 6]
    >>> asyncio.run(flow.map(double, {"a": 1, "b": 2}))
    {'a': 2, 'b': 4}
    """
    job = Job(worker, items, limit, executor, as_completed)
    if job.mapping:
        return run_of("map", job, key_and_result, dict)
    return run_of("map", job, result_only, as_list)


@overload
def map_values(
    worker: Callable[[K, T], Awaitable[R]], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, R], dict[K, R]]: ...
@overload
def map_values(
    worker: Callable[[K, T], R], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, R], dict[K, R]]: ...
def map_values(
    worker: Callable[[Any, Any], Any],
    items: Mapping[Any, Any],
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Call `worker(key, value)` for every pair of a mapping; the results keep their keys.

    Like `map` over a mapping, for workers that need the key too. Awaited it gives a dict;
    iterated, (key, result) pairs.

    Raises what the worker raises, an ExceptionGroup when several fail at once; TypeError at
    once when `items` is no mapping, and as `map` for other arguments.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.map_values(lambda key, value: f"{key}={value}", {"a": 1}))
    {'a': 'a=1'}
    """
    if not isinstance(items, Mapping):
        raise TypeError(f"map_values needs a mapping, not {items!r}: use map")
    job = Job(worker, items, limit, executor, as_completed, pairs=True)
    return run_of("map_values", job, key_and_result, dict)


@overload
def filter(
    worker: Callable[[T], object], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, T], dict[K, T]]: ...
@overload
def filter(
    worker: Callable[[T], object], items: Items[T], **options: Unpack[Options]
) -> Run[T, list[T]]: ...
def filter(
    worker: Callable[[Any], object],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Keep the items for which `worker` says yes.

    Awaited it gives a list (of a mapping: a dict); iterated, each item kept (or pair).

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.filter(lambda number: number % 2, [1, 2, 3]))
    [1, 3]
    """
    job = Job(worker, items, limit, executor, as_completed)
    fold = dict if job.mapping else as_list
    return run_of("filter", job, lambda item, yes: (item,) if yes else (), fold, flat=True)


@overload
def reject(
    worker: Callable[[T], object], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[K, T], dict[K, T]]: ...
@overload
def reject(
    worker: Callable[[T], object], items: Items[T], **options: Unpack[Options]
) -> Run[T, list[T]]: ...
def reject(
    worker: Callable[[Any], object],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Keep the items for which `worker` says no: the opposite of `filter`.

    Awaited it gives a list (of a mapping: a dict); iterated, each item kept (or pair).

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.reject(lambda number: number % 2, [1, 2, 3]))
    [2]
    """
    job = Job(worker, items, limit, executor, as_completed)
    fold = dict if job.mapping else as_list
    return run_of("reject", job, lambda item, yes: () if yes else (item,), fold, flat=True)


@overload
def partition(
    worker: Callable[[T], object], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[bool, tuple[K, T]], tuple[dict[K, T], dict[K, T]]]: ...
@overload
def partition(
    worker: Callable[[T], object], items: Items[T], **options: Unpack[Options]
) -> Run[tuple[bool, T], tuple[list[T], list[T]]]: ...
def partition(
    worker: Callable[[Any], object],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Split the items into those for which `worker` says yes and those for which it says no.

    Awaited it gives two lists (of a mapping: two dicts); iterated, (yes, item) for each item.

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.partition(lambda number: number > 1, [1, 2, 3]))
    ([2, 3], [1])
    """
    job = Job(worker, items, limit, executor, as_completed)
    kind = dict if job.mapping else list

    def split(pieces: list[Any]) -> Any:
        return (
            kind(item for yes, item in pieces if yes),
            kind(item for yes, item in pieces if not yes),
        )

    return run_of("partition", job, lambda item, yes: (bool(yes), item), split)


def detect(
    worker: Callable[[T], object],
    items: Mapping[Any, T] | Items[T],
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[T, T | None]:
    """Find the first item for which `worker` says yes, and cancel the rest.

    "First" is in the order of the input, or with `as_completed=True` the first to be known.
    Awaited it gives the item (of a mapping: the value) or None; iterated, one item or none.
    Calls after the found item may have begun; what they raise while they are being cancelled
    goes to the loop's exception handler.

    Raises what the worker or the input raises before an item is found, an ExceptionGroup when
    several fail at once; TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> import itertools
    >>> from pyasync import flow
    >>> asyncio.run(flow.detect(lambda number: number > 4, itertools.count(), limit=3))
    5
    """
    job = Job(worker, items, limit, executor, as_completed)

    async def pieces() -> AsyncGenerator[Any, None]:
        async with aclosing(job.pieces(lambda item, yes: (yes, item))) as verdicts:
            async for yes, item in verdicts:
                if yes:
                    found = item[1] if job.mapping else item
                    break
            else:
                return
        yield found

    async def whole() -> Any:
        async with aclosing(pieces()) as found:
            return await anext(found, None)

    return Run("detect", whole, pieces)


def _verdict(name: str, job: Job, decisive: bool) -> Run[bool, bool]:
    """A Run that ends with the first verdict equal to `decisive`."""

    async def pieces() -> AsyncGenerator[bool, None]:
        async with aclosing(job.pieces(lambda item, yes: bool(yes))) as verdicts:
            async for yes in verdicts:
                yield yes
                if yes == decisive:
                    return

    async def whole() -> bool:
        job.as_completed = True  # the order cannot be seen, so do not wait for it
        async with aclosing(pieces()) as verdicts:
            async for yes in verdicts:
                if yes == decisive:
                    return decisive
        return not decisive

    return Run(name, whole, pieces)


def some(
    worker: Callable[[T], object],
    items: Mapping[Any, T] | Items[T],
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[bool, bool]:
    """Tell whether `worker` says yes to any item; the first yes cancels the rest.

    Awaited it gives a bool (False for no items); iterated, the verdict on each item up to the
    one that decides.

    Raises what the worker or the input raises before that, an ExceptionGroup when several
    fail at once; TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.some(str.isdigit, ["a", "1"]))
    True
    """
    return _verdict("some", Job(worker, items, limit, executor, as_completed), True)


def every(
    worker: Callable[[T], object],
    items: Mapping[Any, T] | Items[T],
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[bool, bool]:
    """Tell whether `worker` says yes to all items; the first no cancels the rest.

    Awaited it gives a bool (True for no items); iterated, the verdict on each item up to the
    one that decides.

    Raises what the worker or the input raises before that, an ExceptionGroup when several
    fail at once; TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.every(str.isdigit, ["a", "1"]))
    False
    """
    return _verdict("every", Job(worker, items, limit, executor, as_completed), False)


@overload
def reduce(
    worker: Callable[[A, T], Awaitable[A]],
    items: Mapping[Any, T] | Items[T],
    initial: A,
    *,
    executor: Pool | None = None,
) -> Run[A, A]: ...
@overload
def reduce(
    worker: Callable[[A, T], A],
    items: Mapping[Any, T] | Items[T],
    initial: A,
    *,
    executor: Pool | None = None,
) -> Run[A, A]: ...
@overload
def reduce(
    worker: Callable[[T, T], Awaitable[T]],
    items: Mapping[Any, T] | Items[T],
    *,
    executor: Pool | None = None,
) -> Run[T, T]: ...
@overload
def reduce(
    worker: Callable[[T, T], T],
    items: Mapping[Any, T] | Items[T],
    *,
    executor: Pool | None = None,
) -> Run[T, T]: ...
def reduce(
    worker: Callable[[Any, Any], Any],
    items: Any,
    initial: Any = END,
    *,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Fold the items into one value: `worker(worker(initial, first), second)`, and so on.

    One call after the other, as `functools.reduce`; without `initial` the first item is it.
    Awaited it gives the last value; iterated, every value as `itertools.accumulate`.

    Raises what the worker or the input raises; TypeError when there are no items and no
    `initial`, and at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def add(total, number):
    ...     return total + number
    >>> asyncio.run(flow.reduce(add, [1, 2, 3], 0))
    6
    """
    if not callable(worker):
        raise TypeError(f"worker must be a function, not {worker!r}")
    check_items(items)
    check_executor(executor, worker)
    mapping = isinstance(items, Mapping)

    async def pieces() -> AsyncGenerator[Any, None]:
        source = Source(items.values() if mapping else items)
        turn = Turn()
        async with opened(executor, 1) as pool, closing_source(source):
            value = await source.pull() if initial is END else initial
            if value is END:
                raise TypeError("reduce of no items needs an initial value")
            yield value
            while (item := await source.pull()) is not END:
                value = await call(pool, worker, value, item)
                yield value
                if turn.over():
                    await turn.end()

    async def whole() -> Any:
        last = None
        async with aclosing(pieces()) as values:
            async for value in values:
                last = value
        return last

    return Run("reduce", whole, pieces)


def transform(
    worker: Callable[[A, T], object],
    items: Mapping[Any, T] | Items[T],
    into: A,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[A, A]:
    """Let `worker(into, item)` put every item into one object, at most `limit` at once.

    Unlike in `reduce` the calls run side by side and change the object; their results are
    dropped. Awaited it gives the object; iterated, the object after each item. An executor of
    processes or interpreters cannot change the object.

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> def put(squares, number):
    ...     squares[number] = number * number
    >>> asyncio.run(flow.transform(put, [1, 2, 3], {}))
    {1: 1, 2: 4, 3: 9}
    """
    if not callable(worker):
        raise TypeError(f"worker must be a function, not {worker!r}")
    check_executor(executor, worker)
    job = Job(partial(worker, into), items, limit, executor, as_completed)
    return run_of("transform", job, lambda item, result: into, lambda pieces: into)


@overload
def sort_by(
    worker: Callable[[T], object],
    items: Mapping[K, T],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
    reverse: bool = False,
) -> Run[tuple[K, T], dict[K, T]]: ...
@overload
def sort_by(
    worker: Callable[[T], object],
    items: Items[T],
    *,
    limit: int | None = None,
    executor: Pool | None = None,
    reverse: bool = False,
) -> Run[T, list[T]]: ...
def sort_by(
    worker: Callable[[Any], Any],
    items: Any,
    *,
    limit: int | None = None,
    executor: Pool | None = None,
    reverse: bool = False,
) -> Run[Any, Any]:
    """Sort the items by what `worker` returns for each; equal ones keep their order.

    Awaited it gives a list (of a mapping: a dict in that order); iterated, the items in that
    order, once all are known.

    Raises what the worker, the input or the comparison raises, an ExceptionGroup when several
    workers fail at once; TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.sort_by(len, ["ccc", "a", "bb"]))
    ['a', 'bb', 'ccc']
    """
    job = Job(worker, items, limit, executor)

    async def ordered() -> list[Any]:
        pairs = await job.results(lambda item, key: (key, item))
        pairs.sort(key=lambda pair: pair[0], reverse=reverse)
        return [item for _, item in pairs]

    async def whole() -> Any:
        return dict(await ordered()) if job.mapping else await ordered()

    async def pieces() -> AsyncGenerator[Any, None]:
        for item in await ordered():
            yield item

    return Run("sort_by", whole, pieces)


@overload
def group_by(
    worker: Callable[[T], Awaitable[G]], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[G, tuple[K, T]], dict[G, dict[K, T]]]: ...
@overload
def group_by(
    worker: Callable[[T], G], items: Mapping[K, T], **options: Unpack[Options]
) -> Run[tuple[G, tuple[K, T]], dict[G, dict[K, T]]]: ...
@overload
def group_by(
    worker: Callable[[T], Awaitable[G]], items: Items[T], **options: Unpack[Options]
) -> Run[tuple[G, T], dict[G, list[T]]]: ...
@overload
def group_by(
    worker: Callable[[T], G], items: Items[T], **options: Unpack[Options]
) -> Run[tuple[G, T], dict[G, list[T]]]: ...
def group_by(
    worker: Callable[[Any], Any],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Group the items by what `worker` returns for each.

    Awaited it gives a dict of lists (of a mapping: of dicts), in the order of the input;
    iterated, (group, item) for each item.

    Raises what the worker or the input raises, an ExceptionGroup when several fail at once;
    TypeError for a group that cannot be hashed; TypeError or ValueError at once for arguments
    that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.group_by(len, ["a", "bb", "c"]))
    {1: ['a', 'c'], 2: ['bb']}
    """
    job = Job(worker, items, limit, executor, as_completed)

    def gather(pieces: list[Any]) -> Any:
        groups: dict[Any, list[Any]] = {}
        for group, item in pieces:
            groups.setdefault(group, []).append(item)
        return {group: dict(of) for group, of in groups.items()} if job.mapping else groups

    return run_of("group_by", job, lambda item, group: (group, item), gather)


@overload
def concat(
    worker: Callable[[T], Awaitable[Iterable[R]]],
    items: Mapping[Any, T] | Items[T],
    **options: Unpack[Options],
) -> Run[R, list[R]]: ...
@overload
def concat(
    worker: Callable[[T], Iterable[R] | AsyncIterable[R]],
    items: Mapping[Any, T] | Items[T],
    **options: Unpack[Options],
) -> Run[R, list[R]]: ...
def concat(
    worker: Callable[[Any], Any],
    items: Any,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Call `worker` for every item and chain what it returns: a flat map.

    The worker returns an iterable or is an async generator. Awaited it gives one list;
    iterated, the elements.

    Raises what the worker, its iterables or the input raise, an ExceptionGroup when several
    fail at once; TypeError or ValueError at once for arguments that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.concat(str.split, ["a b", "c"]))
    ['a', 'b', 'c']
    """
    job = Job(worker, items, limit, executor, as_completed, then=_elements)
    return run_of("concat", job, result_only, as_list, flat=True)


async def _elements(found: Any) -> list[Any]:
    """All elements of what a worker of `concat` returned."""
    if not isinstance(found, AsyncIterable):
        return list(found)
    source = Source(found)
    async with closing_source(source):
        elements = []
        while (element := await source.pull()) is not END:
            elements.append(element)
        return elements


@overload
def times(
    worker: Callable[[int], Awaitable[R]], count: int, **options: Unpack[Options]
) -> Run[R, list[R]]: ...
@overload
def times(
    worker: Callable[[int], R], count: int, **options: Unpack[Options]
) -> Run[R, list[R]]: ...
def times(
    worker: Callable[[int], Any],
    count: int,
    *,
    limit: int | None = None,
    as_completed: bool = False,
    executor: Pool | None = None,
) -> Run[Any, Any]:
    """Call `worker` with 0, 1, ... `count` - 1 and collect the results: `map` over a range.

    Raises what the worker raises, an ExceptionGroup when several fail at once; TypeError or
    ValueError at once for arguments that cannot work, such as a negative count.

    >>> import asyncio
    >>> from pyasync import flow
    >>> asyncio.run(flow.times(lambda index: index * index, 4))
    [0, 1, 4, 9]
    """
    if count < 0:
        raise ValueError(f"count must not be negative: {count}")
    job = Job(worker, range(count), limit, executor, as_completed)
    return run_of("times", job, result_only, as_list)
