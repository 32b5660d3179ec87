"""What a program can do without awaiting: in callbacks, between runs and inside coroutines.

Every method here but the helpers is an operation: Op("call_soon", body) calls
call_soon(who, body), where `who` is the label of the callback or task that runs it. What an
operation returns or raises is written down by the interpreter; only what raise_ raises leaves the
body.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
from collections.abc import Callable
from typing import Any

from .program import Body

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


class Custom(Exception):
    """An exception that asyncio knows nothing about."""


class Fatal(BaseException):
    """A BaseException that is neither an exit nor a cancellation."""


EXCEPTIONS = {
    "ValueError": lambda: ValueError("bad"),
    "Custom": lambda: Custom(1, 2),
    "Fatal": lambda: Fatal("fatal"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": lambda: asyncio.CancelledError("by hand"),
    "StopIteration": lambda: StopIteration(5),
    "StopAsyncIteration": StopAsyncIteration,
    "GeneratorExit": GeneratorExit,
    "TimeoutError": TimeoutError,
    "InvalidStateError": lambda: asyncio.InvalidStateError("odd"),
    "Group": lambda: ExceptionGroup("group", [ValueError("one"), Custom("two")]),
    "class": lambda: ValueError,
    "no exception": lambda: 7,
}


class Evil:
    """A callable that changes the callbacks of the future it sits on when it is compared."""

    def __init__(self, future: Any) -> None:
        self.future = future
        self.armed = True

    def __eq__(self, other: object) -> bool:
        if self.armed:  # once, not until the stack ends
            self.armed = False
            self.future.remove_done_callback(None)
        return False

    def __call__(self, future: Any) -> None:
        pass


class SyncOperations:
    """Operations that need no await. The interpreter supplies the attributes used here."""

    loop: Any
    clock: Any
    trace: Any

    # ---- callbacks and timers

    def call_soon(self, who: str, body: Body, context: str = "none") -> None:
        callback = self.callback(body)
        self.keep_handle(self.loop.call_soon(callback, **self.context(context)))

    def call_soon_args(self, who: str, body: Body, count: int) -> None:
        self.keep_handle(self.loop.call_soon(self.callback(body), *range(count)))

    def call_later(self, who: str, delay: float, body: Body, context: str = "none") -> None:
        seconds = self.clock.seconds(delay)
        callback = self.callback(body)
        self.keep_handle(self.loop.call_later(seconds, callback, **self.context(context)))

    def call_at(self, who: str, delay: float, body: Body) -> None:
        when = self.loop.time() + self.clock.seconds(delay)
        self.keep_handle(self.loop.call_at(when, self.callback(body)))

    def call_soon_threadsafe(self, who: str, body: Body) -> None:
        self.keep_handle(self.loop.call_soon_threadsafe(self.callback(body)))

    def cancel_handle(self, who: str, index: int) -> Any:
        handle = self.handle(index)
        if handle is None:
            return "none"
        handle.cancel()
        return handle.cancelled()

    def look_at_handle(self, who: str, index: int) -> Any:
        handle = self.handle(index)
        if handle is None:
            return "none"
        when = None
        if isinstance(handle, asyncio.TimerHandle) and self.clock.kind != "real":
            when = (handle.when() - self.loop.time()) / self.clock.unit
        shown = repr(handle) if when is None else ""  # a deadline in the repr is absolute
        return [handle.cancelled(), when, shown]

    def forget_handle(self, who: str, index: int) -> None:
        if self.handles:
            self.handles.pop(index % len(self.handles))

    # ---- futures

    def new_future(self, who: str, index: int, kind: str) -> None:
        """Put a new future in the place; the old one is forgotten."""
        if kind == "loop":
            self.futures[index % 4] = self.loop.create_future()
        else:
            self.futures[index % 4] = asyncio.Future(loop=self.loop)

    def set_result(self, who: str, index: int, value: int) -> None:
        self.future(index).set_result(value)

    def set_exception(self, who: str, index: int, kind: str) -> None:
        self.future(index).set_exception(EXCEPTIONS[kind]())

    def cancel_future(self, who: str, index: int, message: Any) -> bool:
        return self.future(index).cancel(*([] if message is None else [message]))

    def look_at_future(self, who: str, index: int) -> Any:
        future = self.future(index)
        return [future.done(), future.cancelled(), repr(future)]

    def future_result(self, who: str, index: int) -> Any:
        return self.future(index).result()

    def future_exception(self, who: str, index: int) -> Any:
        return self.future(index).exception()

    def add_done(self, who: str, index: int, body: Body, context: str = "none") -> None:
        callback = self.callback(body)
        self.done_callbacks.append(callback)
        self.future(index).add_done_callback(callback, **self.context(context))

    def remove_done(self, who: str, index: int, which: int) -> Any:
        if not self.done_callbacks:
            return "none"
        callback = self.done_callbacks[which % len(self.done_callbacks)]
        return self.future(index).remove_done_callback(callback)

    def add_evil_done(self, who: str, index: int) -> None:
        future = self.future(index)
        future.add_done_callback(Evil(future))

    def forget_future(self, who: str, index: int) -> None:
        self.futures[index % 4] = None

    # ---- tasks

    def spawn(self, who: str, body: Body, name: str = "none", context: str = "none") -> None:
        label = self.label("t")
        options = self.context(context)
        if name == "named":
            options["name"] = f"name-{label}"
        if name == "eager" and sys.version_info >= (3, 14):
            options["eager_start"] = True
        if name == "lazy" and sys.version_info >= (3, 14):
            options["eager_start"] = False
        coroutine = self.coroutine(label, body)
        try:
            self.keep_task(self.loop.create_task(coroutine, **options))
        finally:
            coroutine = None  # a task that never came to be must not live on in a traceback

    def spawn_asyncio(self, who: str, body: Body) -> None:
        """A task of asyncio's own class on the loop."""
        label = self.label("t")
        self.keep_task(asyncio.Task(self.coroutine(label, body), loop=self.loop))

    def ensure_future(self, who: str, body: Body) -> None:
        label = self.label("t")
        coroutine = self.coroutine(label, body)
        self.keep_task(asyncio.ensure_future(coroutine, loop=self.loop))

    def cancel_task(self, who: str, index: int, message: Any) -> Any:
        task = self.task(index)
        if task is None:
            return "none"
        return task.cancel(*([] if message is None else [message]))

    def uncancel_task(self, who: str, index: int) -> Any:
        task = self.task(index)
        return "none" if task is None else task.uncancel()

    def look_at_task(self, who: str, index: int) -> Any:
        task = self.task(index)
        if task is None:
            return "none"
        return [task.done(), task.cancelled(), task.cancelling(), repr(task)]

    def task_result(self, who: str, index: int) -> Any:
        task = self.task(index)
        return "none" if task is None else task.result()

    def task_exception(self, who: str, index: int) -> Any:
        task = self.task(index)
        return "none" if task is None else task.exception()

    def task_done_callback(self, who: str, index: int, body: Body) -> None:
        task = self.task(index)
        if task is not None:
            task.add_done_callback(self.callback(body))

    def set_task_name(self, who: str, index: int) -> Any:
        task = self.task(index)
        if task is None:
            return "none"
        task.set_name(self.label("renamed-"))
        return task.get_name()

    def misuse_task(self, who: str, index: int) -> None:
        """set_result() and set_exception() are not for tasks."""
        task = self.task(index)
        if task is not None:
            task.set_result(1)

    def task_stack(self, who: str, index: int) -> Any:
        task = self.task(index)
        if task is None or (not task.done() and getattr(task.get_coro(), "cr_running", False)):
            return "none"  # the stack of a task that runs goes on through the loop's own frames
        return [frame.f_code.co_name for frame in task.get_stack()]

    def forget_task(self, who: str, index: int) -> None:
        if self.tasks:
            self.tasks.pop(index % len(self.tasks))

    def all_tasks(self, who: str) -> Any:
        names = [task.get_name() for task in asyncio.all_tasks(self.loop)]
        return sorted(names, key=lambda name: (len(name), name))

    def current_task(self, who: str) -> Any:
        task = asyncio.current_task()
        return None if task is None else task.get_name()

    # ---- what coroutines wait for

    def set_event(self, who: str, index: int) -> None:
        self.events[index % 2].set()

    def clear_event(self, who: str, index: int) -> None:
        self.events[index % 2].clear()

    def put_nowait(self, who: str, index: int, value: int) -> None:
        self.queues[index % 3].put_nowait(value)

    def get_nowait(self, who: str, index: int) -> Any:
        return self.queues[index % 3].get_nowait()

    def task_done(self, who: str, index: int) -> None:
        self.queues[index % 3].task_done()

    def shutdown_queue(self, who: str, index: int, immediate: bool) -> None:
        if sys.version_info >= (3, 13):
            self.queues[index % 3].shutdown(immediate)

    def release(self, who: str, index: int) -> None:
        self.locks[index % 4].release()

    def notify(self, who: str, count: int) -> None:
        self.condition.notify(count)

    # ---- contexts

    def set_variable(self, who: str, value: int) -> None:
        VARIABLE.set(value)

    def get_variable(self, who: str) -> int:
        return VARIABLE.get()

    # ---- the loop

    def now(self, who: str) -> Any:
        if self.clock.kind == "real":
            return "real"
        return (self.loop.time() - 1000.0) / self.clock.unit

    def stop(self, who: str) -> None:
        self.loop.stop()

    def run_nested(self, who: str, kind: str) -> Any:
        """What a running loop refuses."""
        if not self.loop.is_running():
            return "not running"
        if kind == "forever" and sys.version_info[:3] != (3, 13, 0):
            # asyncio of 3.13.0 no longer knows its running loop after this
            return self.loop.run_forever()
        if kind == "until":
            return self.loop.run_until_complete(self.future(0))
        if kind == "other":
            other = asyncio.new_event_loop()
            try:
                return other.run_until_complete(other.create_future())
            finally:
                other.close()
        if kind == "close":
            return self.loop.close()
        return [self.loop.is_running(), self.loop.is_closed()]

    def set_debug(self, who: str, enabled: bool) -> None:
        if self.clock.kind != "polls":  # debug mode asks for the time once more per callback
            self.loop.set_debug(enabled)

    def set_handler(self, who: str, kind: str) -> None:
        self.use_handler(kind)

    def call_handler(self, who: str) -> None:
        self.loop.call_exception_handler({"message": "from the program", "future": self.future(0)})

    def set_factory(self, who: str, kind: str) -> None:
        self.use_factory(kind)

    def misuse(self, who: str, index: int) -> Any:
        """A call that must be refused, or accepted, as asyncio does."""
        return MISUSES[index % len(MISUSES)](self)

    def collect(self, who: str) -> None:
        with self.trace.sorted_section():
            gc.collect()

    def raise_(self, who: str, kind: str) -> None:
        raise EXCEPTIONS[kind]()


def _misuse_coroutine(self: Any) -> None:
    coroutine = self.coroutine(self.label("t"), ())
    try:
        self.loop.call_soon(coroutine)
    finally:
        coroutine.close()


def _misuse_running(self: Any) -> None:
    coroutine = self.coroutine(self.label("t"), ())
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def _refused(call: Callable[[], Any]) -> str:
    """The type alone: the text of a wrong signature is the interpreter's, not asyncio's."""
    try:
        return f"accepted, {call()}"
    except TypeError:
        return "TypeError"


async def _nothing() -> None:
    pass


def _misuse_coroutine_function(self: Any) -> None:
    handle = self.loop.call_soon(_nothing)  # refused in debug mode alone
    handle.cancel()


MISUSES = [
    lambda self: self.loop.call_later(None, print),
    lambda self: self.loop.call_at(None, print),
    lambda self: self.loop.call_later("x", print),
    lambda self: _refused(lambda: self.loop.call_later(1)),
    lambda self: _refused(lambda: self.loop.call_soon()),
    lambda self: self.loop.create_task(5),
    lambda self: self.loop.create_task(None),
    lambda self: asyncio.ensure_future(7, loop=self.loop),
    lambda self: self.loop.run_until_complete(5),
    lambda self: self.loop.set_exception_handler(5),
    lambda self: self.loop.set_task_factory(5),
    lambda self: self.loop.call_exception_handler({}),
    lambda self: _refused(lambda: self.loop.call_soon(print, contxt=1)),
    lambda self: _refused(lambda: self.future(0).add_done_callback()),
    lambda self: _refused(lambda: self.future(0).set_result()),
    lambda self: _refused(lambda: self.future(0).cancel(1, 2)),
    lambda self: _refused(lambda: asyncio.Future(5)),
    lambda self: asyncio.Task(5, loop=self.loop),
    lambda self: inspect.iscoroutinefunction(self.loop.create_connection),
    lambda self: self.loop.get_task_factory() is None,
    lambda self: self.loop.get_exception_handler() is None,
    lambda self: isinstance(self.future(0), asyncio.Future),
    lambda self: asyncio.isfuture(self.future(0)),
    lambda self: self.future(0).get_loop() is self.loop,
    lambda self: self.loop.remove_reader(10_000),
    lambda self: self.loop.call_soon(print, context=5).cancel(),
    lambda self: next(iter(self.future(1))),
    lambda self: self.future(1).__await__().send(None),
    lambda self: repr(self.loop),
    _misuse_coroutine,
    _misuse_running,
    _misuse_coroutine_function,
]
