"""Eager tasks (Python 3.12+): started inside create_task, on their own stack."""

import asyncio
import contextvars
import sys

import pytest

from tests.support import error_of, plain

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="eager tasks came with Python 3.12"
)

variable = contextvars.ContextVar("variable", default="outside")


@pytest.fixture
def eager_loop(loop):
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def test_a_coroutine_that_never_waits_is_done_at_once(eager_loop):
    async def quick():
        return 1

    async def body():
        task = asyncio.create_task(quick())
        return task.done(), task.result()

    assert eager_loop.run_until_complete(body()) == (True, 1)


def test_a_coroutine_runs_to_its_first_await(eager_loop):
    seen = []

    async def slow():
        seen.append("start")
        await asyncio.sleep(0)
        seen.append("end")

    async def body():
        task = asyncio.create_task(slow())
        seen.append("created")
        await task

    eager_loop.run_until_complete(body())
    assert seen == ["start", "created", "end"]


def test_current_task_is_swapped_and_restored(eager_loop):
    async def inner():
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return first is asyncio.current_task(), first

    async def body():
        mine = asyncio.current_task()
        task = asyncio.create_task(inner())
        assert asyncio.current_task() is mine
        same, seen = await task
        return same and seen is task

    assert eager_loop.run_until_complete(body()) is True


def test_all_tasks_counts_eager_ones_that_wait(eager_loop):
    async def body():
        task = asyncio.create_task(asyncio.sleep(0.001))
        found = asyncio.all_tasks()
        await task
        return task in found, len(found)

    assert eager_loop.run_until_complete(body()) == (True, 2)


def test_errors_are_kept_in_the_task(eager_loop):
    async def fails():
        raise LookupError("reason")

    async def body():
        task = asyncio.create_task(fails())
        assert task.done()
        with pytest.raises(LookupError, match="reason"):
            await task

    eager_loop.run_until_complete(body())


def test_an_interrupt_leaves_create_task(eager_loop):
    made = []

    async def interrupts():
        made.append(asyncio.current_task())
        raise KeyboardInterrupt

    async def body():
        mine = asyncio.current_task()
        with pytest.raises(KeyboardInterrupt):
            asyncio.create_task(interrupts())
        assert asyncio.current_task() is mine
        for task in made:
            assert isinstance(task.exception(), KeyboardInterrupt)

    eager_loop.run_until_complete(body())


def test_contexts(eager_loop):
    async def sets():
        variable.set("of the task")

    async def body():
        context = contextvars.copy_context()
        await asyncio.create_task(sets())
        await asyncio.create_task(sets(), context=context)
        return variable.get(), context[variable]

    assert eager_loop.run_until_complete(body()) == ("outside", "of the task")


def test_cancelling_an_eager_task(eager_loop):
    async def body():
        task = asyncio.create_task(asyncio.sleep(1000))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert eager_loop.run_until_complete(body()) is True


def test_an_eager_task_that_cancels_itself(eager_loop):
    async def selfish():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def body():
        task = asyncio.create_task(selfish())
        with pytest.raises(asyncio.CancelledError):
            await task

    eager_loop.run_until_complete(body())


def test_names_and_reprs(same_as_asyncio):
    async def body(loop):
        loop.set_task_factory(asyncio.eager_task_factory)
        done = asyncio.create_task(asyncio.sleep(0), name="named")
        found = [plain(repr(done)), done.get_name()]
        await done
        return found

    assert same_as_asyncio(body)[1] == "named"


def test_eager_start_outside_a_running_loop(same_as_asyncio):
    """With no running loop eager_start falls back or fails, as the version has it."""

    def body(loop):
        async def quick():
            return 1

        coroutine = quick()
        try:
            task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        except RuntimeError as exc:
            coroutine.close()
            return str(exc)
        before = task.done()
        return before, loop.run_until_complete(task)

    same_as_asyncio(body)


def test_the_eager_start_argument_of_create_task(loop):
    async def quick():
        return 1

    async def body():
        eager = loop.create_task(quick(), eager_start=True)
        lazy = loop.create_task(quick(), eager_start=False)
        states = eager.done(), lazy.done()
        await lazy
        return states

    if sys.version_info < (3, 14):
        with pytest.raises(TypeError):
            coroutine = quick()
            try:
                loop.create_task(coroutine, eager_start=True)
            finally:
                coroutine.close()
    else:
        assert loop.run_until_complete(body()) == (True, False)


def test_a_factory_made_for_a_subclass(loop):
    task = loop.create_task(asyncio.sleep(0))
    loop.run_until_complete(task)

    class Mine(type(task)):
        pass

    loop.set_task_factory(asyncio.create_eager_task_factory(Mine))

    async def quick():
        return 7

    async def body():
        task = asyncio.create_task(quick())
        return type(task), task.done(), await task

    assert loop.run_until_complete(body()) == (Mine, True, 7)


def test_eager_tasks_inside_eager_tasks(eager_loop):
    order = []

    async def level(n):
        order.append(("in", n))
        if n:
            await asyncio.create_task(level(n - 1))
        order.append(("out", n))

    async def body():
        await asyncio.create_task(level(20))

    eager_loop.run_until_complete(body())
    assert order == [("in", n) for n in range(20, -1, -1)] + [("out", n) for n in range(21)]


def test_recursion_of_eager_tasks_ends_in_an_error(eager_loop):
    async def endless():
        coroutine = endless()
        try:
            task = asyncio.create_task(coroutine)
        finally:
            coroutine.close()
        await task

    async def body():
        with pytest.raises(RecursionError):
            await endless()

    eager_loop.run_until_complete(body())


def test_gather_and_groups_with_the_eager_factory(eager_loop):
    async def quick(i):
        return i

    async def slow(i):
        await asyncio.sleep(0)
        return i

    async def body():
        first = await asyncio.gather(*(quick(i) for i in range(50)))
        second = await asyncio.gather(*(slow(i) for i in range(50)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(quick(i)) for i in range(20)]
        return first, second, [task.result() for task in tasks]

    first, second, third = eager_loop.run_until_complete(body())
    assert first == second == list(range(50)) and third == list(range(20))


def test_an_eager_task_in_debug_mode(eager_loop):
    eager_loop.set_debug(True)

    async def body():
        return await asyncio.create_task(asyncio.sleep(0, "result"))

    assert eager_loop.run_until_complete(body()) == "result"
    assert error_of(eager_loop.set_task_factory, 5)[0] == "TypeError"
