"""The context that a callback runs in: a copy of its own, made when it was scheduled."""

import asyncio
import contextvars
import gc
import socket
import weakref

import pytest

from tests.support import turn, until

BOTH_MODES = True

variable = contextvars.ContextVar("variable", default="outside")


def context_of(handle):
    return handle.get_context() if hasattr(handle, "get_context") else handle._context


def schedulers(loop):
    return [
        loop.call_soon,
        loop.call_soon_threadsafe,
        lambda callback, *args: loop.call_later(0, callback, *args),
        lambda callback, *args: loop.call_at(loop.time(), callback, *args),
    ]


def set_and_note(seen, value):
    seen.append(variable.get())
    variable.set(value)
    seen.append(variable.get())


def test_what_a_callback_sets_is_not_seen_by_the_next(loop):
    for schedule in schedulers(loop):
        seen = []
        for number in range(4):
            schedule(set_and_note, seen, number)
        turn(loop, 3)
        assert seen == ["outside", 0, "outside", 1, "outside", 2, "outside", 3]
        assert variable.get() == "outside"


def test_the_context_is_that_of_the_time_of_scheduling(loop):
    def body():
        for schedule in schedulers(loop):
            seen = []
            variable.set("first")
            schedule(lambda seen=seen: seen.append(variable.get()))
            variable.set("second")
            schedule(lambda seen=seen: seen.append(variable.get()))
            variable.set("first")
            schedule(lambda seen=seen: seen.append(variable.get()))
            variable.set("third")
            turn(loop, 3)
            assert seen == ["first", "second", "first"]

    contextvars.copy_context().run(body)


def test_callbacks_schedule_in_the_context_that_they_changed(loop):
    seen = []

    def step(number):
        seen.append(variable.get())
        if number < 5:
            variable.set(number)
            loop.call_soon(step, number + 1)
            variable.set("later")
            loop.call_soon(seen.append, "between")

    loop.call_soon(step, 0)
    turn(loop, 8)
    assert [value for value in seen if value != "between"] == ["outside", 0, 1, 2, 3, 4]


def test_a_handle_has_one_context_before_while_and_after_it_runs(loop):
    for schedule in schedulers(loop):
        seen = []
        handles = []

        def callback(seen=seen, handles=handles):
            seen.append((variable.get(), context_of(handles[0])))
            variable.set("callback")

        handles.append(schedule(callback))
        context = context_of(handles[0])
        assert context_of(handles[0]) is context
        context.run(variable.set, "before")
        turn(loop, 3)
        assert seen == [("before", context)]
        assert context_of(handles[0]) is context
        assert context[variable] == "callback"


def test_a_context_first_asked_for_while_or_after_the_callback_runs(loop):
    seen = []
    handles = []

    def asks(number):
        variable.set(number)
        seen.append(context_of(handles[number]))

    handles += [loop.call_soon(asks, 0), loop.call_soon(asks, 1), loop.call_soon(variable.set, 2)]
    turn(loop)
    contexts = [context_of(handle) for handle in handles]
    assert contexts[:2] == seen and contexts[0] is seen[0] and contexts[1] is seen[1]
    assert [context[variable] for context in contexts] == [0, 1, 2]


def test_a_context_that_a_callback_gave_away_is_not_used_again(loop):
    contexts = []
    handles = []

    def gives_away():
        contexts.append(context_of(handles.pop()))

    for _ in range(3):
        handles.append(loop.call_soon(gives_away))
        turn(loop)
    assert len({id(context) for context in contexts}) == 3
    contexts[0].run(variable.set, "changed")
    loop.call_soon(lambda: contexts.append(variable.get()))
    turn(loop)
    assert contexts[-1] == "outside"


def test_a_callback_may_run_another_handle(loop):
    seen = []
    inner = loop.call_later(60, set_and_note, seen, "inner")

    def outer():
        variable.set("outer")
        inner._run()
        seen.append(variable.get())
        inner._run()

    loop.call_soon(outer)
    turn(loop)
    assert seen == ["outside", "inner", "outer", "inner", "inner"]
    inner.cancel()


async def test_a_reader_keeps_its_context(loop):
    ours, theirs = socket.socketpair()
    seen = []

    def read():
        ours.recv(1)
        set_and_note(seen, len(seen))

    with ours, theirs:
        loop.add_reader(ours, read)
        for count in (2, 4, 6):
            theirs.send(b"x")
            await until(lambda count=count: len(seen) == count)
        loop.remove_reader(ours)
    assert seen == ["outside", 0, 0, 2, 2, 4]


def test_the_exception_handler_sees_what_the_callback_set(same_as_asyncio):
    def body(loop):
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))

        def fails():
            variable.set("callback")
            raise ValueError

        for _ in range(2):
            loop.call_soon(fails)
        turn(loop)
        loop.call_soon(lambda: seen.append(variable.get()))
        turn(loop)
        loop.close()
        return seen

    assert len(same_as_asyncio(body)) == 3


@pytest.mark.parametrize("end", ["sleep", "stop"])
def test_values_of_variables_die_with_the_last_callback(loop, end):
    class Value:
        pass

    def body():
        value = Value()
        variable.set(value)
        for _ in range(3):
            loop.call_soon(lambda: None)
        return weakref.ref(value)

    reference = contextvars.copy_context().run(body)
    if end == "sleep":
        loop.run_until_complete(asyncio.sleep(0.01))
        seen = []
        loop.call_later(0.01, lambda: (gc.collect(), seen.append(reference())))
        loop.run_until_complete(asyncio.sleep(0.05))
        assert seen == [None]
    else:
        turn(loop)
        gc.collect()
        assert reference() is None


def test_an_explicit_context_is_used_itself(loop):
    context = contextvars.copy_context()
    seen = []
    for number in range(3):
        loop.call_soon(set_and_note, seen, number, context=context)
    handle = loop.call_soon(lambda: None, context=context)
    assert context_of(handle) is context
    turn(loop)
    assert seen == ["outside", 0, 0, 1, 1, 2]
    assert context[variable] == 2


def test_a_value_may_stop_the_loop_as_it_dies(loop):
    class Stops:
        def __del__(self):
            loop.stop()

    def body():
        variable.set(Stops())
        loop.call_soon(lambda: None)

    contextvars.copy_context().run(body)
    began = loop.time()
    late = loop.call_later(20, loop.stop)
    loop.run_forever()
    late.cancel()
    assert loop.time() - began < 10
