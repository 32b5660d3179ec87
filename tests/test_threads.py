"""call_soon_threadsafe and what else other threads may do to a loop."""

import asyncio
import collections
import concurrent.futures
import sys
import threading
import time

import pytest

from tests.support import turn


def in_threads(count, function):
    threads = [threading.Thread(target=function, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_a_sleeping_loop_is_woken(loop):
    start = time.monotonic()
    threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,)).start()
    loop.call_later(10, pytest.fail).cancel()
    loop.run_forever()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("threads, calls", [(1, 5000), (4, 1500), (16, 200)])
def test_none_is_lost_and_each_thread_keeps_its_order(loop, threads, calls):
    seen = collections.defaultdict(list)
    left = threads * calls

    def callback(thread, number):
        nonlocal left
        seen[thread].append(number)
        left -= 1
        if not left:
            loop.stop()

    def schedule(thread):
        for number in range(calls):
            loop.call_soon_threadsafe(callback, thread, number)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        started = in_threads(threads, schedule)
        loop.run_forever()
    finally:
        sys.setswitchinterval(switch)
    for thread in started:
        thread.join()
    assert seen == {thread: list(range(calls)) for thread in range(threads)}


def test_one_queue_for_both_schedulers(loop):
    """What a thread scheduled before the loop's own call_soon runs before it."""
    seen = []

    def callback():
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, "thread"))
        thread.start()
        thread.join()
        loop.call_soon(seen.append, "loop")

    loop.call_soon(callback)
    turn(loop, 3)
    assert seen == ["thread", "loop"]


def test_calls_from_the_loops_own_thread(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(lambda: loop.call_soon_threadsafe(seen.append, 2))
    turn(loop, 2)
    assert seen == [1, 2]


def test_the_context_of_the_calling_thread_is_used(loop):
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def thread():
        variable.set("of the thread")
        loop.call_soon_threadsafe(lambda: (seen.append(variable.get()), loop.stop()))

    in_threads(1, lambda i: thread())
    loop.run_forever()
    assert seen == ["of the thread"]


def test_a_handle_cancelled_from_its_thread_does_not_run(loop):
    seen = []

    def thread(i):
        handle = loop.call_soon_threadsafe(seen.append, "cancelled")
        handle.cancel()
        loop.call_soon_threadsafe(loop.stop)

    def hold():
        started = in_threads(1, thread)
        started[0].join()

    loop.call_soon(hold)
    loop.run_forever()
    assert seen == []


def test_cancel_waits_for_a_callback_that_runs(loop):
    if sys.version_info < (3, 14):
        pytest.skip("cancel() of a thread-safe handle waits from Python 3.14")
    seen = []
    started, handles = threading.Event(), []

    def callback():
        started.set()
        time.sleep(0.05)
        seen.append("callback ended")

    def thread(i):
        handles.append(loop.call_soon_threadsafe(callback))
        started.wait(10)
        handles[0].cancel()
        seen.append("cancel returned")
        loop.call_soon_threadsafe(loop.stop)

    threads = in_threads(1, thread)
    loop.run_forever()
    threads[0].join()
    assert seen == ["callback ended", "cancel returned"]


def test_a_thread_safe_callback_may_cancel_itself(loop):
    seen = []

    def callback():
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon_threadsafe(callback)
    turn(loop)
    assert seen == [True]


def test_calls_race_with_close(new_loop):
    """Threads that call while the loop closes get RuntimeError or are dropped, nothing else."""
    for _ in range(20):
        loop = new_loop()
        errors = []
        barrier = threading.Barrier(3, timeout=10)

        def call(i, loop=loop, barrier=barrier, errors=errors):
            barrier.wait()
            try:
                for _ in range(200):
                    loop.call_soon_threadsafe(int)
            except RuntimeError as exc:
                errors.append(str(exc))

        threads = in_threads(2, call)
        barrier.wait()
        turn(loop)
        loop.close()
        for thread in threads:
            thread.join()
        assert set(errors) <= {"Event loop is closed"}


def test_run_coroutine_threadsafe(loop):
    async def answer(value):
        await asyncio.sleep(0)
        return value

    async def fail():
        raise LookupError("reason")

    results = []

    def thread(i):
        future = asyncio.run_coroutine_threadsafe(answer(i), loop)
        results.append(future.result(10))
        failed = asyncio.run_coroutine_threadsafe(fail(), loop)
        try:
            failed.result(10)
        except LookupError as exc:
            results.append(str(exc))
        loop.call_soon_threadsafe(loop.stop)

    threads = in_threads(1, thread)
    loop.run_forever()
    threads[0].join()
    assert results == [0, "reason"]


def test_run_coroutine_threadsafe_cancel(loop):
    cancelled = []

    async def forever():
        started.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)
            loop.call_later(0.001, loop.stop)
            raise

    started = threading.Event()

    def thread(i):
        future = asyncio.run_coroutine_threadsafe(forever(), loop)
        started.wait(10)
        future.cancel()

    in_threads(1, thread)
    loop.run_forever()
    assert cancelled == [True]


def test_stop_from_another_thread_needs_a_wake_up(loop):
    loop.call_soon(lambda: in_threads(1, lambda i: loop.call_soon_threadsafe(loop.stop)))
    loop.run_forever()


def test_the_default_executor(loop):
    main = threading.get_ident()

    async def body():
        return await loop.run_in_executor(None, threading.get_ident)

    assert loop.run_until_complete(body()) != main
    assert isinstance(loop._default_executor, concurrent.futures.ThreadPoolExecutor)
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, print)


def test_an_executor_of_ones_own(loop):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert loop.run_until_complete(loop.run_in_executor(pool, sum, [1, 2])) == 3
        loop.set_default_executor(pool)
        assert loop._default_executor is pool
        assert loop.run_until_complete(loop.run_in_executor(None, sum, [1, 3])) == 4
        loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(TypeError):
        loop.set_default_executor(object())


def test_executor_exceptions_and_many_jobs(loop):
    async def body():
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        jobs = [loop.run_in_executor(None, pow, 2, i) for i in range(500)]
        return await asyncio.gather(*jobs)

    assert loop.run_until_complete(body()) == [2**i for i in range(500)]


def test_to_thread(loop):
    assert loop.run_until_complete(asyncio.to_thread(sum, [1, 2, 3])) == 6


def test_close_shuts_the_default_executor_down(new_loop):
    loop = new_loop()
    loop.run_until_complete(loop.run_in_executor(None, time.sleep, 0))
    executor = loop._default_executor
    loop.close()
    assert loop._default_executor is None
    with pytest.raises(RuntimeError):
        executor.submit(print)
    executor.shutdown()
