"""Calls whose result types a checker must infer; test_typing.py runs mypy --strict over it.

Never imported by a test: `assert_type` fails when mypy reads the file, not when it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import assert_type

from pyasync import flow


async def name_of(number: int) -> str:
    return str(number)


def half_of(number: int) -> float:
    return number / 2


async def add(total: float, number: int) -> float:
    return total + number


async def keyed(key: str, value: int) -> bytes:
    return f"{key}{value}".encode()


async def numbers() -> AsyncIterator[int]:
    yield 1


async def collections() -> None:
    assert_type(await flow.each(name_of, [1]), None)
    assert_type(await flow.map(name_of, [1]), list[str])
    assert_type(await flow.map(half_of, range(3), limit=2), list[float])
    assert_type(await flow.map(name_of, numbers(), limit=2), list[str])
    assert_type(await flow.map(name_of, {"a": 1}), dict[str, str])
    assert_type(await flow.map(half_of, {"a": 1}, as_completed=True), dict[str, float])
    assert_type([name async for name in flow.map(name_of, [1])], list[str])
    async with flow.map(name_of, {"a": 1}) as pairs:
        assert_type([pair async for pair in pairs], list[tuple[str, str]])
    assert_type(await flow.map_values(keyed, {"a": 1}), dict[str, bytes])
    assert_type(await flow.filter(name_of, [1]), list[int])
    assert_type(await flow.filter(half_of, {"a": 1}), dict[str, int])
    assert_type(await flow.reject(name_of, [1]), list[int])
    assert_type(await flow.partition(name_of, [1]), tuple[list[int], list[int]])
    assert_type(await flow.partition(half_of, {"a": 1}), tuple[dict[str, int], dict[str, int]])
    assert_type(await flow.detect(name_of, [1]), int | None)
    assert_type(await flow.some(name_of, [1]), bool)
    assert_type(await flow.every(name_of, [1]), bool)
    assert_type(await flow.reduce(add, [1], 0.5), float)
    assert_type(await flow.sort_by(name_of, [1]), list[int])
    assert_type(await flow.group_by(name_of, [1]), dict[str, list[int]])
    assert_type(await flow.group_by(half_of, {"a": 1}), dict[float, dict[str, int]])
    assert_type(await flow.concat(str.split, ["a b"]), list[str])
    assert_type(await flow.times(name_of, 3), list[str])


async def control_flow() -> None:
    one, half = partial(name_of, 1), partial(half_of, 1)
    assert_type(await flow.parallel([one, one]), list[str])
    assert_type(await flow.parallel({"a": half}), dict[str, float])
    assert_type(await flow.series([one]), list[str])
    assert_type(await flow.all_settled([one]), list[flow.Fulfilled[str] | flow.Rejected])
    assert_type(await flow.race([one]), str)
    assert_type(await flow.any([half], limit=1), float)
    assert_type(await flow.try_each({"a": one}), str)
    assert_type(await flow.apply_each([name_of], 1), list[str])
    assert_type(await flow.whilst(lambda: False, one), str | None)
    assert_type(await flow.seq(half_of)(number=1), float)
    assert_type(await flow.seq(half_of, str)(1), str)
    assert_type(await flow.compose(name_of, int)("1"), str)


async def resilience() -> None:
    assert_type(await flow.retry(name_of, 1, attempts=2), str)
    assert_type(await flow.retry(half_of, 1), float)
    assert_type(await flow.hedge(name_of, 1), str)
    assert_type(await flow.timeout(1)(name_of)(number=1), str)
    assert_type(await flow.retry(attempts=2)(half_of)(1), float)
    assert_type(await flow.CircuitBreaker().call(name_of, 1), str)
    assert_type(await flow.RateLimiter(1)(name_of)(1), str)
    assert_type(await flow.SingleFlight().call("key", name_of, 1), str)
    assert_type(await flow.memoize(name_of)(1), str)
    assert_type(await flow.memoize(ttl=1)(half_of)(1), float)
    assert_type(await flow.debounce(1)(name_of)(1), str)
    assert_type(await flow.Latest().call(half_of, 1), float)
    async with flow.Saga() as saga:
        assert_type(await saga.step(partial(name_of, 1)), str)
    async with flow.Bulkhead(1) as bulkhead:
        assert_type(bulkhead, flow.Bulkhead)


async def queues_and_streams() -> None:
    async with flow.WorkQueue(name_of, 2) as queue:
        assert_type(await queue.push(1), asyncio.Future[str])
    async with flow.PriorityWorkQueue(half_of) as priorities:
        assert_type(await priorities.push(1, priority=2), asyncio.Future[float])
    channel: flow.Channel[int] = flow.Channel(1)
    assert_type(await channel.get(), int)
    assert_type(await flow.select(channel), tuple[flow.Channel[int], int])
    assert_type([item async for item in channel], list[int])
    assert_type([item async for item in flow.buffered(numbers())], list[int])
    assert_type([item async for item in flow.merge([1], numbers())], list[int])
    assert_type([batch async for batch in flow.batched([1], 2)], list[tuple[int, ...]])
    assert_type([pair async for pair in flow.zip([1], ["a"])], list[tuple[int, str]])
    assert_type([line async for line in flow.chunked_lines("x")], list[str])
    assert_type([line async for line in flow.chunked_lines("x", encoding=None)], list[bytes])
    assert_type([item async for item in flow.to_thread_iter([1])], list[int])


async def mistakes() -> None:
    # Each of these must be an error: an ignore that ignores nothing is one (warn_unused_ignores).
    await flow.map(name_of, ["a"])  # type: ignore[arg-type]  # the worker takes an int
    await flow.timeout(1)(name_of)("a")  # type: ignore[arg-type]  # and so when decorated
    await flow.map(name_of, [1], limits=2)  # type: ignore[call-overload]  # no such keyword
