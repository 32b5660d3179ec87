"""The two loops the suite can be run on, and how one of them is put in asyncio's place.

A backend names a loop class, a policy class and the Task and Future classes under test. With
asyncio the classes are CPython's own, so that asyncio itself proves the runner. `install` must
be called before a module of `test.test_asyncio` is imported: some of its classes read
`asyncio.EventLoop` when they are defined. Only names that tests look up are replaced (attributes
of the `asyncio` package, and the default policy); the classes of `asyncio.base_events` and
`asyncio.unix_events` that the standard library itself builds on stay where they are.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAMES = ("asyncio", "pyasync")


@dataclass(frozen=True)
class Backend:
    """A loop under test, with the classes that belong to it."""

    name: str
    loop_class: Callable[[], asyncio.AbstractEventLoop]
    policy_class: Any
    task_class: type[asyncio.Task[Any]]
    future_class: type[asyncio.Future[Any]]
    notes: str

    def describe(self) -> str:
        """One line that says which interpreter, loop and Task are in use."""
        debug = "Py_DEBUG" if sysconfig.get_config_var("Py_DEBUG") else "release"
        interpreter = f"{platform.python_implementation()} {platform.python_version()} ({debug})"
        loop = f"{self.loop_class.__module__}.{self.loop_class.__qualname__}"
        task = f"{self.task_class.__module__}.{self.task_class.__qualname__}"
        return f"{interpreter}, loop {loop}, Task {task}{self.notes}"


def load(name: str) -> Backend:
    """The backend called `name`; imports pyasync for "pyasync"."""
    if name == "asyncio":
        return _load_asyncio()
    if name == "pyasync":
        return _load_pyasync()
    raise ValueError(f"no loop called {name!r}: choose one of {', '.join(NAMES)}")


def _load_asyncio() -> Backend:
    return Backend(
        name="asyncio",
        loop_class=asyncio.SelectorEventLoop,
        policy_class=None,
        task_class=asyncio.Task,
        future_class=asyncio.Future,
        notes="",
    )


def _load_pyasync() -> Backend:
    import pyasync

    info = ", ".join(f"{key}: {value}" for key, value in pyasync.build_info().items())
    return Backend(
        name="pyasync",
        loop_class=pyasync.Loop,
        policy_class=pyasync.EventLoopPolicy if sys.version_info < (3, 16) else None,
        task_class=pyasync.Task,
        future_class=pyasync.Future,
        notes=f"\nbuild: {info}",
    )


def install(backend: Backend) -> None:
    """Make every loop that a test asks asyncio for one of `backend`."""
    if backend.name == "asyncio":
        return
    for name in ("EventLoop", "SelectorEventLoop"):
        if name in vars(asyncio):
            setattr(asyncio, name, backend.loop_class)
    if backend.policy_class is None:
        return
    # CPython makes its default policy lazily from one of these names, and makes it anew
    # whenever a test ends with set_event_loop_policy(None).
    for module in (asyncio, asyncio.unix_events):
        for name in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
            if name in vars(module):
                setattr(module, name, backend.policy_class)
