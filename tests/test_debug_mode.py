"""Debug mode: how it is switched on, and everything it watches."""

import asyncio
import sys
import threading
import time

import pytest

from tests.support import error_of, turn


def test_debug_mode_can_be_switched(loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    assert "debug=True" in repr(loop)
    loop.set_debug(0)
    assert not loop.get_debug()


@pytest.mark.parametrize(
    "options, env, expected",
    [
        ((), {}, False),
        (("-X", "dev"), {}, True),
        ((), {"PYTHONASYNCIODEBUG": "1"}, True),
        ((), {"PYTHONDEVMODE": "1"}, True),
        (("-X", "dev"), {"PYTHONASYNCIODEBUG": ""}, True),
    ],
    ids=["plain", "X dev", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "empty variable"],
)
def test_the_interpreter_options_switch_it_on(snippet, options, env, expected):
    code = "loop = new_loop(); print(loop.get_debug()); loop.close()"
    assert snippet(code, options=options, env=env, stderr=None) == f"{expected}\n"


def test_slow_callbacks_are_logged(loop, asyncio_log):
    loop.set_debug(True)
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 0.01
    loop.call_soon(time.sleep, 0.02)
    loop.call_soon(time.sleep, 0)
    turn(loop)
    (message,) = asyncio_log.take()
    assert message.startswith("Executing <Handle ") and "took 0.0" in message
    assert message.endswith("seconds")


def test_slow_task_steps_are_logged_with_the_task(loop, asyncio_log):
    async def slow():
        time.sleep(0.02)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.run_until_complete(loop.create_task(slow(), name="the slow one"))
    messages = asyncio_log.take()
    assert len(messages) == 1 and "name='the slow one'" in messages[0]
    assert messages[0].startswith("Executing <Task ")


def test_slow_callbacks_are_not_logged_outside_debug_mode(loop):
    loop.slow_callback_duration = 0.001
    loop.call_soon(time.sleep, 0.005)
    turn(loop)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at", "stop_is_allowed"])
def test_calls_from_another_thread_are_refused(same_as_asyncio, method):
    def body(loop):
        loop.set_debug(True)
        found = []

        def thread():
            if method == "call_soon":
                found.append(error_of(loop.call_soon, print))
            elif method == "call_later":
                found.append(error_of(loop.call_later, 1, print))
            elif method == "call_at":
                found.append(error_of(loop.call_at, 1, print))
            else:
                loop.call_soon_threadsafe(int)

        def callback():
            thread_object = threading.Thread(target=thread)
            thread_object.start()
            thread_object.join()

        loop.call_soon(callback)
        turn(loop, 2)
        return found

    message = "Non-thread-safe operation invoked on an event loop other than the current one"
    expected = [] if method == "stop_is_allowed" else [("RuntimeError", message)]
    assert same_as_asyncio(body) == expected


def test_calls_on_a_loop_that_does_not_run_are_allowed_from_anywhere(loop):
    loop.set_debug(True)
    seen = []
    thread = threading.Thread(target=loop.call_soon, args=(seen.append, 1))
    thread.start()
    thread.join()
    turn(loop)
    assert seen == [1]


def test_callbacks_that_cannot_be_called_are_refused(same_as_asyncio):
    async def coroutine_function():
        pass

    def body(loop):
        loop.set_debug(True)
        found = []
        coroutine = coroutine_function()
        for bad in (coroutine, coroutine_function, 5):
            for name, arguments in (
                ("call_soon", ()),
                ("call_soon_threadsafe", ()),
                ("call_later", (1,)),
                ("call_at", (1,)),
            ):
                kind, text = error_of(getattr(loop, name), *arguments, bad)
                found.append((kind, text.split(" at 0x")[0]))
            found.append(error_of(loop.run_in_executor, None, bad)[0])
        coroutine.close()
        return found

    assert same_as_asyncio(body)[0] == ("TypeError", "coroutines cannot be used with call_soon()")


def test_coroutine_origins_are_tracked_while_the_loop_runs(loop):
    depths = []
    loop.set_debug(True)
    loop.call_soon(lambda: depths.append(sys.get_coroutine_origin_tracking_depth()))
    before = sys.get_coroutine_origin_tracking_depth()
    turn(loop)
    assert depths[0] > 0
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_origin_tracking_follows_set_debug_of_a_running_loop(same_as_asyncio):
    def body(loop):
        depths = []

        async def main():
            for mode in (True, False, True):
                loop.set_debug(mode)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                depths.append(sys.get_coroutine_origin_tracking_depth())

        loop.run_until_complete(main())
        depths.append(sys.get_coroutine_origin_tracking_depth())
        return depths

    assert same_as_asyncio(body) == [10, 0, 10, 0]


def test_an_origin_depth_set_before_is_restored(loop):
    loop.set_debug(True)
    sys.set_coroutine_origin_tracking_depth(3)
    try:
        turn(loop)
        assert sys.get_coroutine_origin_tracking_depth() == 3
    finally:
        sys.set_coroutine_origin_tracking_depth(0)


def test_errors_tell_where_the_callback_was_made(loop, asyncio_log):
    loop.set_debug(True)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    (message,) = asyncio_log.take()
    assert "Object created at (most recent call last)" in message
    assert "test_errors_tell_where_the_callback_was_made" in message


def test_futures_and_tasks_remember_where_they_were_made(loop):
    loop.set_debug(True)

    async def nothing():
        pass

    future = loop.create_future()
    task = loop.create_task(nothing())
    for thing in (future, task):
        assert __file__ in [frame.filename for frame in thing._source_traceback]
        assert "created at" in repr(thing)
    loop.run_until_complete(task)
    loop.set_debug(False)
    assert loop.create_future()._source_traceback is None


def test_debug_mode_runs_everything_as_usual(loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    seen = []

    async def child(i):
        await asyncio.sleep(0.001)
        seen.append(i)

    async def body():
        await asyncio.gather(*(child(i) for i in range(50)))
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)

    loop.run_until_complete(body())
    assert sorted(seen) == list(range(50))
