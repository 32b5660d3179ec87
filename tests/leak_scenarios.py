"""The scenarios of tests/refleaks.py: small uses of a loop that must leave nothing behind.

A scenario is a function that takes a loop factory. `@on_loop` makes one of a coroutine function: a
new loop, the coroutine twice on it, close. Each does its work a few times, so that a leak of one
object shows as several. Those of connections and sockets are in leak_scenarios_network.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Scenario = Callable[[Callable[[], Any]], None]
SCENARIOS: dict[str, Scenario] = {}

REPEAT = 5
HOST = "127.0.0.1"


def scenario(function: Scenario) -> Scenario:
    """Enter the function among the scenarios under its name."""
    SCENARIOS[function.__name__] = function
    return function


def on_loop(body: Callable[[], Coroutine[Any, Any, object]]) -> Scenario:
    """Make a scenario of a coroutine function: it runs on a loop that is closed afterwards."""

    @functools.wraps(body)
    def run(new_loop: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: None)
            for _ in range(2):
                runner.run(body())

    return scenario(run)


class Refused(Exception):
    """What the scenarios raise."""


# --- the loop itself -----------------------------------------------------------------------------


@scenario
def new_and_close(new_loop):
    for _ in range(REPEAT):
        new_loop().close()


@scenario
def dropped_without_close(new_loop):
    for _ in range(REPEAT):
        new_loop()


@scenario
def closed_with_work_left(new_loop):
    for _ in range(REPEAT):
        loop = new_loop()
        loop.call_soon(print, loop)
        loop.call_later(10, print, loop)
        loop.call_soon_threadsafe(print, loop)
        loop.close()


@scenario
def stopped_from_a_callback(new_loop):
    loop = new_loop()
    for _ in range(REPEAT):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()


@scenario
def base_exception_in_a_callback(new_loop):
    def interrupt():
        raise KeyboardInterrupt

    loop = new_loop()
    for _ in range(REPEAT):
        loop.call_soon(interrupt)
        loop.call_soon(loop.stop)
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_forever()
        loop.run_forever()
    loop.close()


@on_loop
async def errors_of_misuse():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        for call in (
            loop.run_forever,
            loop.close,
            functools.partial(loop.call_soon, None, context=3),
            functools.partial(loop.call_later, "soon", print),
            functools.partial(loop.call_at, None, print),
            functools.partial(loop.create_task, print),
            functools.partial(loop.add_reader, -1, print),
        ):
            with contextlib.suppress(Exception):
                call()
    await asyncio.sleep(0)


@on_loop
async def handles():
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    for _ in range(REPEAT):
        loop.call_soon(repr, loop)
        loop.call_soon(int, "1", context=context)
        loop.call_soon(dict, *(((i, i),) for i in range(1)))
        handle = loop.call_soon(print, "never")
        repr(handle)
        handle.cancel()
        loop.call_soon(loop.call_soon, repr, handle)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@on_loop
async def handles_of_other_threads():
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def other():
        for _ in range(REPEAT):
            loop.call_soon_threadsafe(repr, done)
            loop.call_soon_threadsafe(repr, loop).cancel()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=other)
    thread.start()
    await done
    thread.join()


@on_loop
async def timers():
    loop = asyncio.get_running_loop()
    for delay in (0, -1, 0.001, 0.002):
        loop.call_later(delay, repr, loop)
        loop.call_at(loop.time() + delay, repr, loop, context=contextvars.copy_context())
    await asyncio.sleep(0.004)


@on_loop
async def cancelled_timers():
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(60 + i, print, loop) for i in range(100)]
    for timer in timers:
        repr(timer)
        timer.cancel()
    assert timers[0] < timers[1]
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)


@on_loop
async def exceptions_in_callbacks():
    loop = asyncio.get_running_loop()

    def fail(*args):
        raise Refused(loop, args)

    for _ in range(REPEAT):
        loop.call_soon(fail, loop)
        loop.call_later(0, fail)
        future = loop.create_future()
        future.add_done_callback(fail)
        future.set_result(None)
        await asyncio.sleep(0.001)


@scenario
def debug_mode(new_loop):
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 10
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(REPEAT)))
        asyncio.get_running_loop().call_later(0.001, repr, main)
        await asyncio.sleep(0.002)

    with asyncio.Runner(debug=True, loop_factory=new_loop) as runner:
        runner.run(main())


@on_loop
async def file_descriptor_watchers():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        left, right = socket.socketpair()
        with left, right:
            seen = loop.create_future()
            loop.add_writer(right, right.send, b"x")
            loop.add_reader(left, seen.set_result, None)
            loop.add_reader(left, seen.set_result, left)  # takes the place of the first
            await seen
            assert loop.remove_reader(left)
            assert loop.remove_writer(right)
            receiving = loop.create_task(loop.sock_recv(left, 10))
            loop.add_writer(left, loop.remove_writer, left)
            await receiving
            loop.add_reader(left, seen.set_result)
            left.close()
            assert loop.remove_reader(left)


@scenario
def signals(new_loop):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(REPEAT):
            seen = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, lambda seen=seen: seen.set_result(1))
            os.kill(os.getpid(), signal.SIGUSR1)
            await seen
        assert loop.remove_signal_handler(signal.SIGUSR1)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@on_loop
async def name_look_ups():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        await loop.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        await loop.getnameinfo((HOST, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        with contextlib.suppress(OSError):
            await loop.getaddrinfo("not.a.number", 80, flags=socket.AI_NUMERICHOST)


@on_loop
async def executor():
    loop = asyncio.get_running_loop()

    def fail():
        raise Refused

    for _ in range(REPEAT):
        await loop.run_in_executor(None, repr, loop)
        await asyncio.to_thread(repr, loop)
        with contextlib.suppress(Refused):
            await loop.run_in_executor(None, fail)


class Held:
    """An executor whose futures are completed by the scenario."""

    def submit(self, *_):
        self.source = concurrent.futures.Future()
        return self.source


@on_loop
async def executor_ends():
    """A chain of futures ends in every way: by either end, on either thread, or never."""
    loop, held = asyncio.get_running_loop(), Held()
    loop.set_exception_handler(lambda *_: None)
    logger = logging.getLogger("concurrent.futures")
    logger.disabled = True  # it tells of what a future refuses
    for _ in range(REPEAT):
        for end in (
            lambda: held.source.set_result(object()),
            lambda: held.source.set_exception(Refused()),
            lambda: held.source.set_exception(StopIteration()),
            lambda: held.source.cancel(),
            lambda: future.cancel(),
            lambda: future.set_result(None) or held.source.set_result(None),
            lambda: None,
        ):
            future = loop.run_in_executor(held, int, *range(12))
            repr(future)
            end()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if future.done() and not future.cancelled():
                future.exception()
            future = held.source = None
        with contextlib.suppress(TypeError, AssertionError, AttributeError):
            loop.run_in_executor(Held)
        with contextlib.suppress(TypeError, AssertionError, AttributeError):
            loop.run_in_executor(object(), int)
    logger.disabled = False
    gc.collect()


@on_loop
async def async_generators():
    async def numbers():
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(0)

    for _ in range(REPEAT):
        async for number in numbers():
            if number == 2:
                break
    await asyncio.sleep(0)
    kept = numbers()
    await kept.__anext__()  # for shutdown_asyncgens


# --- tasks and futures ---------------------------------------------------------------------------


async def nothing():
    pass


async def fail_after_a_turn():
    await asyncio.sleep(0)
    raise Refused


@on_loop
async def run_noop():
    pass


@on_loop
async def tasks():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        await asyncio.create_task(nothing())
        await loop.create_task(asyncio.sleep(0, "result"), name="named")
        task = loop.create_task(asyncio.sleep(0.001), context=contextvars.copy_context())
        repr(task), task.get_stack(), task.get_name(), task.get_coro()
        await task
        assert task not in asyncio.all_tasks()


@on_loop
async def failing_tasks():
    for _ in range(REPEAT):
        with contextlib.suppress(Refused):
            await asyncio.create_task(fail_after_a_turn())
        asyncio.create_task(fail_after_a_turn())  # nobody takes the exception
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@on_loop
async def cancelled_tasks():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise

    for _ in range(REPEAT):
        never_started = asyncio.create_task(nothing())
        never_started.cancel("message")
        sleeping = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        sleeping.cancel()
        sleeping.cancel("twice")
        for task in (never_started, sleeping):
            with contextlib.suppress(asyncio.CancelledError):
                await task
    asyncio.create_task(asyncio.sleep(60))  # for Runner.close


@on_loop
async def eager_tasks():
    if sys.version_info < (3, 12):
        return
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    for _ in range(REPEAT):
        await asyncio.create_task(nothing())
        await asyncio.create_task(asyncio.sleep(0))
        with contextlib.suppress(Refused):
            await asyncio.create_task(fail_after_a_turn())
    loop.set_task_factory(None)


@on_loop
async def futures():
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    for _ in range(REPEAT):
        future = loop.create_future()
        future.add_done_callback(repr)
        future.add_done_callback(repr, context=context)
        future.add_done_callback(print)
        future.remove_done_callback(print)
        loop.call_soon(future.set_result, [future])
        repr(await future)
        future = loop.create_future()
        future.set_exception(Refused(future))
        with contextlib.suppress(Refused):
            await future
        loop.create_future().cancel("message")
        loop.create_future().set_exception(Refused())  # nobody takes it
        await asyncio.sleep(0)


@on_loop
async def futures_that_stay_pending():
    loop = asyncio.get_running_loop()
    for _ in range(REPEAT):
        future = loop.create_future()
        future.add_done_callback(lambda done, future=future: None)
        cycle = [future]
        cycle.append(cycle)
    await asyncio.sleep(0)


@on_loop
async def foreign_awaitables():
    class Bare:
        def __await__(self):
            yield
            return self

    class Wrong:
        def __await__(self):
            yield self

    for _ in range(REPEAT):
        await asyncio.ensure_future(Bare())
        with contextlib.suppress(RuntimeError):
            await asyncio.ensure_future(Wrong())
        loop = asyncio.get_running_loop()
        inner = loop.create_future()
        loop.call_soon(inner.set_result, None)
        await asyncio.shield(inner)
        await asyncio.wait_for(asyncio.sleep(0), 60)


@on_loop
async def groups_of_tasks():
    for _ in range(REPEAT):
        await asyncio.gather(*(asyncio.sleep(0, i) for i in range(5)))
        await asyncio.gather(fail_after_a_turn(), nothing(), return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(asyncio.sleep(0))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_after_a_turn())
                group.create_task(asyncio.sleep(60))
        except* Refused:
            pass


@on_loop
async def locks_and_queues():
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    lock = asyncio.Lock()

    async def consume():
        while await queue.get():
            async with lock:
                await asyncio.sleep(0)

    consumers = [asyncio.create_task(consume()) for _ in range(2)]
    for number in (1, 2, 3, 4, 0, 0):
        await queue.put(number)
    await asyncio.gather(*consumers)
