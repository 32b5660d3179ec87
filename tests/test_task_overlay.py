"""What only the overlay of Future and Task could get wrong: reused memory, internal callables,
the record of the current task, and the fallback to asyncio's own classes."""

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import weakref

import pytest

import pyasync
from pyasync import _core
from tests.support import error_of, turn

OVERLAY = pyasync.build_info()["task"] == "overlay"


async def waits(future):
    return await future


def test_a_reused_future_knows_nothing_of_the_one_before(loop):
    for number in range(5):
        future = loop.create_future()
        assert not vars(future) if hasattr(future, "__dict__") else True
        assert not hasattr(future, "note")
        future.note = number
        died = []
        weak = weakref.ref(future, died.append)
        future.add_done_callback(print)
        future.cancel(f"message {number}")
        assert weak() is future and repr(future) == "<Future cancelled>"
        future.remove_done_callback(print)
        turn(loop)
        del future
        assert died == [weak]
    fresh = loop.create_future()
    assert fresh._callbacks is None and fresh._cancel_message is None
    assert fresh._exception is None and fresh._result is None and not fresh._log_traceback


def test_a_reused_task_knows_nothing_of_the_one_before(loop):
    for number in range(5):
        task = loop.create_task(asyncio.sleep(0), name=f"name {number}")
        assert not hasattr(task, "note") and task.cancelling() == 0 and not task._must_cancel
        task.note = number
        weak = weakref.ref(task)
        task.cancel()
        turn(loop, 2)
        assert task.cancelled() and task not in asyncio.all_tasks(loop)
        del task
        assert weak() is None


def test_attributes_in_reused_memory(loop):
    """None, a few, more than fit beside the object, and again none."""
    for number in (0, 3, 0, 40, 0, 0, 1, 40, 40, 0):
        for thing in (loop.create_future(), loop.create_task(asyncio.sleep(0))):
            names = [f"note_{i}" for i in range(number)]
            assert not any(hasattr(thing, name) for name in names)
            for name in names:
                setattr(thing, name, [name])
            assert [getattr(thing, name) for name in names] == [[name] for name in names]
            if number == 3:
                for name in names:
                    delattr(thing, name)
            thing.cancel()
        turn(loop, 2)
        del thing


@pytest.mark.skipif(not OVERLAY, reason="asyncio's own classes are in use")
def test_methods_belong_to_the_class_of_the_object():
    """What the interpreter's specialised calls ask for; a method of the base is a slower call."""
    for owner in (pyasync.Future, pyasync.Task):
        for name in ("result", "exception", "done", "cancelled", "add_done_callback"):
            assert vars(owner)[name].__objclass__ is owner, name
    for name in ("call_soon", "call_at", "create_task", "create_future", "time", "add_reader"):
        assert vars(pyasync.Loop)[name].__objclass__ is pyasync.Loop, name


@pytest.mark.skipif(not OVERLAY, reason="asyncio's own classes are in use")
def test_the_attributes_of_a_dead_object_can_be_seen():
    """Or reused memory would be barred from the interpreter's fast ways to methods."""
    inline = asyncio.Future.__flags__ & 1 << 2 != 0  # Py_TPFLAGS_INLINE_VALUES
    assert _core._build_info()["inline_values"] is (sys.version_info >= (3, 14) and inline)


def test_methods_are_given_to_subclasses_only():
    for bad in (5, int, asyncio.SelectorEventLoop):
        assert error_of(_core._own_methods, bad) == (
            "TypeError",
            f"a subclass of _core.Loop is expected, not {bad!r}",
        )


def test_every_exception_that_nobody_retrieves_is_logged(loop, asyncio_log):
    async def fails():
        raise ValueError("lost")

    for _ in range(6):
        future = loop.create_future()
        future.set_exception(ValueError("lost"))
        del future
        task = loop.create_task(fails())
        turn(loop, 2)
        del task
    records = asyncio_log.take()
    assert len(records) == 12 and all("never retrieved" in str(record) for record in records)


def test_every_task_destroyed_while_pending_is_logged(loop, asyncio_log):
    async def forgotten():
        await asyncio.get_running_loop().create_future()

    for _ in range(4):
        loop.create_task(forgotten())
        turn(loop)
        gc.collect()
    assert len(asyncio_log.take()) == 4
    assert asyncio.all_tasks(loop) == set()


def test_a_wake_up_kept_by_somebody_is_not_given_to_another_task(loop):
    futures = [loop.create_future() for _ in range(2)]
    first = loop.create_task(waits(futures[0]))
    turn(loop)
    ((wakeup, context),) = futures[0]._callbacks
    assert callable(wakeup) and wakeup.__self__ is first and wakeup.__name__ == "task_wakeup"
    assert first.get_context() is context if sys.version_info >= (3, 12) else True
    futures[0].set_result("first")
    turn(loop)
    second = loop.create_task(waits(futures[1]))
    turn(loop)
    ((other, _),) = futures[1]._callbacks
    assert other is not wakeup and other.__self__ is second
    futures[1].set_result("second")
    turn(loop)
    assert first.result() == "first" and second.result() == "second"
    with pytest.raises((RuntimeError, asyncio.InvalidStateError)):
        wakeup(futures[1])  # too late, or without a running loop


def test_a_wake_up_called_by_hand_resumes_the_task(loop):
    future = loop.create_future()
    task = loop.create_task(waits(future))
    turn(loop)
    ((wakeup, context),) = future._callbacks
    future.remove_done_callback(wakeup)
    future.set_result("by hand")
    loop.call_soon(wakeup, future, context=context)
    turn(loop)
    assert task.result() == "by hand"


def test_a_wake_up_added_with_another_context_runs_in_that_one(loop):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    async def body(future):
        seen.append(variable.get())
        await future
        seen.append(variable.get())

    future, other = loop.create_future(), loop.create_future()
    task = loop.create_task(body(future))
    turn(loop)
    ((wakeup, _),) = future._callbacks
    future.remove_done_callback(wakeup)
    future.set_result(None)
    context = contextvars.copy_context()
    context.run(variable.set, "other")
    other.add_done_callback(wakeup, context=context)
    other.set_result(None)
    turn(loop)
    assert task.done() and seen == ["none", "other"]


def test_a_step_that_leaves_its_task_behind(same_as_asyncio):
    """The record is asyncio's own: code may take itself out of it and come back."""

    async def body(loop):
        task = asyncio.current_task()
        asyncio.tasks._leave_task(loop, task)
        seen = [asyncio.current_task()]
        asyncio.tasks._enter_task(loop, task)
        await asyncio.sleep(0)
        seen.append(asyncio.current_task() is task)
        return seen

    assert same_as_asyncio(body) == [None, True]


def test_two_tasks_at_once_are_refused(same_as_asyncio):
    async def other():
        pass

    def body(loop):
        reports = []
        loop.set_exception_handler(lambda _, context: reports.append(str(context["exception"])))
        stranger = loop.create_task(other(), name="stranger")
        turn(loop)
        loop.call_soon(asyncio.tasks._enter_task, loop, stranger)
        task = loop.create_task(other(), name="refused")
        turn(loop)
        done = task.done()
        loop.call_soon(lambda: reports.append(asyncio.current_task(loop) is stranger))
        loop.call_soon(asyncio.tasks._leave_task, loop, stranger)
        turn(loop)
        task.get_coro().close()
        asyncio.Future.set_result(task, None)  # it will not run any more
        return done, ["Cannot enter into task" in r if isinstance(r, str) else r for r in reports]

    assert same_as_asyncio(body) == (False, [True, True])


def test_current_task_is_none_in_whatever_runs_between_steps(loop):
    seen = []

    async def body():
        loop.call_soon(lambda: seen.append(asyncio.current_task(loop)))
        await asyncio.sleep(0)
        loop.call_later(0, lambda: seen.append(asyncio.current_task(loop)))
        await asyncio.sleep(0.001)
        seen.append(asyncio.current_task().get_name())

    async def run():
        await asyncio.gather(*(loop.create_task(body(), name=f"{i}") for i in range(3)))

    loop.run_until_complete(run())
    assert seen.count(None) == 6 and sorted(filter(None, seen)) == ["0", "1", "2"]
    assert asyncio.current_task(loop) is None


def test_current_task_is_none_in_an_overriding_clock(loop_name, new_loop):
    seen = set()
    probe = new_loop()

    class Clock(type(probe)):
        def time(self):
            seen.add(asyncio.current_task(self))
            return super().time()

    async def body():
        for _ in range(5):
            await asyncio.sleep(0)

    probe.close()
    loop = Clock()
    try:
        timer = loop.call_later(60, print)
        loop.run_until_complete(body())
        timer.cancel()
        assert seen == {None}
    finally:
        loop.close()


def test_an_overriding_call_soon_sees_every_step_and_wake_up(loop_name, new_loop):
    calls = []
    probe = new_loop()

    class Recording(type(probe)):
        def call_soon(self, callback, *args, context=None):
            calls.append(getattr(callback, "__self__", None))
            return super().call_soon(callback, *args, context=context)

    probe.close()
    loop = Recording()
    try:
        future = loop.create_future()
        task = loop.create_task(waits(future))
        turn(loop)
        future.set_result(1)
        turn(loop)
        assert task.result() == 1 and [call for call in calls if call is task] == [task, task]
    finally:
        loop.close()


def test_debug_mode_switched_on_while_tasks_are_queued(loop):
    tasks = [loop.create_task(asyncio.sleep(0, number)) for number in range(3)]
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    assert loop.run_until_complete(asyncio.gather(*tasks)) == [0, 1, 2]
    tasks = [loop.create_task(asyncio.sleep(0, number)) for number in range(3)]
    loop.set_debug(False)
    assert loop.run_until_complete(asyncio.gather(*tasks)) == [0, 1, 2]


def test_tasks_that_die_while_somebody_iterates_over_them(loop):
    tasks = [loop.create_task(asyncio.sleep(0)) for _ in range(10)]
    registry = getattr(asyncio.tasks, "_scheduled_tasks", None)
    if registry is None:
        registry = asyncio.tasks._all_tasks
    iterator = iter(registry)
    held = [task for task, _ in zip(iterator, range(3), strict=False)]
    turn(loop, 2)
    tasks.clear()
    held.clear()
    more = [loop.create_task(asyncio.sleep(0)) for _ in range(3)]
    del iterator
    assert asyncio.all_tasks(loop) == set(more)
    loop.run_until_complete(asyncio.gather(*more))
    assert asyncio.all_tasks(loop) == set()


def test_a_future_made_by_new_alone(same_as_asyncio):
    def body(loop):
        kind = type(loop.create_future())
        empty = kind.__new__(kind)
        return [
            error_of(call)
            for call in (
                lambda: empty.set_result(1),
                lambda: empty.set_exception(ValueError()),
                lambda: empty.cancel(),
                lambda: empty.result(),
                lambda: iter(empty),
            )
        ]

    assert len(same_as_asyncio(body)) == 5


@pytest.mark.skipif(not OVERLAY, reason="about the classes of the overlay")
def test_the_overlay_is_in_use_and_named_like_asyncios_classes():
    assert "laid out" in pyasync.build_info()["task_reason"]
    assert issubclass(pyasync.Task, asyncio.Task) and pyasync.Task is not asyncio.Task
    assert issubclass(pyasync.Future, asyncio.Future) and pyasync.Future is not asyncio.Future
    assert (pyasync.Task.__name__, pyasync.Task.__module__) == ("Task", "pyasync")
    assert (pyasync.Future.__name__, pyasync.Future.__module__) == ("Future", "pyasync")


def test_the_stock_classes_when_asked_for():
    code = (
        "import asyncio, pyasync\n"
        "assert pyasync.Task is asyncio.Task and pyasync.Future is asyncio.Future\n"
        "async def main():\n"
        "    future = asyncio.get_running_loop().create_future()\n"
        "    asyncio.get_running_loop().call_soon(future.set_result, 'done')\n"
        "    assert type(asyncio.current_task()) is asyncio.Task\n"
        "    return await future\n"
        "print(pyasync.run(main()), pyasync.build_info()['task_reason'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYASYNC_STOCK_TASKS": "1"},
    )
    assert (done.stdout, done.stderr) == ("done PYASYNC_STOCK_TASKS is set\n", "")


def test_tasks_and_futures_that_outlive_everything_else():
    """They die in the collection that ends the interpreter, after their types were cleared."""
    code = (
        "import asyncio, builtins, pyasync\n"
        "loop = pyasync.new_event_loop()\n"
        "async def main():\n"
        "    futures = [loop.create_future() for _ in range(300)]\n"
        "    waiting = [asyncio.ensure_future(asyncio.wait_for(f, None)) for f in futures]\n"
        "    await asyncio.sleep(0)\n"
        "    for future in futures:\n"
        "        future.set_result(None)\n"
        "    await asyncio.gather(*waiting)\n"
        "    cycle = [futures, waiting, asyncio.current_task(), futures[0].__await__()]\n"
        "    cycle.append(cycle)\n"
        "    builtins.cycle = cycle\n"
        "    raise SystemExit('end')\n"
        "loop.run_until_complete(main())\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"end\n")
