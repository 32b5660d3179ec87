"""The groups of tests, and how each is built from the classes of `test.test_asyncio`.

A group is a function that takes the backend and returns TestCase classes. Where CPython defines
a test class over its own Task, Future or loop, the same class is derived here with only those
names replaced, so that each Python version brings its own set-up and its own extra tests.
Test classes that examine the inside of CPython's own loops are in no group.

A derived class keeps the module of the class it comes from: unittest finds the module's
fixtures by it, and failures are shown under the file in which the test stands.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import unittest
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .backends import Backend

TestClass = type[unittest.TestCase]
Builder = Callable[[Backend], Iterable[TestClass]]


@dataclass(frozen=True)
class Test:
    """One test method, run in a process of its own."""

    group: str
    case: TestClass
    method: str

    @property
    def name(self) -> str:
        """`module.Class.method`, without the package."""
        return f"{self.case.__module__.rpartition('.')[2]}.{self.case.__qualname__}.{self.method}"


def collect(group: str, backend: Backend) -> list[Test]:
    """All tests of `group`, in CPython's order; none if this Python is older than their module.

    Raises ModuleNotFoundError if the module should be there, RuntimeError if it holds no test.
    """
    try:
        cases = list(GROUPS[group](backend))
    except ModuleNotFoundError:
        if sys.version_info[:2] < SINCE.get(group, (3, 11)):
            return []
        raise
    loader = unittest.TestLoader()
    tests = [
        Test(group, case, method) for case in cases for method in loader.getTestCaseNames(case)
    ]
    if not tests:
        raise RuntimeError(f"group {group}: {cases} hold no test")
    return tests


def _module(name: str) -> Any:
    return importlib.import_module(f"test.test_asyncio.{name}")


def _derive(name: str, *bases: Any, **namespace: Any) -> Any:
    return type(name, bases, {"__module__": bases[0].__module__, **namespace})


def _cases_of(module: Any) -> dict[str, Any]:
    """The TestCase classes that `module` itself defines, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, unittest.TestCase)
        and value.__module__ == module.__name__
    }


def _only(case: Any, mixin: Any) -> Any:
    """`case`, with no tests but those that `mixin` defines."""
    others = {
        name: None
        for name in dir(case)
        if name.startswith("test") and not hasattr(mixin, name) and callable(getattr(case, name))
    }
    return _derive(case.__name__, case, **others)


def _new_loop(_test: Any) -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def tasks(backend: Backend) -> Iterable[TestClass]:
    """Task and Future in every mixture of ours, CPython's C and CPython's Python classes."""
    m = _module("test_tasks")
    task, future = backend.task_class, backend.future_class
    subclassed = m.add_subclass_tests
    yield _derive("Task_Future_Tests", m.CTask_CFuture_Tests, Task=task, Future=future)
    yield _derive("Task_StockFuture_Tests", m.CTask_CFuture_Tests, Task=task)
    yield _derive("StockTask_Future_Tests", m.CTask_PyFuture_Tests, Future=future)
    yield _derive("Task_PyFuture_Tests", m.CTask_PyFuture_Tests, Task=task)
    yield _derive("PyTask_Future_Tests", m.PyTask_CFuture_Tests, Future=future)
    yield subclassed(
        _derive(
            "Task_Future_SubclassTests", m.CTask_CFuture_SubclassTests, Task=task, Future=future
        )
    )
    yield subclassed(_derive("TaskSubclass_PyFuture_Tests", m.CTask_PyFuture_Tests, Task=task))
    yield subclassed(_derive("PyTask_FutureSubclass_Tests", m.PyTask_CFuture_Tests, Future=future))
    yield _derive(
        "TaskCurrentLoopTests",
        m.CCurrentLoopTests,
        new_task=lambda self, coro: task(coro, loop=self.loop),
    )
    yield _derive("TaskIntrospectionTests", m.CIntrospectionTests, Task=task)
    for name in (
        "CTask_Future_Tests",
        "GenericTaskTests",
        "FutureGatherTests",
        "CoroutineGatherTests",
        "RunCoroutineThreadsafeTests",
        "SleepTests",
        "CompatibilityTests",
    ):
        yield getattr(m, name)


def futures(backend: Backend) -> Iterable[TestClass]:
    """Future alone, and a Python subclass of it."""
    m = _module("test_futures")
    cls = backend.future_class
    subclass = type("FutureSubclass", (cls,), {})
    yield m.DuckTests
    yield _derive("FutureTests", m.CFutureTests, cls=cls)
    yield _derive("FutureSubclassTests", m.CSubFutureTests, cls=subclass)
    yield _derive(
        "FutureDoneCallbackTests",
        m.CFutureDoneCallbackTests,
        _new_future=lambda self: cls(loop=self.loop),
    )
    yield _derive(
        "FutureSubclassDoneCallbackTests",
        m.CSubFutureDoneCallbackTests,
        _new_future=lambda self: subclass(loop=self.loop),
    )
    yield _derive(
        "FutureInheritanceTests",
        m.CFutureInheritanceTests,
        _get_future_cls=lambda self: cls,
    )


def futures2(backend: Backend) -> Iterable[TestClass]:
    """Tracebacks and contexts of tasks on a running loop."""
    m = _module("test_futures2")
    yield from _cases_of(m).values()
    yield _derive("TaskTests", m.CFutureTests, cls=backend.task_class)


def _loop_case(backend: Backend) -> Any:
    m = _module("test_events")
    return _derive(
        "EventLoopTests",
        m.EventLoopTestsMixin,
        m.SubprocessTestsMixin,
        _module("utils").TestCase,
        create_event_loop=_new_loop,
    )


def events(backend: Backend) -> Iterable[TestClass]:
    """The loop's public interface; the running-loop functions as C has them."""
    m = _module("test_events")
    yield _only(_loop_case(backend), m.EventLoopTestsMixin)
    yield m.TestCGetEventLoop
    yield m.TestServer
    if hasattr(m, "UnixPipeObjectSupportTests"):
        yield m.UnixPipeObjectSupportTests


def subprocess(backend: Backend) -> Iterable[TestClass]:
    """Subprocesses, at the level of transports and of asyncio.subprocess."""
    yield _only(_loop_case(backend), _module("test_events").SubprocessTestsMixin)

    def set_up(self: Any) -> None:
        base.setUp(self)
        self.loop = asyncio.new_event_loop()
        self.set_event_loop(self.loop)

    base = _module("utils").TestCase
    yield _derive("SubprocessTests", _module("test_subprocess").SubprocessMixin, base, setUp=set_up)


def _from_mixin(module: str, mixin: str) -> Builder:
    """A group of one class: a mixin of CPython that asks for `create_event_loop`."""

    def build(backend: Backend) -> Iterable[TestClass]:
        base = getattr(_module(module), mixin)
        name = mixin.removesuffix("Mixin").removesuffix("Base").removeprefix("Base")
        yield _derive(name, base, _module("utils").TestCase, create_event_loop=_new_loop)

    return build


def _whole(module: str, *, without: tuple[str, ...] = ()) -> Builder:
    """A group that is a module of CPython as it stands, less some classes."""

    def build(backend: Backend) -> Iterable[TestClass]:
        cases = _cases_of(_module(module))
        return [case for name, case in cases.items() if name not in without]

    return build


def eager(backend: Backend) -> Iterable[TestClass]:
    """Eager task factories, with ours and with CPython's tasks on the loop under test."""
    m = _module("test_eager_task_factory")
    yield from _cases_of(m).values()
    for name in ("CEagerTaskFactoryLoopTests", "NonEagerCTaskTests", "EagerCTaskTests"):
        derived = name.replace("CTask", "Task").removeprefix("C")
        yield _derive(f"Backend{derived}", getattr(m, name), Task=backend.task_class)


def free_threading(backend: Backend) -> Iterable[TestClass]:
    """Several loops in several threads (3.14 and newer)."""
    m = _module("test_free_threading")

    def factory(_self: Any, loop: Any, coro: Any, **kwargs: Any) -> Any:
        return backend.task_class(coro, loop=loop, **kwargs)

    def eager_factory(self: Any, loop: Any, coro: Any, eager_start: Any = True, **kw: Any) -> Any:
        return factory(self, loop, coro, eager_start=eager_start, **kw)

    yield m.TestCFreeThreading
    yield m.TestEagerCFreeThreading
    yield _derive("TaskFreeThreading", m.TestCFreeThreading, factory=factory)
    yield _derive("EagerTaskFreeThreading", m.TestEagerCFreeThreading, factory=eager_factory)


def runners(backend: Backend) -> Iterable[TestClass]:
    """asyncio.run() and Runner, with the real loop where CPython takes a mocked BaseEventLoop."""

    def new_loop(_test: Any) -> Any:
        loop: Any = backend.loop_class()
        shut_down = loop.shutdown_asyncgens
        loop.shutdown_ag_run = False  # the tests ask whether it was called

        async def shutdown_asyncgens() -> None:
            loop.shutdown_ag_run = True
            await shut_down()

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    m = _module("test_runners")
    for name, case in _cases_of(m).items():
        if name != "BaseTest":
            yield _derive(name, case, new_loop=new_loop)


def pep492(backend: Backend) -> Iterable[TestClass]:
    """async and await, with the real loop where CPython takes a mocked BaseEventLoop."""
    base = _module("utils").TestCase

    def set_up(self: Any) -> None:
        base.setUp(self)
        self.loop = asyncio.new_event_loop()
        self.set_event_loop(self.loop)

    for name, case in _cases_of(_module("test_pep492")).items():
        yield _derive(name, case, setUp=set_up)


GROUPS: dict[str, Builder] = {
    "tasks": tasks,
    "futures": futures,
    "futures2": futures2,
    "eager": eager,
    # TestCallStackPy puts the Python class Task in place of asyncio.Task; a loop makes its own.
    "graph": _whole("test_graph", without=("TestCallStackPy",)),
    "free_threading": free_threading,
    "events": events,
    "subprocess": subprocess,
    "sock": _from_mixin("test_sock_lowlevel", "BaseSockTestsMixin"),
    "sendfile": _from_mixin("test_sendfile", "SendfileTestsBase"),
    # ProactorEventLoop is of Windows; SslProtoHandshakeTests examine the Python class SSLProtocol.
    "server": _whole("test_server", without=("ProactorStartServerTests",)),
    "start_tls": _whole(
        "test_sslproto", without=("ProactorStartTLSTests", "SslProtoHandshakeTests")
    ),
    "buffered": _whole("test_buffered_proto", without=("BufferedProtocolProactorTests",)),
    "ssl": _whole("test_ssl"),
    "server_context": _whole("test_server_context"),
    "streams": _whole("test_streams"),
    "taskgroups": _whole("test_taskgroups"),
    "timeouts": _whole("test_timeouts"),
    "waitfor": _whole("test_waitfor"),
    "locks": _whole("test_locks"),
    "queues": _whole("test_queues"),
    "runners": runners,
    "threads": _whole("test_threads"),
    "staggered": _whole("test_staggered"),
    "pep492": pep492,
    "context": _whole("test_context"),
    "transports": _whole("test_transports"),
    "protocols": _whole("test_protocols"),
}

# The first Python version that must have the module of a group, where that is not 3.11.
SINCE = {
    "eager": (3, 12),
    "staggered": (3, 13),
    "graph": (3, 14),
    "free_threading": (3, 14),
    "server_context": (3, 15),
}
