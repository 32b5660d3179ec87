"""Futures of the loop: results, callbacks, contexts, awaiting, repr, subclasses."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

from tests.support import error_of, plain, turn

variable = contextvars.ContextVar("variable", default="outside")


def test_create_future_makes_an_asyncio_future(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and asyncio.isfuture(future)
    assert future.get_loop() is loop
    assert not future.done() and not future.cancelled()
    assert type(future).__name__ == "Future"


def test_result(same_as_asyncio):
    def body(loop):
        future = loop.create_future()
        found = [error_of(future.result), error_of(future.exception)]
        found.append(future.set_result("value"))
        found += [future.result(), future.exception(), future.done(), future.cancelled()]
        found += [error_of(future.set_result, 1), error_of(future.set_exception, ValueError())]
        found.append(future.cancel())
        return found

    results = same_as_asyncio(body)
    assert results[0] == ("InvalidStateError", "Result is not set.")
    assert results[2:7] == [None, "value", None, True, False]
    assert results[7] == ("InvalidStateError", "invalid state")
    assert results[9] is False


def test_exception(same_as_asyncio):
    def body(loop):
        found = []
        for given in (ValueError("v"), ValueError, TypeError("t")):
            future = loop.create_future()
            future.set_exception(given)
            found.append((type(future.exception()).__name__, error_of(future.result)))
        bad = loop.create_future()
        found += [error_of(bad.set_exception, 5), error_of(bad.set_exception, "text")]
        return found

    assert same_as_asyncio(body)[0] == ("ValueError", ("ValueError", "v"))


def test_stop_iteration_as_exception(same_as_asyncio):
    def body(loop):
        future = loop.create_future()
        if sys.version_info < (3, 13):
            return error_of(future.set_exception, StopIteration())[0]
        future.set_exception(StopIteration("reason"))
        return type(future.exception()).__name__

    expected = "TypeError" if sys.version_info < (3, 13) else "RuntimeError"
    assert same_as_asyncio(body) == expected


def test_the_traceback_does_not_grow_with_every_look(loop):
    def depth(exc):
        count, traceback = 0, exc.__traceback__
        while traceback is not None:
            count, traceback = count + 1, traceback.tb_next
        return count

    future = loop.create_future()
    future.set_exception(ValueError("v"))
    depths = []
    for _ in range(5):
        try:
            future.result()
        except ValueError as exc:
            depths.append(depth(exc))
    assert depths == [depths[0]] * 5


def test_cancel(same_as_asyncio):
    def body(loop):
        future = loop.create_future()
        found = [future.cancel("message"), future.cancelled(), future.done(), future.cancel()]
        found += [error_of(future.result), error_of(future.exception)]
        found.append(error_of(future.set_result, 1))
        return found

    results = same_as_asyncio(body)
    assert results[:4] == [True, True, True, False]
    assert results[4] == ("CancelledError", "message")


def test_callbacks_run_in_order_in_the_next_turn(loop):
    seen = []
    future = loop.create_future()
    for i in range(5):
        future.add_done_callback(lambda f, i=i: seen.append((i, f is future)))
    future.set_result(None)
    assert seen == []
    turn(loop)
    assert seen == [(i, True) for i in range(5)]


def test_a_callback_added_after_the_end_runs_in_the_next_turn(loop):
    seen = []
    future = loop.create_future()
    future.set_result(None)
    future.add_done_callback(seen.append)
    assert seen == []
    turn(loop)
    assert seen == [future]


def test_callbacks_interleave_with_call_soon(loop):
    seen = []
    future = loop.create_future()
    future.add_done_callback(lambda f: seen.append("first"))
    future.add_done_callback(lambda f: seen.append("second"))
    loop.call_soon(seen.append, "before")
    future.set_result(None)
    loop.call_soon(seen.append, "after")
    turn(loop)
    assert seen == ["before", "first", "second", "after"]


def test_removing_callbacks(loop):
    seen = []

    def one(future):
        seen.append("one")

    def two(future):
        seen.append("two")

    future = loop.create_future()
    for callback in (one, two, one, one, two):
        future.add_done_callback(callback)
    assert future.remove_done_callback(one) == 3
    assert future.remove_done_callback(one) == 0
    future.set_result(None)
    assert future.remove_done_callback(two) == 0
    turn(loop)
    assert seen == ["two", "two"]


@pytest.mark.parametrize("deed", ["remove", "finish", "add"])
def test_a_callback_whose_comparison_changes_the_list(same_as_asyncio, deed):
    def body(loop):
        future = loop.create_future()
        seen, busy = [], []

        class Evil:
            def __init__(self, name):
                self.name = name

            def __call__(self, _):
                seen.append(self.name)

            def __eq__(self, other):
                if not busy:
                    busy.append(True)
                    if deed == "remove":
                        for callback in callbacks[1:]:
                            future.remove_done_callback(callback)
                    elif deed == "finish":
                        future.set_result(None)
                    else:
                        future.add_done_callback(Evil("added"))
                return self is other

            __hash__ = None

        callbacks = [Evil(i) for i in range(6)]
        for callback in callbacks:
            future.add_done_callback(callback)
        removed = future.remove_done_callback(callbacks[3])
        future.cancel()
        turn(loop, 2)
        return removed, seen

    same_as_asyncio(body)


def test_contexts_of_callbacks(loop):
    seen = []
    mine = contextvars.copy_context()
    mine.run(variable.set, "mine")
    future = loop.create_future()
    future.add_done_callback(lambda f: seen.append(variable.get()), context=mine)
    variable_token = variable.set("at adding")
    future.add_done_callback(lambda f: seen.append(variable.get()))
    variable.reset(variable_token)
    future.set_result(None)
    turn(loop)
    assert seen == ["mine", "at adding"]


def test_wrong_arguments_of_methods(same_as_asyncio):
    def body(loop):
        done, cancelled = loop.create_future(), loop.create_future()
        done.set_result(1)
        cancelled.cancel()
        unborn = type(done).__new__(type(done))
        found = []
        for future in (loop.create_future(), done, cancelled, unborn):
            add = future.add_done_callback
            found += [error_of(add), error_of(add, print, print), error_of(add, fn=print)]
            found += [error_of(add, print, contxt=None), error_of(future.done, 1)]
            found += [error_of(future.cancelled, 1), error_of(future.exception, 1)]
            found += [future.done(), future.cancelled()]
        found += [error_of(unborn.add_done_callback, print), error_of(unborn.exception)]
        found += [error_of(cancelled.exception), error_of(unborn.result)]
        return found

    results = same_as_asyncio(body)
    assert results[-4] == ("RuntimeError", "uninitialized Future object")


def test_an_error_in_a_callback_is_reported_and_the_others_run(loop):
    found, seen = [], []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    future = loop.create_future()
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(lambda f: seen.append("next"))
    future.set_result(None)
    turn(loop)
    assert seen == ["next"]
    assert isinstance(found[0]["exception"], ZeroDivisionError)
    assert found[0]["message"].startswith("Exception in callback ")


def test_an_error_in_a_callback_is_reported_as_that_of_its_handle(same_as_asyncio):
    """The exception handler gets a Handle that shows the callback, its future and its context."""

    def body(loop):
        found, contexts = [], []
        loop.set_exception_handler(lambda loop, context: found.append(context))

        def failing(future):
            variable.set("changed")
            raise ValueError("in a callback")

        future = loop.create_future()
        future.add_done_callback(failing)
        context = contextvars.copy_context()
        future.add_done_callback(failing, context=context)
        future.set_result(None)
        turn(loop)
        for told in found:
            handle = told["handle"]
            contexts.append(context.get(variable))
            assert isinstance(handle, asyncio.Handle) and handle._args == (future,)
            if hasattr(handle, "get_context"):
                assert handle.get_context()[variable] == "changed"
        return contexts, [(plain(told["message"]), plain(repr(told["handle"]))) for told in found]

    contexts, shown = same_as_asyncio(body)
    assert contexts == ["changed", "changed"] and "failing" in shown[0][0]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_callback_leaves_the_others_queued(loop, kind):
    seen = []

    def interrupt(future):
        raise kind("now")

    future = loop.create_future()
    future.add_done_callback(interrupt)
    future.add_done_callback(seen.append)
    future.set_result(None)
    with pytest.raises(kind):
        turn(loop)
    turn(loop)
    assert seen == [future]


@pytest.mark.parametrize("deed", ["close", "debug"])
def test_what_becomes_of_callbacks_that_are_due(loop, deed):
    """Closing the loop releases them with what they hold; in debug mode they run all the same."""

    class Callback:
        def __call__(self, future):
            called.append(future.result())

    called, callback, future = [], Callback(), loop.create_future()
    held = weakref.ref(callback)
    future.add_done_callback(callback)
    future.add_done_callback(Callback())
    del callback
    future.set_result(1)
    if deed == "close":
        loop.close()
    else:
        loop.set_debug(not loop.get_debug())
        turn(loop)
    del future
    gc.collect()
    assert held() is None
    assert called == ([] if deed == "close" else [1, 1])


def test_awaiting(loop):
    async def body():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        first = await future
        second = await future
        failed = loop.create_future()
        loop.call_soon(failed.set_exception, LookupError("reason"))
        with pytest.raises(LookupError, match="reason"):
            await failed
        return first, second

    assert loop.run_until_complete(body()) == (1, 1)


def test_many_waiters_wake_in_order(loop):
    seen = []

    async def wait(i, future):
        seen.append((i, await future))

    async def body():
        future = loop.create_future()
        waiters = [asyncio.ensure_future(wait(i, future)) for i in range(20)]
        await asyncio.sleep(0)
        future.set_result("x")
        await asyncio.gather(*waiters)

    loop.run_until_complete(body())
    assert seen == [(i, "x") for i in range(20)]


def test_iterating_by_hand(same_as_asyncio):
    def body(loop):
        future = loop.create_future()
        iterator = iter(future)
        yielded = next(iterator)
        blocking = yielded is future and future._asyncio_future_blocking
        second = error_of(next, iterator)
        future._asyncio_future_blocking = False
        done = loop.create_future()
        done.set_result(7)
        try:
            next(iter(done))
        except StopIteration as stop:
            value = stop.value
        thrown = iter(loop.create_future())
        next(thrown)
        return blocking, second, value, error_of(thrown.throw, LookupError("thrown"))

    results = same_as_asyncio(body)
    assert results[0] is True and results[2] == 7
    assert results[1] == ("RuntimeError", "await wasn't used with future")


def test_await_from_a_foreign_loop(same_as_asyncio):
    def body(loop):
        other = type(loop)()
        future = other.create_future()

        async def wait():
            await future

        found = error_of(loop.run_until_complete, wait())
        other.close()
        return found[0], "attached to a different loop" in found[1]

    assert same_as_asyncio(body) == ("RuntimeError", True)


def test_repr(same_as_asyncio):
    def callback(future):
        pass

    def body(loop):
        future = loop.create_future()
        found = [repr(future)]
        for _ in range(4):
            future.add_done_callback(callback)
            found.append(repr(future))
        future.set_result("x" * 200)
        found.append(repr(future))
        failed = loop.create_future()
        failed.set_exception(ValueError("reason"))
        found.append(repr(failed))
        failed.exception()
        cancelled = loop.create_future()
        cancelled.cancel()
        found.append(repr(cancelled))
        looped = loop.create_future()
        looped.set_result(looped)
        found.append(repr(looped))
        return [plain(text) for text in found]

    results = same_as_asyncio(body)
    assert results[0] == "<Future pending>"
    assert results[-2] == "<Future cancelled>"


def test_private_attributes_the_standard_library_uses(same_as_asyncio):
    def body(loop):
        future = loop.create_future()
        found = [
            future._state,
            future._callbacks,
            future._log_traceback,
            future._asyncio_future_blocking,
            future._loop is loop,
            future._source_traceback,
            future._cancel_message,
        ]
        future.cancel("why")
        found += [future._state, future._cancel_message]
        found.append(str(future._make_cancelled_error()))
        failed = loop.create_future()
        failed.set_exception(ValueError("v"))
        found += [failed._state, repr(failed._exception), failed._log_traceback]
        failed._log_traceback = False
        found.append(error_of(setattr, failed, "_log_traceback", True))
        return found

    assert same_as_asyncio(body)[0] == "PENDING"


def test_the_class_is_generic_and_weakly_referable(loop):
    future = loop.create_future()
    assert weakref.ref(future)() is future
    assert type(future)[int].__origin__ is type(future)


def test_subclasses(loop):
    class Mine(type(loop.create_future())):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.extra = []

        def set_result(self, result):
            self.extra.append(result)
            super().set_result(result)

    future = Mine(loop=loop)
    loop.call_soon(future.set_result, 5)
    assert loop.run_until_complete(future) == 5
    assert future.extra == [5]
    assert repr(future) == "<Mine finished result=5>"


def test_the_class_without_a_loop(same_as_asyncio):
    def body(loop):
        async def inside():
            return type(loop.create_future())().get_loop() is loop

        return loop.run_until_complete(inside())

    assert same_as_asyncio(body) is True


def test_stock_futures_on_this_loop(loop):
    future = asyncio.Future(loop=loop)
    seen = []
    future.add_done_callback(seen.append)
    loop.call_soon(future.set_result, 3)

    async def body():
        return await future

    assert loop.run_until_complete(body()) == 3
    assert seen == [future]


def test_futures_of_this_loop_on_a_foreign_loop(new_loop):
    mine, foreign = new_loop(), asyncio.SelectorEventLoop()
    kind = type(mine.create_future())
    future = kind(loop=foreign)
    foreign.call_soon(future.set_result, 9)

    async def body():
        return await future

    assert foreign.run_until_complete(body()) == 9
    mine.close()
    foreign.close()


def test_a_future_in_a_cycle_is_collected(loop):
    class Value:
        pass

    value = Value()
    value.future = loop.create_future()
    value.future.add_done_callback(lambda f, v=value: None)
    value.future.set_result(value)
    turn(loop)
    released = weakref.ref(value)
    del value
    gc.collect()
    assert released() is None


def test_a_pending_future_in_a_cycle_is_collected(loop):
    future = loop.create_future()
    future.add_done_callback(lambda f, own=future: None)
    released = weakref.ref(future)
    del future
    gc.collect()
    assert released() is None


def test_wrap_future(loop):
    import concurrent.futures

    inner = concurrent.futures.Future()
    outer = asyncio.wrap_future(inner, loop=loop)
    assert outer.get_loop() is loop
    loop.call_soon(inner.set_result, 1)
    assert loop.run_until_complete(outer) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_callbacks_may_add_callbacks(loop, count):
    seen = []
    future = loop.create_future()

    def again(f):
        seen.append("first")
        future.add_done_callback(lambda f: seen.append("second"))

    for _ in range(count):
        future.add_done_callback(again)
    future.set_result(None)
    turn(loop)
    assert seen == ["first"] * count
    turn(loop)
    assert seen == ["first"] * count + ["second"] * count


def test_shield_wait_and_gather(loop):
    async def body():
        inner = loop.create_future()
        outer = asyncio.shield(inner)
        outer.cancel()
        assert not inner.cancelled()
        loop.call_soon(inner.set_result, 1)
        done, pending = await asyncio.wait([inner, loop.create_future()], timeout=0.005)
        assert done == {inner} and len(pending) == 1
        futures = [loop.create_future() for _ in range(10)]
        for i, future in enumerate(futures):
            loop.call_soon(future.set_result, i)
        assert await asyncio.gather(*futures) == list(range(10))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.001)

    loop.run_until_complete(body())
