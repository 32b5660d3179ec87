"""pyasync: a drop-in asyncio event loop in C on libuv.

The one line that switches a program is one of

    pyasync.run(main())                                    # instead of asyncio.run(main())
    asyncio.run(main(), loop_factory=pyasync.new_event_loop)   # Python 3.12 and newer
    pyasync.install()                                      # for code that asks the policy

Everything else is asyncio's: the same API, exceptions and order of events.

PYTEST_DONT_REWRITE: pytest need not warn when this was imported before it registers the plugin.
"""

from __future__ import annotations

import sys

from pyasync._core import Future, Task
from pyasync.info import __version__, build_info
from pyasync.loop import Loop, new_event_loop
from pyasync.runner import install, run

TYPE_CHECKING = False  # as typing has it: importing that takes longer than all of pyasync
if TYPE_CHECKING:
    from typing import Any

    from pyasync.policy import EventLoopPolicy

__all__ = [
    "EventLoopPolicy",
    "Future",
    "Loop",
    "Task",
    "__version__",
    "build_info",
    "install",
    "new_event_loop",
    "run",
]


def __getattr__(name: str) -> Any:
    # Policies are deprecated from 3.14 and gone in 3.16: asyncio's are touched only by who asks.
    if name == "EventLoopPolicy" and sys.version_info < (3, 16):
        from pyasync.policy import EventLoopPolicy

        return EventLoopPolicy
    raise AttributeError(f"module 'pyasync' has no attribute {name!r}")
