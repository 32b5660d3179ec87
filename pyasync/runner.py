"""run() and install(): the two ways to switch a program to pyasync."""

from __future__ import annotations

import asyncio
import sys

from pyasync.loop import new_event_loop

TYPE_CHECKING = False  # as typing has it: importing that takes longer than all of pyasync
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on a new pyasync loop and return its result.

    main is the coroutine; debug switches the loop's debug mode on or off, None leaves it to
    PYTHONASYNCIODEBUG and -X dev. The loop is closed at the end, with its tasks cancelled, its
    asynchronous generators and default executor shut down. Raises what main raises, ValueError
    when main is not a coroutine (TypeError from 3.14) and RuntimeError when a loop is running in
    this thread. Stands for asyncio.run().
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("pyasync.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def install() -> None:
    """Make pyasync the event loop of every program part that asks asyncio's policy for one.

    Sets the event loop policy; loops that exist already stay. Raises RuntimeError on Python 3.16
    and newer, which has no policies: pass loop_factory=pyasync.new_event_loop there. Stands for
    asyncio.set_event_loop_policy().
    """
    if sys.version_info >= (3, 16):
        raise RuntimeError(
            "pyasync.install() needs event loop policies, which Python 3.16 removed: use "
            "pyasync.run() or loop_factory=pyasync.new_event_loop"
        )
    from pyasync.policy import set_policy

    set_policy()
