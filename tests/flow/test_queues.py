"""Work queues: futures, order, backpressure, pause, shutdown."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from pyasync import flow
from tests.support import turns


async def double(number):
    await asyncio.sleep(0)
    return number * 2


async def test_each_item_has_a_future(loop):
    async def worker(number):
        await asyncio.sleep(0)
        return 10 // number

    async with flow.WorkQueue(worker, concurrency=2) as queue:
        futures = [await queue.push(number) for number in (1, 0, 5)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert results[0] == 10 and results[2] == 2
    assert isinstance(results[1], ZeroDivisionError)


async def test_on_error_gets_the_errors(loop):
    errors, reported = [], []
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
    async with flow.WorkQueue(
        lambda n: 1 // n, on_error=lambda e, n: errors.append((type(e), n))
    ) as queue:
        await queue.push(0)
    assert errors == [(ZeroDivisionError, 0)]
    async with flow.WorkQueue(lambda n: 1 // n, on_error=lambda e, n: 1 // 0) as queue:
        await queue.push(0)
    assert reported == ["pyasync.flow: on_error of a work queue failed"]


async def test_concurrency_bounds_the_runs_and_can_be_changed(loop):
    now = most = 0

    async def worker(_):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await turns(3)
        now -= 1

    queue = flow.WorkQueue(worker, concurrency=2)
    for number in range(6):
        queue.push_nowait(number)
    await queue.drain()
    assert most == 2
    queue.concurrency = 4
    assert queue.concurrency == 4
    for number in range(6):
        queue.push_nowait(number)
    await queue.drain()
    assert most == 4
    await queue.shutdown()


async def test_maxsize_makes_push_wait(loop):
    release = asyncio.Event()

    async def worker(_):
        await release.wait()

    async with flow.WorkQueue(worker, maxsize=1) as queue:
        await queue.push(1)
        await turns(2)
        await queue.push(2)
        assert queue.full() and queue.saturated and queue.qsize() == 1 and queue.running == 1
        with pytest.raises(asyncio.QueueFull):
            queue.push_nowait(3)
        pushing = loop.create_task(queue.push(3))
        await turns(3)
        assert not pushing.done() and queue.waiting == 1
        release.set()
        await pushing


async def test_unshift_puts_first_and_pause_holds(loop):
    order = []
    queue = flow.WorkQueue(order.append)
    queue.pause()
    assert queue.paused
    await queue.push(1)
    await queue.push(2)
    await queue.unshift(0)
    await turns(5)
    assert order == [] and not queue.idle
    queue.resume()
    await queue.drain()
    assert order == [0, 1, 2] and queue.idle
    await queue.shutdown()


async def test_priorities_and_ties(loop):
    order = []
    async with flow.PriorityWorkQueue(order.append) as queue:
        for item, priority in [("c", 2), ("a", 1), ("d", 2), ("b", 1)]:
            await queue.push(item, priority)
    assert order == ["a", "b", "c", "d"]
    queue = flow.PriorityWorkQueue(order.append)
    queue.pause()
    queue.push_nowait(1, priority=1)
    with pytest.raises(TypeError):
        queue.push_nowait(2, priority="x")
    assert queue.qsize() == 1
    await queue.shutdown(immediate=True)


async def test_cargo_takes_what_waits(loop):
    loads = []

    async def worker(items):
        loads.append(items)
        await turns(3)
        return len(items)

    async with flow.Cargo(worker, payload=3) as cargo:
        futures = [await cargo.push(number) for number in range(5)]
        assert await futures[0] == 3
        futures += [await cargo.push(number) for number in (5, 6)]
    assert loads == [[0, 1, 2], [3, 4], [5, 6]]
    assert [future.result() for future in futures] == [3, 3, 3, 2, 2, 2, 2]


async def test_shutdown_at_once_cancels_everything(loop):
    ended = []

    async def worker(number):
        try:
            await asyncio.sleep(60)
        finally:
            await turns(3)
            ended.append(number)

    queue = flow.WorkQueue(worker, concurrency=2)
    futures = [await queue.push(number) for number in range(4)]
    await turns(3)
    await queue.shutdown(immediate=True)
    assert sorted(ended) == [0, 1]
    assert all(future.cancelled() for future in futures)
    assert queue.idle and queue.closed
    with pytest.raises(flow.QueueClosed):
        await queue.push(9)
    with pytest.raises(flow.QueueClosed):
        queue.push_nowait(9)


async def test_a_graceful_shutdown_finishes_the_work_even_when_paused(loop):
    queue = flow.WorkQueue(double)
    queue.pause()
    future = await queue.push(1)
    await queue.shutdown()
    assert future.result() == 2


async def test_a_cancelled_graceful_shutdown_becomes_immediate(loop):
    queue = flow.WorkQueue(asyncio.sleep)
    future = await queue.push(60)
    await turns(2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await queue.shutdown()
    assert future.cancelled() and queue.idle


async def test_a_block_that_raises_shuts_down_at_once(loop):
    with pytest.raises(ValueError):
        async with flow.WorkQueue(asyncio.sleep) as queue:
            future = await queue.push(60)
            raise ValueError
    assert future.cancelled()


async def test_who_waits_to_push_learns_of_a_shutdown(loop):
    queue = flow.WorkQueue(double, maxsize=1)
    queue.pause()
    await queue.push(1)
    pushing = loop.create_task(queue.push(2))
    await turns(2)
    await queue.shutdown()
    with pytest.raises(flow.QueueClosed):
        await pushing


async def test_cancelling_a_future_drops_the_item_or_cancels_its_run(loop):
    begun, cancelled = [], []

    async def worker(number):
        begun.append(number)
        try:
            await turns(20)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async with flow.WorkQueue(worker, maxsize=2) as queue:
        running = await queue.push(0)
        await turns(2)
        waiting, last = await queue.push(1), await queue.push(2)
        waiting.cancel()
        running.cancel()
        await turns(2)
        assert not queue.full()
    assert begun == [0, 2] and cancelled == [0]
    assert last.done() and not last.cancelled()


async def test_a_batch_is_cancelled_when_all_its_futures_are(loop):
    cancelled = []

    async def worker(items):
        try:
            await turns(9)
        except asyncio.CancelledError:
            cancelled.append(items)
            raise

    async with flow.Cargo(worker, payload=2) as cargo:
        futures = [await cargo.push(number) for number in range(4)]
        await turns(2)
        futures[0].cancel()
        await turns(2)
        assert cancelled == []
        futures[1].cancel()
    assert cancelled == [[0, 1]]
    assert futures[2].done() and not futures[2].cancelled()


async def test_remove_drops_waiting_items(loop):
    done = []
    queue = flow.WorkQueue(done.append)
    queue.pause()
    futures = [await queue.push(number) for number in range(4)]
    assert queue.remove(lambda number: number % 2) == 2
    await queue.shutdown()
    assert done == [0, 2]
    assert [future.cancelled() for future in futures] == [False, True, False, True]


async def test_unsaturated_waits_for_a_free_worker(loop):
    async with flow.WorkQueue(double) as queue:
        await queue.push(1)
        await turns(2)
        assert queue.saturated
        await queue.unsaturated()
        assert not queue.saturated


async def test_runs_have_the_context_of_their_pusher(loop):
    name = contextvars.ContextVar("name")
    seen = []

    async def worker(_):
        seen.append(name.get())
        name.set("leaked")

    async with flow.WorkQueue(worker) as queue:
        for value in "ab":
            name.set(value)
            await queue.push(value)
    assert seen == ["a", "b"]


async def test_a_run_cancelled_before_it_began_ends_its_future(loop):
    queue = flow.WorkQueue(double)
    future = await queue.push(1)
    await asyncio.sleep(0)  # the task exists, and has not run
    for task in list(queue._runs):
        task.cancel()
    await queue.drain()
    assert future.cancelled()


def test_a_worker_that_interrupts_ends_the_loop_and_its_future(new_loop):
    loop = new_loop()

    def interrupt(_):
        raise KeyboardInterrupt

    async def main():
        queue = flow.WorkQueue(interrupt)
        future = await queue.push(1)
        try:
            await future
        except asyncio.CancelledError:
            return "cancelled"

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task) == "cancelled"
    loop.close()


async def test_reprs_say_the_state(loop):
    queue = flow.WorkQueue(double)
    assert repr(queue) == "<WorkQueue open, 0 running, 0 queued>"
    queue.pause()
    assert "paused" in repr(queue)
    await queue.shutdown()
    assert "closed" in repr(queue)


def test_arguments_that_cannot_work_are_refused_at_once():
    with pytest.raises(TypeError, match="worker must be a function"):
        flow.WorkQueue(3)
    with pytest.raises(ValueError, match="concurrency must be at least 1"):
        flow.WorkQueue(double, 0)
    with pytest.raises(ValueError, match="maxsize must not be negative"):
        flow.WorkQueue(double, maxsize=-1)
    with pytest.raises(TypeError, match="payload must be an int"):
        flow.Cargo(double, 1.5)
