"""Handle and TimerHandle: classes, attributes, reprs, comparison, cancellation."""

import asyncio
import contextvars
import functools
import gc
import weakref

import pytest

from tests.support import error_of, plain, turn


def callback(*args):
    """A callback with a name."""


def all_kinds(loop):
    return [
        loop.call_soon(callback, 1, 2),
        loop.call_soon_threadsafe(callback, 1, 2),
        loop.call_later(1000, callback, 1, 2),
        loop.call_at(loop.time() + 1000, callback, 1, 2),
    ]


def test_handles_are_instances_of_asyncios_classes(loop):
    soon, threadsafe, later, at = all_kinds(loop)
    for handle in (soon, threadsafe, later, at):
        assert isinstance(handle, asyncio.Handle)
        handle.cancel()
    for timer in (later, at):
        assert isinstance(timer, asyncio.TimerHandle)
    assert not isinstance(soon, asyncio.TimerHandle)


def test_attributes(loop):
    context = contextvars.copy_context()
    handles = [
        loop.call_soon(callback, 1, "two", context=context),
        loop.call_soon_threadsafe(callback, 1, "two", context=context),
        loop.call_later(1000, callback, 1, "two", context=context),
    ]
    for handle in handles:
        assert handle._args == (1, "two")
        assert handle._callback is callback
        assert handle._loop is loop
        assert handle._context is context
        assert handle._cancelled is False
        assert handle.cancelled() is False
        assert handle.cancel() is None
        assert handle._cancelled is True
        assert handle.cancelled() is True
        assert handle._callback is None and handle._args is None
        assert handle.cancel() is None


def test_context_of_a_handle_is_a_context(loop):
    for handle in all_kinds(loop):
        assert isinstance(handle._context, contextvars.Context)
        handle.cancel()


def test_get_context(loop):
    if not hasattr(asyncio.Handle, "get_context"):
        pytest.skip("Handle.get_context came with Python 3.12")
    context = contextvars.copy_context()
    handle = loop.call_soon(callback, context=context)
    assert handle.get_context() is context
    handle.cancel()
    timer = loop.call_later(1000, callback)
    assert isinstance(timer.get_context(), contextvars.Context)
    timer.cancel()


@pytest.mark.parametrize("debug", [False, True])
def test_repr(same_as_asyncio, debug):
    def body(loop):
        loop.set_debug(debug)
        reprs = []
        for handle in all_kinds(loop):
            reprs.append(repr(handle))
            handle.cancel()
            reprs.append(repr(handle))
        partial = loop.call_soon(functools.partial(callback, 3), 4)
        reprs.append(repr(partial))
        partial.cancel()
        reprs = [plain(text) for text in reprs]
        return [" ".join(w for w in text.split() if not w.startswith("when=")) for text in reprs]

    assert "test_handles.py" in same_as_asyncio(body)[0]


def test_the_names_of_the_classes(same_as_asyncio):
    def body(loop):
        handles = all_kinds(loop)
        for handle in handles:
            handle.cancel()
        return [type(handles[0]).__name__, type(handles[2]).__name__]

    assert same_as_asyncio(body) == ["Handle", "TimerHandle"]


def test_when_is_the_time_given(loop):
    timer = loop.call_at(12345.678, callback)
    assert timer.when() == 12345.678
    timer.cancel()
    before = loop.time()
    timer = loop.call_later(10, callback)
    assert before + 10 <= timer.when() <= loop.time() + 10
    assert timer._when == timer.when()
    timer.cancel()


def test_when_survives_cancellation_and_the_run(loop):
    timer = loop.call_later(1000, callback)
    when = timer.when()
    timer.cancel()
    gc.collect()
    assert timer.when() == when
    ran = loop.call_later(0, callback)
    when = ran.when()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert ran.when() == when
    assert not ran.cancelled()


def test_call_later_zero_returns_a_timer(loop):
    timer = loop.call_later(0, callback)
    assert isinstance(timer, asyncio.TimerHandle)
    assert timer.when() <= loop.time()
    timer.cancel()


def test_timers_compare_by_their_time(loop):
    early, late = loop.call_at(1e6, callback), loop.call_at(2e6, callback)
    same = loop.call_at(1e6, callback)
    assert early < late and early <= late and late > early and late >= early
    assert early <= same and early >= same and not early < same and not early > same
    assert early == same and early != late
    assert hash(early) == hash(1e6)
    assert (early == 5) is False
    assert error_of(lambda: early < 5)[0] == "TypeError"
    assert sorted([late, early]) == [early, late]
    for timer in (early, late, same):
        timer.cancel()


def test_timers_with_equal_time_but_other_arguments_differ(same_as_asyncio):
    def body(loop):
        when = loop.time() + 1000
        first, second = loop.call_at(when, callback, 1), loop.call_at(when, callback, 2)
        twin = loop.call_at(when, callback, 1)
        result = first == second, first == twin, first <= second
        for timer in (first, second, twin):
            timer.cancel()
        return result

    assert same_as_asyncio(body) == (False, True, False)


def test_handles_may_be_weakly_referenced(loop):
    for handle in all_kinds(loop):
        assert weakref.ref(handle)() is handle
        handle.cancel()


def test_handles_take_no_new_attributes(same_as_asyncio):
    def body(loop):
        found = []
        for handle in all_kinds(loop):
            found.append(error_of(setattr, handle, "anything", 1)[0])
            handle.cancel()
        return found

    assert set(same_as_asyncio(body)) == {"AttributeError"}


def test_handles_outlive_the_loop(new_loop):
    loop = new_loop()
    handles = all_kinds(loop)
    loop.close()
    del loop
    gc.collect()
    for handle in handles:
        repr(handle)
        handle.cancel()
        assert handle.cancelled()
    assert handles[2].when() < handles[2].when() + 1


def test_a_handle_is_not_reused_while_someone_holds_it(loop):
    kept = [loop.call_soon(callback, i) for i in range(100)]
    turn(loop)
    others = [loop.call_soon(callback, -i) for i in range(100)]
    assert not {id(handle) for handle in kept} & {id(handle) for handle in others}
    assert [handle._args for handle in kept if not handle.cancelled()] == [(i,) for i in range(100)]
    turn(loop)


def test_a_cycle_through_a_handle_is_collected(loop):
    class Node:
        pass

    node = Node()
    node.handle = loop.call_later(1000, callback, node)
    released = weakref.ref(node)
    node.handle.cancel()
    soon = Node()
    soon.handle = loop.call_soon(callback, soon)
    released_soon = weakref.ref(soon)
    turn(loop)
    del node, soon
    gc.collect()
    assert released() is None and released_soon() is None


def test_threadsafe_handle_cancel_returns_none(loop):
    handle = loop.call_soon_threadsafe(callback)
    assert handle.cancel() is None
    assert handle.cancelled()
    seen = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    turn(loop)
    assert seen == [1] and not handle.cancelled()


@pytest.mark.parametrize("debug", [True], indirect=True)
def test_debug_handles_remember_where_they_were_made(loop):
    for handle in all_kinds(loop):
        frame = handle._source_traceback[-1]
        assert frame.filename == __file__ and frame.name == "all_kinds"
        text = repr(handle)
        assert f"created at {__file__}:" in text
        handle.cancel()
        assert "cancelled" in repr(handle)


def test_handles_have_no_traceback_outside_debug_mode(loop):
    for handle in all_kinds(loop):
        assert handle._source_traceback is None
        handle.cancel()
