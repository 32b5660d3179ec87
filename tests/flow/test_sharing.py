"""Shared calls: single flight, memoize, debounce, throttle, latest."""

from __future__ import annotations

import asyncio

import pytest

from pyasync import flow
from tests.flow.clock import Clock
from tests.support import turns


class Worker:
    """Counts its calls and waits for `release`."""

    def __init__(self):
        self.calls = []
        self.cancelled = 0
        self.release = asyncio.Event()

    async def __call__(self, *args):
        self.calls.append(args)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await turns(2)
            raise
        if args == ("bad",):
            raise ValueError("bad")
        return args


async def started(loop, *coros):
    tasks = [loop.create_task(coro) for coro in coros]
    await turns(3)
    return tasks


async def test_single_flight_makes_one_call_per_key(loop):
    worker, flights = Worker(), flow.SingleFlight()
    tasks = await started(loop, *(flights.call(key, worker, key) for key in ("a", "a", "b", "a")))
    assert worker.calls == [("a",), ("b",)] and len(flights) == 2
    worker.release.set()
    assert await asyncio.gather(*tasks) == [("a",), ("a",), ("b",), ("a",)]
    assert len(flights) == 0
    await flights.call("a", worker, "a")
    assert len(worker.calls) == 3, "nothing is kept"


async def test_single_flight_raises_the_failure_in_every_caller(loop):
    worker, flights = Worker(), flow.SingleFlight()
    tasks = await started(loop, *(flights.call(1, worker, "bad") for _ in range(3)))
    worker.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in results] == ["bad"] * 3


async def test_one_callers_cancellation_does_not_cancel_the_others(loop):
    worker, flights = Worker(), flow.SingleFlight()
    first, second = await started(loop, *(flights.call(1, worker) for _ in range(2)))
    first.cancel()
    await turns(3)
    assert first.cancelled() and not second.done() and worker.cancelled == 0
    worker.release.set()
    assert await second == ()


async def test_the_last_caller_to_leave_cancels_the_call_and_waits_for_it(loop):
    worker, flights = Worker(), flow.SingleFlight()
    tasks = await started(loop, *(flights.call(1, worker) for _ in range(2)))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert worker.cancelled == 1 and len(flights) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_new_caller_does_not_board_a_flight_that_is_being_cancelled(loop):
    worker, flights = Worker(), flow.SingleFlight()
    (first,) = await started(loop, flights.call(1, worker))
    first.cancel()
    await turns(1)
    (second,) = await started(loop, flights.call(1, worker))
    worker.release.set()
    assert await second == ()
    assert first.cancelled() and len(worker.calls) == 2


async def test_what_an_abandoned_call_raises_is_reported(loop):
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))

    async def worker():
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError

    (task,) = await started(loop, flow.SingleFlight().call(1, worker))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reported == ["pyasync.flow: a shared call failed after all its callers had left"]


async def test_memoize_keeps_results_and_not_failures(loop):
    calls = []

    @flow.memoize
    async def square(number, *, plus=0):
        """Square."""
        calls.append(number)
        await asyncio.sleep(0)
        if number < 0:
            raise ValueError
        return number * number + plus

    assert square.__name__ == "square" and square.__doc__ == "Square."
    assert await asyncio.gather(square(2), square(2), square(3)) == [4, 4, 9]
    assert await square(2) == 4 and await square(2, plus=1) == 5
    assert calls == [2, 3, 2]
    for _ in range(2):
        with pytest.raises(ValueError):
            await square(-1)
    assert calls[3:] == [-1, -1]
    assert square.cache_info() == flow.CacheInfo(hits=1, misses=6, maxsize=128, currsize=3)
    assert square.forget(2) and not square.forget(2)
    square.cache_clear()
    assert square.cache_info() == flow.CacheInfo(0, 0, 128, 0)


async def test_memoize_bounds_its_size_and_drops_the_least_recently_used(loop):
    calls = []
    cached = flow.memoize(lambda n: calls.append(n) or n, maxsize=2)
    for number in (1, 2, 1, 3, 1, 2):
        await cached(number)
    assert calls == [1, 2, 3, 2]
    assert cached.cache_info().currsize == 2


async def test_memoize_forgets_after_the_ttl_and_takes_a_key(loop):
    calls = []

    clock = Clock(loop)

    @flow.memoize(ttl=10, maxsize=None, key=len)
    def worker(text):
        calls.append(text)
        return text

    assert [await worker("a"), await worker("b"), await worker("cc")] == ["a", "a", "cc"]
    await clock.advance(9)
    assert await worker("x") == "a"
    await clock.advance(2)
    assert await worker("d") == "d"
    assert calls == ["a", "cc", "d"]


async def test_what_began_before_the_cache_was_cleared_is_not_kept(loop):
    worker = Worker()
    cached = flow.memoize(worker)
    (task,) = await started(loop, cached(1))
    cached.cache_clear()
    worker.release.set()
    await task
    assert cached.cache_info().currsize == 0


async def test_memoize_works_on_methods(loop):
    class Client:
        calls = 0

        @flow.memoize
        async def fetch(self, path):
            self.calls += 1
            return path

    first, second = Client(), Client()
    assert [await first.fetch("x"), await first.fetch("x"), await second.fetch("x")] == ["x"] * 3
    assert (first.calls, second.calls) == (1, 1)
    Client.fetch.cache_clear()


async def test_debounce_makes_one_call_with_the_latest_arguments(loop):
    calls = []

    @flow.debounce(0.01)
    async def save(text, *, mode="x"):
        calls.append((text, mode))
        return text

    tasks = await started(loop, save("a"), save("b"))
    assert save.pending and calls == []
    tasks += await started(loop, save("c", mode="y"))
    assert await asyncio.gather(*tasks) == ["c"] * 3
    assert calls == [("c", "y")] and not save.pending
    assert await save("d") == "d"


async def test_debounce_waits_for_quiet_but_not_longer_than_told(loop):
    clock = Clock(loop)
    for longest, calls in ((None, 0), (15, 1)):
        begun = []
        save = flow.debounce(10, longest=longest)(begun.append)
        tasks = await started(loop, save(1))
        for number in (2, 3):
            await clock.advance(8)
            tasks += await started(loop, save(number))
        assert len(begun) == calls
        await clock.advance(11)
        await asyncio.gather(*tasks)
        assert begun == ([3] if longest is None else [2, 3])


async def test_throttle_spaces_its_calls(loop):
    calls = []

    @flow.throttle(0.01)
    def report(number):
        calls.append((number, loop.time()))
        return number

    assert await report(1) == 1
    assert await asyncio.gather(report(2), report(3)) == [3, 3]
    assert [number for number, _ in calls] == [1, 3]
    assert calls[1][1] - calls[0][1] >= 0.009


async def test_a_cancelled_caller_of_a_debounced_function_leaves_it_to_the_others(loop):
    calls = []
    debounced = flow.debounce(0.005)(lambda text: calls.append(text) or text)
    first, second = await started(loop, debounced("a"), debounced("b"))
    second.cancel()
    assert await first == "b"
    only, *_ = await started(loop, debounced("c"))
    only.cancel()
    await turns(3)
    assert not debounced.pending and calls == ["b"]


async def test_a_debounced_function_that_fails_fails_every_caller(loop):
    debounced = flow.debounce(0)(lambda: 1 // 0)
    results = await asyncio.gather(debounced(), debounced(), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2


async def test_latest_cancels_the_call_before_and_waits_for_its_end(loop):
    running = most = 0

    async def search(text):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.001)
            return text
        finally:
            await turns(3)
            running -= 1

    latest = flow.Latest()
    find = latest(search)
    tasks = []
    for text in ("a", "ab", "abc"):
        tasks += await started(loop, find(text))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[:2]] == [flow.Superseded] * 2
    assert results[2] == "abc" and most == 1 and not latest.running
    assert await find("next") == "next"


async def test_latest_tells_its_own_cancellation_from_one_from_outside(loop):
    latest = flow.Latest()
    (task,) = await started(loop, latest.call(asyncio.sleep, 60))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await latest.call(abs, -1) == 1


def test_options_that_cannot_work():
    for make in (
        lambda: flow.memoize(abs, maxsize=0),
        lambda: flow.memoize(ttl=0)(abs),
        lambda: flow.debounce(-1),
        lambda: flow.debounce(1, longest=-1),
        lambda: flow.throttle(-1),
    ):
        with pytest.raises(ValueError):
            make()
