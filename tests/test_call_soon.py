"""The ready queue: order, batches, arguments, contexts, and what a callback may do to it."""

import contextvars
import functools
import gc
import itertools
import weakref

import pytest

from tests.support import error_of, turn

BOTH_MODES = True

variable = contextvars.ContextVar("variable", default="outside")


def test_callbacks_run_in_the_order_of_scheduling(loop):
    seen = []
    for i in range(1000):
        loop.call_soon(seen.append, i)
    turn(loop)
    assert seen == list(range(1000))


def test_a_callback_added_during_a_batch_runs_in_the_next_turn(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "added")
        loop.stop()

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run_forever()
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "added"]


def test_a_chain_makes_one_step_per_turn(loop):
    steps = []

    def step(n):
        steps.append(n)
        loop.call_soon(step, n + 1)

    loop.call_soon(step, 0)
    for expected in range(1, 20):
        turn(loop)
        assert steps == list(range(expected))


def test_two_chains_alternate(loop):
    seen = []

    def step(name, left):
        seen.append(name)
        if left:
            loop.call_soon(step, name, left - 1)
        elif name == "b":
            loop.stop()

    loop.call_soon(step, "a", 99)
    loop.call_soon(step, "b", 99)
    loop.run_forever()
    assert seen == ["a", "b"] * 100


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 20])
def test_any_number_of_arguments_reaches_the_callback(loop, count):
    seen = []
    arguments = [object() for _ in range(count)]
    handle = loop.call_soon(lambda *args: seen.append(args), *arguments)
    assert handle._args == tuple(arguments)
    turn(loop)
    assert seen == [tuple(arguments)]


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_context_and_arguments_go_together(loop, count):
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    seen = []
    loop.call_soon(
        lambda *args: seen.append((variable.get(), args)), *range(count), context=context
    )
    turn(loop)
    assert seen == [("inside", tuple(range(count)))]


def test_every_kind_of_callable_is_accepted(loop):
    seen = []

    class Callable:
        def __call__(self, value):
            seen.append(("object", value))

        def method(self, value):
            seen.append(("method", value))

    loop.call_soon(seen.append, ("builtin", 1))
    loop.call_soon(Callable(), 2)
    loop.call_soon(Callable().method, 3)
    loop.call_soon(functools.partial(seen.append, ("partial", 4)))
    loop.call_soon(lambda value: seen.append(("lambda", value)), 5)
    loop.call_soon(dict, ())
    turn(loop)
    assert seen == [("builtin", 1), ("object", 2), ("method", 3), ("partial", 4), ("lambda", 5)]


def test_a_callback_runs_in_a_copy_of_the_context_it_was_scheduled_in(loop):
    seen = []
    token = variable.set("at scheduling")
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.reset(token)
    turn(loop)
    assert seen == ["at scheduling"]


def test_a_callback_changes_only_its_own_context(loop):
    seen = []
    loop.call_soon(variable.set, "changed")
    loop.call_soon(lambda: seen.append(variable.get()))
    turn(loop)
    assert seen == ["outside"]
    assert variable.get() == "outside"


def test_a_given_context_keeps_what_the_callback_set(loop):
    context = contextvars.copy_context()
    handle = loop.call_soon(variable.set, "kept", context=context)
    later = loop.call_later(0, variable.set, "kept later", context=context)
    assert context.get(variable) is None
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert context[variable] in ("kept", "kept later")
    turn(loop, 2)
    assert context[variable] == "kept later"
    assert not handle.cancelled() and not later.cancelled()


def test_a_callback_sees_the_context_of_the_callback_that_scheduled_it(loop):
    seen = []

    def outer():
        variable.set("outer")
        loop.call_soon(inner)
        variable.set("after scheduling")

    def inner():
        seen.append(variable.get())

    loop.call_soon(outer)
    turn(loop, 2)
    assert seen == ["outer"]


def test_a_cancelled_handle_never_runs(loop):
    seen = []
    handles = [loop.call_soon(seen.append, i) for i in range(10)]
    for handle in handles[::2]:
        handle.cancel()
    turn(loop)
    assert seen == [1, 3, 5, 7, 9]


def test_a_callback_cancels_a_later_one_of_its_batch(loop):
    seen = []
    loop.call_soon(lambda: victim.cancel())
    victim = loop.call_soon(seen.append, "victim")
    loop.call_soon(seen.append, "after")
    turn(loop)
    assert seen == ["after"]


def test_a_callback_that_cancels_its_own_handle_keeps_its_arguments(loop):
    seen = []

    def callback(*args):
        handle.cancel()
        gc.collect()
        seen.append([str(argument) for argument in args])

    class Named:
        def __init__(self, name):
            self.name = name

        def __str__(self):
            return self.name

    for count in (1, 4, 5, 9):
        handle = loop.call_soon(callback, *[Named(f"argument {i}") for i in range(count)])
        turn(loop)
        assert seen.pop() == [f"argument {i}" for i in range(count)]
        assert handle.cancelled()


def test_cancelling_releases_callback_and_arguments_at_once(loop):
    class Argument:
        pass

    def callback(*args):
        raise AssertionError("was cancelled")

    argument, other = Argument(), Argument()
    released = [weakref.ref(argument), weakref.ref(other)]
    handle = loop.call_soon(callback, argument, other)
    del argument, other
    assert [ref() is not None for ref in released] == [True, True]
    handle.cancel()
    assert [ref() for ref in released] == [None, None]


def test_arguments_are_released_once_the_callback_ran(loop):
    class Argument:
        pass

    argument = Argument()
    released = weakref.ref(argument)
    loop.call_soon(lambda value: None, argument)
    del argument
    assert released() is not None
    turn(loop)
    assert released() is None


def test_a_finaliser_may_schedule_and_cancel(loop):
    seen = []
    handles = []

    class Finaliser:
        def __del__(self):
            seen.append("released")
            handles[0].cancel()
            loop.call_soon(seen.append, "scheduled by the finaliser")

    handles.append(loop.call_soon(seen.append, Finaliser()))
    handles[0].cancel()
    assert seen == ["released"]
    turn(loop)
    assert seen == ["released", "scheduled by the finaliser"]


def test_the_queue_grows_while_it_wraps_around(loop):
    seen = []
    numbers = itertools.count()
    due = []

    def fan_out(generations):
        for _ in range(3):
            number = next(numbers)
            due.append(number)
            loop.call_soon(seen.append, number)
        if generations:
            loop.call_soon(fan_out, generations - 1)
            loop.call_soon(fan_out, generations - 1)

    fan_out(8)
    turn(loop, 12)
    assert seen == due == list(range(len(seen))) and len(seen) == 3 * 511


def test_an_exception_is_reported_and_the_batch_goes_on(loop):
    seen, contexts = [], []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "next")
    turn(loop)
    assert seen == ["next"]
    (context,) = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback ")
    assert ("source_traceback" in context) == loop.get_debug()
    assert context["exception"].__traceback__ is not None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_batch_leaves_the_rest_queued(loop, kind):
    seen = []

    def interrupt():
        raise kind("now")

    loop.call_soon(seen.append, 1)
    loop.call_soon(interrupt)
    loop.call_soon(seen.append, 2)
    loop.call_soon(seen.append, 3)
    with pytest.raises(kind, match="now"):
        loop.run_forever()
    assert seen == [1]
    assert not loop.is_running() and not loop.is_closed()
    turn(loop)
    assert seen == [1, 2, 3]


def test_another_base_exception_is_reported_like_an_exception(loop):
    class Strange(BaseException):
        pass

    contexts, seen = [], []

    def callback():
        raise Strange

    loop.set_exception_handler(lambda loop, context: contexts.append(context["exception"]))
    loop.call_soon(callback)
    loop.call_soon(seen.append, "next")
    turn(loop)
    assert [type(exc) for exc in contexts] == [Strange] and seen == ["next"]


def test_wrong_arguments_are_type_errors(same_as_asyncio):
    def body(loop):
        return [
            error_of(loop.call_soon)[0],
            error_of(loop.call_later, 1)[0],
            error_of(loop.call_soon, print, unknown=1)[0],
            error_of(loop.call_later, "soon", print)[0],
        ]

    assert same_as_asyncio(body) == ["TypeError"] * 4


def test_scheduling_on_a_closed_loop_fails(same_as_asyncio):
    def body(loop):
        loop.close()
        return [
            error_of(loop.call_soon, print),
            error_of(loop.call_soon_threadsafe, print),
            error_of(loop.call_later, 1, print),
            error_of(loop.call_at, 1, print),
        ]

    assert same_as_asyncio(body) == [("RuntimeError", "Event loop is closed")] * 4


def test_scheduling_is_the_same_object_order_for_threadsafe_and_plain(loop):
    seen = []
    for i in range(100):
        (loop.call_soon if i % 2 else loop.call_soon_threadsafe)(seen.append, i)
    turn(loop)
    assert seen == list(range(100))


def test_callbacks_of_a_handle_may_be_run_by_hand(same_as_asyncio):
    """Loops of test suites run handles themselves: `handle._run()` is part of the contract."""

    def body(loop):
        seen = []
        handle = loop.call_soon(seen.append, "by hand")
        handle._run()
        handle.cancel()
        turn(loop)
        return seen

    assert same_as_asyncio(body) == ["by hand"]
