"""Tasks: stepping, awaiting anything, contexts, names, current task, errors, factories."""

import asyncio
import contextvars
import gc
import sys
import types
import weakref

import pytest

from tests.support import error_of, plain, turn, turns

BOTH_MODES = True

variable = contextvars.ContextVar("variable", default="outside")


async def value(result, count=0):
    for _ in range(count):
        await asyncio.sleep(0)
    return result


def test_create_task_makes_an_asyncio_task(loop):
    task = loop.create_task(value(1))
    assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
    assert task.get_loop() is loop
    assert type(task).__name__ == "Task"
    assert loop.run_until_complete(task) == 1
    assert task.done() and task.result() == 1 and task.exception() is None


def test_a_task_starts_in_the_next_turn(loop):
    seen = []

    async def body():
        seen.append("task")

    loop.call_soon(seen.append, "before")
    task = loop.create_task(body())
    loop.call_soon(seen.append, "after")
    assert seen == []
    turn(loop)
    assert seen == ["before", "task", "after"] and task.done()


def test_sleep_zero_takes_one_turn(loop):
    async def body():
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    task = loop.create_task(body())
    states = []
    for _ in range(3):
        turn(loop)
        states.append(task.done())
    assert states == [False, False, True]


def test_tasks_take_turns(loop):
    seen = []

    async def body(name):
        for _ in range(3):
            seen.append(name)
            await asyncio.sleep(0)

    tasks = [loop.create_task(body(name)) for name in "abc"]
    loop.run_until_complete(asyncio.gather(*tasks))
    assert seen == list("abcabcabc")


def test_how_many_turns_a_wake_up_takes(same_as_asyncio):
    """The order of events through futures, gather, nested tasks and call_soon, turn by turn."""

    async def waiter(log, name, future):
        log.append((name, "waits"))
        result = await future
        log.append((name, "got", result))
        return result

    def body(loop):
        log = []
        future = loop.create_future()
        first = loop.create_task(waiter(log, "first", future))
        second = loop.create_task(waiter(log, "second", first))
        both = asyncio.gather(first, second)
        third = loop.create_task(waiter(log, "third", both))
        first.add_done_callback(lambda f: log.append("first is done"))
        loop.call_soon(loop.call_soon, future.set_result, 1)
        for number in range(9):
            log.append(("turn", number))
            turn(loop)
        return log, third.result()

    log, result = same_as_asyncio(body)
    assert result == [1, 1] and ("third", "got", [1, 1]) in log


def test_awaiting_a_finished_future_does_not_suspend(loop):
    async def body():
        future = loop.create_future()
        future.set_result(1)
        seen = []
        loop.call_soon(seen.append, "other")
        for _ in range(10):
            await future
        assert seen == []

    loop.run_until_complete(body())


def test_current_task(loop):
    seen = []

    async def body():
        seen.append(asyncio.current_task())
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    task = loop.create_task(body())
    loop.run_until_complete(task)
    assert seen == [task, None, task]
    assert asyncio.current_task(loop) is None


def test_current_task_with_a_loop_given(loop, new_loop):
    other = new_loop()

    async def body():
        return asyncio.current_task(loop), asyncio.current_task(other)

    task = loop.create_task(body())
    assert loop.run_until_complete(task) == (task, None)
    other.close()


def test_current_task_outside_a_loop(loop):
    assert error_of(asyncio.current_task) == ("RuntimeError", "no running event loop")


def test_current_task_while_a_finaliser_runs(loop):
    seen = []

    class Finaliser:
        def __del__(self):
            seen.append(asyncio.current_task())

    async def body():
        local = Finaliser()
        await asyncio.sleep(0)
        del local

    task = loop.create_task(body())
    loop.run_until_complete(task)
    assert seen == [task]


def test_all_tasks(loop):
    async def body():
        others = {asyncio.ensure_future(value(i, 2)) for i in range(5)}
        everything = asyncio.all_tasks()
        assert everything == others | {asyncio.current_task()}
        await asyncio.gather(*others)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(body())
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_of_another_thread(loop):
    import threading

    async def body():
        other = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        found = await asyncio.to_thread(asyncio.all_tasks, loop)
        assert {other, asyncio.current_task()} <= found
        other.cancel()
        await asyncio.wait([other])

    assert threading.current_thread() is threading.main_thread()
    loop.run_until_complete(body())


def test_names(loop):
    named = loop.create_task(value(1), name="mine")
    numbered = loop.create_task(value(2))
    other = loop.create_task(value(3), name=17)
    assert named.get_name() == "mine" and other.get_name() == "17"
    assert numbered.get_name().startswith("Task-")
    numbered.set_name(["a", 1])
    assert numbered.get_name() == "['a', 1]"
    loop.run_until_complete(asyncio.gather(named, numbered, other))
    assert named.get_name() == "mine"


def test_default_names_count_up(loop):
    tasks = [loop.create_task(value(i)) for i in range(3)]
    numbers = [int(task.get_name().removeprefix("Task-")) for task in tasks]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    loop.run_until_complete(asyncio.gather(*tasks))


def test_get_coro_and_get_context(loop):
    coroutine = value(1)
    task = loop.create_task(coroutine)
    assert task.get_coro() is coroutine
    if sys.version_info >= (3, 12):
        assert isinstance(task.get_context(), contextvars.Context)
    loop.run_until_complete(task)


def test_a_task_has_a_context_of_its_own(loop):
    async def body():
        before = variable.get()
        variable.set("of the task")
        await asyncio.sleep(0)
        return before, variable.get()

    token = variable.set("at creation")
    task = loop.create_task(body())
    variable.reset(token)
    assert loop.run_until_complete(task) == ("at creation", "of the task")
    assert variable.get() == "outside"


def test_a_given_context_is_used_not_copied(loop):
    context = contextvars.copy_context()

    async def body():
        variable.set("of the task")
        await asyncio.sleep(0)

    loop.run_until_complete(loop.create_task(body(), context=context))
    assert context[variable] == "of the task"
    assert variable.get() == "outside"


def test_callbacks_of_a_task_run_in_their_context(loop):
    seen = []

    async def body():
        variable.set("of the task")
        asyncio.current_task().add_done_callback(lambda t: seen.append(variable.get()))

    task = loop.create_task(body())
    task.add_done_callback(lambda t: seen.append(variable.get()))
    loop.run_until_complete(task)
    assert seen == ["outside", "of the task"]


@pytest.mark.parametrize("bad", [None, 5, "text", [], print])
def test_create_task_wants_a_coroutine(same_as_asyncio, bad):
    def body(loop):
        return error_of(loop.create_task, bad)

    assert same_as_asyncio(body)[0] == "TypeError"


class HiddenClass:
    """Nobody can ask whether this is a coroutine."""

    @property
    def __class__(self):
        raise LookupError("no class")


class NoName:
    def __str__(self):
        raise LookupError("no name")


@pytest.mark.parametrize("fault", ["no class", "no name"])
def test_a_task_that_cannot_be_made(same_as_asyncio, fault):
    def body(loop):
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(context["message"]))
        for _ in range(3):  # the next task may lie where a finished one did
            loop.run_until_complete(loop.create_task(value(1)))
            coro = value(2)
            if fault == "no class":
                seen.append(error_of(loop.create_task, HiddenClass()))
            else:
                seen.append(error_of(loop.create_task, coro, name=NoName()))
            coro.close()
            seen.append(len(asyncio.all_tasks(loop)))
        turn(loop)
        return seen

    assert ("LookupError", fault) in same_as_asyncio(body)


def test_yielding_nonsense(same_as_asyncio):
    class Yields:
        def __init__(self, thing):
            self.thing = thing

        def __await__(self):
            yield self.thing

    async def body_of_task(thing):
        await Yields(thing)

    def body(loop):
        async def itself():
            await asyncio.current_task()

        other = loop.create_future()
        found = []
        for thing in (5, "text", [1], other, (i for i in ()), object):
            name, text = error_of(loop.run_until_complete, body_of_task(thing))
            found.append((name, plain(text)))
        found.append(error_of(loop.run_until_complete, itself())[0])
        return [str(entry).split(" cb=")[0] for entry in found]

    assert "RuntimeError" in same_as_asyncio(body)[0]


def test_a_bare_yield_takes_one_turn(loop):
    @types.coroutine
    def bare():
        got = yield
        assert got is None
        return "done"

    async def body():
        return await bare()

    assert loop.run_until_complete(body()) == "done"


def test_custom_awaitables_and_duck_typed_futures(loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "custom"

    class Duck:
        _asyncio_future_blocking = False

        def __init__(self):
            self.future = loop.create_future()

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            self.future.add_done_callback(lambda f: callback(self), context=context)

        def result(self):
            return "duck"

        def cancel(self, msg=None):
            return self.future.cancel()

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def body():
        duck = Duck()
        loop.call_soon(duck.future.set_result, None)
        return await Awaitable(), await duck

    assert loop.run_until_complete(body()) == ("custom", "duck")


def test_coroutine_like_objects(loop):
    """Cython's and other compilers' coroutines are no native ones; tasks run them too."""
    from collections.abc import Coroutine

    class Like(Coroutine):
        def __init__(self, inner):
            self.inner = inner

        def send(self, argument):
            return self.inner.send(argument)

        def throw(self, *args):
            return self.inner.throw(*args)

        def close(self):
            return self.inner.close()

        def __await__(self):
            return self.inner.__await__()

    async def cancelled():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "thrown into"

    async def body():
        first = await loop.create_task(Like(value("like", 3)))
        task = loop.create_task(Like(cancelled()))
        await asyncio.sleep(0)
        task.cancel()
        return first, await task

    assert loop.run_until_complete(body()) == ("like", "thrown into")


def test_a_generator_based_coroutine(loop):
    @types.coroutine
    def old():
        result = yield from asyncio.sleep(0, "old").__await__()
        return result

    async def body():
        return await old()

    assert loop.run_until_complete(body()) == "old"


def test_exceptions(same_as_asyncio):
    def body(loop):
        async def fails(kind):
            await asyncio.sleep(0)
            raise kind("reason")

        found = []
        for kind in (ValueError, StopAsyncIteration, StopIteration, GeneratorExit, RuntimeError):
            task = loop.create_task(fails(kind))
            if kind is StopIteration:
                found.append(error_of(loop.run_until_complete, task))
                continue
            found.append(error_of(loop.run_until_complete, task))
            found.append((task.cancelled(), repr(task.exception())))
        return found

    assert ("ValueError", "reason") in same_as_asyncio(body)


def test_the_traceback_names_every_frame(loop):
    async def inner():
        raise LookupError("deep")

    async def outer():
        await inner()

    task = loop.create_task(outer())
    with pytest.raises(LookupError) as caught:
        loop.run_until_complete(task)
    assert {"outer", "inner"} <= {entry.name for entry in caught.traceback}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_end_the_run_and_stay_in_the_task(loop, kind):
    seen = []

    async def interrupts():
        await asyncio.sleep(0)
        raise kind("now")

    async def other():
        await turns(3)
        seen.append("other went on")

    task = loop.create_task(interrupts())
    rest = loop.create_task(other())
    with pytest.raises(kind):
        loop.run_forever()
    assert task.done() and not task.cancelled()
    assert isinstance(task.exception(), kind)
    assert asyncio.current_task(loop) is None
    loop.run_until_complete(rest)
    assert seen == ["other went on"]


def test_repr(same_as_asyncio):
    def callback(task):
        pass

    def body(loop):
        loop.set_debug(False)
        task = loop.create_task(value(1, 2), name="mine")
        found = [repr(task)]
        turn(loop)
        found.append(repr(task))
        task.add_done_callback(callback)
        turn(loop)
        found.append(repr(task))
        task.cancel()
        found.append(repr(task))
        turn(loop, 2)
        found.append(repr(task))
        done = loop.create_task(value("result"), name="done")
        found.append(repr(done))
        turn(loop, 2)
        found.append(repr(done))

        async def waits(future):
            await future

        future = loop.create_future()
        waiting = loop.create_task(waits(future), name="waiting")
        turn(loop)
        found += [repr(waiting), repr(future)]
        future.set_result(None)
        loop.run_until_complete(waiting)
        return [plain(text) for text in found]

    results = same_as_asyncio(body)
    assert results[0].startswith("<Task pending name='mine' coro=<value() running at ")
    assert "wait_for=<Future pending" in results[-2]
    assert "cb=[Task.task_wakeup()]" in results[-1] or "task_wakeup" in results[-1]


def test_private_attributes_the_standard_library_uses(same_as_asyncio):
    def body(loop):
        async def waits(future):
            await future

        future = loop.create_future()
        task = loop.create_task(waits(future))
        found = [task._state, task._must_cancel, task._fut_waiter, task._log_destroy_pending]
        turn(loop)
        found.append(task._fut_waiter is future)
        found.append(task._coro is task.get_coro())
        found.append(len(future._callbacks))
        task._log_destroy_pending = True
        task.cancel("why")
        found += [task._must_cancel, task.cancelling()]
        turn(loop, 2)
        found += [task._state, task._fut_waiter, str(task._make_cancelled_error())]
        return found

    assert same_as_asyncio(body)[0] == "PENDING"


def test_set_result_is_refused(same_as_asyncio):
    def body(loop):
        task = loop.create_task(value(1))
        found = [error_of(task.set_result, 1), error_of(task.set_exception, ValueError())]
        loop.run_until_complete(task)
        return found

    assert {kind for kind, text in same_as_asyncio(body)} == {"RuntimeError"}


def test_a_task_factory(loop):
    seen = []

    def factory(factory_loop, coroutine, **options):
        seen.append((factory_loop is loop, sorted(options)))
        return asyncio.Task(coroutine, loop=factory_loop, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert loop.run_until_complete(value(1)) == 1
    loop.run_until_complete(loop.create_task(value(1), name="named"))
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    with pytest.raises(TypeError):
        loop.set_task_factory("text")
    assert len(seen) == 2 and all(ours for ours, _ in seen)


def test_what_a_task_factory_is_given(same_as_asyncio):
    def body(loop):
        seen = []

        def factory(factory_loop, coroutine, **options):
            seen.append(sorted(options))
            return asyncio.Task(coroutine, loop=factory_loop)

        context = contextvars.copy_context()
        for options in ({}, {"name": "n"}, {"context": context}, {"name": "n", "context": context}):
            loop.set_task_factory(factory)
            task = loop.create_task(value(1), **options)
            loop.set_task_factory(None)
            loop.run_until_complete(task)
        return seen

    assert len(same_as_asyncio(body)) == 4


def test_an_old_task_factory_that_takes_no_options(loop):
    def factory(factory_loop, coroutine, context=None, name=None):
        return asyncio.Task(coroutine, loop=factory_loop, context=context)

    loop.set_task_factory(factory)
    assert loop.run_until_complete(loop.create_task(value(4))) == 4


def test_subclasses_of_task(loop):
    class Mine(type(loop.create_task(value(0)))):
        steps = 0

        def __init__(self, coro, **options):
            super().__init__(coro, **options)
            self.extra = "extra"

        def cancel(self, msg=None):
            self.extra = "cancelled"
            return super().cancel(msg)

    loop.set_task_factory(lambda loop, coro, **options: Mine(coro, loop=loop, **options))
    task = loop.create_task(value(1, 3))
    assert type(task) is Mine and repr(task).startswith("<Mine pending name=")
    assert loop.run_until_complete(task) == 1 and task.extra == "extra"
    other = loop.create_task(asyncio.sleep(1000))
    turn(loop)
    other.cancel()
    turn(loop, 2)
    assert other.cancelled() and other.extra == "cancelled"


def test_stock_tasks_on_this_loop(loop):
    async def body():
        inner = asyncio.Task(value(1, 5), loop=loop)
        stock_future = asyncio.Future(loop=loop)
        loop.call_soon(stock_future.set_result, 2)
        return await inner, await stock_future, asyncio.current_task() is task

    task = asyncio.Task(body(), loop=loop)
    assert loop.run_until_complete(task) == (1, 2, True)


def test_tasks_of_this_loops_kind_on_a_foreign_loop(new_loop):
    mine, foreign = new_loop(), asyncio.SelectorEventLoop()
    probe = mine.create_task(value(0))
    mine.run_until_complete(probe)
    kind = type(probe)

    async def body():
        assert asyncio.current_task() is task
        other = kind(value("other", 3), loop=foreign)
        return await other, await asyncio.sleep(0.001, "slept")

    task = kind(body(), loop=foreign)
    assert foreign.run_until_complete(task) == ("other", "slept")
    mine.close()
    foreign.close()


def test_a_python_task_on_this_loop(loop):
    """The pure Python classes of asyncio drive coroutines through call_soon alone."""
    task = asyncio.tasks._PyTask(value(1, 5), loop=loop)
    assert loop.run_until_complete(task) == 1


def test_a_task_is_collected_with_its_coroutine(loop):
    class Local:
        pass

    references = []

    async def body():
        local = Local()
        references.append(weakref.ref(local))
        await asyncio.sleep(0)

    task = loop.create_task(body())
    references.append(weakref.ref(task))
    loop.run_until_complete(task)
    del task
    gc.collect()
    assert [ref() for ref in references] == [None, None]


def test_a_finished_task_lets_go_of_what_it_awaited(loop):
    async def body():
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        reference = weakref.ref(future)
        await future
        del future
        await asyncio.sleep(0)
        return reference

    assert loop.run_until_complete(body())() is None


def test_an_unawaited_coroutine_of_a_closed_loop(new_loop):
    loop = new_loop()
    loop.close()
    coroutine = value(1)
    with pytest.raises(RuntimeError):
        loop.create_task(coroutine)
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        del coroutine
        gc.collect()


def test_recursion_depth(loop):
    """A coroutine as deep as the interpreter allows works, one level more is RecursionError."""

    async def deep(level):
        return await deep(level - 1) if level else await asyncio.sleep(0, "bottom")

    async def endless():
        return await endless()

    assert loop.run_until_complete(deep(200)) == "bottom"
    with pytest.raises(RecursionError):
        loop.run_until_complete(endless())
    assert loop.run_until_complete(deep(200)) == "bottom"


def test_a_long_chain_of_tasks(loop):
    """Each task awaits the next: neither waking nor freeing them may recurse on the C stack."""

    async def link(inner):
        return await inner if inner is not None else "end"

    async def body():
        task = None
        for _ in range(20_000 if not loop.get_debug() else 500):
            task = loop.create_task(link(task))
        return await task

    assert loop.run_until_complete(body()) == "end"


def test_get_stack_and_print_stack(loop):
    import io

    async def waits():
        await loop.create_future()

    task = loop.create_task(waits())
    turn(loop)
    frames = task.get_stack()
    assert [frame.f_code.co_name for frame in frames] == ["waits"]
    del frames
    out = io.StringIO()
    task.print_stack(file=out)
    assert "waits" in out.getvalue()
    task.cancel()
    turn(loop, 2)


def test_task_groups_timeouts_and_queues(loop):
    async def producer(queue):
        for i in range(50):
            await queue.put(i)
        await queue.put(None)

    async def consumer(queue, seen):
        while (item := await queue.get()) is not None:
            seen.append(item)

    async def body():
        queue, seen = asyncio.Queue(3), []
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(producer(queue))
            group.create_task(consumer(queue, seen))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(1000)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1000))
                group.create_task(value(0)).add_done_callback(lambda t: None)
                raise LookupError("in the group")
        assert isinstance(caught.value.exceptions[0], LookupError)
        return seen

    assert loop.run_until_complete(body()) == list(range(50))


def test_locks_events_and_conditions(loop):
    seen = []

    async def worker(i, lock, event):
        await event.wait()
        async with lock:
            seen.append(("in", i))
            await asyncio.sleep(0)
            seen.append(("out", i))

    async def body():
        lock, event = asyncio.Lock(), asyncio.Event()
        workers = [asyncio.ensure_future(worker(i, lock, event)) for i in range(5)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.gather(*workers)

    loop.run_until_complete(body())
    assert seen == [(word, i) for i in range(5) for word in ("in", "out")]


def test_ten_thousand_tasks(loop):
    async def body():
        counter = 0

        async def worker(i):
            nonlocal counter
            await asyncio.sleep(0.001 * (i % 5))
            counter += 1
            return i

        count = 10_000 if not loop.get_debug() else 1000
        results = await asyncio.gather(*(worker(i) for i in range(count)))
        assert results == list(range(count)) and counter == count

    loop.run_until_complete(body())
