"""`executor=` means the same everywhere: order, exceptions and cancellation as on the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import os
import sys
import threading
import time

import pytest

from pyasync import flow
from tests.support import turns

POOLS = ["threads", "processes"]
if sys.version_info >= (3, 14):
    POOLS.append("interpreters")


def square(number):
    return number * number


def where(_):
    """Something that differs between the places where a worker may run."""
    return os.getpid(), threading.get_ident()


def fail(number):
    raise ValueError(f"bad {number}")


def stop(_):
    raise StopIteration


@pytest.fixture(scope="module", autouse=True)
def started_servers():
    """Start what the first process pool leaves running for the next, before anything is counted."""
    asyncio.run(flow.map(square, [1], executor="processes"))


@pytest.mark.parametrize("pool", POOLS)
async def test_named_pools_give_results_in_order_and_close(loop, pool):
    threads = threading.active_count()
    assert await flow.map(square, range(5), limit=2, executor=pool) == [0, 1, 4, 9, 16]
    assert await flow.map(square, {"a": 3}, executor=pool) == {"a": 9}
    places = await flow.map(where, range(2), executor=pool)
    assert where(None) not in places
    assert threading.active_count() == threads


@pytest.mark.parametrize("pool", POOLS)
async def test_exceptions_come_out_as_they_are(loop, pool):
    with pytest.raises(ValueError, match="bad 3"):
        await flow.map(fail, [3], executor=pool)


async def test_a_stop_iteration_does_not_hang(loop):
    for pool in (None, "threads"):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await flow.map(stop, [1], executor=pool)


async def test_any_executor_is_used_and_left_open(loop):
    class Counting(concurrent.futures.Executor):
        """Runs calls at once, in the calling thread."""

        calls = 0

        def submit(self, function, /, *args, **kwargs):
            self.calls += 1
            future = concurrent.futures.Future()
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
            return future

    executor = Counting()
    assert await flow.map(square, [1, 2], executor=executor) == [1, 4]
    with pytest.raises(ValueError):
        await flow.each(fail, [1], executor=executor)
    assert executor.calls == 3
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert await flow.map(square, [3], executor=threads) == [9]
        assert threads.submit(square, 2).result() == 4


async def test_threads_see_the_callers_context_variables(loop):
    name = contextvars.ContextVar("name")
    name.set("caller")
    assert await flow.map(lambda _: name.get(), [1], executor="threads") == ["caller"]


async def test_a_cancellation_withdraws_what_has_not_begun_and_waits_for_the_rest(loop):
    release, begun, ended = threading.Event(), [], []

    def worker(number):
        begun.append(number)
        release.wait(10)
        ended.append(number)

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        task = loop.create_task(flow.each(worker, range(4), executor=threads))
        while not begun:
            await asyncio.sleep(0.001)
        task.cancel()
        await turns(5)
        task.cancel()
        await turns(5)
        assert not task.done() and ended == []
        release.set()
        await asyncio.wait([task])
    assert task.cancelled() and begun == ended == [0]


async def test_a_timeout_is_a_timeout(loop):
    begun, ended = threading.Event(), []

    def slow(_):
        begun.set()
        time.sleep(0.03)
        ended.append(True)

    async def expire(scope):
        while not begun.is_set():
            await asyncio.sleep(0.001)
        scope.reschedule(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as scope:
            expiring = loop.create_task(expire(scope))
            await flow.map(slow, [1], executor="threads")
    await expiring
    assert ended == [True], "the running call has been waited for"


async def test_an_executor_that_drops_a_call_cancels_it(loop):
    release = threading.Event()
    threads = concurrent.futures.ThreadPoolExecutor(1)
    task = loop.create_task(
        flow.each(lambda _: release.wait(10), range(2), limit=2, executor=threads)
    )
    while threads._work_queue.qsize() != 1:
        await asyncio.sleep(0.001)
    threads.shutdown(wait=False, cancel_futures=True)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError, match="shutdown"):
        await flow.each(abs, [1], executor=threads)


async def test_every_kind_of_function_runs_its_worker_there(loop):
    here = where(None)

    def there(*_):
        return where(None) != here

    options = {"executor": "threads"}
    assert await flow.times(there, 1, **options) == [True]
    assert await flow.reduce(lambda total, n: there(), [1, 2], **options) is True
    assert await flow.filter(there, [1], **options) == [1]
    assert await flow.detect(there, [1], **options) == 1
    assert await flow.concat(lambda n: [there()], [1], **options) == [True]
    assert await flow.map_values(there, {1: 2}, **options) == {1: True}
    assert await flow.parallel([there], **options) == [True]
    assert await flow.series({"a": there}, **options) == {"a": True}
    assert await flow.all_settled([there], **options) == [flow.Fulfilled(True)]
    assert await flow.race([there], **options) is True
    assert await flow.any([there], **options) is True
    assert await flow.try_each([there], **options) is True
    assert await flow.waterfall([there, there], **options) is True
    assert await flow.auto({"a": there, "b": (["a"], there)}, **options) == {"a": True, "b": True}
    assert await flow.apply_each([there], **options) == [True]
    assert await flow.seq(there, **options)() is True
    assert await flow.compose(there, **options)() is True
    assert await flow.until(iter([False, True]).__next__, there, **options) is True
    assert await flow.retry(there, **options) is True
    assert await flow.timeout(10, **options).call(there) is True
    assert await flow.hedge(there, delay=10, **options) is True
    assert await flow.CircuitBreaker(**options).call(there) is True
    assert await flow.RateLimiter(1, **options).call(there) is True
    assert await flow.Bulkhead(1, **options)(there)() is True
    assert await flow.SingleFlight(**options).call(1, there) is True
    assert await flow.memoize(there, **options)() is True
    assert await flow.debounce(0, **options)(there)() is True
    assert await flow.throttle(0, **options)(there)() is True
    assert await flow.Latest(**options).call(there) is True
    async with flow.Saga(**options) as saga:
        assert await saga.step(there) is True
    for make in (flow.WorkQueue, flow.PriorityWorkQueue):
        async with make(there, **options) as queue:
            future = await queue.push(1)
        assert future.result() is True
    async with flow.Cargo(there, 2, **options) as queue:
        future = await queue.push(1)
    assert future.result() is True


def test_every_function_with_a_worker_takes_an_executor():
    """The parameter is there wherever a caller's function is called."""
    without = {
        # These call nothing that could be heavy, or nothing at all.
        "AbortController AbortSignal Attempt Channel Gate Latch ReadWriteLock Emitter",
        "backoff batched buffered merge zip select from_callback",
        # Types and exceptions.
        "Aborted BulkheadFull CacheInfo ChannelClosed CircuitOpen Fulfilled Pool QueueClosed",
        "Rejected RetriesExhausted Run Superseded",
        # Made by others, which take it.
        "Collapsed Memoized",
    }
    without = {name for names in without for name in names.split()}
    for name in set(flow.__all__) - without:
        function = getattr(flow, name)
        parameters = inspect.signature(function).parameters
        takes_options = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        assert "executor" in parameters or (takes_options and name == "retry"), name


async def test_a_sagas_action_in_an_executor_is_undone_when_it_was_cancelled(loop):
    begun, release, undone = threading.Event(), threading.Event(), []

    def action():
        begun.set()
        release.wait(10)
        return "seat"

    async def main():
        async with flow.Saga(executor="threads") as saga:
            await saga.step(action, undone.append)

    task = loop.create_task(main())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await turns(3)
    release.set()
    await asyncio.wait([task])
    assert task.cancelled() and undone == ["seat"]


def test_executors_that_cannot_work_are_refused_at_once():
    async def worker(_):
        pass

    with pytest.raises(ValueError, match="executor='fibers'"):
        flow.map(square, [], executor="fibers")
    with pytest.raises(TypeError, match="executor=3"):
        flow.map(square, [], executor=3)
    with pytest.raises(TypeError, match="is async"):
        flow.map(worker, [], executor="threads")
    with pytest.raises(TypeError, match="is async"):
        flow.retry(executor="threads")(worker)
    if sys.version_info < (3, 14):
        with pytest.raises(ValueError, match="needs Python 3.14"):
            flow.map(square, [], executor="interpreters")
