"""Runs the asyncio tests of a pytest suite on pyasync, each kind through its own interface.

_pyasync_pytest calls switch_on() when --pyasync or `pyasync = true` asks for it. What is switched:

  pytest-asyncio 1.4+       the hook pytest_asyncio_loop_factories
  pytest-asyncio 0.23-1.3   the fixture event_loop_policy
  pytest-asyncio 0.21       the fixture event_loop
  anyio's plugin            the value of the fixture anyio_backend, where it says asyncio
  IsolatedAsyncioTestCase   its loop_factory (3.13+), its runner before that

A suite that names a loop itself (a hook or fixture in its conftest.py, a loop_factory in a test
case, use_uvloop in the backend's options) keeps the loop it names.
"""

from __future__ import annotations

import asyncio
import sys
import unittest
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest

import pyasync


def switch_on(config: pytest.Config) -> None:
    """Registers what this run needs; of the plugins with a fixture, the last registered wins."""
    manager = config.pluginmanager
    manager.register(_Everywhere(), "pyasync-everywhere")
    pytest_asyncio = manager.get_plugin("asyncio")
    # Its hook is there already for _Everywhere's sake, but only 1.4 and later say what it is.
    if pytest_asyncio is not None and not config.hook.pytest_asyncio_loop_factories.has_spec():
        policy = hasattr(pytest_asyncio, "event_loop_policy")
        manager.register(_PolicyFixture() if policy else _LoopFixture(), "pyasync-pytest-asyncio")
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    _switch_unittest(patch)


class _Everywhere:
    """The report header, pytest-asyncio's hook of 1.4+, and anyio's fixture."""

    def pytest_report_header(self) -> str:
        facts = pyasync.build_info()
        return f"pyasync: {facts['pyasync']}, libuv {facts['libuv']}, {facts['task']} tasks"

    # A hook that the suite's own conftest.py implements is asked before this one.
    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], Any]]:
        return {"pyasync": pyasync.new_event_loop}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        value = yield
        if fixturedef.argname != "anyio_backend":
            return value
        value = _anyio_backend_on_pyasync(value)
        # pytest hands out what the definition remembers, not what this hook returns.
        fixturedef.cached_result = (value, *fixturedef.cached_result[1:])
        return value


class _PolicyFixture:
    @pytest.fixture(scope="session", autouse=True)
    def event_loop_policy(self) -> Any:
        """pytest-asyncio 0.23 to 1.3 makes its loops with this policy."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of all policies, from 3.14
            return pyasync.EventLoopPolicy()


class _LoopFixture:
    @pytest.fixture
    def event_loop(self) -> Iterator[asyncio.AbstractEventLoop]:
        """pytest-asyncio 0.21 runs each test on this loop."""
        loop = pyasync.new_event_loop()
        yield loop
        loop.close()


def _anyio_backend_on_pyasync(backend: Any) -> Any:
    name, options = backend if isinstance(backend, tuple) else (backend, {})
    if name != "asyncio" or options.get("use_uvloop") or options.get("loop_factory"):
        return backend
    return name, {**options, "loop_factory": pyasync.new_event_loop}


def _new_current_loop() -> asyncio.AbstractEventLoop:
    """A new loop that get_event_loop() finds, as setUp() may expect.

    asyncio.Runner makes its loop the current one only where it has no loop_factory.
    """
    loop = pyasync.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _switch_unittest(patch: pytest.MonkeyPatch) -> None:
    case: Any = unittest.IsolatedAsyncioTestCase
    plain_run = case.run

    def run(self: Any, result: Any = None) -> Any:
        try:
            return plain_run(self, result)
        finally:
            asyncio.set_event_loop(None)

    patch.setattr(case, "run", run)
    if sys.version_info >= (3, 13):
        patch.setattr(case, "loop_factory", staticmethod(_new_current_loop))
        return

    def set_up_runner(self: Any) -> None:
        assert self._asyncioRunner is None, "asyncio runner is already initialized"
        self._asyncioRunner = asyncio.Runner(debug=True, loop_factory=_new_current_loop)

    patch.setattr(case, "_setupAsyncioRunner", set_up_runner)
