"""run_in_executor(): how the executor's future and the loop's complete and cancel each other."""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import threading
import traceback
import weakref

import pytest

from tests.support import error_of, plain, turn, turns, until

BOTH_MODES = True


class Held:
    """An executor whose futures the test completes itself, in whatever thread it likes."""

    def __init__(self, make=concurrent.futures.Future):
        self.make = make
        self.calls = []

    def submit(self, *call):
        self.source = self.make()
        self.calls.append(call)
        return self.source


def in_thread(function, *args):
    """Run function(*args) in another thread and wait for it, without running the loop."""
    failed = []

    def run():
        try:
            function(*args)
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


def reported(loop):
    """What the exception handler is told from now on: names and texts of exceptions."""
    seen = []
    loop.set_exception_handler(
        lambda _, context: seen.append((context["message"], repr(context.get("exception"))))
    )
    return seen


# ---- results


async def test_a_result_comes_with_any_number_of_arguments(loop):
    for count in (0, 1, 7, 8, 9, 300):
        numbers = list(range(count))
        assert await loop.run_in_executor(None, lambda *args: list(args), *numbers) == numbers


async def test_arguments_by_keyword(loop):
    assert await loop.run_in_executor(executor=None, func=int) == 0
    assert await loop.run_in_executor(None, func=int) == 0


def test_wrong_calls(same_as_asyncio):
    def body(loop):
        return [
            error_of(loop.run_in_executor),
            error_of(loop.run_in_executor, None),
            error_of(loop.run_in_executor, None, int, func=int),
            error_of(loop.run_in_executor, None, int, other=int),
            error_of(loop.run_in_executor, 3, int),
            error_of(loop.run_in_executor, Held(make=object), int)[0],
            error_of(loop.run_in_executor, Held(make=lambda: 1 / 0), int),
        ]

    assert "AssertionError" in same_as_asyncio(body)


def test_a_closed_loop_submits_nothing(loop):
    loop.close()
    executor = Held()
    for args in (executor, int), (None, int):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.run_in_executor(*args)
    assert executor.calls == []


def test_debug_mode_checks_the_function(loop):
    loop.set_debug(True)

    async def coroutine_function():
        pass

    executor = Held()
    with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
        loop.run_in_executor(executor, coroutine_function)
    with pytest.raises(TypeError, match=r"a callable object was expected by run_in_executor\(\)"):
        loop.run_in_executor(executor, 3)
    assert executor.calls == []


async def test_a_result_that_is_there_before_anybody_waits(loop):
    def done():
        source = concurrent.futures.Future()
        source.set_result("early")
        return source

    assert await loop.run_in_executor(Held(make=done), int) == "early"


def test_futures_of_other_classes(loop):
    class Own(concurrent.futures.Future):
        pass

    class Mine(Held):
        def submit(self, *call):
            super().submit(*call).set_result(5)
            return self.source

    assert loop.run_until_complete(loop.run_in_executor(Mine(make=Own), int)) == 5
    future = loop.create_future()
    assert loop.run_in_executor(Held(make=lambda: future), int) is future
    future.cancel()


async def test_a_future_without_cycles_dies_at_once(loop, debug):
    if debug:
        return  # a source traceback holds frames
    executor = Held()
    gc.collect()
    gc.disable()
    try:
        future = loop.run_in_executor(executor, int)
        dead = weakref.ref(future)
        executor.source.set_result(None)
        await future
        del future, executor.source
        await turns(1)
        assert dead() is None
    finally:
        gc.enable()


async def test_the_collector_finds_a_chain_that_is_never_completed(loop):
    executor = Held()
    future = loop.run_in_executor(executor, int)
    dead = weakref.ref(future)
    del future, executor.source
    gc.collect()
    assert dead() is None


def test_the_repr_names_what_waits(loop):
    future = loop.run_in_executor(Held(), int)
    assert "cb=[_chain_future.<locals>._call_check_cancel()" in repr(future)
    future.cancel()


# ---- order


def test_order_of_callbacks_and_of_what_was_scheduled_around(same_as_asyncio):
    def body(loop):
        executor, seen = Held(), []
        future = loop.run_in_executor(executor, int)
        executor.source.add_done_callback(lambda _: loop.call_soon_threadsafe(seen.append, "after"))
        for number in range(3):
            future.add_done_callback(lambda _, number=number: seen.append(number))
        loop.call_soon(seen.append, "before")
        in_thread(executor.source.set_result, None)
        for _ in range(4):
            turn(loop)
            seen.append(("turn", future.done()))
        return seen

    same_as_asyncio(body)


def test_order_of_cancelling(same_as_asyncio):
    def body(loop):
        executor, seen = Held(), []
        future = loop.run_in_executor(executor, int)
        executor.source.add_done_callback(lambda _: seen.append("source"))
        future.add_done_callback(lambda _: seen.append("destination"))
        future.cancel("why")
        for _ in range(3):
            turn(loop)
            seen.append((executor.source.cancelled(), future.cancelled()))
        return seen

    assert same_as_asyncio(body)[:2] == ["source", "destination"]


@pytest.mark.parametrize("how", ["result", "cancel", "exception"])
def test_completed_on_the_loops_own_thread(same_as_asyncio, how):
    """Later releases complete our future at once then, earlier ones in the next turn."""

    async def body(loop):
        executor, seen = Held(), []
        future = loop.run_in_executor(executor, int)
        loop.call_soon(lambda: seen.append(("next turn", future.done())))
        if how == "result":
            executor.source.set_result(1)
        elif how == "cancel":
            executor.source.cancel()
        else:
            executor.source.set_exception(ZeroDivisionError())
        for _ in range(3):
            seen.append(future.done())
            await asyncio.sleep(0)
        seen.append(await asyncio.gather(future, return_exceptions=True))
        return repr(seen)

    same_as_asyncio(body)


def test_a_done_source_on_the_loops_own_thread(same_as_asyncio):
    async def body(loop):
        def done():
            source = concurrent.futures.Future()
            source.set_result(1)
            return source

        future = loop.run_in_executor(Held(make=done), int)
        seen = [future.done()]
        await asyncio.sleep(0)
        return [*seen, future.done(), await future]

    same_as_asyncio(body)


# ---- cancellation


async def test_cancelling_keeps_a_call_from_beginning(loop):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        go, called = threading.Event(), []
        running = loop.run_in_executor(pool, go.wait, 10)
        queued = loop.run_in_executor(pool, called.append, 1)
        assert queued.cancel("why")
        await turns(1)
        with pytest.raises(asyncio.CancelledError, match="why"):
            await queued
        go.set()
        assert await running
        assert await loop.run_in_executor(pool, called.append, 2) is None
    assert called == [2]


async def test_a_result_or_exception_after_cancelling_is_dropped(loop):
    seen = reported(loop)
    for complete in ("set_result", 1), ("set_exception", ZeroDivisionError()):
        executor = Held()
        future = loop.run_in_executor(executor, int)
        assert executor.source.set_running_or_notify_cancel()
        future.cancel()
        await turns(2)
        assert executor.source.running()
        in_thread(getattr(executor.source, complete[0]), complete[1])
        await turns(3)
        assert future.cancelled()
    assert seen == []


async def test_a_cancelled_source_cancels_ours(loop):
    executor = Held()
    future = loop.run_in_executor(executor, int)
    in_thread(executor.source.cancel)
    with pytest.raises(asyncio.CancelledError):
        await future
    assert future.cancelled()


async def test_an_executor_that_drops_its_calls_cancels_them(loop):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    go = threading.Event()
    running = loop.run_in_executor(pool, go.wait, 10)
    queued = loop.run_in_executor(pool, int)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(asyncio.CancelledError):
        await queued
    go.set()
    assert await running


async def test_a_task_that_is_cancelled_while_it_waits(loop):
    executor = Held()

    async def wait():
        await loop.run_in_executor(executor, int)

    task = loop.create_task(wait())
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert executor.source.cancelled()


async def test_the_context_in_which_the_source_is_cancelled(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    executor, seen = Held(), []
    variable.set("when called")
    future = loop.run_in_executor(executor, int)
    executor.source.add_done_callback(lambda _: seen.append(variable.get()))
    variable.set("later")
    future.cancel()
    await turns(1)
    assert seen == ["when called"]


# ---- exceptions


def fail_with(exc):
    raise exc


class OwnTimeout(concurrent.futures.TimeoutError):
    pass


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(ZeroDivisionError, "own", 2),
        functools.partial(concurrent.futures.CancelledError, "a", 1),
        functools.partial(asyncio.CancelledError, "b"),
        functools.partial(concurrent.futures.TimeoutError, "c"),
        functools.partial(OwnTimeout, "d"),
        functools.partial(concurrent.futures.InvalidStateError, "e"),
        functools.partial(asyncio.InvalidStateError, "f"),
        functools.partial(SystemExit, 3),
    ],
    ids=lambda make: make.func.__name__,
)
def test_exceptions_are_converted_and_keep_their_traceback(same_as_asyncio, make):
    async def body(loop):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = loop.run_in_executor(pool, fail_with, make())
            await asyncio.wait([future])
        if future.cancelled():
            return "cancelled"
        exc = future.exception()
        frames = [frame.name for frame in traceback.extract_tb(exc.__traceback__)]
        return type(exc), exc.args, frames, exc.__context__, exc.__cause__

    same_as_asyncio(body)


async def test_the_very_exception_is_raised(loop):
    failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as raised:
        await loop.run_in_executor(None, fail_with, failure)
    assert raised.value is failure


def test_stop_iteration_is_refused_as_by_set_exception(same_as_asyncio):
    async def body(loop):
        executor, seen = Held(), reported(loop)
        future = loop.run_in_executor(executor, int)
        in_thread(executor.source.set_exception, StopIteration(1))
        await turns(2)
        shown = repr(future.exception()) if future.done() else "pending"
        future.cancel()
        return shown, [exc for _, exc in seen]

    same_as_asyncio(body)


def test_a_future_that_somebody_else_completed(same_as_asyncio):
    async def body(loop):
        executor, seen = Held(), reported(loop)
        future = loop.run_in_executor(executor, int)
        future.set_result("other")
        in_thread(executor.source.set_result, None)
        await turns(2)
        [(message, exc)] = seen
        assert message.startswith("Exception in callback _chain_future.<locals>._set_state(")
        return await future, plain(exc)

    same_as_asyncio(body)


# ---- a closed loop


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_comes_after_the_loop_was_closed_is_dropped(new_loop, caplog, cancelled):
    for complete in ("set_result", 1), ("set_exception", ZeroDivisionError()):
        loop = new_loop()
        executor = Held()
        future = loop.run_in_executor(executor, int)
        executor.source.set_running_or_notify_cancel()
        if cancelled:
            future.cancel()
        loop.close()
        in_thread(getattr(executor.source, complete[0]), complete[1])
        assert future.done() is cancelled
    assert caplog.records == []


# ---- what others override or patch


async def test_an_overriding_create_future(loop):
    class Mine(asyncio.Future):
        pass

    loop.create_future = lambda: Mine(loop=loop)
    executor = Held()
    future = loop.run_in_executor(executor, int)
    assert type(future) is Mine
    in_thread(executor.source.set_result, 3)
    assert await future == 3
    del loop.create_future
    assert type(loop.run_in_executor(executor, int)) is type(loop.create_future())


def test_an_overriding_call_soon_threadsafe(loop):
    seen = []
    original = loop.call_soon_threadsafe

    def call_soon_threadsafe(callback, *args, **kwargs):
        seen.append(threading.current_thread() is threading.main_thread())
        return original(callback, *args, **kwargs)

    executor = Held()
    future = loop.run_in_executor(executor, int)
    loop.call_soon_threadsafe = call_soon_threadsafe
    in_thread(executor.source.set_result, 3)
    assert loop.run_until_complete(future) == 3
    assert seen == [False]
    del loop.call_soon_threadsafe


async def test_a_patched_wrap_future_is_used(loop, monkeypatch):
    original, seen = asyncio.futures.wrap_future, []

    def wrap_future(*args, **kwargs):
        seen.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(asyncio.futures, "wrap_future", wrap_future)
    assert await loop.run_in_executor(None, int) == 0
    assert len(seen) == 1


async def test_a_patched_base_method_is_used(loop, monkeypatch):
    original, seen = asyncio.BaseEventLoop.run_in_executor, []

    def run_in_executor(self, executor, func, *args):
        seen.append(func)
        return original(self, executor, func, *args)

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", run_in_executor)
    assert await loop.run_in_executor(None, int) == 0
    assert seen == [int]


# ---- threads and processes


async def test_debug_mode_switched_while_a_call_runs(loop, debug):
    executor = Held()
    future = loop.run_in_executor(executor, int)
    loop.set_debug(not debug)
    in_thread(executor.source.set_result, 3)
    assert await future == 3
    loop.set_debug(debug)


async def test_a_sleeping_loop_is_woken_by_a_result(loop):
    executor = Held()
    future = loop.run_in_executor(executor, int)
    threading.Timer(0.02, executor.source.set_result, (3,)).start()
    async with asyncio.timeout(10):
        assert await future == 3


async def test_many_threads_complete_and_many_are_cancelled(loop):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            futures = [loop.run_in_executor(pool, pow, 2, n) for n in range(50)]
            cancelled = [n % 3 == 0 and future.cancel() for n, future in enumerate(futures)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            for n, result in enumerate(results):
                was = isinstance(result, asyncio.CancelledError)
                assert was if cancelled[n] else result == 2**n


def test_another_process(snippet):
    out = snippet(
        """
import concurrent.futures
async def body(loop):
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        print(await loop.run_in_executor(pool, pow, 2, 5))
        try:
            await loop.run_in_executor(pool, divmod, 1, 0)
        except ZeroDivisionError as exc:
            print(exc.__cause__ is not None)
loop = new_loop()
loop.run_until_complete(body(loop))
loop.close()
"""
    )
    assert out.split() == ["32", "True"]


async def test_shutting_the_default_executor_down_waits_for_its_calls(loop):
    go = threading.Event()
    running = loop.run_in_executor(None, go.wait, 10)
    ending = loop.create_task(loop.shutdown_default_executor())
    await turns(1)
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, int)
    go.set()
    await ending
    await until(running.done)
    assert running.result()


def test_a_forked_child_runs_its_own(snippet):
    out = snippet(
        """
async def body():
    return await asyncio.get_running_loop().run_in_executor(None, int)
def run(name):
    loop = new_loop()
    print(name, loop.run_until_complete(body()))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
run("parent")
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    run("child")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(pid, 0)
run("parent")
""",
        # The system may still count the thread of the executor that was just joined.
        options=("-W", "ignore::DeprecationWarning"),
    )
    assert out.split() == ["parent", "0", "child", "0", "parent", "0"]
