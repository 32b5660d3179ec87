"""The control-flow toolkit: parallel, retries, limits, queues, streams, on any asyncio loop.

Write `from pyasync import flow` and `flow.map(...)`: several names are those of builtins. What
there is, and what it stands for in JavaScript's async and in asyncio, is in docs/flow.md.

The rules that hold everywhere:
- Leaving a call by any door (result, exception, cancellation, time-out) leaves no task behind.
- The first failure cancels what still runs, waits for it, and is raised itself; several at
  once are raised as an ExceptionGroup.
- Workers may be plain or async functions; `executor=` runs plain ones elsewhere.
- Inputs may be sync or async iterables and are pulled only when there is room for an item.

It is pure Python on asyncio's public API and imports nothing else of pyasync.
"""

from ._run import Run
from .abort import AbortController, Aborted, AbortSignal, Latest, Superseded
from .auto import auto
from .breaker import CircuitBreaker, CircuitOpen
from .bridges import Emitter, chunked_lines, from_callback, to_thread_iter
from .channel import Channel, ChannelClosed, select
from .collections import (
    concat,
    detect,
    each,
    every,
    filter,
    group_by,
    map,
    map_values,
    partition,
    reduce,
    reject,
    some,
    sort_by,
    times,
    transform,
)
from .control import (
    Fulfilled,
    Rejected,
    all_settled,
    any,
    apply_each,
    compose,
    forever,
    parallel,
    race,
    seq,
    series,
    try_each,
    until,
    waterfall,
    whilst,
)
from .coordination import Gate, Latch, ReadWriteLock
from .executors import Pool
from .flight import CacheInfo, Collapsed, Memoized, SingleFlight, debounce, memoize, throttle
from .queues import Cargo, PriorityWorkQueue, QueueClosed, WorkQueue
from .rate import Bulkhead, BulkheadFull, RateLimiter
from .retry import Attempt, RetriesExhausted, Retry, backoff, retry
from .saga import Saga
from .streams import batched, buffered, merge, zip
from .timing import hedge, timeout

__all__ = [
    "AbortController",
    "AbortSignal",
    "Aborted",
    "Attempt",
    "Bulkhead",
    "BulkheadFull",
    "CacheInfo",
    "Cargo",
    "Channel",
    "ChannelClosed",
    "CircuitBreaker",
    "CircuitOpen",
    "Collapsed",
    "Emitter",
    "Fulfilled",
    "Gate",
    "Latch",
    "Latest",
    "Memoized",
    "Pool",
    "PriorityWorkQueue",
    "QueueClosed",
    "RateLimiter",
    "ReadWriteLock",
    "Rejected",
    "RetriesExhausted",
    "Retry",
    "Run",
    "Saga",
    "SingleFlight",
    "Superseded",
    "WorkQueue",
    "all_settled",
    "any",
    "apply_each",
    "auto",
    "backoff",
    "batched",
    "buffered",
    "chunked_lines",
    "compose",
    "concat",
    "debounce",
    "detect",
    "each",
    "every",
    "filter",
    "forever",
    "from_callback",
    "group_by",
    "hedge",
    "map",
    "map_values",
    "memoize",
    "merge",
    "parallel",
    "partition",
    "race",
    "reduce",
    "reject",
    "retry",
    "select",
    "seq",
    "series",
    "some",
    "sort_by",
    "throttle",
    "timeout",
    "times",
    "to_thread_iter",
    "transform",
    "try_each",
    "until",
    "waterfall",
    "whilst",
    "zip",
]
